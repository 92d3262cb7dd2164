package policy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// backends knows destinations by what they say about themselves.
type backends struct{ labels map[string]map[string]string }

func (b backends) Own(o *ir.Outbound) Backend {
	return Backend{Destination: o.Destination, Protocol: o.Protocol}
}

func (b backends) Resolve(ref BackendRef, _ Source) (Backend, bool) {
	return Backend{Destination: ir.Destination{Name: ref.Name}, Protocol: ir.ProtocolHTTP}, true
}
func (b backends) Use(be Backend) string                     { return be.Destination.Name }
func (b backends) Labels(d ir.Destination) map[string]string { return b.labels[d.Name] }

func to(ref TargetRef, c testConf) Item[testConf] { return Item[testConf]{ref, c} }

func service(name string) TargetRef { return TargetRef{Kind: RefMeshService, Name: name} }

// destinationConf returns the conf for a destination as JSON, "" if there is none.
func destinationConf(t *testing.T, d ir.Destination, labels map[string]string, objects ...*model.Object) string {
	t.Helper()
	p := &ir.Proxy{Outbounds: []*ir.Outbound{{Destination: d, Listener: ir.Listener{TCP: &ir.TCP{}}}}}
	m := Match([]*Policy{routePolicy, testPolicy}, sidecar(), tablesOf(objects...))
	Dress(p, m, &Env{Backends: backends{map[string]map[string]string{d.Name: labels}}}, NewMemo())
	return p.Outbounds[0].Stat
}

func TestDestinations(t *testing.T) {
	mesh := TargetRef{Kind: RefMesh}
	api := ir.Destination{Kind: RefMeshService, Mesh: "m", Name: "api", Display: "api", Namespace: "ns", Zone: "east", Section: "main", Port: 80}
	labels := map[string]string{"team": "shop", model.LabelDisplayName: "api", model.LabelK8sNamespace: "ns"}
	in := func(items ...Item[testConf]) *model.Object {
		return object(testPolicy, "p", &testSpec{To: items}, model.LabelZone, "east", model.LabelK8sNamespace, "ns")
	}
	a1, a2 := testConf{A: num(1)}, testConf{A: num(2)}
	legacy := ir.Destination{Name: "api"}
	for name, c := range map[string]struct {
		dest  ir.Destination
		items []Item[testConf]
		want  string
	}{
		"service by tag":                      {legacy, []Item[testConf]{to(service("api"), a1)}, `{"a":1}`},
		"another service by tag":              {legacy, []Item[testConf]{to(service("db"), a1)}, ""},
		"mesh for a service by tag":           {legacy, []Item[testConf]{to(mesh, a1)}, `{"a":1}`},
		"list order for services by tag":      {legacy, []Item[testConf]{to(service("api"), a1), to(mesh, a2)}, `{"a":2}`},
		"labels never mean a service by tag":  {legacy, []Item[testConf]{to(TargetRef{Kind: RefMeshService, Labels: labels}, a1)}, ""},
		"resource by name":                    {api, []Item[testConf]{to(service("api"), a1)}, `{"a":1}`},
		"resource in another namespace":       {api, []Item[testConf]{to(TargetRef{Kind: RefMeshService, Name: "api", Namespace: "x"}, a1)}, ""},
		"resource by labels":                  {api, []Item[testConf]{to(TargetRef{Kind: RefMeshService, Labels: map[string]string{"team": "shop"}}, a1)}, `{"a":1}`},
		"resource by other labels":            {api, []Item[testConf]{to(TargetRef{Kind: RefMeshService, Labels: map[string]string{"team": "x"}}, a1)}, ""},
		"resource by section":                 {api, []Item[testConf]{to(TargetRef{Kind: RefMeshService, Name: "api", SectionName: "main"}, a1)}, `{"a":1}`},
		"resource by another section":         {api, []Item[testConf]{to(TargetRef{Kind: RefMeshService, Name: "api", SectionName: "admin"}, a1)}, ""},
		"mesh for a resource":                 {api, []Item[testConf]{to(mesh, a1)}, `{"a":1}`},
		"kind before list order for resource": {api, []Item[testConf]{to(service("api"), a1), to(mesh, a2)}, `{"a":1}`},
		"section before whole resource": {api, []Item[testConf]{
			to(TargetRef{Kind: RefMeshService, Name: "api", SectionName: "main"}, a1), to(service("api"), a2),
		}, `{"a":1}`},
		"older kubernetes name":              {api, []Item[testConf]{to(service("api_ns_svc"), a1)}, `{"a":1}`},
		"older kubernetes name with port":    {api, []Item[testConf]{to(service("api_ns_svc_80"), a1)}, ""},
		"older kubernetes name of another":   {api, []Item[testConf]{to(service("api_x_svc"), a1)}, ""},
		"another kind of resource":           {api, []Item[testConf]{to(TargetRef{Kind: RefMeshExternalService, Name: "api"}, a1)}, ""},
		"merged from general and particular": {api, []Item[testConf]{to(mesh, testConf{B: num(3)}), to(service("api"), a1)}, `{"a":1,"b":3}`},
	} {
		t.Run(name, func(t *testing.T) {
			requireEqual(t, "conf", destinationConf(t, c.dest, labels, in(c.items...)), c.want)
		})
	}
}

// TestZoneOfNames: by name a policy of a zone means that zone's services, one
// from global means none of them.
func TestZoneOfNames(t *testing.T) {
	api := ir.Destination{Kind: RefMeshService, Mesh: "m", Name: "api", Display: "api", Zone: "east"}
	item := []Item[testConf]{to(service("api"), testConf{A: num(1)})}
	requireEqual(t, "same zone", destinationConf(t, api, nil, object(testPolicy, "p", &testSpec{To: item}, model.LabelZone, "east")), `{"a":1}`)
	requireEqual(t, "global", destinationConf(t, api, nil, object(testPolicy, "p", &testSpec{To: item}, model.LabelOrigin, "global")), "")
	multi := ir.Destination{Kind: RefMeshMultiZoneService, Mesh: "m", Name: "api", Display: "api"}
	item[0].TargetRef.Kind = RefMeshMultiZoneService
	requireEqual(t, "service of all zones", destinationConf(t, multi, nil, object(testPolicy, "p", &testSpec{To: item}, model.LabelZone, "east")), `{"a":1}`)
}

func TestInboundConf(t *testing.T) {
	rule := func(a int) []Rule[testConf] { return []Rule[testConf]{{testConf{A: num(a)}}} }
	mesh := object(testPolicy, "mesh", &testSpec{From: []Item[testConf]{to(TargetRef{Kind: RefMesh}, testConf{A: num(1), B: num(1)})}})
	admin := object(testPolicy, "admin", &testSpec{
		TargetRef: &TargetRef{Kind: RefDataplane, SectionName: "admin"}, Rules: rule(2),
		From: []Item[testConf]{to(TargetRef{Kind: RefMesh}, testConf{A: num(9)})}, // rules come first
	})
	m := Match([]*Policy{testPolicy}, sidecar(), tablesOf(mesh, admin))
	p := &ir.Proxy{}
	for _, f := range sidecar().Ports {
		p.Inbounds = append(p.Inbounds, &ir.Inbound{Listener: ir.Listener{Address: f.Address, Port: f.Port}})
	}
	Dress(p, m, &Env{}, NewMemo())
	got := []string{p.Inbounds[0].Service, p.Inbounds[1].Service, p.Inbounds[2].Service}
	if d := cmp.Diff([]string{`{"a":1,"b":1}`, `{"a":2,"b":1}`, ""}, got); d != "" {
		t.Errorf("confs of main, admin and the ignored port (-want +got):\n%s", d)
	}
	want := []ir.Origin{{Kind: "TestPolicy", Mesh: "m", Name: "mesh"}, {Kind: "TestPolicy", Mesh: "m", Name: "admin"}}
	if d := cmp.Diff(want, p.Inbounds[1].Origins["TestPolicy"]); d != "" {
		t.Errorf("origins, weak to strong (-want +got):\n%s", d)
	}
}

// TestPermutation: the order in which policies are stored changes nothing.
func TestPermutation(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	targets := []TargetRef{
		{Kind: RefMesh}, {Kind: RefMeshSubset, Tags: map[string]string{"version": "v1"}}, {Kind: RefDataplane},
		{Kind: RefDataplane, SectionName: "main"}, {Kind: RefMeshService, Name: "web"},
	}
	refs := []TargetRef{{Kind: RefMesh}, service("api"), {Kind: RefMeshService, Labels: map[string]string{"team": "shop"}}}
	api := ir.Destination{Kind: RefMeshService, Mesh: "m", Name: "api", Display: "api", Section: "main"}
	for range 200 {
		var objects []*model.Object
		for i := range 1 + r.IntN(7) {
			s := &testSpec{TargetRef: &targets[r.IntN(len(targets))]}
			for range 1 + r.IntN(3) {
				s.To = append(s.To, to(refs[r.IntN(len(refs))], randomConf(r, 1)))
			}
			objects = append(objects, object(testPolicy, fmt.Sprintf("p%d", i), s))
		}
		labels := map[string]string{"team": "shop"}
		for _, d := range []ir.Destination{api, {Name: "api"}} {
			want := destinationConf(t, d, labels, objects...)
			for range 3 {
				r.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
				if got := destinationConf(t, d, labels, objects...); got != want {
					t.Fatalf("conf of %v depends on the order of policies: %s, %s", d, want, got)
				}
			}
		}
	}
}

func external(name string) TargetRef { return TargetRef{Kind: RefMeshExternalService, Name: name} }

// TestRoutes: a policy on a MeshHTTPRoute reaches the routes made from it, and
// adds to what holds for the destination.
func TestRoutes(t *testing.T) {
	var seen []string
	p := Define(Def[testConf]{
		Kind: model.Kind{Name: "TestPolicy", New: func() any { return new(testSpec) }},
		Parts: func(spec any) Parts[testConf] {
			s := spec.(*testSpec)
			return Parts[testConf]{Target: s.TargetRef, To: s.To}
		},
		Targets: Targets{Top: Mesh | MeshHTTPRoute}, Lists: []List{ListTo},
		Requests: func(c *testConf, r *ir.Route, o *ir.Outbound, _ *Context) {
			b, _ := json.Marshal(c)
			seen = append(seen, o.Destination.Name+" "+r.Name+" "+string(b))
		},
	})
	route := object(routePolicy, "r", &routeSpec{rules: []RouteRule{{service("api"), "h1"}, {external("ext"), "h1"}}})
	general := object(p, "all", &testSpec{To: []Item[testConf]{to(TargetRef{Kind: RefMesh}, testConf{A: num(1), B: num(1)})}})
	special := object(p, "on-route", top(TargetRef{Kind: RefMeshHTTPRoute, Name: "r"}, 2))
	outside := object(p, "on-route-to-ext", &testSpec{TargetRef: &TargetRef{Kind: RefMeshHTTPRoute, Name: "r"}, To: []Item[testConf]{
		to(external("ext"), testConf{A: num(3)}), to(external("other"), testConf{A: num(4)}),
	}})
	proxy := &ir.Proxy{}
	for _, d := range []ir.Destination{
		{Name: "api"}, {Name: "db"}, {Kind: RefMeshService, Mesh: "m", Name: "api", Display: "api"},
		{Kind: RefMeshExternalService, Mesh: "m", Name: "ext", Display: "ext"},
	} {
		proxy.Outbounds = append(proxy.Outbounds, &ir.Outbound{
			Destination: d, Listener: ir.Listener{HTTP: &ir.HTTP{Routes: []*ir.Route{{Name: "h1"}, {Name: "h2"}}}},
		})
	}
	Dress(proxy, Match([]*Policy{routePolicy, p}, sidecar(), tablesOf(route, general, special, outside)), &Env{Backends: backends{}}, NewMemo())
	want := []string{
		`api h1 {"a":2,"b":1}`, `api h2 {"a":1,"b":1}`,
		`db h1 {"a":1,"b":1}`, `db h2 {"a":1,"b":1}`,
		`api h1 {"a":2,"b":1}`, `api h2 {"a":1,"b":1}`,
		`ext h1 {"a":3,"b":1}`, `ext h2 {"a":1,"b":1}`,
	}
	if d := cmp.Diff(want, seen); d != "" {
		t.Errorf("confs of routes (-want +got):\n%s", d)
	}
}

// TestMemoIsShared: proxies with the same policies get the same conf.
func TestMemoIsShared(t *testing.T) {
	p := object(testPolicy, "p", top(TargetRef{Kind: RefMesh}, 1))
	q := object(testPolicy, "q", top(TargetRef{Kind: RefMesh}, 2))
	memo := NewMemo()
	var confs []any
	for range 2 {
		m := Match([]*Policy{testPolicy}, sidecar(), tablesOf(p, q))
		confs = append(confs, newResolver(m.list[0], memo).forDestination(&destination{service: "api"}, resKey{}).conf)
	}
	if confs[0] != confs[1] {
		t.Error("equal policies were merged twice")
	}
	if n := len(memo.now); n != 1 {
		t.Errorf("the memo holds %d confs", n)
	}
}

// TestMemoIsBounded: the memo forgets what nobody asked for lately.
func TestMemoIsBounded(t *testing.T) {
	memo := NewMemo()
	for i := range 3 * memoLimit {
		memo.get(memoKey{parts: model.HashJSON(i)}, func() *merged { return &merged{} })
	}
	if n := len(memo.now) + len(memo.old); n > 2*memoLimit {
		t.Errorf("the memo holds %d confs", n)
	}
}

func TestWarnOnce(t *testing.T) {
	x := &Context{Proxy: &ir.Proxy{}, Kind: "K", Origins: []ir.Origin{{Name: "weak"}, {Name: "strong"}}}
	x.Warn("a")
	x.Warn("a")
	x.Warn("b")
	if d := cmp.Diff([]ir.Warning{{Kind: "K", Name: "strong", Message: "a"}, {Kind: "K", Name: "strong", Message: "b"}}, x.Proxy.Warnings); d != "" {
		t.Error(d)
	}
}

// TestShapeDropsOutbounds: an outbound for which nobody knows what to do is no port.
func TestShapeDropsOutbounds(t *testing.T) {
	shaping := Define(Def[testConf]{
		Kind:  model.Kind{Name: "Shaping", New: func() any { return new(testSpec) }},
		Parts: func(spec any) Parts[testConf] { return Parts[testConf]{To: spec.(*testSpec).To} },
		Lists: []List{ListTo}, Absent: true,
		Shape: func(c *testConf, o *ir.Outbound, _ *Context) {
			if c == nil {
				return
			}
			o.TCP = &ir.TCP{Splits: []ir.Split{{Cluster: o.Destination.Name}}}
		},
	})
	p := &ir.Proxy{Outbounds: []*ir.Outbound{{Destination: ir.Destination{Name: "api"}}, {Destination: ir.Destination{Name: "db"}}}}
	o := object(shaping, "p", &testSpec{To: []Item[testConf]{to(service("db"), testConf{})}})
	Shape(p, Match([]*Policy{shaping}, sidecar(), tablesOf(o)), &Env{Backends: backends{}}, NewMemo())
	if len(p.Outbounds) != 1 || p.Outbounds[0].Destination.Name != "db" || !slices.Equal(p.Outbounds[0].TCP.Splits, []ir.Split{{Cluster: "db"}}) {
		t.Errorf("outbounds: %+v", p.Outbounds)
	}
	requireEqual(t, "origin", p.Outbounds[0].Origins["Shaping"][0].Name, "p")
}
