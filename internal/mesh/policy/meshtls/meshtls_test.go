package meshtls

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

func TestInbound(t *testing.T) {
	in := &ir.Inbound{TLS: &ir.ServerTLS{Mode: ir.TLSPermissive}}
	inbound(&Conf{TLSVersion: &Version{Min: "TLS12", Max: "TLSAuto"}, TLSCiphers: []string{"c"}}, in, &policy.Context{})
	want := &ir.ServerTLS{Mode: ir.TLSPermissive, TLSParams: ir.TLSParams{Min: "TLS12", Max: "TLSAuto", Ciphers: []string{"c"}}}
	if d := cmp.Diff(want, in.TLS); d != "" {
		t.Errorf("without a mode the mesh's stays (-want +got):\n%s", d)
	}
	inbound(&Conf{Mode: "Strict"}, in, &policy.Context{})
	if in.TLS.Mode != ir.TLSStrict {
		t.Errorf("mode %s", in.TLS.Mode)
	}
	plain := &ir.Inbound{}
	inbound(&Conf{Mode: "Strict"}, plain, &policy.Context{})
	if plain.TLS != nil {
		t.Error("a mesh without authority got TLS")
	}
}

func TestCluster(t *testing.T) {
	c := &Conf{TLSVersion: &Version{Min: "TLS13"}}
	for name, cl := range map[string]*ir.Cluster{
		"plain": {}, "outside": {TLS: &ir.ClientTLS{External: &ir.ExternalTLS{}}},
		"egress": {TLS: &ir.ClientTLS{MeshIdentity: true}, Destination: ir.Destination{External: true}},
	} {
		cluster(c, cl, &policy.Context{})
		if cl.TLS != nil && cl.TLS.Min != "" {
			t.Errorf("%s: %+v", name, cl.TLS)
		}
	}
	cl := &ir.Cluster{TLS: &ir.ClientTLS{MeshIdentity: true}}
	if cluster(c, cl, &policy.Context{}); cl.TLS.Min != "TLS13" {
		t.Errorf("%+v", cl.TLS)
	}
}

func TestWarn(t *testing.T) {
	idle := policy.Rule[Conf]{Default: Conf{TLSCiphers: []string{"c"}}}
	if got := warn(nil, policy.Parts[Conf]{Rules: []policy.Rule[Conf]{idle}}); len(got) != 1 {
		t.Errorf("warnings %v", got)
	}
	idle.Default.TLSVersion = &Version{}
	if got := warn(nil, policy.Parts[Conf]{Rules: []policy.Rule[Conf]{idle}}); got != nil {
		t.Errorf("warnings %v", got)
	}
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		lo, hi string
		want   int
	}{{"TLS12", "TLS13", 0}, {"TLS13", "TLS12", 1}, {"TLS12", "TLS12", 0}, {"TLSAuto", "TLS10", 0}, {"TLS13", "TLSAuto", 0}} {
		var v model.Violations
		validate(&Conf{TLSVersion: &Version{c.lo, c.hi}}, &v, policy.Where{Top: policy.TargetRef{Kind: policy.RefMesh}})
		if len(v.List()) != c.want {
			t.Errorf("%s to %s: %v", c.lo, c.hi, v.List())
		}
	}
}
