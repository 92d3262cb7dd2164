package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// testSpec and testConf are a policy kind for tests, with all lists.
type testSpec struct {
	TargetRef *TargetRef       `json:"targetRef,omitempty"`
	To        []Item[testConf] `json:"to,omitempty"`
	From      []Item[testConf] `json:"from,omitempty"`
	Rules     []Rule[testConf] `json:"rules,omitempty"`
}

type testConf struct {
	A          *int            `json:"a,omitempty"`
	B          *int            `json:"b,omitempty"`
	Deep       *testConf       `json:"deep,omitempty"`
	List       []string        `json:"list,omitzero"`
	AppendList []string        `json:"appendList,omitzero"`
	Timeout    *model.Duration `json:"timeout,omitempty"`
}

func num(n int) *int { return &n }

var testPolicy = Define(Def[testConf]{
	Kind: model.Kind{Name: "TestPolicy", Plural: "testpolicies", New: func() any { return new(testSpec) }},
	Targets: Targets{
		Top: Sidecars | MeshGateway | MeshHTTPRoute, GatewayTags: true,
		To: Mesh | MeshService | MeshExternalService | MeshMultiZoneService, ToGateway: Mesh, ToRoute: Mesh,
		From: Mesh | MeshSubset | MeshService | MeshServiceSubset,
	},
	Parts: func(spec any) Parts[testConf] {
		s := spec.(*testSpec)
		return Parts[testConf]{Target: s.TargetRef, To: s.To, From: s.From, Rules: s.Rules}
	},
	Lists: []List{ListTo, ListFrom, ListRules},
	Outbound: func(c *testConf, o *ir.Outbound, _ *Context) {
		b, _ := json.Marshal(c)
		o.Stat = string(b)
	},
	Inbound: func(c *testConf, i *ir.Inbound, _ *Context) {
		b, _ := json.Marshal(c)
		i.Service = string(b)
	},
})

// routePolicy is MeshHTTPRoute as far as targets are concerned.
var routePolicy = Define(Def[testConf]{
	Kind:  model.Kind{Name: RefMeshHTTPRoute, Plural: "routes", New: func() any { return new(routeSpec) }},
	Parts: func(spec any) Parts[testConf] { return Parts[testConf]{Target: spec.(*routeSpec).TargetRef} },
	Lists: []List{ListTo},
})

type routeSpec struct {
	TargetRef *TargetRef `json:"targetRef,omitempty"`
	rules     []RouteRule
}

func (s *routeSpec) Target() *TargetRef      { return s.TargetRef }
func (s *routeSpec) RouteRules() []RouteRule { return s.rules }

// object returns a policy object of the mesh "m".
func object(p *Policy, name string, spec any, labels ...string) *model.Object {
	o := &model.Object{Kind: p.Kind, Meta: model.Meta{Mesh: "m", Name: name, Created: time.Unix(1, 0)}, Spec: spec}
	if len(labels) > 0 {
		o.Meta.Labels = map[string]string{}
		for i := 0; i < len(labels); i += 2 {
			o.Meta.Labels[labels[i]] = labels[i+1]
		}
	}
	return o
}

// top returns a spec with a target and, in to, a conf for the whole mesh.
func top(t TargetRef, a int) *testSpec {
	return &testSpec{TargetRef: &t, To: []Item[testConf]{{TargetRef{Kind: RefMesh}, testConf{A: num(a)}}}}
}

type tables map[string][]*model.Object

func (t tables) Table(k *model.Kind, _ string) *model.Table {
	var rows []model.Row
	for _, o := range t[k.Name] {
		rows = append(rows, model.Row{Object: o, Hash: model.HashJSON([]any{o.Meta, o.Spec})})
	}
	return model.NewTable(rows)
}

func tablesOf(objects ...*model.Object) tables {
	t := tables{}
	for _, o := range objects {
		t[o.Kind.Name] = append(t[o.Kind.Name], o)
	}
	return t
}

// matchNames returns the names of the policies that select a proxy, weak to strong.
func matchNames(f *Facts, objects ...*model.Object) []string {
	m := Match([]*Policy{routePolicy, testPolicy}, f, tablesOf(objects...))
	var out []string
	for _, s := range m.list[1].sel {
		out = append(out, s.row.Meta.Name)
	}
	return out
}

// sidecar has two inbounds, one of them ignored.
func sidecar() *Facts {
	return &Facts{
		Mesh: "m", Name: "web-1", Zone: "east", Namespace: "ns",
		Labels: map[string]string{
			"app": "web", model.LabelZone: "east", model.LabelOrigin: model.OriginZone, model.LabelK8sNamespace: "ns",
		},
		Ports: []Port{
			{Name: "main", Address: "10.0.0.1", Port: 80, Tags: map[string]string{model.TagService: "web", "version": "v1"}},
			{Name: "admin", Address: "10.0.0.1", Port: 81, Tags: map[string]string{model.TagService: "web-admin"}},
			{Name: "old", Address: "10.0.0.1", Port: 82, Tags: map[string]string{model.TagService: "gone"}, Ignored: true},
		},
	}
}

func gateway(sort Gateway) *Facts {
	f := &Facts{
		Mesh: "m", Name: "edge-1", Labels: map[string]string{"app": "edge"},
		Gateway: sort, Tags: map[string]string{model.TagService: "edge"},
	}
	if sort == BuiltinGateway {
		f.Definition = &Definition{Name: "edge", Listeners: []Listener{
			{Port: 80, Hostname: "*", Tags: map[string]string{model.TagService: "edge", "port": "plain"}},
			{Port: 443, Hostname: "*", Tags: map[string]string{model.TagService: "edge", "port": "secure"}},
		}}
	}
	return f
}

func sortedTags(m map[string]string) string {
	out := ""
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out += fmt.Sprintf("%s=%s,", k, m[k])
	}
	return out
}

func requireEqual[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
