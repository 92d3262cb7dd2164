package policy

import (
	"weft/internal/mesh/model"
)

// validate checks a policy object; v is at "spec".
func (d *Def[C]) validate(o *model.Object, v *model.Violations) {
	ps := d.Parts(o.Spec)
	top := topOf(ps.Target)
	if ps.Target != nil {
		checkRef(top, v.At("targetRef"), refRules{
			allowed: d.Targets.top(RoleOf(o)), gatewayTags: d.Targets.GatewayTags,
			noSection: len(ps.From) == 0 && len(ps.Rules) == 0,
		})
	}
	if len(ps.Rules) > 0 && len(ps.To)+len(ps.From) > 0 {
		v.Add("rules stands alone: leave out to and from, or move what is in them to policies of their own")
	}
	d.checkScope(top, ps, v)
	d.checkItems(ps.To, ListTo, d.Targets.to(top), top, v)
	d.checkItems(ps.From, ListFrom, d.Targets.From, top, v)
	for i := range ps.Rules {
		d.checkConf(&ps.Rules[i].Default, v.At(string(ListRules), i, "default"), Where{Top: top, List: ListRules})
	}
	if ps.Default != nil {
		d.checkConf(ps.Default, v.At("default"), Where{Top: top, List: ListDefault})
	}
	if d.ValidateSpec != nil {
		d.ValidateSpec(o, ps, v)
	}
}

func (d *Def[C]) checkItems(items []Item[C], l List, allowed Set, top TargetRef, v *model.Violations) {
	for i := range items {
		at := v.At(string(l), i)
		checkRef(items[i].TargetRef, at.At("targetRef"), refRules{allowed: allowed, gatewayTags: true})
		conf := at
		if !d.Inline {
			conf = at.At("default")
		}
		d.checkConf(&items[i].Default, conf, Where{Top: top, Ref: &items[i].TargetRef, List: l})
	}
}

func (d *Def[C]) checkConf(c *C, v *model.Violations, w Where) {
	if d.Validate != nil {
		d.Validate(c, v, w)
	}
}

// checkScope checks which lists the top level allows.
func (d *Def[C]) checkScope(top TargetRef, ps Parts[C], v *model.Violations) {
	if d.Targets.ByScope {
		if top.ForGateways() {
			const msg = "applies to sidecars only, but gateways can be selected too: " +
				"select only the proxyType Sidecar, or select gateways and use to"
			if len(ps.From) > 0 {
				v.At("from").Add(msg)
			}
			if len(ps.Rules) > 0 {
				v.At("rules").Add(msg)
			}
		} else if len(ps.To) > 0 {
			v.At("to").Add("applies to gateways only, but none can be selected: use from or rules for sidecars")
		}
	}
	if d.Targets.FromSidecar && len(ps.From) > 0 && (top.Kind == RefMeshGateway || top.Kind == RefMeshHTTPRoute) {
		v.At("from").Add("has no meaning if a %s is selected; use to", top.Kind)
	}
}

func (d *Def[C]) warn(o *model.Object) []string {
	ps := d.Parts(o.Spec)
	var out []string
	switch topOf(ps.Target).Kind {
	case RefMeshService:
		out = append(out, "MeshService as targetRef.kind is deprecated: use MeshSubset with the tag kuma.io/service")
	case RefMeshSubset:
		out = append(out, "MeshSubset as targetRef.kind is deprecated: use Dataplane with labels")
	}
	if d.FromAsRules && len(ps.From) > 0 {
		out = append(out, "from is deprecated: use rules, which mean the same here")
	}
	if !d.FromAsRules {
		for i := range ps.From {
			if ps.From[i].TargetRef.Kind == RefMeshService {
				out = append(out, "MeshService as from[].targetRef.kind is deprecated: use MeshSubset with the tag kuma.io/service")
				break
			}
		}
	}
	if d.Warn != nil {
		out = append(out, d.Warn(o, ps)...)
	}
	return out
}
