package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// seeds are the specs of the recorded policies, where they are present, and one
// of each kind by hand.
func seeds(f *testing.F) {
	f.Helper()
	for i := range catalog.Policies {
		f.Add(i, `{"targetRef":{"kind":"Mesh"},"to":[{"targetRef":{"kind":"Mesh"},"default":{}}],"from":[{"targetRef":{"kind":"Mesh"},"default":{}}],"rules":[{"default":{}}],"default":{}}`)
	}
	files, _ := filepath.Glob("../../../../shared/compat/policies/validate/*/input.yaml")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var doc struct {
			Type string
			Spec any
		}
		if err := yaml.Unmarshal(b, &doc); err != nil {
			continue
		}
		spec, err := json.Marshal(doc.Spec)
		for i, p := range catalog.Policies {
			if p.Kind.Name == doc.Type && err == nil {
				f.Add(i, string(spec))
			}
		}
	}
}

// FuzzPolicy takes any spec through reading, validation, matching, merging and
// dressing. What passes validation must leave a proxy that can be printed.
func FuzzPolicy(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, kind int, spec string) {
		if kind < 0 || kind >= len(catalog.Policies) || len(spec) > 1<<16 {
			return
		}
		p := catalog.Policies[kind]
		doc := fmt.Sprintf(`{"type":%q,"mesh":"m","name":"p","spec":%s}`, p.Kind.Name, spec)
		o, err := p.Kind.Decode([]byte(doc))
		if err != nil {
			requireOurError(t, err)
			return
		}
		var v model.Violations
		p.Kind.Validate(o, &v)
		p.Kind.Warn(o)
		for _, c := range p.Kind.Columns {
			c.Value(o)
		}
		for _, x := range v.List() {
			if x.Message == "" || strings.Contains(x.Message, "%!") {
				t.Errorf("broken message at %s: %q", x.Field, x.Message)
			}
		}
		if v.Empty() {
			dressWith(t, p, o)
		}
	})
}

func requireOurError(t *testing.T, err error) {
	t.Helper()
	var invalid *model.Invalid
	var malformed *model.Malformed
	if !errors.As(err, &invalid) && !errors.As(err, &malformed) {
		t.Errorf("error of type %T: %v", err, err)
	}
}

// dressWith dresses a proxy with a policy and with the same policy under two
// names, whose confs have to merge.
func dressWith(t *testing.T, p *policy.Policy, o *model.Object) {
	t.Helper()
	other := o.Clone()
	other.Meta.Name = "q"
	for _, objects := range [][]*model.Object{{o}, {o, other}} {
		m := policy.Match(catalog.Policies, sampleFacts(), oneKind{p.Kind.Name, objects})
		proxy, env := sampleProxy(20), &policy.Env{MTLS: true, ZoneEgress: true, Backends: sampleBackends{}}
		memo := policy.NewMemo()
		policy.Shape(proxy, m, env, memo)
		policy.Dress(proxy, m, env, memo)
		rules := m.Rules(policy.World{Tables: oneKind{}}, memo)
		for _, x := range []any{proxy, rules, policy.HTTPMatches(rules)} {
			if _, err := json.Marshal(x); err != nil {
				t.Fatalf("print %T: %v", x, err)
			}
		}
	}
}

// oneKind are tables of one kind's objects.
type oneKind struct {
	kind    string
	objects []*model.Object
}

func (t oneKind) Table(k *model.Kind, _ string) *model.Table {
	if k.Name != t.kind {
		return model.EmptyTable
	}
	var rows []model.Row
	for _, o := range t.objects {
		rows = append(rows, model.Row{Object: o, Hash: model.ContentHash(o)})
	}
	return model.NewTable(rows)
}

type sampleBackends struct{}

func (sampleBackends) Own(o *ir.Outbound) policy.Backend {
	return policy.Backend{Destination: o.Destination, Protocol: o.Protocol}
}

func (sampleBackends) Resolve(ref policy.BackendRef, _ policy.Source) (policy.Backend, bool) {
	return policy.Backend{Destination: ir.Destination{Name: ref.Name}, Protocol: ir.ProtocolHTTP, Tags: ref.Tags}, ref.Name != ""
}
func (sampleBackends) Use(b policy.Backend) string { return b.Destination.Name }
func (sampleBackends) Labels(ir.Destination) map[string]string {
	return map[string]string{"team": "shop"}
}

func sampleFacts() *policy.Facts {
	return &policy.Facts{
		Mesh: "m", Name: "web-1", Labels: map[string]string{"app": "web", "a": "b"},
		Ports: []policy.Port{{
			Name: "main", Address: "10.0.0.1", Port: 80,
			Tags: map[string]string{model.TagService: "web", model.TagProtocol: "http", "version": "v1"},
		}},
	}
}

// sampleProxy has an inbound, outbounds of several protocols and kinds, and
// their clusters.
func sampleProxy(outbounds int) *ir.Proxy {
	p := &ir.Proxy{
		ID: ir.ProxyID{Mesh: "m", Name: "web-1"}, Type: ir.Sidecar, Service: "web", Address: "10.0.0.1", Zone: "east",
		Tags:        map[string][]string{model.TagService: {"web"}, "version": {"v1"}},
		Transparent: &ir.Transparent{InboundPort: 15006, OutboundPort: 15001, IPv4: true, Passthrough: true},
		Inbounds: []*ir.Inbound{{
			Listener: ir.Listener{Address: "10.0.0.1", Port: 80, Protocol: ir.ProtocolHTTP, HTTP: &ir.HTTP{Routes: []*ir.Route{{
				Match: ir.Match{Prefix: "/"}, Splits: []ir.Split{{Cluster: "localhost:80", Weight: 1}},
			}}}},
			Service: "web", TLS: &ir.ServerTLS{Mode: ir.TLSStrict, Mesh: "m"},
			Local: ir.Cluster{Name: "localhost:80", Protocol: ir.ProtocolHTTP},
		}},
	}
	protocols := []ir.Protocol{ir.ProtocolHTTP, ir.ProtocolTCP, ir.ProtocolGRPC, ir.ProtocolHTTP2, ir.ProtocolKafka}
	for i := range outbounds {
		d := ir.Destination{Mesh: "m", Name: fmt.Sprintf("service-%d", i)}
		if i%2 == 1 {
			d.Kind, d.Display, d.Section = policy.RefMeshService, d.Name, "main"
		}
		proto := protocols[i%len(protocols)]
		p.Outbounds = append(p.Outbounds, &ir.Outbound{
			Listener: ir.Listener{Address: "127.0.0.1", Port: uint32(10000 + i), Protocol: proto}, Destination: d, Stat: d.Name,
		})
		p.Clusters = append(p.Clusters, &ir.Cluster{
			Name: d.Name, Destination: d, Protocol: proto, TLS: &ir.ClientTLS{MeshIdentity: true, Mesh: "m"},
			Endpoints: &ir.EndpointsRef{Name: d.Name, Dest: ir.DestKey{Kind: d.Kind, Mesh: "m", Name: d.Name}},
		})
	}
	return p
}

// benchPolicies returns 30 policies that match a proxy: two of each kind that is
// easy to write, some for single destinations.
func benchPolicies(b *testing.B) []*model.Object {
	b.Helper()
	specs := map[string]string{
		"MeshTimeout":               `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"connectionTimeout":"5s","http":{"requestTimeout":"15s"}}}],"from":[{"targetRef":{"kind":"Mesh"},"default":{"idleTimeout":"1h"}}]}`,
		"MeshCircuitBreaker":        `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"connectionLimits":{"maxConnections":1024}}},{"targetRef":{"kind":"MeshService","name":"service-4"},"default":{"connectionLimits":{"maxConnections":7}}}]}`,
		"MeshRetry":                 `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"http":{"numRetries":5},"tcp":{"maxConnectAttempt":3}}}]}`,
		"MeshAccessLog":             `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"backends":[{"type":"File","file":{"path":"/tmp/a"}}]}}]}`,
		"MeshHealthCheck":           `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"http":{},"tcp":{}}}]}`,
		"MeshLoadBalancingStrategy": `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"loadBalancer":{"type":"LeastRequest"}}}]}`,
		"MeshHTTPRoute":             `{"to":[{"targetRef":{"kind":"MeshService","name":"service-0"},"rules":[{"matches":[{"path":{"type":"PathPrefix","value":"/a"}}],"default":{}}]}]}`,
		"MeshTrace":                 `{"default":{"backends":[{"type":"OpenTelemetry","openTelemetry":{"endpoint":"otel"}}]}}`,
		"MeshTrafficPermission":     `{"from":[{"targetRef":{"kind":"Mesh"},"default":{"action":"Allow"}}]}`,
		"MeshRateLimit":             `{"targetRef":{"kind":"Mesh","proxyTypes":["Sidecar"]},"rules":[{"default":{"local":{"http":{"requestRate":{"num":5,"interval":"1s"}}}}}]}`,
	}
	var out []*model.Object
	for _, p := range catalog.Policies {
		spec := specs[p.Kind.Name]
		for i := 0; spec != "" && i < 3; i++ {
			doc := fmt.Sprintf(`{"type":%q,"mesh":"m","name":"p%d","spec":%s}`, p.Kind.Name, i, spec)
			o, err := p.Kind.Decode([]byte(doc))
			if err != nil {
				b.Fatal(err)
			}
			o.Meta.Created = time.Unix(1, 0)
			out = append(out, o)
		}
	}
	return out
}

type allKinds map[string]*model.Table

func (t allKinds) Table(k *model.Kind, _ string) *model.Table {
	if x := t[k.Name]; x != nil {
		return x
	}
	return model.EmptyTable
}

func tablesOf(objects []*model.Object) allKinds {
	rows := map[string][]model.Row{}
	for _, o := range objects {
		rows[o.Kind.Name] = append(rows[o.Kind.Name], model.Row{Object: o, Hash: model.ContentHash(o)})
	}
	out := allKinds{}
	for k, r := range rows {
		out[k] = model.NewTable(r)
	}
	return out
}

// BenchmarkDress resolves and applies 30 policies on a proxy with 200 outbounds.
func BenchmarkDress(b *testing.B) {
	objects := benchPolicies(b)
	x := policy.NewIndexes(catalog.Policies, "m", tablesOf(objects), nil)
	memo, env := policy.NewMemo(), &policy.Env{MTLS: true, Backends: sampleBackends{}}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		p := sampleProxy(200)
		b.StartTimer()
		m := x.Match(sampleFacts())
		policy.Shape(p, m, env, memo)
		policy.Dress(p, m, env, memo)
	}
}

// BenchmarkMatch finds the 4 of 1,000 policies that select a proxy.
func BenchmarkMatch(b *testing.B) {
	var objects []*model.Object
	for i := range 1000 {
		target := fmt.Sprintf(`{"kind":"Dataplane","labels":{"app":"app-%d"}}`, i)
		switch {
		case i < 2:
			target = `{"kind":"Mesh"}`
		case i < 4:
			target = `{"kind":"Dataplane","labels":{"app":"web"}}`
		case i%2 == 0:
			target = fmt.Sprintf(`{"kind":"MeshSubset","tags":{"kuma.io/service":"service-%d"}}`, i)
		}
		k := catalog.ByName("MeshTimeout")
		o, err := k.Decode([]byte(fmt.Sprintf(
			`{"type":"MeshTimeout","mesh":"m","name":"p%d","spec":{"targetRef":%s,"to":[{"targetRef":{"kind":"Mesh"},"default":{"idleTimeout":"1h"}}]}}`, i, target)))
		if err != nil {
			b.Fatal(err)
		}
		objects = append(objects, o)
	}
	t := tablesOf(objects)
	b.Run("select", func(b *testing.B) {
		x := policy.NewIndexes(catalog.Policies, "m", t, nil)
		f := sampleFacts()
		b.ReportAllocs()
		for b.Loop() {
			x.Match(f)
		}
	})
	b.Run("index", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			policy.NewIndexes(catalog.Policies, "m", t, nil)
		}
	})
}
