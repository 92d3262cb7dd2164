package engine

import (
	"fmt"
	"testing"
	"time"

	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
)

// populated is a world with n connected proxies of n/10 services, 10 outbounds each.
func populated(b *testing.B, n int) *world {
	b.Helper()
	w := newWorld(b)
	services := n / 10
	for i := range n {
		var calls []string
		for k := range 10 {
			calls = append(calls, fmt.Sprint("svc-", (i*7+k+1)%services))
		}
		name := fmt.Sprint("dp-", i)
		w.put(dataplane(name, fmt.Sprintf("10.%d.%d.%d", i/62500, i/250%250, i%250+1), fmt.Sprint("svc-", i%services), "http", calls...))
		w.connect(name)
	}
	w.put(timeout(b, "all", "5s"))
	w.settle()
	return w
}

func BenchmarkEndpoint1000(b *testing.B)   { benchEndpoint(b, 1000) }
func BenchmarkEndpoint10000(b *testing.B)  { benchEndpoint(b, 10_000) }
func BenchmarkMeshPolicy1000(b *testing.B) { benchPolicy(b, 1000) }

// BenchmarkPolicies1000 changes one of 1,000 policies in a mesh of 1,000 proxies, ten
// of which select each proxy: one for the whole mesh, or one for the ten proxies of
// a service.
func BenchmarkPolicies1000(b *testing.B) {
	const n = 1000
	w := populated(b, n)
	for i := range n {
		w.put(timeoutOf(b, fmt.Sprint("some-", i), fmt.Sprint("svc-", i%(n/10)), time.Duration(i+1)*time.Minute))
	}
	w.settle()
	for _, bench := range []struct {
		name   string
		change func(i int) *model.Object
	}{
		{"mesh", func(i int) *model.Object { return timeout(b, "all", (time.Duration(i%50+1) * time.Second).String()) }},
		{"service", func(i int) *model.Object {
			return timeoutOf(b, "some-7", "svc-7", time.Duration(i%50+1)*time.Hour)
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				w.put(bench.change(i))
				w.settle()
			}
		})
	}
}

// timeoutOf is a MeshTimeout for the requests of one service's proxies.
func timeoutOf(b *testing.B, name, service string, idle time.Duration) *model.Object {
	b.Helper()
	o, err := catalog.Decode(fmt.Appendf(nil, `{"type": "MeshTimeout", "mesh": "default", "name": %q, "spec": {
		"targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": %q}},
		"to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": %q}}]}}`, name, service, idle))
	if err != nil {
		b.Fatal(err)
	}
	return o
}

// benchEndpoint adds and removes an endpoint of a service; nobody is rebuilt.
func benchEndpoint(b *testing.B, n int) {
	w := populated(b, n)
	extra := dataplane("extra", "10.99.0.1", "svc-1", "http")
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		w.put(extra)
		w.settle()
		w.drop(extra.Key())
		w.settle()
	}
}

// benchPolicy changes a policy that applies to every proxy.
func benchPolicy(b *testing.B, n int) {
	w := populated(b, n)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		w.put(timeout(b, "all", (time.Duration(i%50+1) * time.Second).String()))
		w.settle()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "µs/proxy")
}
