package engine

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/preview"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

func TestOnlyWhoDependsIsBuilt(t *testing.T) {
	w := newWorld(t)
	w.put(dataplane("web-1", "10.0.0.1", "web", "http", "api"))
	w.put(dataplane("api-1", "10.0.0.2", "api", "http"))
	web, api := w.connect("web-1"), w.connect("api-1")
	w.settle()
	if web.published() == 0 || api.published() == 0 {
		t.Fatal("a connected proxy got no set")
	}

	n, m := web.published(), api.published()
	w.put(dataplane("api-2", "10.0.0.3", "api", "http")) // an endpoint more
	w.settle()
	if web.published() != n || api.published() != m {
		t.Errorf("an endpoint rebuilt proxies: web %d→%d, api %d→%d", n, web.published(), m, api.published())
	}
	if got := addresses(web, "api"); got != 2 {
		t.Errorf("web sees %d endpoints of api, want 2", got)
	}

	other := kinds.Mesh.Make("", "other")
	w.put(other)
	insight := kinds.DataplaneInsight.Make("default", "web-1")
	w.put(insight)
	w.settle()
	if web.published() != n || api.published() != m {
		t.Error("another mesh or an insight rebuilt proxies")
	}

	w.put(dataplane("web-1", "10.0.0.1", "web", "http", "api", "late"))
	w.settle()
	if web.published() == n {
		t.Error("a changed proxy was not rebuilt")
	}
	if api.published() != m {
		t.Error("a change of one proxy rebuilt another")
	}

	w.put(timeout(t, "all", "7s"))
	w.settle()
	if api.published() == m {
		t.Error("a mesh-wide policy did not rebuild")
	}
}

// addresses counts the endpoints that a sink's live list carries.
func addresses(s *sink, cluster string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.set.Live()[cluster]
	if l == nil {
		return -1
	}
	return strings.Count(string(l.Load().Body), "10.0.0.")
}

func TestAPanicStaysWithItsProxy(t *testing.T) {
	w := newWorld(t)
	good := w.make
	w.make = func(in view.Subject) (*ir.Proxy, []*xds.Resource, []ir.EndpointsRef, error) {
		p, rs, refs, err := good(in)
		if p != nil && p.ID.Name == "bad" {
			panic("on purpose")
		}
		return p, rs, refs, err
	}
	w.put(dataplane("bad", "10.0.0.1", "web", "http"))
	w.put(dataplane("fine", "10.0.0.2", "web", "http"))
	bad, fine := w.connect("bad"), w.connect("fine")
	w.settle()
	if bad.published() != 0 || fine.published() == 0 {
		t.Fatalf("bad got %d sets, fine %d", bad.published(), fine.published())
	}
	w.put(timeout(t, "all", "3s"))
	w.settle()
	if fine.published() < 2 {
		t.Error("the other proxy was not served any more")
	}
}

func TestADeletedProxyKeepsWhatItHas(t *testing.T) {
	w := newWorld(t)
	w.put(dataplane("web-1", "10.0.0.1", "web", "http", "api"))
	web := w.connect("web-1")
	w.settle()
	before := web.contents()
	w.drop(kinds.Dataplane.Key("default", "web-1"))
	w.settle()
	if d := cmp.Diff(before, web.contents()); d != "" {
		t.Errorf("the set changed:\n%s", d)
	}
}

func TestListsThatNobodyHoldsAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.put(dataplane("web-1", "10.0.0.1", "web", "http", "api"))
	w.connect("web-1")
	w.settle()
	m := w.mesh("default")
	if len(m.refs) == 0 {
		t.Fatal("no list is held")
	}
	w.leave[kinds.Dataplane.Key("default", "web-1")]()
	if len(m.refs) != 0 {
		t.Errorf("still held after the proxy left: %v", m.refs)
	}
}

// TestAnyScriptEndsAsAColdStart is the promise that what a proxy holds depends
// on the objects alone, not on the way that led to them.
func TestAnyScriptEndsAsAColdStart(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	for i := range rounds {
		s := seed + uint64(i)
		t.Run(fmt.Sprint("seed-", s), func(t *testing.T) {
			script(t, rand.New(rand.NewPCG(s, 1)))
			if t.Failed() {
				t.Logf("to repeat: SEED=%d go test -run %s ./internal/cp/engine", s, t.Name())
			}
		})
	}
}

func script(t *testing.T, r *rand.Rand) {
	w := newWorld(t)
	services := []string{"a", "b", "c", "d"}
	protocols := []string{"http", "tcp", "grpc", "http2"}
	name := func() string { return fmt.Sprint("dp-", r.IntN(8)) }
	var log []string
	for range 60 {
		n := name()
		key := kinds.Dataplane.Key("default", n)
		switch op := r.IntN(10); {
		case op < 5:
			var calls []string
			for _, s := range services {
				if r.IntN(2) == 0 {
					calls = append(calls, s)
				}
			}
			d := dataplane(n, fmt.Sprint("10.0.0.", r.IntN(200)+1), services[r.IntN(4)], protocols[r.IntN(4)], calls...)
			if r.IntN(4) == 0 {
				in := &model.Spec[kinds.DataplaneSpec](d).Networking.Inbound[0]
				in.Tags["version"] = fmt.Sprint(r.IntN(2))
			}
			if r.IntN(5) == 0 && len(calls) > 0 {
				model.Spec[kinds.DataplaneSpec](d).Networking.Outbound[0].Tags["version"] = "1"
			}
			w.put(d)
			log = append(log, "put "+n)
		case op < 6:
			if _, err := w.store.Get(t.Context(), key); err == nil && w.sinks[key] == nil {
				w.drop(key)
				log = append(log, "drop "+n)
			}
		case op < 7:
			w.put(timeout(t, fmt.Sprint("t-", r.IntN(3)), fmt.Sprint(r.IntN(9)+1, "s")))
			log = append(log, "timeout")
		case op < 9:
			if w.sinks[key] == nil {
				w.connect(n)
				log = append(log, "connect "+n)
			}
		default:
			if leave := w.leave[key]; leave != nil && w.sinks[key] != nil {
				leave()
				delete(w.sinks, key)
				log = append(log, "leave "+n)
			}
		}
		if r.IntN(6) == 0 {
			w.settle()
		}
	}
	w.settle()
	w.compareWithColdStart(log)
}

func (w *world) compareWithColdStart(log []string) {
	w.t.Helper()
	cold := view.NewMesh("default", settings).Next(w.state.Current())
	for key, s := range w.sinks {
		in, ok := cold.For(kinds.Dataplane, key.Name, metadata)
		if !ok {
			continue // its object is gone: it keeps what it had
		}
		want := map[string]string{}
		_, rs, refs, err := preview.Make(in)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, r := range rs {
			want[fmt.Sprint(r.Type, " ", r.Name)] = r.Version.String()
		}
		for _, ref := range refs {
			want[fmt.Sprint(xds.Endpoints, " ", ref.Name)] = preview.Assignment(cold, ref).Version.String()
		}
		if d := cmp.Diff(want, s.contents()); d != "" {
			w.t.Errorf("%s differs from a cold start (-cold +engine):\n%s\nscript: %s", key, d, strings.Join(log, ", "))
		}
	}
}
