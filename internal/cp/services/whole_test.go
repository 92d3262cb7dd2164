package services_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/cp/actual"
	"weft/internal/cp/engine"
	"weft/internal/cp/envoy"
	"weft/internal/cp/services"
	"weft/internal/cp/state"
	"weft/internal/cp/store/memory"
	"weft/internal/cp/view"
	"weft/internal/cp/vip"
	"weft/internal/cp/xds"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
)

// whole is everything from the store to what proxies are sent.
type whole struct {
	*world
	engine *engine.Engine
	dns    sync.Map // host → address
}

// playWhole runs f in a bubble with a control plane called "me".
func playWhole(t *testing.T, f func(w *whole)) {
	synctest.Test(t, func(t *testing.T) {
		s := &counting{Store: memory.New()}
		w := &whole{world: &world{t: t, store: s, gate: gate(s)}}
		log := slog.New(slog.DiscardHandler)
		st := state.New(s, log, time.Now)
		filter := actual.New(actual.Deps{
			State: st, TTL: 10 * time.Second, Instance: "me", Alone: true, Grace: 5 * time.Second, Log: log, Now: time.Now,
			Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
				if a, ok := w.dns.Load(host); ok {
					return []netip.Addr{netip.MustParseAddr(a.(string))}, nil
				}
				return nil, errors.New("no such host")
			},
		})
		w.engine = engine.New(engine.Deps{
			State: filter, Actual: filter.Tables, Kinds: catalog.ByName, Log: log, Now: time.Now, Workers: 1,
			Settings: view.Settings{Zone: "z", DNSDomain: "mesh", ServiceVIPPort: 80, ServiceVIPs: true, Policies: catalog.Policies},
		})
		task := &services.Task{
			Settings: services.Settings{
				Zone: "z", Generate: true, GracePeriod: time.Minute, Hostnames: true, Addresses: true,
				MeshServices:          netip.MustParsePrefix("241.0.0.0/8"),
				MeshMultiZoneServices: netip.MustParsePrefix("243.0.0.0/8"),
				ExternalServices:      netip.MustParsePrefix("242.0.0.0/8"),
				Log:                   log,
			},
			Store: s, Snapshots: filter, Now: time.Now,
		}
		older := &vip.Task{Store: s, State: st, Zone: "z", CIDR: netip.MustParsePrefix("240.0.0.0/8"), Log: log, Now: time.Now}
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		for _, run := range []func(context.Context) error{st.Run, filter.Run, w.engine.Run, task.Run, older.Run} {
			running.Go(func() { _ = run(ctx) })
		}
		f(w)
		cancel()
		running.Wait()
	})
}

// proxySink is what a proxy was sent last.
type proxySink struct {
	mu        sync.Mutex
	set       *xds.Set
	published int
}

func (s *proxySink) Publish(set *xds.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = set
	s.published++
}

func (s *proxySink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published
}

func (w *whole) connect(proxy string) *proxySink {
	s := &proxySink{}
	w.engine.Connect(kinds.Dataplane.Key("m", proxy), view.Metadata{ProxyType: ir.Sidecar, AdminPort: 9901, DNSPort: 15053}, s)
	w.settle()
	return s
}

// knows returns where a proxy's workload gets when it calls a name: its address,
// and the endpoints behind it; "nowhere" if it does not know the name.
func (s *proxySink) knows(t *testing.T, name string, port int) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	address := ""
	for _, d := range find(tree(t, s.set.Of(xds.Listener)["kuma:dns"]), "virtualDomains") {
		if d := d.(map[string]any); d["name"] == name {
			address = fmt.Sprint(find(d, "address")[0])
		}
	}
	if address == "" {
		return "nowhere"
	}
	l := s.set.Of(xds.Listener)[fmt.Sprintf("outbound:%s:%d", address, port)]
	if l == nil {
		return address + " without listener"
	}
	cluster := fmt.Sprint(find(tree(t, l), "cluster")[0])
	out := address
	for _, e := range find(tree(t, s.set.Live()[cluster].Load()), "lbEndpoints") {
		out += " " + fmt.Sprint(find(find(e, "socketAddress")[0], "address")[0])
	}
	return out
}

// tree returns a resource as JSON.
func tree(t *testing.T, r *xds.Resource) any {
	t.Helper()
	if r == nil {
		t.Fatal("there is no such resource")
	}
	byType, err := envoy.JSON([]*xds.Resource{r})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(byType)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// find returns the values under a key, wherever it is; lists are taken apart.
func find(tree any, key string) []any {
	var out []any
	switch v := tree.(type) {
	case map[string]any:
		for k, e := range v {
			if list, ok := e.([]any); ok && k == key {
				out = append(out, list...)
			} else if k == key {
				out = append(out, e)
			} else {
				out = append(out, find(e, key)...)
			}
		}
	case []any:
		for _, e := range v {
			out = append(out, find(e, key)...)
		}
	}
	return out
}

const redirected = `, "transparentProxying": {"redirectPortInbound": 15006, "redirectPortOutbound": 15001}`

func client() string {
	return strings.Replace(dataplane("client", inbound("80", "client")), `}]}}`, `}]`+redirected+`}}`, 1)
}

func at(doc, address string) string { return strings.Replace(doc, "10.0.0.1", address, 1) }

// TestCallByName follows a service through its life as a connected client sees it.
func TestCallByName(t *testing.T) {
	playWhole(t, func(w *whole) {
		w.put(localGenerator, meshIn("Exclusive"), client())
		c := w.connect("client")
		want := func(when, name, want string) {
			t.Helper()
			if got := c.knows(t, name, 80); got != want {
				t.Errorf("%s: %s leads to %q, want %q", when, name, got, want)
			}
		}
		want("before", "a.svc.mesh.local", "nowhere")
		w.put(at(dataplane("a-1", inbound("80", "a")), "10.1.0.1"))
		want("at once", "a.svc.mesh.local", "241.0.0.1 10.1.0.1")
		n := c.count()
		w.put(at(dataplane("a-2", inbound("80", "a")), "a-2.example"), insight("a-1", ""))
		want("without DNS", "a.svc.mesh.local", "241.0.0.1 10.1.0.1")
		w.dns.Store("a-2.example", "10.1.0.2")
		time.Sleep(10 * time.Second)
		w.settle()
		want("resolved", "a.svc.mesh.local", "241.0.0.1 10.1.0.1 10.1.0.2")
		w.put(strings.Replace(insight("a-1", ""), `"connectTime": "2026-01-01T00:00:00Z"`,
			`"controlPlaneInstanceId": "me", "connectTime": "1999-01-01T00:00:00Z", "disconnectTime": "`+time.Now().Format(time.RFC3339)+`"`, 1))
		time.Sleep(5 * time.Second)
		w.settle()
		want("a-1 crashed", "a.svc.mesh.local", "241.0.0.1 10.1.0.2")
		if got := c.count(); got != n {
			t.Errorf("endpoints that came and went made the client %d configurations", got-n)
		}
		w.drop(kinds.Dataplane, "a-1")
		w.drop(kinds.Dataplane, "a-2")
		want("all left", "a.svc.mesh.local", "241.0.0.1")
		time.Sleep(time.Minute + time.Second)
		w.settle()
		want("given up", "a.svc.mesh.local", "nowhere")
		w.put(at(dataplane("b-1", inbound("80", "b")), "10.1.0.3"))
		want("another one", "b.svc.mesh.local", "241.0.0.2 10.1.0.3")
	})
}

// TestBothWorlds: older names and new ones lead to the same proxies, until the
// mesh only knows the new.
func TestBothWorlds(t *testing.T) {
	playWhole(t, func(w *whole) {
		w.put(localGenerator, meshIn("Everywhere"), client(), at(dataplane("a-1", inbound("80", "a_b")), "10.1.0.1"), at(dataplane("c-1", inbound("80", "c")), "10.1.0.2"))
		c := w.connect("client")
		for name, want := range map[string]string{
			"a_b.mesh": "240.0.0.0 10.1.0.1", "a.b.mesh": "240.0.0.0 10.1.0.1",
			"c.mesh": "240.0.0.1 10.1.0.2", "c.svc.mesh.local": "241.0.0.1 10.1.0.2",
		} {
			if got := c.knows(t, name, 80); !strings.HasSuffix(got, strings.SplitN(want, " ", 2)[1]) || got[:4] != want[:4] {
				t.Errorf("%s leads to %q, want %q", name, got, want)
			}
		}
		w.put(meshIn("Exclusive"))
		if got := c.knows(t, "c.mesh", 80); got != "nowhere" {
			t.Errorf("c.mesh leads to %q in a mesh that only knows new names", got)
		}
		if got := c.knows(t, "c.svc.mesh.local", 80); !strings.HasSuffix(got, "10.1.0.2") {
			t.Errorf("c.svc.mesh.local leads to %q", got)
		}
	})
}
