package envoy_test

import (
	"fmt"
	"testing"

	"weft/internal/cp/build"
	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

// benchInputs are those of a sidecar with ten outbounds and the policies that a
// new mesh gets.
func benchInputs(b *testing.B) (*view.Mesh, *view.Inputs) {
	b.Helper()
	var objects []*model.Object
	add := func(doc string) {
		o, err := catalog.Decode([]byte(doc))
		if err != nil {
			b.Fatal(err)
		}
		objects = append(objects, o)
	}
	add(`{"type": "Mesh", "name": "m", "mtls": {"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin"}]}}`)
	add(`{"type": "MeshTimeout", "mesh": "m", "name": "t", "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "5s", "idleTimeout": "1h", "http": {"requestTimeout": "15s", "streamIdleTimeout": "30m"}}}]}}`)
	add(`{"type": "MeshCircuitBreaker", "mesh": "m", "name": "c", "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionLimits": {"maxConnections": 1024, "maxPendingRequests": 1024, "maxRequests": 1024, "maxRetries": 3}}}]}}`)
	add(`{"type": "MeshRetry", "mesh": "m", "name": "r", "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"http": {"numRetries": 5, "perTryTimeout": "16s", "backOff": {"baseInterval": "25ms", "maxInterval": "250ms"}}}}]}}`)
	outbounds := ""
	for i := range 10 {
		add(fmt.Sprintf(`{"type": "Dataplane", "mesh": "m", "name": "s-%d", "networking": {"address": "10.0.0.%d", "inbound": [{"port": 80, "tags": {"kuma.io/service": "s-%d", "kuma.io/protocol": "http", "kuma.io/zone": "default"}}]}}`, i, i+1, i))
		if i > 0 {
			outbounds += ","
		}
		outbounds += fmt.Sprintf(`{"port": %d, "tags": {"kuma.io/service": "s-%d"}}`, 10000+i, i)
	}
	add(`{"type": "Dataplane", "mesh": "m", "name": "web", "networking": {"address": "10.0.1.1", "inbound": [{"port": 80, "tags": {"kuma.io/service": "web", "kuma.io/protocol": "http", "kuma.io/zone": "default"}}], "outbound": [` + outbounds + `]}}`)
	v := view.NewMesh("m", settings()).Next(corpus.NewTables(objects...))
	in, ok := v.For(kinds.Dataplane, "web", view.Metadata{AdminPort: 9901, ReadinessPort: 9902, WorkDir: "/tmp"})
	if !ok {
		b.Fatal("there is no proxy web")
	}
	return v, in
}

// BenchmarkRebuild does all that a change costs one sidecar with 200 destinations
// and 30 policies that select it: matching, building, encoding.
func BenchmarkRebuild(b *testing.B) {
	var objects []*model.Object
	add := func(format string, args ...any) {
		o, err := catalog.Decode([]byte(fmt.Sprintf(format, args...)))
		if err != nil {
			b.Fatal(err)
		}
		objects = append(objects, o)
	}
	add(`{"type": "Mesh", "name": "m", "mtls": {"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin"}]}}`)
	for kind, spec := range map[string]string{
		"MeshTimeout":               `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"idleTimeout":"1h","http":{"requestTimeout":"15s"}}}]}`,
		"MeshCircuitBreaker":        `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"connectionLimits":{"maxConnections":1024}}},{"targetRef":{"kind":"MeshService","name":"s-4"},"default":{"connectionLimits":{"maxConnections":7}}}]}`,
		"MeshRetry":                 `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"http":{"numRetries":5}}}]}`,
		"MeshAccessLog":             `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"backends":[{"type":"File","file":{"path":"/tmp/a"}}]}}]}`,
		"MeshHealthCheck":           `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"http":{}}}]}`,
		"MeshLoadBalancingStrategy": `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"loadBalancer":{"type":"LeastRequest"}}}]}`,
		"MeshHTTPRoute":             `{"to":[{"targetRef":{"kind":"MeshService","name":"s-0"},"rules":[{"matches":[{"path":{"type":"PathPrefix","value":"/a"}}],"default":{}}]}]}`,
		"MeshTrace":                 `{"default":{"backends":[{"type":"OpenTelemetry","openTelemetry":{"endpoint":"otel"}}]}}`,
		"MeshTrafficPermission":     `{"from":[{"targetRef":{"kind":"Mesh"},"default":{"action":"Allow"}}]}`,
		"MeshRateLimit":             `{"targetRef":{"kind":"Mesh","proxyTypes":["Sidecar"]},"rules":[{"default":{"local":{"http":{"requestRate":{"num":5,"interval":"1s"}}}}}]}`,
	} {
		for i := range 3 {
			add(`{"type": %q, "mesh": "m", "name": "p%d", "spec": %s}`, kind, i, spec)
		}
	}
	outbounds := ""
	for i := range 200 {
		add(`{"type": "Dataplane", "mesh": "m", "name": "s-%[1]d", "networking": {"address": "10.0.0.%[1]d", "inbound": [{"port": 80, "tags": {"kuma.io/service": "s-%[1]d", "kuma.io/protocol": "http"}}]}}`, i)
		outbounds += fmt.Sprintf(`, {"port": %d, "tags": {"kuma.io/service": "s-%d"}}`, 10000+i, i)
	}
	add(`{"type": "Dataplane", "mesh": "m", "name": "web", "networking": {"address": "10.0.1.1", "inbound": [{"port": 80, "tags": {"kuma.io/service": "web", "kuma.io/protocol": "http"}}], "outbound": [%s]}}`, outbounds[2:])
	v := view.NewMesh("m", settings()).Next(corpus.NewTables(objects...))
	b.ReportAllocs()
	for b.Loop() {
		in, ok := v.For(kinds.Dataplane, "web", view.Metadata{WorkDir: "/tmp"})
		if !ok {
			b.Fatal("there is no proxy web")
		}
		rs, _, err := envoy.Resources(build.Proxy(in))
		if err != nil {
			b.Fatal(err)
		}
		if len(rs) < 400 {
			b.Fatalf("%d resources", len(rs))
		}
	}
}

// BenchmarkProxy builds a sidecar from its inputs, policies included.
func BenchmarkProxy(b *testing.B) {
	_, in := benchInputs(b)
	b.ReportAllocs()
	for b.Loop() {
		build.Proxy(in)
	}
}

// BenchmarkResources turns the description of a sidecar into encoded resources.
func BenchmarkResources(b *testing.B) {
	_, in := benchInputs(b)
	p := build.Proxy(in)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := envoy.Resources(p); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAssignment encodes the endpoints of a service with a hundred of them.
func BenchmarkAssignment(b *testing.B) {
	var eps []ir.Endpoint
	for i := range 100 {
		eps = append(eps, ir.Endpoint{
			Address: fmt.Sprintf("10.0.0.%d", i), Port: 80, Weight: 1, Zone: "default",
			Tags: map[string]string{"kuma.io/protocol": "http", "kuma.io/zone": "default", "version": "v1"},
		})
	}
	ref := ir.EndpointsRef{Name: "s", Dest: ir.DestKey{Mesh: "m", Name: "s"}}
	b.ReportAllocs()
	for b.Loop() {
		envoy.Assignment(ref, eps)
	}
}
