package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"weft/internal/cp/identity"
	"weft/internal/cp/state"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// world is an engine on a memory store, with proxies that only remember.
type world struct {
	t     testing.TB
	store store.Store
	state *state.State
	*Engine
	sinks map[model.Key]*sink
	leave map[model.Key]func()
}

var settings = view.Settings{
	Zone: "zone-1", DNSDomain: "mesh", ServiceVIPPort: 80, ServiceVIPs: true,
	InternalCIDRs: []string{"10.0.0.0/8"}, Policies: catalog.Policies,
}

func newWorld(t testing.TB) *world { return newWorldWith(t, nil) }

func newWorldWith(t testing.TB, ids *identity.Service) *world {
	t.Helper()
	s := memory.New()
	log := slog.New(slog.DiscardHandler)
	st := state.New(s, log, time.Now)
	e := New(Deps{State: st, Settings: settings, Kinds: catalog.ByName, Log: log, Now: time.Now, Identities: ids})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = st.Run(ctx) })
	running.Go(func() { _ = e.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	w := &world{t: t, store: s, state: st, Engine: e, sinks: map[model.Key]*sink{}, leave: map[model.Key]func(){}}
	w.put(kinds.Mesh.Make("", "default"))
	return w
}

// put creates or updates an object.
func (w *world) put(o *model.Object) {
	w.t.Helper()
	have, err := w.store.Get(context.Background(), o.Key())
	switch {
	case errors.Is(err, store.ErrNotFound):
		_, err = w.store.Create(context.Background(), o)
	case err == nil:
		o = o.Clone()
		o.Meta.Version = have.Meta.Version
		_, err = w.store.Update(context.Background(), o)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) drop(k model.Key) {
	w.t.Helper()
	if err := w.store.Delete(context.Background(), k); err != nil {
		w.t.Fatal(err)
	}
}

// settle waits until everything written so far has reached the sets. The
// memory store's revision grows with every write, so an own probe tells it.
func (w *world) settle() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	probe := kinds.Zone.Make("", "settle")
	have, err := w.store.Get(ctx, probe.Key())
	if err == nil {
		w.drop(have.Key())
	}
	enabled := time.Now().UnixNano()%2 == 0
	probe.Spec = &kinds.ZoneSpec{Enabled: &enabled}
	created, err := w.store.Create(ctx, probe)
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		cur := w.state.Current()
		if r, ok := cur.Table(kinds.Zone, "").Get("settle"); ok && r.Meta.Created.Equal(created.Meta.Created) {
			if err := w.Settled(ctx, cur.Rev); err != nil {
				w.t.Fatal(err)
			}
			return
		}
		if err := w.state.WaitFor(ctx, cur.Rev+1); err != nil {
			w.t.Fatal(err)
		}
	}
}

// sink remembers the newest set.
type sink struct {
	mu    sync.Mutex
	set   *xds.Set
	count int
}

// Publish implements xds.Sink.
func (s *sink) Publish(set *xds.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = set
	s.count++
}

func (s *sink) published() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// contents lists what the set holds: type and name → version.
func (s *sink) contents() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	if s.set == nil {
		return out
	}
	for t := range xds.NumTypes {
		for name, r := range s.set.Of(t) {
			out[fmt.Sprint(t, " ", name)] = r.Version.String()
		}
	}
	for name, l := range s.set.Live() {
		out[fmt.Sprint(xds.Endpoints, " ", name)] = l.Load().Version.String()
	}
	return out
}

func (w *world) connect(name string) *sink {
	key := kinds.Dataplane.Key("default", name)
	s := &sink{}
	w.sinks[key] = s
	w.leave[key] = w.Connect(key, metadata, s)
	return s
}

var metadata = view.Metadata{
	ProxyType: ir.Sidecar, AdminPort: 9901, AdminAddress: "127.0.0.1", ReadinessPort: 9902, IPv6: true, WorkDir: "/tmp/w",
}

// dataplane describes a proxy of a service with outbounds to others.
func dataplane(name, address, service, protocol string, calls ...string) *model.Object {
	o := kinds.Dataplane.Make("default", name)
	n := &kinds.DataplaneNetworking{Address: address, Inbound: []kinds.Inbound{{
		Port: 8080, ServicePort: 9090,
		Tags: map[string]string{model.TagService: service, model.TagProtocol: protocol, model.TagZone: "zone-1"},
	}}}
	for i, c := range calls {
		n.Outbound = append(n.Outbound, kinds.Outbound{Port: uint32(20000 + i), Tags: map[string]string{model.TagService: c}})
	}
	o.Spec = &kinds.DataplaneSpec{Networking: n}
	return o
}

// timeout is a mesh-wide MeshTimeout.
func timeout(t testing.TB, name, connect string) *model.Object {
	t.Helper()
	o, err := catalog.Decode([]byte(`{"type":"MeshTimeout","mesh":"default","name":"` + name + `","spec":{"targetRef":{"kind":"Mesh"},"to":[{"targetRef":{"kind":"Mesh"},"default":{"connectionTimeout":"` + connect + `"}}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	return o
}
