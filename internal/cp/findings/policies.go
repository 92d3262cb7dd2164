package findings

import (
	"fmt"
	"slices"
	"strings"

	"weft/internal/cp/admit"
	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// policy looks at a targetRef policy.
func (a at) policy(p *policy.Policy) {
	shadow := a.o.Label(model.LabelEffect) == model.EffectShadow
	if shadow {
		a.add(Info, ruleShadow, []any{"labels", model.Q(model.LabelEffect)},
			"ask for the configuration with shadow=true to see what it would change, remove the label to apply it", "has no effect: it is a shadow policy")
	}
	if p.OnlyMTLS && !a.c.View.Facts().MTLS {
		a.add(Warning, ruleNeedsMTLS, nil, "enable mutual TLS in the Mesh", "has no effect: a %s needs mutual TLS, and mesh %q has none", p.Kind.Name, a.c.Mesh)
	}
	a.references(p)
	a.weights(p)
	a.gatewaysOnly(p)
	if a.top(p) {
		a.protocols(p, a.selected(p))
	}
}

// gatewaysOnly tells of items under to, where these are for gateways only, in a
// mesh without gateways.
func (a at) gatewaysOnly(p *policy.Policy) {
	gateway := func(dp *model.Object) bool { return model.Spec[kinds.DataplaneSpec](dp).IsBuiltinGateway() }
	if !p.Targets.ByScope || p.Top(a.o).Kind == policy.RefMeshGateway || len(p.References(a.o)) == 0 ||
		!a.c.known() || slices.ContainsFunc(a.c.proxies, gateway) {
		return
	}
	a.add(Warning, ruleSelectsNothing, []any{"spec", "to"}, "for sidecars use from or rules and select sidecars only, by Dataplane or by proxyTypes",
		"has no effect: it is for built-in gateways, of which mesh %q has none", a.c.Mesh)
}

// top looks at the policy's own target. It returns false if it is not known what
// the policy selects, or it selects nothing.
func (a at) top(p *policy.Policy) bool {
	ref := p.Top(a.o)
	path := []any{"spec", "targetRef"}
	if route, ok := p.Route(a.o, a.c.Tables.Table(catalog.ByName(policy.RefMeshHTTPRoute), a.c.Mesh)); !ok {
		a.add(Warning, ruleUnknown, path, "create it, or correct the reference", "has no effect: there is no MeshHTTPRoute %s in mesh %q", describe(ref), a.c.Mesh)
		return false
	} else if route != nil {
		return true // where the route acts, which is told of the route
	}
	if ref.Kind == policy.RefMeshGateway && !a.gateway(ref.Name) {
		a.add(Warning, ruleUnknown, path, "create it, or correct the name", "has no effect: there is no MeshGateway %q in mesh %q", ref.Name, a.c.Mesh)
		return false
	}
	return a.c.known()
}

func (a at) gateway(name string) bool {
	return slices.ContainsFunc(a.c.Tables.Table(kinds.MeshGateway, a.c.Mesh).Rows(), func(r model.Row) bool { return r.DisplayName() == name })
}

// selection is what a policy selects.
type selection struct {
	some bool
	// protocols of the selected inbounds.
	protocols map[ir.Protocol]bool
}

// selected finds out which proxies the policy selects, by the matching that
// configures them. If its items do not depend on protocols, the first proxy is enough.
func (a at) selected(p *policy.Policy) selection {
	var own []*policy.Policy
	for _, x := range a.c.Policies {
		if x == p || x.Kind.Name == policy.RefMeshHTTPRoute {
			own = append(own, x) // targets may be routes
		}
	}
	x := policy.NewIndexes(own, a.c.Mesh, alone{a.c.Tables, a.o}, nil)
	inbound := slices.ContainsFunc(p.Spoken(a.o), func(s policy.Spoken) bool { return s.Ref == nil })
	out := selection{protocols: map[ir.Protocol]bool{}}
	older := a.predecessor()
	inbound = inbound || older != nil
	taken, ports := 0, 0
	for _, dp := range a.c.proxies {
		m := x.Match(a.c.factsOf(dp))
		if !slices.ContainsFunc(m.Selecting(), func(s policy.Selecting) bool { return s.Kind == p.Kind }) {
			continue
		}
		out.some = true
		if !inbound {
			break
		}
		for _, port := range m.Ports(a.o) {
			ports++
			if older != nil && a.c.inForce(older, dp, port.Tags) {
				taken++
			}
			out.protocols[spoken(ir.ParseProtocol(port.Tags[model.TagProtocol]))] = true
		}
	}
	if taken > 0 && taken == ports {
		a.add(Warning, ruleReplaced, nil, "delete the older one", "has no effect: on every inbound that it selects a %s acts, which wins", older.Name)
	}
	if !out.some {
		a.add(Warning, ruleSelectsNothing, []any{"spec", "targetRef"}, "correct the targetRef, or start a proxy that it selects",
			"selects no proxy: none of the %d Dataplanes of mesh %q %s", len(a.c.proxies), a.c.Mesh, lacks(p.Top(a.o)))
	}
	return out
}

// alone are tables in which a kind has one object only.
type alone struct {
	model.Tables
	o *model.Object
}

// Table implements model.Tables.
func (t alone) Table(k *model.Kind, mesh string) *model.Table {
	if k == t.o.Kind && mesh == t.o.Meta.Mesh {
		return model.NewTable([]model.Row{{Object: t.o, Hash: model.ContentHash(t.o)}})
	}
	return t.Tables.Table(k, mesh)
}

// spoken is what a proxy takes a port for whose protocol nobody tells.
func spoken(p ir.Protocol) ir.Protocol {
	if p == ir.ProtocolUnknown {
		return ir.ProtocolTCP
	}
	return p
}

// protocols tells which parts have no effect, since nothing they act on speaks
// their protocol. Items for a whole mesh are meant for what fits.
func (a at) protocols(p *policy.Policy, sel selection) {
	for _, s := range p.Spoken(a.o) {
		have := sel.protocols
		what := "the selected inbounds speak"
		if s.Ref == nil && p.Top(a.o).Kind == policy.RefMesh {
			continue
		}
		if s.Ref != nil {
			if s.Ref.Kind == policy.RefMesh {
				continue
			}
			have = map[ir.Protocol]bool{}
			for _, d := range a.selectedBy(*s.Ref) {
				have[spoken(d.Protocol)] = true
			}
			what = fmt.Sprintf("%s %s speaks", s.Ref.Kind, describe(*s.Ref))
		}
		if len(have) == 0 || slices.ContainsFunc(s.Protocols, func(x ir.Protocol) bool { return have[x] }) {
			continue
		}
		a.add(Warning, ruleProtocol, s.Path, "set the protocol of the port (kuma.io/protocol, appProtocol), or remove this part",
			"has no effect: it is for %s, and %s %s", names(s.Protocols), what, names(sortedProtocols(have)))
	}
}

func sortedProtocols(set map[ir.Protocol]bool) []ir.Protocol {
	var out []ir.Protocol
	for p := range set {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

func names(ps []ir.Protocol) string {
	var out []string
	for _, p := range ps {
		out = append(out, string(p))
	}
	return strings.Join(out, ", ")
}

// selectedBy returns the destinations that an item's target selects.
func (a at) selectedBy(ref policy.TargetRef) []*view.Destination {
	var out []*view.Destination
	for _, d := range a.c.dests {
		if d.Kind == "" && a.c.View.Exclusive() {
			continue // services are known as resources only
		}
		if policy.Selects(ref, a.o, d.Destination, d.Labels) {
			out = append(out, d)
		}
	}
	return out
}

// weights tells where a rule sends nothing anywhere.
func (a at) weights(p *policy.Policy) {
	type group struct {
		path []any
		sum  uint64
	}
	groups := map[string]*group{}
	var order []string
	for _, r := range p.References(a.o) {
		if r.Backend == nil || r.Copy {
			continue
		}
		list := r.Path[:len(r.Path)-1]
		k := fmt.Sprint(list...)
		if groups[k] == nil {
			groups[k] = &group{path: list}
			order = append(order, k)
		}
		groups[k].sum += r.Backend.Share()
	}
	for _, k := range order {
		if g := groups[k]; g.sum == 0 {
			a.add(Warning, ruleNoWeight, g.path, "give one of the backends a weight above 0", "the weights of all backends are 0, so that traffic goes nowhere")
		}
	}
}

// overruled tells which policies set nothing anywhere, since others win. If only
// those are of interest that select one proxy, it is given: most win there already,
// and then the others need not be asked.
func (c *check) overruled(only *model.Object) {
	dests := make([]ir.Destination, 0, len(c.dests))
	labels := map[ir.DestKey]map[string]string{}
	for _, d := range c.dests {
		if d.Kind != "" || !c.View.Exclusive() {
			dests = append(dests, d.Destination)
			labels[d.Key()] = d.Labels
		}
	}
	e := policy.NewEffects(dests, func(d ir.Destination) map[string]string {
		return labels[ir.DestKey{Kind: d.Kind, Mesh: d.Mesh, Name: d.Name, Section: d.Section}]
	}, c.View.Memo())
	look := func(dp *model.Object) {
		f := *c.factsOf(dp)
		f.Shadow = false
		e.Add(c.View.Policies().Match(&f))
	}
	if only != nil {
		if look(only); len(e.Overruled()) == 0 {
			return
		}
	}
	for _, dp := range c.proxies {
		look(dp)
	}
	for _, o := range e.Overruled() {
		kind := catalog.ByName(o.Kind)
		row, ok := c.Tables.Table(kind, c.Mesh).Get(o.Name)
		if !ok {
			continue
		}
		var by []string
		for _, x := range o.By {
			by = append(by, x.Name)
		}
		who := "stronger policies set"
		if len(by) > 0 {
			who = kind.Name + " " + strings.Join(by, ", ") + " set"
			if len(by) == 1 {
				who += "s"
			}
		}
		at{c, row.Object}.add(Warning, ruleOverruled, nil, "remove it, or ask with kumactl explain dataplane why the other is stronger",
			"has no effect: wherever it acts, %s everything that it sets", who)
	}
}

// initial returns the keys of the policies that a mesh starts with.
func (c *check) initial() map[model.Key]bool {
	out := map[model.Key]bool{}
	list, err := admit.Initial{Kind: catalog.ByName, Routing: true}.Policies(kinds.Mesh.Make("", c.Mesh))
	if err != nil {
		return out // they are constant; tests make them
	}
	for _, o := range list {
		out[o.Key()] = true
	}
	return out
}
