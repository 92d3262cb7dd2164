package services_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/cp/admit"
	"weft/internal/cp/services"
	"weft/internal/cp/state"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// world is a store with a leader that keeps its services, in a bubble of time.
type world struct {
	t     *testing.T
	store *counting
	gate  *admit.Gate
	task  *services.Task
	stop  func() // the leader
}

// counting counts writes, and lets some fail.
type counting struct {
	store.Store
	writes atomic.Int64
	fail   func(o *model.Object) error
}

func (c *counting) Create(ctx context.Context, o *model.Object) (*model.Object, error) {
	if c.fail != nil {
		if err := c.fail(o); err != nil {
			return nil, err
		}
	}
	c.writes.Add(1)
	return c.Store.Create(ctx, o)
}

func (c *counting) Update(ctx context.Context, o *model.Object) (*model.Object, error) {
	if c.fail != nil {
		if err := c.fail(o); err != nil {
			return nil, err
		}
	}
	c.writes.Add(1)
	return c.Store.Update(ctx, o)
}

// play runs f in a bubble, where time passes only when everybody waits.
func play(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		w := &world{t: t, store: &counting{Store: s}, gate: gate(s)}
		log := slog.New(slog.DiscardHandler)
		st := state.New(s, log, time.Now)
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = st.Run(ctx) })
		w.task = &services.Task{
			Settings: services.Settings{
				Zone: "z", Generate: true, GracePeriod: time.Hour, Hostnames: true, Addresses: true,
				MeshServices:          netip.MustParsePrefix("241.0.0.0/8"),
				MeshMultiZoneServices: netip.MustParsePrefix("243.0.0.0/8"),
				ExternalServices:      netip.MustParsePrefix("242.0.0.0/8"),
				Log:                   log,
			},
			Store: w.store, Snapshots: st, Now: time.Now,
		}
		w.lead()
		defer func() { w.stop(); cancel(); running.Wait() }()
		f(w)
	})
}

// lead starts the task.
func (w *world) lead() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.task.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	w.stop = func() { cancel(); <-done }
}

// put stores objects as users do, one after the other.
func (w *world) put(docs ...string) {
	w.t.Helper()
	for _, d := range docs {
		time.Sleep(time.Millisecond) // so that ages differ
		o, err := catalog.Decode([]byte(d))
		if err != nil {
			w.t.Fatalf("%v\n%s", err, d)
		}
		w.save(o)
	}
	w.settle()
}

func (w *world) save(o *model.Object) {
	w.t.Helper()
	ctx := w.t.Context()
	prior, err := w.store.Get(ctx, o.Key())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		w.t.Fatal(err)
	}
	if !o.Kind.ReadOnly {
		if o, _, err = w.gate.Admit(ctx, o, prior); err != nil {
			w.t.Fatal(err)
		}
	}
	if prior == nil {
		_, err = w.store.Store.Create(ctx, o)
	} else {
		o.Meta.Version = prior.Meta.Version
		_, err = w.store.Store.Update(ctx, o)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) drop(kind *model.Kind, name string) {
	w.t.Helper()
	if err := w.store.Delete(w.t.Context(), kind.Key("m", name)); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

// settle waits until nobody has anything to do.
func (w *world) settle() { synctest.Wait() }

func (w *world) get(kind *model.Kind, name string) *model.Object {
	w.t.Helper()
	o, err := w.store.Get(w.t.Context(), kind.Key("m", name))
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) absent(kind *model.Kind, name string) {
	w.t.Helper()
	if _, err := w.store.Get(w.t.Context(), kind.Key("m", name)); !errors.Is(err, store.ErrNotFound) {
		w.t.Errorf("%s %s is there (%v)", kind.Name, name, err)
	}
}

// service returns spec and status of a MeshService.
func (w *world) service(name string) (*kinds.MeshServiceSpec, *kinds.MeshServiceStatus) {
	w.t.Helper()
	o := w.get(kinds.MeshService, name)
	return model.Spec[kinds.MeshServiceSpec](o), model.Status[kinds.MeshServiceStatus](o)
}

// vip returns the address of a service of any kind.
func (w *world) vip(kind *model.Kind, name string) string {
	w.t.Helper()
	b, err := model.Encode(w.get(kind, name))
	if err != nil {
		w.t.Fatal(err)
	}
	var o struct {
		Status struct {
			VIP  kinds.VIP
			VIPs []kinds.VIP
		}
	}
	if err := json.Unmarshal(b, &o); err != nil {
		w.t.Fatal(err)
	}
	if len(o.Status.VIPs) > 0 {
		return o.Status.VIPs[0].IP
	}
	return o.Status.VIP.IP
}

func meshIn(mode string) string {
	return `{"type": "Mesh", "name": "m", "meshServices": {"mode": "` + mode + `"}}`
}

// dataplane is a proxy with inbounds.
func dataplane(name string, inbounds ...string) string {
	list := ""
	for i, in := range inbounds {
		if i > 0 {
			list += ","
		}
		list += in
	}
	return `{"type": "Dataplane", "mesh": "m", "name": "` + name + `", "networking": {"address": "10.0.0.1", "inbound": [` + list + `]}}`
}

func inbound(port, service string) string {
	return `{"port": ` + port + `, "tags": {"kuma.io/service": "` + service + `", "kuma.io/protocol": "http"}}`
}

// insight tells that a proxy is connected, and of its certificate.
func insight(name, backend string) string {
	mtls := ""
	if backend != "" {
		mtls = `, "mTLS": {"issuedBackend": "` + backend + `"}`
	}
	return `{"type": "DataplaneInsight", "mesh": "m", "name": "` + name + `", "subscriptions": [{"id": "1", "connectTime": "2026-01-01T00:00:00Z"}]` + mtls + `}`
}

func gate(s store.Store) *admit.Gate { return &admit.Gate{Reader: s, Zone: "z"} }
