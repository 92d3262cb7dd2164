// Package meshtls says how the mesh's TLS is spoken: whether plain text is
// accepted beside it, which versions and which ciphers.
package meshtls

import (
	"slices"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says how proxies speak the mesh's TLS.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// From holds for traffic that enters the selected proxies. Deprecated: use rules.
	From []policy.Item[Conf] `json:"from,omitempty"`
	// Rules hold for traffic that enters the selected proxies.
	Rules []policy.Rule[Conf] `json:"rules,omitempty"`
}

// Conf is what may be set under default.
type Conf struct {
	// Mode says whether plain text is accepted. Absent means what the mesh says.
	Mode string `json:"mode,omitempty" schema:"enum=Permissive|Strict"`
	// TLSVersion bounds the versions; only with the targetRef kind Mesh.
	TLSVersion *Version `json:"tlsVersion,omitempty"`
	// TLSCiphers restrict the ciphers of TLS 1.2; only with the targetRef kind Mesh.
	TLSCiphers []string `json:"tlsCiphers,omitzero" schema:"enum=ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-AES256-GCM-SHA384|ECDHE-ECDSA-CHACHA20-POLY1305|ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-AES256-GCM-SHA384|ECDHE-RSA-CHACHA20-POLY1305"`
}

// Version bounds the versions of TLS.
type Version struct {
	// Min is the lowest version.
	Min string `json:"min,omitempty" schema:"enum=TLSAuto|TLS10|TLS11|TLS12|TLS13,default=TLSAuto"`
	// Max is the highest version.
	Max string `json:"max,omitempty" schema:"enum=TLSAuto|TLS10|TLS11|TLS12|TLS13,default=TLSAuto"`
}

// versions in ascending order; the first leaves the choice to the proxy.
var versions = []string{"TLSAuto", "TLS10", "TLS11", "TLS12", "TLS13"}

// Policy is the kind MeshTLS.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshTLS", Plural: "meshtlses", Short: "mtls", One: "meshtls", Many: "meshtlses",
		Display: "Mesh TLS", DisplayPlural: "Mesh TLSes",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{Top: policy.Mesh | policy.MeshSubset | policy.Dataplane, From: policy.Mesh},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, From: s.From, Rules: s.Rules}
	},
	Lists:       []policy.List{policy.ListFrom, policy.ListRules},
	FromAsRules: true,
	Validate:    validate,
	Warn:        warn,
	Inbound:     inbound,
	OnlyMTLS:    true,
	// What a proxy says for its inbounds it also speaks as a client: versions and
	// ciphers have to suit both sides, so they are set for a whole mesh.
	ClusterFromInbounds: true,
	Cluster:             cluster,
})

func validate(c *Conf, v *model.Violations, w policy.Where) {
	const meshOnly = "must suit all proxies of a mesh: select the kind Mesh, or leave it out"
	if len(c.TLSCiphers) > 0 && w.Top.Kind != policy.RefMesh {
		v.At("tlsCiphers").Add(meshOnly)
	}
	if c.TLSVersion == nil {
		return
	}
	at := v.At("tlsVersion")
	if w.Top.Kind != policy.RefMesh {
		at.Add(meshOnly)
	}
	lo, hi := slices.Index(versions, c.TLSVersion.Min), slices.Index(versions, c.TLSVersion.Max)
	if lo > 0 && hi > 0 && lo > hi {
		at.At("min").Add("%s is above max, %s", c.TLSVersion.Min, c.TLSVersion.Max)
	}
}

func inbound(c *Conf, in *ir.Inbound, x *policy.Context) {
	if in.TLS == nil {
		x.Ignore()
		return
	}
	switch c.Mode {
	case "Strict":
		in.TLS.Mode = ir.TLSStrict
	case "Permissive":
		in.TLS.Mode = ir.TLSPermissive
	}
	c.params(&in.TLS.TLSParams)
}

func cluster(c *Conf, cl *ir.Cluster, x *policy.Context) {
	if cl.TLS == nil || !cl.TLS.MeshIdentity || cl.Destination.External || c.TLSVersion == nil {
		x.Ignore()
		return
	}
	c.params(&cl.TLS.TLSParams)
}

// warn tells about ciphers without effect.
func warn(_ *model.Object, p policy.Parts[Conf]) []string {
	idle := func(c *Conf) bool { return len(c.TLSCiphers) > 0 && c.TLSVersion == nil }
	found := slices.ContainsFunc(p.Rules, func(r policy.Rule[Conf]) bool { return idle(&r.Default) }) ||
		slices.ContainsFunc(p.From, func(i policy.Item[Conf]) bool { return idle(&i.Default) })
	if !found {
		return nil
	}
	return []string{"tlsCiphers have an effect only together with tlsVersion.min or tlsVersion.max"}
}

// params sets versions, and ciphers where a version is bounded.
func (c *Conf) params(p *ir.TLSParams) {
	if c.TLSVersion == nil {
		return
	}
	p.Min, p.Max = c.TLSVersion.Min, c.TLSVersion.Max
	p.Ciphers = c.TLSCiphers
}
