package engine

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/cp/envoy"
	"weft/internal/cp/identity"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// secured is a world whose engine gives out certificates.
func secured(t testing.TB, expiration string) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	ids := identity.New(identity.Deps{Log: log, Now: time.Now, Rate: 1e6, Random: func() float64 { return 1 }})
	w := newWorldWith(t, ids)
	keeper := &identity.Keeper{Store: w.store, State: w.state, Log: log, Now: time.Now}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = ids.Run(ctx) })
	running.Go(func() { _ = keeper.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	w.mtls(expiration)
	return w
}

func (w *world) mtls(expiration string) {
	w.t.Helper()
	m := kinds.Mesh.Make("", "default")
	b := kinds.CABackend{Name: "ca", Type: kinds.CABuiltin}
	if expiration != "" {
		b.DPCert = &kinds.DPCert{Rotation: &kinds.CertRotation{Expiration: expiration}}
	}
	m.Spec = &kinds.MeshSpec{MTLS: &kinds.MeshMTLS{EnabledBackend: "ca", Backends: []kinds.CABackend{b}}}
	w.put(m)
}

// secrets returns the versions of a sink's secrets by name.
func (s *sink) secrets() map[string]xds.Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]xds.Version{}
	if s.set != nil {
		for name, r := range s.set.Of(xds.Secret) {
			out[name] = r.Version
		}
	}
	return out
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

var ownSecret = envoy.IdentitySecret("default")

// When only a certificate changes, everything else is the very same, and nothing
// is built.
func TestSecretsHaveTheirOwnClock(t *testing.T) {
	w := secured(t, "2s")
	var made atomic.Int32
	good := w.make
	w.make = func(in view.Subject) (*ir.Proxy, []*xds.Resource, []ir.EndpointsRef, error) {
		made.Add(1)
		return good(in)
	}
	w.put(dataplane("web-1", "10.0.0.1", "web", "http", "api"))
	web := w.connect("web-1")
	await(t, "both secrets come", func() bool { return len(web.secrets()) == 2 })
	w.settle()
	builds := made.Load()
	web.mu.Lock()
	before := web.set
	web.mu.Unlock()
	first := web.secrets()
	await(t, "another certificate comes", func() bool { return web.secrets()[ownSecret] != first[ownSecret] })
	if n := made.Load() - builds; n > 0 {
		t.Errorf("the proxy was built %d times", n)
	}
	web.mu.Lock()
	after := web.set
	web.mu.Unlock()
	for typ := range xds.NumTypes {
		if typ == xds.Secret {
			continue
		}
		if !maps.Equal(before.Of(typ), after.Of(typ)) {
			t.Errorf("%s resources are others", typ)
		}
	}
	if !maps.Equal(before.Live(), after.Live()) {
		t.Error("the lists of endpoints are others")
	}
	if second := web.secrets(); second[envoy.CASecret("default")] != first[envoy.CASecret("default")] {
		t.Error("the authority's secret is another one")
	}
}

// A proxy gets its set before its certificate is there.
func TestSetsDoNotWaitForCertificates(t *testing.T) {
	w := secured(t, "")
	m := kinds.Mesh.Make("", "default")
	file := "/nowhere"
	m.Spec = &kinds.MeshSpec{MTLS: &kinds.MeshMTLS{EnabledBackend: "none", Backends: []kinds.CABackend{{
		Name: "none", Type: kinds.CAProvided, Conf: model.Struct{"cert": map[string]any{"file": file}, "key": map[string]any{"file": file}},
	}}}}
	w.put(m)
	w.put(dataplane("web-1", "10.0.0.1", "web", "http", "api"))
	web := w.connect("web-1")
	w.settle()
	if web.published() == 0 || len(web.secrets()) != 0 {
		t.Fatalf("%d sets, secrets %v", web.published(), web.secrets())
	}
	w.mtls("")
	await(t, "the certificate comes", func() bool { return len(web.secrets()) == 2 })
}

// BenchmarkMTLSStart1000 is the time from the start of a control plane until a
// thousand proxies, which connect at once, have all of their configuration and
// certificates.
func BenchmarkMTLSStart1000(b *testing.B) {
	const n = 1000
	for b.Loop() {
		b.StopTimer()
		w := secured(b, "")
		for i := range n {
			var calls []string
			for k := range 10 {
				calls = append(calls, fmt.Sprint("svc-", (i*7+k+1)%100))
			}
			w.put(dataplane(fmt.Sprint("dp-", i), fmt.Sprintf("10.%d.%d.%d", i/62500, i/250%250, i%250+1), fmt.Sprint("svc-", i%100), "http", calls...))
		}
		w.settle()
		b.StartTimer()
		start := time.Now()
		sinks := make([]*sink, 0, n)
		for i := range n {
			sinks = append(sinks, w.connect(fmt.Sprint("dp-", i)))
		}
		for _, s := range sinks {
			await(b, "secrets come", func() bool { return len(s.secrets()) == 2 })
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/1000-proxies")
	}
}
