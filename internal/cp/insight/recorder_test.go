package insight

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/cp/store/storetest"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// newStore returns a store with a mesh and n proxies web-0, web-1 and so on.
func newStore(t *testing.T, n int) store.Store {
	t.Helper()
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	create(t, s, kinds.Mesh.Make("", "default"))
	for i := range n {
		create(t, s, kinds.Dataplane.Make("default", fmt.Sprintf("web-%d", i)))
	}
	return s
}

func create(t *testing.T, s store.Store, o *model.Object) {
	t.Helper()
	if _, err := s.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func proxyKey(i int) model.Key { return kinds.Dataplane.Key("default", fmt.Sprintf("web-%d", i)) }

// subs returns the stored connections of a proxy.
func subs(t *testing.T, s store.Store, i int) []kinds.DiscoverySubscription {
	t.Helper()
	o, err := s.Get(t.Context(), kinds.DataplaneInsight.Key("default", fmt.Sprintf("web-%d", i)))
	if err != nil {
		return nil
	}
	return *Subscriptions(o)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// start runs a recorder and returns it with a function that ends it.
func start(t *testing.T, s store.Store, change func(*RecorderDeps)) (*Recorder, func()) {
	t.Helper()
	d := RecorderDeps{
		Store: s, Instance: "cp-1", Interval: 20 * time.Millisecond, IdleTimeout: time.Hour, Limit: 2, Log: quiet(), Now: time.Now,
	}
	if change != nil {
		change(&d)
	}
	r := NewRecorder(d)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return r, stop
}

func TestConnectionIsWritten(t *testing.T) {
	s := newStore(t, 1)
	r, _ := start(t, s, nil)
	sub := r.Open(proxyKey(0), &kinds.ProxyVersions{Envoy: &kinds.EnvoyVersion{Version: "1.40.0"}})
	eventually(t, "the connection is stored", func() bool { return len(subs(t, s, 0)) == 1 })
	got := subs(t, s, 0)[0]
	if !got.Online() || got.ControlPlaneInstanceID != "cp-1" || got.ID != sub.ID() || got.Version.Envoy.Version != "1.40.0" {
		t.Errorf("stored %+v", got)
	}

	sub.Count(StatCDS, Sent)
	sub.Count(StatCDS, Acknowledged)
	sub.Count(StatOther, Sent)
	sub.Count(StatRDS, Rejected)
	eventually(t, "counters are stored", func() bool { return subs(t, s, 0)[0].Status.Total.ResponsesSent == 2 })
	st := subs(t, s, 0)[0].Status
	if st.CDS.ResponsesSent != 1 || st.CDS.ResponsesAcknowledged != 1 || st.RDS.ResponsesRejected != 1 || st.Total.ResponsesRejected != 1 {
		t.Errorf("stored %+v", st)
	}

	sub.Close()
	eventually(t, "the end is stored", func() bool { return !subs(t, s, 0)[0].Online() })
	eventually(t, "nothing is remembered", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.proxies) == 0
	})
}

func TestNewestConnectionsAreKept(t *testing.T) {
	s := newStore(t, 1)
	r, _ := start(t, s, nil)
	var last *Subscription
	for range 5 {
		last = r.Open(proxyKey(0), nil)
		eventually(t, "the connection is stored", func() bool {
			ss := subs(t, s, 0)
			return len(ss) > 0 && ss[len(ss)-1].ID == last.ID()
		})
	}
	got := subs(t, s, 0)
	if len(got) != 2 || got[0].Online() || !got[1].Online() {
		t.Errorf("stored %+v", got)
	}
}

// A store that is away stops nobody, and everything is there when it is back.
func TestStoreComesBack(t *testing.T) {
	s := newStore(t, 3)
	flaky := storetest.NewFlaky(s)
	r, _ := start(t, flaky, nil)
	flaky.Down()
	for i := range 3 {
		for range 50 { // connections come and go meanwhile
			sub := r.Open(proxyKey(i), nil)
			sub.Count(StatLDS, Sent)
			sub.Close()
		}
		r.Open(proxyKey(i), nil)
	}
	r.mu.Lock()
	for key, rec := range r.proxies {
		if len(rec.subs) > 2 {
			t.Errorf("%d connections of %s are remembered", len(rec.subs), key)
		}
	}
	r.mu.Unlock()
	flaky.Up()
	for i := range 3 {
		eventually(t, "the proxy is online", func() bool {
			ss := subs(t, s, i)
			return len(ss) == 2 && ss[1].Online() && !ss[0].Online()
		})
	}
}

func TestTakeOverByAnotherInstance(t *testing.T) {
	s := newStore(t, 1)
	r1, _ := start(t, s, nil)
	r2, _ := start(t, s, func(d *RecorderDeps) { d.Instance = "cp-2" })
	first := r1.Open(proxyKey(0), nil)
	eventually(t, "the first is stored", func() bool { return len(subs(t, s, 0)) == 1 })
	r2.Open(proxyKey(0), nil)
	eventually(t, "the second is stored", func() bool { return len(subs(t, s, 0)) == 2 })
	// The first instance has not noticed yet and still counts.
	first.Count(StatEDS, Acknowledged)
	eventually(t, "the late counter is stored", func() bool { return subs(t, s, 0)[0].Status.EDS.ResponsesAcknowledged == 1 })
	got := subs(t, s, 0)
	if got[0].Online() || !got[1].Online() || got[1].ControlPlaneInstanceID != "cp-2" {
		t.Errorf("stored %+v", got)
	}
}

// An instance that writes late, because it was cut off from the store, does not
// end the connection that the proxy has elsewhere meanwhile.
func TestLateWriteKeepsNewerConnections(t *testing.T) {
	for name, connections := range map[string]int{"the first is kept": 1, "the first is dropped": 3} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, 1)
			flaky := storetest.NewFlaky(s)
			r1, _ := start(t, flaky, nil)
			r2, _ := start(t, s, func(d *RecorderDeps) { d.Instance = "cp-2" })
			flaky.Down()
			first := r1.Open(proxyKey(0), nil)
			r1.SetMTLS(proxyKey(0), proxyKey(0).Mesh, &kinds.DataplaneMTLS{IssuedBackend: "old"})
			time.Sleep(time.Millisecond) // times differ
			var last *Subscription
			for range connections {
				last = r2.Open(proxyKey(0), nil)
			}
			r2.SetMTLS(proxyKey(0), proxyKey(0).Mesh, &kinds.DataplaneMTLS{IssuedBackend: "new"})
			eventually(t, "the newer ones are stored", func() bool { return len(subs(t, s, 0)) == min(connections, 2) })
			first.Close()
			flaky.Up()
			eventually(t, "nothing is left to write", func() bool {
				r1.mu.Lock()
				defer r1.mu.Unlock()
				return len(r1.proxies) == 0
			})
			last.Count(StatEDS, Acknowledged)
			eventually(t, "the newest is written again", func() bool {
				ss := subs(t, s, 0)
				return ss[len(ss)-1].Status.EDS.ResponsesAcknowledged == 1
			})
			got := subs(t, s, 0)
			if n := len(got); n != 2 || got[0].Online() || !got[1].Online() || got[1].ID != last.ID() {
				t.Errorf("stored %+v", got)
			}
			o, err := s.Get(t.Context(), kinds.DataplaneInsight.Key("default", "web-0"))
			if err != nil {
				t.Fatal(err)
			}
			if m := model.Spec[kinds.DataplaneInsightSpec](o).MTLS; m == nil || m.IssuedBackend != "new" {
				t.Errorf("stored %+v", m)
			}
		})
	}
}

func TestTrimKeepsOpenConnections(t *testing.T) {
	at := func(s int64) *model.Timestamp { return model.At(time.Unix(s, 0)) }
	got := trim([]kinds.DiscoverySubscription{
		{ID: "slow clock", ConnectTime: at(1)}, {ID: "b", ConnectTime: at(2), DisconnectTime: at(3)}, {ID: "c", ConnectTime: at(4), DisconnectTime: at(5)},
	}, 2)
	if len(got) != 2 || got[0].ID != "slow clock" || got[1].ID != "c" {
		t.Errorf("kept %+v", got)
	}
}

func TestLastInstance(t *testing.T) {
	at := func(s int64) *model.Timestamp { return model.At(time.Unix(s, 0)) }
	sub := func(instance string, from, to int64) kinds.DiscoverySubscription {
		s := kinds.DiscoverySubscription{ControlPlaneInstanceID: instance, ConnectTime: at(from)}
		if to > 0 {
			s.DisconnectTime = at(to)
		}
		return s
	}
	for name, c := range map[string]struct {
		subs []kinds.DiscoverySubscription
		want string
	}{
		"none":                    {nil, ""},
		"went on elsewhere":       {[]kinds.DiscoverySubscription{sub("a", 1, 2), sub("b", 2, 0)}, "b"},
		"open with a slow clock":  {[]kinds.DiscoverySubscription{sub("a", 1, 0), sub("b", 2, 3)}, "a"},
		"ended with a slow clock": {[]kinds.DiscoverySubscription{sub("a", 1, 9), sub("b", 2, 3)}, "a"},
		"both open":               {[]kinds.DiscoverySubscription{sub("a", 1, 0), sub("b", 2, 0)}, "b"},
	} {
		o := kinds.DataplaneInsight.Make("default", "web")
		*Subscriptions(o) = c.subs
		if got := LastInstance(o); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestEndOfTheInstance(t *testing.T) {
	s := newStore(t, 2)
	r, stop := start(t, s, nil)
	r.Open(proxyKey(0), nil)
	r.Open(proxyKey(1), nil)
	stop()
	for i := range 2 {
		if ss := subs(t, s, i); len(ss) != 1 || ss[0].Online() {
			t.Errorf("after the end of the instance proxy %d has %+v", i, ss)
		}
	}
}

// Proxies without news are not written; those that are gone are dropped.
func TestNothingNewNothingWritten(t *testing.T) {
	s := newStore(t, 2)
	r, _ := start(t, s, nil)
	r.Open(proxyKey(0), nil)
	r.Open(kinds.Dataplane.Key("default", "gone"), nil)
	busy := r.Open(proxyKey(1), nil)
	eventually(t, "the connection is stored", func() bool { return len(subs(t, s, 0)) == 1 })
	o, err := s.Get(t.Context(), kinds.DataplaneInsight.Key("default", "web-0"))
	if err != nil {
		t.Fatal(err)
	}
	r.heartbeat()
	for n := range uint64(3) { // three intervals pass
		busy.Count(StatCDS, Sent)
		eventually(t, "news of another proxy are stored", func() bool {
			ss := subs(t, s, 1)
			return len(ss) == 1 && ss[0].Status.CDS.ResponsesSent == n+1
		})
	}
	again, err := s.Get(t.Context(), o.Key())
	if err != nil || again.Meta.Version != o.Meta.Version {
		t.Errorf("the insight was written again: %v, %v", again, err)
	}
}

func TestDeadConnectionsEnd(t *testing.T) {
	s := newStore(t, 2)
	r, _ := start(t, s, func(d *RecorderDeps) { d.IdleTimeout = 200 * time.Millisecond; d.Interval = time.Millisecond })
	r.Open(proxyKey(0), nil) // shows signs of life
	dead := kinds.DataplaneInsight.Make("default", "web-1")
	*Subscriptions(dead) = []kinds.DiscoverySubscription{{ID: "x", ConnectTime: model.At(time.Now()), Generation: 7}}
	create(t, s, dead)
	f := &Finalizer{Store: s, IdleTimeout: 200 * time.Millisecond, Log: quiet(), Now: time.Now}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = f.Run(ctx) }()
	eventually(t, "the dead one is offline", func() bool { return !subs(t, s, 1)[0].Online() })
	if !subs(t, s, 0)[0].Online() {
		t.Error("the living one is offline")
	}
}

func TestProxiesGoneForLongAreDeleted(t *testing.T) {
	s := newStore(t, 3)
	now := time.Now()
	for i, ago := range []time.Duration{73 * time.Hour, 71 * time.Hour} {
		o := kinds.DataplaneInsight.Make("default", fmt.Sprintf("web-%d", i))
		*Subscriptions(o) = []kinds.DiscoverySubscription{{ID: "x", ConnectTime: model.At(now.Add(-80 * time.Hour)), DisconnectTime: model.At(now.Add(-ago))}}
		create(t, s, o)
	}
	c := &Collector{Store: s, Dataplanes: 72 * time.Hour, ZoneProxies: time.Hour, Log: quiet(), Now: func() time.Time { return now }}
	if err := c.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := s.List(t.Context(), kinds.Dataplane, "")
	if err != nil || len(left) != 2 || left[0].Meta.Name != "web-1" {
		t.Errorf("left %v, %v", left, err)
	}
}
