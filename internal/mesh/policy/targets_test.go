package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/model"
)

func violations(f func(v *model.Violations)) []string {
	var v model.Violations
	f(v.At("ref"))
	var out []string
	for _, x := range v.List() {
		out = append(out, strings.TrimPrefix(x.Field, "ref."))
		if x.Message == "" || strings.Contains(x.Message, "%!") {
			out = append(out, "broken message: "+x.Message)
		}
	}
	slices.Sort(out)
	return out
}

func TestCheckRef(t *testing.T) {
	all := Mesh | MeshSubset | MeshGateway | MeshService | MeshExternalService | MeshMultiZoneService | MeshServiceSubset | MeshHTTPRoute | Dataplane
	labels, tags := map[string]string{"a": "b"}, map[string]string{"a": "b"}
	for name, c := range map[string]struct {
		ref     TargetRef
		rules   refRules
		invalid []string
	}{
		"no kind":                      {TargetRef{Name: "x"}, refRules{allowed: all}, []string{"kind"}},
		"kind of another place":        {TargetRef{Kind: RefDataplane, Tags: tags}, refRules{allowed: Mesh}, []string{"kind"}},
		"mesh":                         {TargetRef{Kind: RefMesh, ProxyTypes: []string{TypeSidecar}}, refRules{allowed: all}, nil},
		"mesh with everything":         {TargetRef{Kind: RefMesh, Name: "x", Tags: tags, Mesh: "m", Namespace: "n", Labels: labels, SectionName: "s"}, refRules{allowed: all}, []string{"labels", "mesh", "name", "namespace", "sectionName", "tags"}},
		"empty list of types":          {TargetRef{Kind: RefMesh, ProxyTypes: []string{}}, refRules{allowed: all}, []string{"proxyTypes"}},
		"subset":                       {TargetRef{Kind: RefMeshSubset, Tags: tags}, refRules{allowed: all}, nil},
		"subset, odd tags":             {TargetRef{Kind: RefMeshSubset, Tags: map[string]string{"": "v", "a b": "v", "c": "", "d": "x/y"}}, refRules{allowed: all}, []string{`tags["a b"]`, `tags["c"]`, `tags["d"]`, `tags[""]`}},
		"dataplane":                    {TargetRef{Kind: RefDataplane}, refRules{allowed: all}, nil},
		"dataplane by name and labels": {TargetRef{Kind: RefDataplane, Name: "x", Labels: labels}, refRules{allowed: all}, []string{"labels"}},
		"dataplane with a section":     {TargetRef{Kind: RefDataplane, SectionName: "s"}, refRules{allowed: all}, nil},
		"section without inbounds":     {TargetRef{Kind: RefDataplane, SectionName: "s"}, refRules{allowed: all, noSection: true}, []string{"sectionName"}},
		"service without name":         {TargetRef{Kind: RefMeshService}, refRules{allowed: all}, []string{"name"}},
		"service by labels":            {TargetRef{Kind: RefMeshService, Labels: labels}, refRules{allowed: all}, nil},
		"service, odd name":            {TargetRef{Kind: RefMeshService, Name: "A!"}, refRules{allowed: all}, []string{"name"}},
		"external service, section":    {TargetRef{Kind: RefMeshExternalService, Name: "x", SectionName: "s"}, refRules{allowed: all}, []string{"sectionName"}},
		"service subset by labels":     {TargetRef{Kind: RefMeshServiceSubset, Labels: labels}, refRules{allowed: all}, []string{"labels", "name"}},
		"service subset, any value":    {TargetRef{Kind: RefMeshServiceSubset, Name: "x", Tags: map[string]string{"a": "*", "b": "c/d"}}, refRules{allowed: all}, nil},
		"gateway with tags":            {TargetRef{Kind: RefMeshGateway, Name: "x", Tags: tags}, refRules{allowed: all, gatewayTags: true}, nil},
		"gateway without listeners":    {TargetRef{Kind: RefMeshGateway, Name: "x", Tags: tags}, refRules{allowed: all}, []string{"tags"}},
		"service of all zones":         {TargetRef{Kind: RefMeshMultiZoneService, Mesh: "m", Tags: tags}, refRules{allowed: all}, nil},
		"route by labels":              {TargetRef{Kind: RefMeshHTTPRoute, Labels: labels}, refRules{allowed: all}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := violations(func(v *model.Violations) { checkRef(c.ref, v, c.rules) })
			slices.Sort(c.invalid)
			if d := cmp.Diff(c.invalid, got); d != "" {
				t.Errorf("fields (-want +got):\n%s", d)
			}
		})
	}
}

func TestKindsByRole(t *testing.T) {
	targets := Targets{Top: Mesh, TopSystem: MeshGateway}
	for role, want := range map[string]bool{RoleSystem: true, RoleConsumer: false, RoleProducer: false, RoleWorkloadOwner: false} {
		requireEqual(t, "gateways for "+role, targets.top(role)&MeshGateway != 0, want)
	}
}

func TestScope(t *testing.T) {
	for _, c := range []struct {
		ref  TargetRef
		want bool
	}{
		{TargetRef{Kind: RefMesh}, true},
		{TargetRef{Kind: RefMesh, ProxyTypes: []string{TypeSidecar}}, false},
		{TargetRef{Kind: RefMeshSubset, ProxyTypes: []string{TypeGateway, TypeSidecar}}, true},
		{TargetRef{Kind: RefMeshGateway}, true},
		{TargetRef{Kind: RefMeshHTTPRoute}, true},
		{TargetRef{Kind: RefDataplane}, false},
		{TargetRef{Kind: RefMeshService}, false},
	} {
		requireEqual(t, c.ref.Kind, c.ref.ForGateways(), c.want)
	}
}

func TestKubeServiceName(t *testing.T) {
	for in, want := range map[string]string{
		"api_ns_svc": "api ns ", "api_ns_svc_80": "api ns 80", "api_ns_svc_http": "", "api": "", "a_b": "", "a_b_c": "", "a_b_svc_1_2": "", "api_ns_svc_": "",
	} {
		name, ns, port, ok := kubeServiceName(in)
		got := ""
		if ok {
			got = name + " " + ns + " " + port
		}
		requireEqual(t, in, got, want)
	}
}

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		in    string
		value float64
		ok    bool
	}{
		{"50", 50, true}, {`"0.5"`, 0.5, true}, {`"100"`, 100, true}, {`"x"`, 0, false}, {`"0x1p4"`, 0, false},
		{`"1_000"`, 0, false}, {`"NaN"`, 0, false}, {`"Inf"`, 0, false}, {`"1e999"`, 0, false}, {`""`, 0, false}, {"-1", -1, true},
	} {
		var n Number
		if err := n.UnmarshalJSON([]byte(c.in)); err != nil {
			t.Fatalf("%s: %v", c.in, err)
		}
		got, ok := n.Float()
		if ok != c.ok || (ok && got != c.value) {
			t.Errorf("%s is %v, %v", c.in, got, ok)
		}
		if b, err := n.MarshalJSON(); err != nil || string(b) != c.in {
			t.Errorf("%s is printed as %s (%v)", c.in, b, err)
		}
	}
	var n Number
	for _, in := range []string{"0.5", "true", "null x", "3000000000", "{}"} {
		if err := n.UnmarshalJSON([]byte(in)); err == nil {
			t.Errorf("%s was read as %v", in, n)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for in, want := range map[string]string{
		"a.b": "a.b 0 true", "a:1": "a 1 true", "[::1]:2": "::1 2 true", "10.0.0.1:4317": "10.0.0.1 4317 true",
		"": " 0 false", "a b": " 0 false", "a:70000": " 0 false", "a:x": " 0 false", "http://a": " 0 false", "user@a": " 0 false", "::1": " 0 false",
	} {
		h, p, ok := Endpoint(in)
		requireEqual(t, in, fmt.Sprintf("%s %d %v", h, p, ok), want)
	}
}
