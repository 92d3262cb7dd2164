// Package meshtcproute decides where connections go. Without any policy it sends
// everything to the destination that was called.
package meshtcproute

import (
	"fmt"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says where connections to which destinations go.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// To holds for connections from the selected proxies to destinations.
	To []To `json:"to,omitzero" schema:"minItems=1"`
}

// To is the route for connections to what TargetRef selects.
type To struct {
	// TargetRef selects destinations; with a MeshGateway at the top it is Mesh.
	TargetRef policy.TargetRef `json:"targetRef" schema:"required"`
	// Rules has at most one element. An empty list means the destination itself.
	Rules []Rule `json:"rules" schema:"required,maxItems=1"`
}

// Conf is the route of a destination.
type Conf struct {
	// Default is what inspection shows: the rule's, or the item's own target.
	Default RuleConf `json:"default"`

	rules []Rule
	// from is the policy that the rules come from.
	from policy.Source
}

// Rule says where connections go.
type Rule struct {
	// Default says where connections go.
	Default RuleConf `json:"default" schema:"required"`
}

// RuleConf says where connections go.
type RuleConf struct {
	// BackendRefs share the connections by weight.
	BackendRefs []policy.BackendRef `json:"backendRefs,omitempty"`
}

const backends = policy.MeshService | policy.MeshServiceSubset | policy.MeshExternalService | policy.MeshMultiZoneService

// Policy is the kind MeshTCPRoute.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshTCPRoute", Plural: "meshtcproutes", Short: "mtcpr", One: "meshtcproute", Many: "meshtcproutes",
		Display: "Mesh TCP Route", DisplayPlural: "Mesh TCP Routes",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{
		Top: policy.Sidecars, TopSystem: policy.MeshGateway, GatewayTags: true,
		To:        policy.MeshService | policy.MeshExternalService | policy.MeshMultiZoneService,
		ToGateway: policy.Mesh,
	},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		p := policy.Parts[Conf]{Target: s.TargetRef}
		for _, t := range s.To {
			p.To = append(p.To, policy.Item[Conf]{TargetRef: t.TargetRef, Default: t.conf()})
		}
		return p
	},
	Lists:    []policy.List{policy.ListTo},
	Inline:   true,
	Validate: validate,
	Merge:    merge,
	Absent:   true,
	Shape:    shape,
	Backends: func(c *Conf) []policy.PlacedBackend {
		var out []policy.PlacedBackend
		for i := range c.rules {
			for j, ref := range c.rules[i].Default.BackendRefs {
				out = append(out, policy.PlacedBackend{Path: []any{"rules", i, "default", "backendRefs", j}, Ref: ref})
			}
		}
		return out
	},
})

func (t *To) conf() Conf {
	c := Conf{rules: t.Rules}
	if len(t.Rules) > 0 {
		c.Default = t.Rules[0].Default
	} else {
		one := uint64(1)
		c.Default.BackendRefs = []policy.BackendRef{{TargetRef: t.TargetRef, Weight: &one}}
	}
	return c
}

func validate(c *Conf, v *model.Violations, _ policy.Where) {
	for i := range c.rules {
		at := v.At("rules", i, "default", "backendRefs")
		refs := c.rules[i].Default.BackendRefs
		if len(refs) == 0 {
			at.Add("are missing: say where connections go")
		}
		for j, b := range refs {
			policy.CheckBackendRef(b, v.At("rules", i, "default", "backendRefs", j), backends)
		}
	}
}

// merge takes the strongest route as a whole.
func merge(cs []policy.Contribution[Conf]) *Conf {
	last := cs[len(cs)-1]
	return &Conf{Default: last.Conf.Default, rules: last.Conf.rules, from: policy.SourceOf(last.Object)}
}

// Keyed returns the only rule that an item may have.
func (c *Conf) Keyed() (field string, elements []policy.KeyedElement) {
	for i := range c.rules {
		elements = append(elements, policy.KeyedElement{Path: fmt.Sprintf("rules[%d].default", i), Value: &c.rules[i].Default})
	}
	return "default", elements
}

// shape routes connections. Destinations that speak HTTP are left to
// MeshHTTPRoute unless there is a TCP route and no HTTP route for them.
func shape(c *Conf, o *ir.Outbound, x *policy.Context) {
	if o.Protocol.HTTPLike() && (c == nil || len(o.Origins[policy.RefMeshHTTPRoute]) > 0) {
		x.Ignore()
		return
	}
	splits, known := split(c, o, x)
	if !known {
		return
	}
	o.HTTP = nil
	delete(o.Origins, policy.RefMeshHTTPRoute) // which has no effect then
	o.TCP = &ir.TCP{Splits: splits}
	o.Kafka = o.Protocol == ir.ProtocolKafka
}

// split shares connections among backends. known is false if no backend exists;
// no splits with known backends means that nobody may connect.
func split(c *Conf, o *ir.Outbound, x *policy.Context) (splits []ir.Split, known bool) {
	if c == nil || len(c.rules) == 0 || len(c.rules[0].Default.BackendRefs) == 0 {
		return []ir.Split{{Cluster: x.Env.Backends.Use(x.Env.Backends.Own(o)), Weight: 1}}, true
	}
	var shares []policy.Share
	for _, ref := range c.rules[0].Default.BackendRefs {
		b, ok := x.Env.Backends.Resolve(ref, c.from)
		if !ok {
			x.Warn(fmt.Sprintf("backend %s %s does not exist; connections for it go nowhere", ref.Kind, ref.Name))
			continue
		}
		known = true
		if ref.Share() > 0 {
			shares = append(shares, policy.Share{Cluster: x.Env.Backends.Use(b), Weight: ref.Share()})
		}
	}
	return policy.Splits(shares), known
}
