package rest_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"weft/internal/cp/rest"
	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

func TestLimits(t *testing.T) {
	w := newWorld(t, localAdmin)
	mesh := w.url + "/meshes/m"
	large := `{"type":"Mesh","name":"m","labels":{"a":"` + strings.Repeat("x", 5<<20) + `"}}`
	deep := `{"type":"Mesh","name":"m","mtls":` + strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_001)
	for _, c := range []struct {
		name, method, url, body string
		status                  int
	}{
		{"a large body", http.MethodPut, mesh, large, 413},
		{"a deep body", http.MethodPut, mesh, deep, 400},
		{"a long path", http.MethodGet, w.url + "/meshes/" + strings.Repeat("x", 5000), "", 400},
		{"a path that is no text", http.MethodGet, w.url + "/meshes/%ff%fe", "", 400},
		{"a path with a NUL", http.MethodGet, w.url + "/meshes/a%00b", "", 400},
		{"a filter that cannot be read", http.MethodGet, w.url + "/meshes?name=a;size=1", "", 400},
		{"a parameter that cannot be read", http.MethodGet, w.url + "/meshes?name=%zz", "", 400},
		{"a parameter of odd bytes", http.MethodGet, w.url + "/meshes?name=%ff", "", 200},
		{"many parameters", http.MethodGet, w.url + "/meshes?a=1" + strings.Repeat("&tag=a:b", 200), "", 400},
		{"a name that cannot be", http.MethodGet, w.url + "/meshes/..%2f..%2fetc", "", 307},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := send(t, c.method, c.url, c.body)
			if got.status != c.status {
				t.Errorf("status %d, want %d: %.300s", got.status, c.status, got.text)
			}
			if c.status == 400 && got.field("title") != "Bad Request" {
				t.Errorf("answered %.300s", got.text)
			}
		})
	}
}

// moody is a store whose calls fail or panic.
type moody struct {
	store.Store
	err       error
	conflicts int
	crash     bool
}

func (m *moody) Get(ctx context.Context, key model.Key) (*model.Object, error) {
	if m.crash {
		panic("a mistake")
	}
	if m.err != nil {
		return nil, m.err
	}
	return m.Store.Get(ctx, key)
}

func (m *moody) Update(ctx context.Context, o *model.Object) (*model.Object, error) {
	if m.conflicts > 0 {
		m.conflicts--
		return nil, store.ErrConflict
	}
	return m.Store.Update(ctx, o)
}

func TestFaults(t *testing.T) {
	m := &moody{}
	w := newWorld(t, localAdmin, func(d *rest.Deps) { m.Store, d.Store = d.Store, m })
	mesh := w.url + "/meshes/default"
	body := `{"type":"Mesh","name":"default"}`
	for _, c := range []struct {
		name          string
		set           func()
		method        string
		status        int
		title, detail string
	}{
		{"a store that is away", func() { m.err = store.ErrUnavailable }, http.MethodGet, 503, "Service unavailable", "store"},
		{"a store that is slow", func() { m.err = context.DeadlineExceeded }, http.MethodGet, 503, "Service unavailable", "too long"},
		{"an object of another version", func() { m.err = store.ErrUnreadable }, http.MethodGet, 500, "Could not retrieve a resource", "form"},
		{"an error nobody knows", func() { m.err = errors.New("password=hunter2") }, http.MethodGet, 500, "Could not retrieve a resource", "Internal Server Error"},
		{"a panic", func() { m.crash = true }, http.MethodGet, 500, "Could not process the request", "Internal Server Error"},
		{"writers in between", func() { m.conflicts = 3 }, http.MethodPut, 200, "", ""},
		{"writers without end", func() { m.conflicts = 1000 }, http.MethodPut, 409, "Conflict", "changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.err, m.conflicts, m.crash = nil, 0, false
			c.set()
			text := ""
			if c.method == http.MethodPut {
				text = body
			}
			got := send(t, c.method, mesh, text)
			m.err, m.conflicts, m.crash = nil, 0, false
			if got.status != c.status || got.field("title") != c.title || !strings.Contains(got.field("detail"), c.detail) {
				t.Errorf("got %d %s", got.status, got.text)
			}
			if strings.Contains(got.text, "hunter2") {
				t.Errorf("the answer tells what is inside: %s", got.text)
			}
		})
	}
}

// lenient notes which reads may be answered by a replica of the database.
type lenient struct {
	store.Store
	lists, gets atomic.Int32 // that may be
	strict      atomic.Int32 // that may not
}

func (l *lenient) count(ctx context.Context, n *atomic.Int32) {
	if !store.StaleAllowed(ctx) {
		n = &l.strict
	}
	n.Add(1)
}

func (l *lenient) List(ctx context.Context, k *model.Kind, mesh string) ([]*model.Object, error) {
	l.count(ctx, &l.lists)
	return l.Store.List(ctx, k, mesh)
}

func (l *lenient) Get(ctx context.Context, key model.Key) (*model.Object, error) {
	l.count(ctx, &l.gets)
	return l.Store.Get(ctx, key)
}

// TestListsMayBeStale: a replica may answer lists and nothing else; who writes an
// object and gets it finds what was written.
func TestListsMayBeStale(t *testing.T) {
	l := &lenient{}
	w := newWorld(t, localAdmin, func(d *rest.Deps) { l.Store, d.Store = d.Store, l })
	for _, path := range []string{"/meshes", "/dataplanes", "/dataplanes/_overview", "/meshes/default/meshtimeouts"} {
		before := l.lists.Load()
		send(t, http.MethodGet, w.url+path, "")
		if l.lists.Load() != before+1 {
			t.Errorf("GET %s reads as if somebody would write next", path)
		}
	}
	before := l.strict.Load()
	send(t, http.MethodPut, w.url+"/meshes/m", `{"type":"Mesh","name":"m"}`)
	send(t, http.MethodGet, w.url+"/meshes/m", "")
	if l.gets.Load() != 0 || l.strict.Load() < before+2 {
		t.Errorf("%d objects were read from where they may be old", l.gets.Load())
	}
}

// TestStatusStays: who writes no status does not remove it.
func TestStatusStays(t *testing.T) {
	w := newWorld(t, localAdmin)
	url := w.url + "/meshes/default/meshservices/s"
	body := `{"type":"MeshService","mesh":"default","name":"s","spec":{"selector":{"dataplaneTags":{"kuma.io/service":"s"}},"ports":[{"port":80,"targetPort":80}]}}`
	if got := send(t, http.MethodPut, url, body); got.status != 201 {
		t.Fatalf("%d %s", got.status, got.text)
	}
	o, err := w.store.Get(t.Context(), kinds.MeshService.Key("default", "s"))
	if err != nil {
		t.Fatal(err)
	}
	o = o.Clone()
	o.Status = &kinds.MeshServiceStatus{VIPs: []kinds.VIP{{IP: "241.0.0.7"}}}
	if _, err := w.store.Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got := send(t, http.MethodPut, url, body); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.text)
	}
	if got := send(t, http.MethodGet, url, ""); !strings.Contains(got.text, "241.0.0.7") {
		t.Errorf("the address is gone: %s", got.text)
	}
}
