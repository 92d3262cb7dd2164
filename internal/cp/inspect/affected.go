package inspect

import (
	"maps"
	"slices"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// Affected returns the Dataplanes of its mesh that an object concerns, sorted by
// name. ok is false for kinds that choose no proxies.
//
//   - targetRef policies concern those that their top level selects, shadow
//     policies those that they would;
//   - older policies concern both ends of the connections that they select, or
//     the proxies that their selectors select;
//   - services concern their members, gateways and their routes the gateways.
func Affected(ps []*policy.Policy, t model.Tables, o *model.Object) (dps []*model.Object, ok bool) {
	concerns := Concern(ps, t, o)
	if concerns == nil {
		return nil, false
	}
	for _, row := range t.Table(kinds.Dataplane, o.Meta.Mesh).Rows() {
		if concerns(row.Object) {
			dps = append(dps, row.Object)
		}
	}
	return dps, true
}

// Concern returns the question whether an object concerns a Dataplane, nil if
// it makes no sense for the kind.
func Concern(ps []*policy.Policy, t model.Tables, o *model.Object) func(dp *model.Object) bool {
	if info := o.Kind.Policy; info != nil && info.TargetRef {
		return byTargetRef(ps, t, o)
	}
	switch s := o.Spec.(type) {
	case *kinds.MeshServiceSpec:
		return func(dp *model.Object) bool {
			return s.Selects(dp.Meta.Name, model.Spec[kinds.DataplaneSpec](dp))
		}
	case *kinds.MeshGatewaySpec:
		return func(dp *model.Object) bool {
			g := GatewayOf(t, dp)
			return g != nil && g.Meta.Name == o.Meta.Name
		}
	case *kinds.MeshGatewayRouteSpec:
		return func(dp *model.Object) bool {
			return model.Spec[kinds.DataplaneSpec](dp).IsBuiltinGateway() && selectsAny(s.Selectors, listenerTags(t, dp))
		}
	case *kinds.ProxyTemplateSpec:
		return bySelectors(s.Selectors)
	case *kinds.VirtualOutboundSpec:
		return bySelectors(s.Selectors)
	case *legacy.TrafficTraceSpec:
		return bySelectors(s.Selectors)
	}
	if c := connections(o.Spec); c != nil {
		return bySelectors(slices.Concat(c.Sources, c.Destinations))
	}
	return nil
}

func byTargetRef(ps []*policy.Policy, t model.Tables, o *model.Object) func(dp *model.Object) bool {
	var own []*policy.Policy
	for _, p := range ps {
		// Targets may be MeshHTTPRoutes, so these have to be known too.
		if p.Kind == o.Kind || p.Kind.Name == policy.RefMeshHTTPRoute {
			own = append(own, p)
		}
	}
	x := policy.NewIndexes(own, o.Meta.Mesh, t, nil)
	return func(dp *model.Object) bool {
		f := FactsOf(t, dp)
		f.Shadow = true
		for _, s := range x.Match(f).Selecting() {
			if s.Kind == o.Kind && slices.ContainsFunc(s.Objects, func(p *model.Object) bool { return p.Meta.Name == o.Meta.Name }) {
				return true
			}
		}
		return false
	}
}

func bySelectors(sel []kinds.Selector) func(dp *model.Object) bool {
	return func(dp *model.Object) bool { return selectsAny(sel, tagSets(dp)) }
}

func selectsAny(sel []kinds.Selector, tagSets []map[string]string) bool {
	for i := range sel {
		if slices.ContainsFunc(tagSets, sel[i].Matches) {
			return true
		}
	}
	return false
}

// tagSets returns the tags by which older policies know a proxy.
func tagSets(dp *model.Object) []map[string]string {
	spec := model.Spec[kinds.DataplaneSpec](dp)
	if g := spec.Gateway(); g != nil {
		return []map[string]string{g.Tags}
	}
	var out []map[string]string
	for i := range spec.Inbounds() {
		out = append(out, spec.Networking.Inbound[i].Tags)
	}
	return out
}

// listenerTags returns the tags of the listeners of a builtin gateway, with those
// that they have in common alone first.
func listenerTags(t model.Tables, dp *model.Object) []map[string]string {
	out := tagSets(dp)
	g := GatewayOf(t, dp)
	if g == nil {
		return nil
	}
	spec := model.Spec[kinds.MeshGatewaySpec](g)
	list := spec.Listeners()
	for i := range list {
		out = append(out, maps.Clone(spec.ListenerTags(&list[i], out[0])))
	}
	return out
}

// connections returns by what an older policy selects connections, nil if it does not.
func connections(spec any) *legacy.Connections {
	switch s := spec.(type) {
	case *legacy.TrafficPermissionSpec:
		return &s.Connections
	case *legacy.TrafficRouteSpec:
		return &s.Connections
	case *legacy.TrafficLogSpec:
		return &s.Connections
	case *legacy.FaultInjectionSpec:
		return &s.Connections
	case *legacy.HealthCheckSpec:
		return &s.Connections
	case *legacy.CircuitBreakerSpec:
		return &s.Connections
	case *legacy.RetrySpec:
		return &s.Connections
	case *legacy.TimeoutSpec:
		return &s.Connections
	case *legacy.RateLimitSpec:
		return &s.Connections
	}
	return nil
}
