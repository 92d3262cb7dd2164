package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/model"
)

func TestTopLevel(t *testing.T) {
	web := map[string]string{model.TagService: "web"}
	cases := []struct {
		name string
		top  TargetRef
		// who is selected: s sidecar, d delegated gateway, b builtin gateway
		want string
	}{
		{"mesh", TargetRef{Kind: RefMesh}, "sdb"},
		{"mesh, sidecars", TargetRef{Kind: RefMesh, ProxyTypes: []string{TypeSidecar}}, "s"},
		{"mesh, gateways", TargetRef{Kind: RefMesh, ProxyTypes: []string{TypeGateway}}, "db"},
		{"subset", TargetRef{Kind: RefMeshSubset, Tags: web}, "s"},
		{"subset, any value", TargetRef{Kind: RefMeshSubset, Tags: map[string]string{"version": "*"}}, "s"},
		{"subset without tags", TargetRef{Kind: RefMeshSubset}, "sdb"},
		{"subset of a gateway's tags", TargetRef{Kind: RefMeshSubset, Tags: map[string]string{model.TagService: "edge"}}, "db"},
		{"subset of one listener", TargetRef{Kind: RefMeshSubset, Tags: map[string]string{"port": "secure"}}, "b"},
		{"tags of an ignored inbound", TargetRef{Kind: RefMeshSubset, Tags: map[string]string{model.TagService: "gone"}}, ""},
		{"tags of two inbounds together", TargetRef{Kind: RefMeshSubset, Tags: map[string]string{model.TagService: "web-admin", "version": "v1"}}, ""},
		{"every dataplane", TargetRef{Kind: RefDataplane}, "s"},
		{"dataplane by labels", TargetRef{Kind: RefDataplane, Labels: map[string]string{"app": "web"}}, "s"},
		{"dataplane by other labels", TargetRef{Kind: RefDataplane, Labels: map[string]string{"app": "db"}}, ""},
		{"dataplane by labels of a gateway", TargetRef{Kind: RefDataplane, Labels: map[string]string{"app": "edge"}}, ""},
		{"dataplane by section", TargetRef{Kind: RefDataplane, SectionName: "main"}, "s"},
		{"dataplane by absent section", TargetRef{Kind: RefDataplane, SectionName: "old"}, ""},
		{"service", TargetRef{Kind: RefMeshService, Name: "web"}, "s"},
		{"service subset", TargetRef{Kind: RefMeshServiceSubset, Name: "web", Tags: map[string]string{"version": "v1"}}, "s"},
		{"service subset of another version", TargetRef{Kind: RefMeshServiceSubset, Name: "web", Tags: map[string]string{"version": "v2"}}, ""},
		{"gateway", TargetRef{Kind: RefMeshGateway, Name: "edge"}, "b"},
		{"gateway listener", TargetRef{Kind: RefMeshGateway, Name: "edge", Tags: map[string]string{"port": "plain"}}, "b"},
		{"other gateway", TargetRef{Kind: RefMeshGateway, Name: "other"}, ""},
		{"absent route", TargetRef{Kind: RefMeshHTTPRoute, Name: "nope"}, ""},
		{"route of web", TargetRef{Kind: RefMeshHTTPRoute, Name: "r"}, "s"},
	}
	route := object(routePolicy, "r-hash", &routeSpec{TargetRef: &TargetRef{Kind: RefMeshSubset, Tags: web}}, model.LabelDisplayName, "r")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := object(testPolicy, "p", top(c.top, 1))
			got := ""
			for _, who := range []struct {
				letter string
				facts  *Facts
			}{{"s", sidecar()}, {"d", gateway(DelegatedGateway)}, {"b", gateway(BuiltinGateway)}} {
				if len(matchNames(who.facts, p, route)) > 0 {
					got += who.letter
				}
			}
			requireEqual(t, "selected", got, c.want)
		})
	}
}

func TestDataplaneByName(t *testing.T) {
	ref := TargetRef{Kind: RefDataplane, Name: "web-1"}
	for name, c := range map[string]struct {
		labels []string
		ns     string
		want   bool
	}{
		"same zone and namespace": {[]string{model.LabelZone, "east", model.LabelK8sNamespace, "ns"}, "", true},
		"namespace in the ref":    {[]string{model.LabelZone, "east"}, "ns", true},
		"other namespace":         {[]string{model.LabelZone, "east", model.LabelK8sNamespace, "other"}, "", false},
		"from global":             {[]string{model.LabelOrigin, model.OriginGlobal, model.LabelK8sNamespace, "ns"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := ref
			r.Namespace = c.ns
			got := len(matchNames(sidecar(), object(testPolicy, "p", top(r, 1), c.labels...))) > 0
			requireEqual(t, "selected", got, c.want)
		})
	}
}

func TestGates(t *testing.T) {
	mesh := TargetRef{Kind: RefMesh}
	for name, c := range map[string]struct {
		labels []string
		want   bool
	}{
		"no labels":                  {nil, true},
		"same zone":                  {[]string{model.LabelOrigin, "zone", model.LabelZone, "east"}, true},
		"other zone":                 {[]string{model.LabelOrigin, "zone", model.LabelZone, "west"}, false},
		"other zone's producer":      {[]string{model.LabelOrigin, "zone", model.LabelZone, "west", model.LabelPolicyRole, RoleProducer}, true},
		"global":                     {[]string{model.LabelOrigin, "global"}, true},
		"consumer, same namespace":   {[]string{model.LabelPolicyRole, RoleConsumer, model.LabelK8sNamespace, "ns"}, true},
		"consumer, other namespace":  {[]string{model.LabelPolicyRole, RoleConsumer, model.LabelK8sNamespace, "x"}, false},
		"consumer without namespace": {[]string{model.LabelPolicyRole, RoleConsumer}, false},
		"owner, other namespace":     {[]string{model.LabelPolicyRole, RoleWorkloadOwner, model.LabelK8sNamespace, "x"}, false},
		"system, other namespace":    {[]string{model.LabelK8sNamespace, "x"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got := len(matchNames(sidecar(), object(testPolicy, "p", top(mesh, 1), c.labels...))) > 0
			requireEqual(t, "selected", got, c.want)
		})
	}
}

func TestShadow(t *testing.T) {
	p := object(testPolicy, "p", top(TargetRef{Kind: RefMesh}, 1), model.LabelEffect, model.EffectShadow)
	other := object(testPolicy, "q", top(TargetRef{Kind: RefMesh}, 1), model.LabelEffect, "dry-run")
	f := sidecar()
	if d := cmp.Diff([]string{"q"}, matchNames(f, p, other)); d != "" {
		t.Error(d)
	}
	f.Shadow = true
	requireEqual(t, "policies with shadow", len(matchNames(f, p, other)), 2)
}

func TestProxyWithoutPorts(t *testing.T) {
	f := sidecar()
	f.Ports = nil
	if got := matchNames(f, object(testPolicy, "p", top(TargetRef{Kind: RefMesh}, 1))); got != nil {
		t.Errorf("a sidecar without inbounds is selected by %v", got)
	}
}

func TestMissingRouteWarns(t *testing.T) {
	p := object(testPolicy, "p", top(TargetRef{Kind: RefMeshHTTPRoute, Name: "nope"}, 1))
	m := Match([]*Policy{routePolicy, testPolicy}, sidecar(), tablesOf(p))
	if len(m.Warnings) != 1 || m.Warnings[0].Name != "p" || !strings.Contains(m.Warnings[0].Message, "nope") {
		t.Errorf("warnings: %+v", m.Warnings)
	}
}

// TestOrder lists policies from weak to strong; every two of them must be in
// that order, however they are named and stored.
func TestOrder(t *testing.T) {
	ref := func(kind string) TargetRef {
		switch kind {
		case RefMeshSubset:
			return TargetRef{Kind: kind, Tags: map[string]string{model.TagService: "web"}}
		case RefMeshService, RefMeshServiceSubset:
			return TargetRef{Kind: kind, Name: "web"}
		}
		return TargetRef{Kind: kind}
	}
	weakToStrong := []*model.Object{
		object(testPolicy, "1b", top(ref(RefMesh), 1), model.LabelOrigin, "global"),
		object(testPolicy, "1a", top(ref(RefMesh), 1), model.LabelOrigin, "global"),
		object(testPolicy, "2b", top(ref(RefMesh), 1)),
		object(testPolicy, "2a", top(ref(RefMesh), 1)),
		object(testPolicy, "3z", top(ref(RefMesh), 1), model.LabelOrigin, "zone"),
		object(testPolicy, "3y", top(ref(RefMesh), 1), model.LabelOrigin, "zone", model.LabelPolicyRole, RoleProducer),
		object(testPolicy, "3x", top(ref(RefMesh), 1), model.LabelOrigin, "zone", model.LabelPolicyRole, RoleConsumer, model.LabelK8sNamespace, "ns"),
		object(testPolicy, "3w", top(ref(RefMesh), 1), model.LabelOrigin, "zone", model.LabelPolicyRole, RoleWorkloadOwner, model.LabelK8sNamespace, "ns"),
		object(testPolicy, "4a", top(ref(RefDataplane), 1)),
		object(testPolicy, "4b", top(TargetRef{Kind: RefDataplane, SectionName: "main"}, 1)),
		object(testPolicy, "4c", top(TargetRef{Kind: RefDataplane, Name: "web-1", Namespace: "ns"}, 1), model.LabelZone, "east"),
		object(testPolicy, "5a", top(ref(RefMeshSubset), 1)),
		object(testPolicy, "6a", top(ref(RefMeshService), 1)),
		object(testPolicy, "7a", top(ref(RefMeshServiceSubset), 1)),
	}
	for i := range weakToStrong {
		for j := i + 1; j < len(weakToStrong); j++ {
			weak, strong := weakToStrong[i], weakToStrong[j]
			got := matchNames(sidecar(), strong, weak)
			if d := cmp.Diff([]string{weak.Meta.Name, strong.Meta.Name}, got); d != "" {
				t.Errorf("order of %s and %s (-want +got):\n%s", weak.Meta.Name, strong.Meta.Name, d)
			}
		}
	}
}

// TestDisplayNameDecides: names carry a hash after a sync, display names do not.
func TestDisplayNameDecides(t *testing.T) {
	got := matchNames(
		sidecar(),
		object(testPolicy, "zzz-1", top(TargetRef{Kind: RefMesh}, 1), model.LabelDisplayName, "aaa"),
		object(testPolicy, "aaa-2", top(TargetRef{Kind: RefMesh}, 1), model.LabelDisplayName, "bbb"),
	)
	if !slices.Equal(got, []string{"aaa-2", "zzz-1"}) {
		t.Errorf("got %v: the smaller display name is the stronger", got)
	}
}

// TestIndexReuse: what did not change is shared, what did is not.
func TestIndexReuse(t *testing.T) {
	ps := []*Policy{routePolicy, testPolicy}
	p := object(testPolicy, "p", top(TargetRef{Kind: RefMeshHTTPRoute, Name: "r"}, 1))
	one := NewIndexes(ps, "m", tablesOf(p), nil)
	if two := NewIndexes(ps, "m", tablesOf(p), one); two.list[1] != one.list[1] || two.Hash() != one.Hash() {
		t.Error("an unchanged table was parsed again")
	}
	r := object(routePolicy, "r", &routeSpec{})
	three := NewIndexes(ps, "m", tablesOf(p, r), one)
	if three.list[1] == one.list[1] {
		t.Error("a policy on a route was not resolved again although routes changed")
	}
	if got, before := three.Match(sidecar()), one.Match(sidecar()); got.Hash() == before.Hash() || len(got.list[1].sel) != 1 {
		t.Errorf("after the route was made the policy selects %d times", len(got.list[1].sel))
	}
}

// TestMatchHash: equal matches have equal hashes, other policies other ones.
func TestMatchHash(t *testing.T) {
	ps := []*Policy{testPolicy}
	p := object(testPolicy, "p", top(TargetRef{Kind: RefMesh}, 1))
	q := object(testPolicy, "p", top(TargetRef{Kind: RefMesh}, 2))
	other := object(testPolicy, "x", top(TargetRef{Kind: RefMeshService, Name: "nobody"}, 2))
	h := Match(ps, sidecar(), tablesOf(p)).Hash()
	requireEqual(t, "hash with a policy for others", Match(ps, sidecar(), tablesOf(p, other)).Hash(), h)
	if m := Match(ps, sidecar(), tablesOf(p)); !m.Has("TestPolicy") || m.Has("Nothing") {
		t.Error("Has does not tell which kinds select the proxy")
	}
	if Match(ps, sidecar(), tablesOf(q)).Hash() == h {
		t.Error("another conf has the same hash")
	}
	if Match(ps, sidecar(), tablesOf()).Hash() == h {
		t.Error("no policy has the same hash")
	}
}
