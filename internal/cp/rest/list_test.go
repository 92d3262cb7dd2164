package rest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

func TestWindow(t *testing.T) {
	for _, c := range []struct {
		query        string
		size, offset int
		bad          string
	}{
		{"", 100, 0, ""},
		{"size=7&offset=14", 7, 14, ""},
		{"size=0", 0, 0, ""},
		{"size=1000", 1000, 0, ""},
		{"size=1001", 0, 0, "size"},
		{"size=-1", 0, 0, "size"},
		{"size=1e3", 0, 0, "size"},
		{"size=99999999999999999999", 0, 0, "size"},
		{"offset=-1", 0, 0, "offset"},
		{"offset=x", 0, 0, "offset"},
	} {
		q, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		size, offset, err := window(q)
		if c.bad != "" {
			f := failureOf(err)
			if err == nil || f.status != http.StatusBadRequest || f.params[0].Field != c.bad {
				t.Errorf("%s: %v", c.query, err)
			}
			continue
		}
		if err != nil || size != c.size || offset != c.offset {
			t.Errorf("%s: %d %d %v", c.query, size, offset, err)
		}
	}
}

// TestPagesCoverEverything walks pages of all sizes.
func TestPagesCoverEverything(t *testing.T) {
	for n := range 12 {
		for size := 1; size < 8; size++ {
			r := httptest.NewRequest(http.MethodGet, "/meshes?name=m&size="+string(rune('0'+size)), nil)
			seen := 0
			for {
				rep, err := paged(&call{Request: r}, n, func(i int) any {
					if i != seen {
						t.Fatalf("%d items by %d: item %d comes at place %d", n, size, i, seen)
					}
					seen++
					return i
				})
				if err != nil {
					t.Fatal(err)
				}
				p := rep.value.(page)
				if p.Total != n {
					t.Fatalf("total %d of %d", p.Total, n)
				}
				if p.Next == nil {
					break
				}
				u, err := url.Parse(*p.Next)
				if err != nil || u.Query().Get("name") != "m" || u.Scheme != "http" || u.Host != r.Host {
					t.Fatalf("next is %s", *p.Next)
				}
				r = httptest.NewRequest(http.MethodGet, u.RequestURI(), nil)
			}
			if seen != n {
				t.Fatalf("%d items by %d: only %d seen", n, size, seen)
			}
		}
	}
}

func TestLabelFilters(t *testing.T) {
	for _, c := range []struct {
		query string
		want  map[string]string
		bad   string
	}{
		{"filter[labels.a/b.c]=1&filter[labels.x]=2&filter[labels.x]=3", map[string]string{"a/b.c": "1", "x": "3"}, ""},
		{"filter[labels.x]=", map[string]string{"x": ""}, ""},
		{"filter[labels.x=1", nil, "closing"},
		{"filter[name]=1", nil, "label"},
		{"filter[labels.x][eq]=1", nil, "operators"},
	} {
		q, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := labelFilters(&call{pattern: "/dataplanes"}, q)
		if c.bad != "" {
			f := failureOf(err)
			if err == nil || !strings.HasPrefix(f.params[0].Field, "/dataplanes.filter[") || !strings.Contains(f.params[0].Reason, c.bad) {
				t.Errorf("%s: %v", c.query, err)
			}
			continue
		}
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s: %v %v", c.query, got, err)
		}
		for k, v := range c.want {
			if got[k] != v {
				t.Errorf("%s: %s is %q", c.query, k, got[k])
			}
		}
	}
}

// TestLabelFiltersAll: every wrong filter is told, always in the same order.
func TestLabelFiltersAll(t *testing.T) {
	q := url.Values{"filter[b]": {""}, "filter[a]": {""}, "filter[labels.c": {""}, "filter[labels.d]": {""}}
	for range 20 {
		_, err := labelFilters(&call{pattern: "/meshes"}, q)
		var fields []string
		for _, p := range failureOf(err).params {
			fields = append(fields, strings.TrimPrefix(p.Field, "/meshes.filter"))
		}
		if got := strings.Join(fields, " "); got != "[a] [b] [labels.c" {
			t.Fatalf("violations at %s", got)
		}
	}
}

func TestTagFilters(t *testing.T) {
	tags := kinds.MultiTags{"kuma.io/service": {"backend", "front-end"}, "v": {"1:2"}}
	for query, want := range map[string]bool{
		"tag=kuma.io/service:back":                         true,
		"tag=kuma.io/service:back&tag=kuma.io/service:end": true,
		"tag=kuma.io/service:x":                            false,
		"tag=v:1:2":                                        true,
		"tag=v:":                                           true,
		"tag=absent:":                                      false,
		"tag=nothing":                                      true,
		"":                                                 true,
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if got := tagFilters(q).match(tags); got != want {
			t.Errorf("%s: %v", query, got)
		}
	}
}

// FuzzQuery: whatever is asked, a list is made or a reason given.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{"size=1&offset=2", "filter[labels.a]=b", "filter[labels.a", "tag=a:b:c", "gateway=TRUE", "name=%ff", "size=-1", "filter[labels.][]=x"} {
		f.Add(q)
	}
	o := kinds.Dataplane.Make("default", "d")
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.RawQuery = query
		c := &call{Request: r, pattern: "/dataplanes"}
		keep, err := filters(c, kinds.Dataplane)
		if err != nil {
			if failureOf(err).status != http.StatusBadRequest {
				t.Errorf("%q: %v", query, err)
			}
			return
		}
		n := 0
		if keep(o) {
			n = 1
		}
		rep, err := paged(c, n, func(int) any { return o })
		if err != nil {
			if failureOf(err).status != http.StatusBadRequest {
				t.Errorf("%q: %v", query, err)
			}
			return
		}
		if _, err := render(rep.value); err != nil {
			t.Errorf("%q: %v", query, err)
		}
	})
}

// FuzzBody: whatever is written, an object comes out that can be printed and
// read again, or a client's mistake is told.
func FuzzBody(f *testing.F) {
	for _, b := range []string{
		`{"type":"Mesh","name":"m"}`, `null`, `[]`, `{"type":"Dataplane","mesh":"default","name":"d","networking":{"address":"1.2.3.4","inbound":[{"port":1}]}}`,
		`{"type":"MeshTimeout","name":"t","spec":{"to":[{"targetRef":{"kind":"Mesh"},"default":{"idleTimeout":"1s"}}]}}`,
		`{"type":"Secret","mesh":"default","name":"s","data":"aGk="}`, `{"spec":{"spec":{}}}`, `{"labels":{"a":1}}`, "\x00", `{"name":"m","name":"n"}`,
	} {
		for i := range catalog.Kinds {
			if i%9 == 0 {
				f.Add(uint8(i), []byte(b))
			}
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		k := catalog.Kinds[int(kind)%len(catalog.Kinds)]
		d := draft{key: k.Key("default", "x")}
		if err := d.decode(k, body); err != nil {
			if got := failureOf(err).status; got != http.StatusBadRequest {
				t.Errorf("%s %q: %d %v", k.Name, body, got, err)
			}
			return
		}
		b, err := json.Marshal(d.object)
		if err != nil {
			t.Fatalf("%s %q: %v", k.Name, body, err)
		}
		if _, err := kubeForm(d.object, "ns"); err != nil {
			t.Errorf("%s %q: %v", k.Name, body, err)
		}
		d.object.Meta.Mesh = d.key.Mesh
		var v model.Violations
		if k.Default != nil {
			k.Default(d.object)
		}
		if k.Validate != nil {
			k.Validate(d.object, &v)
		}
		if _, err := k.Decode(b); err != nil {
			t.Errorf("%s %q: what is printed cannot be read: %v\n%s", k.Name, body, err, b)
		}
	})
}
