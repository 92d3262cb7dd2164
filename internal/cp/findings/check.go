package findings

import (
	"maps"
	"slices"
	"strings"

	"weft/internal/cp/inspect"
	"weft/internal/cp/view"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// check looks at objects of a world.
type check struct {
	*World
	out []Finding
	// proxies are the Dataplanes of the mesh.
	proxies []*model.Object
	dests   []*view.Destination
	facts   map[*model.Object]*policy.Facts
}

func newCheck(w *World) *check {
	c := &check{World: w, dests: w.View.Destinations().All(), facts: map[*model.Object]*policy.Facts{}}
	for _, row := range w.Tables.Table(kinds.Dataplane, w.Mesh).Rows() {
		c.proxies = append(c.proxies, row.Object)
	}
	return c
}

// factsOf returns what the choice of policies knows about a proxy; shadow policies
// take part.
func (c *check) factsOf(dp *model.Object) *policy.Facts {
	f := c.facts[dp]
	if f == nil {
		f = inspect.FactsOf(c.Tables, dp)
		f.Shadow = true
		c.facts[dp] = f
	}
	return f
}

// checked are the kinds of objects that are looked at.
func checked(ps []*policy.Policy) []*model.Kind {
	out := []*model.Kind{
		kinds.Mesh, kinds.Dataplane, kinds.MeshGateway, kinds.MeshService, kinds.MeshMultiZoneService,
		kinds.MeshExternalService, kinds.ExternalService,
	}
	out = append(out, legacy.Kinds()...)
	for _, p := range ps {
		out = append(out, p.Kind)
	}
	return out
}

// meshOf returns the mesh under which the tables hold objects of a kind.
func (c *check) meshOf(k *model.Kind) string {
	if k.Scope == model.Global {
		return ""
	}
	return c.Mesh
}

// object looks at one object. Of meshes only the own one counts.
func (c *check) object(o *model.Object) {
	if o.Kind == kinds.Mesh && o.Meta.Name != c.Mesh {
		return
	}
	a := at{c, o}
	for _, p := range c.Policies {
		if p.Kind == o.Kind {
			a.policy(p)
			return
		}
	}
	a.secrets()
	switch spec := o.Spec.(type) {
	case *kinds.DataplaneSpec:
		a.dataplane(spec)
	case *kinds.MeshServiceSpec:
		a.meshService(spec)
	case *kinds.MeshMultiZoneServiceSpec:
		a.multiZone(spec)
	case *kinds.MeshExternalServiceSpec:
		a.external(spec)
	case *kinds.ExternalServiceSpec:
		a.outside(spec)
	default:
		if slices.Contains(legacy.Kinds(), o.Kind) {
			a.older()
		}
	}
	a.hostnames()
}

// known tells whether it can be known which services there are: proxies bring
// them, and register themselves.
func (c *check) known() bool { return len(c.proxies) > 0 }

// offers tells whether a service that is known by its tag exists, here or in
// another zone.
func (c *check) offers(service string) bool {
	if c.View.Destinations().Has(service) {
		return true
	}
	for _, row := range c.Tables.Table(kinds.ZoneIngress, "").Rows() {
		for _, s := range model.Spec[kinds.ZoneIngressSpec](row.Object).AvailableServices {
			if s.Mesh == c.Mesh && s.Tags[model.TagService] == service {
				return true
			}
		}
	}
	return false
}

func (a at) dataplane(spec *kinds.DataplaneSpec) {
	for i := range spec.Outbounds() {
		out := &spec.Networking.Outbound[i]
		if s := out.Tags[model.TagService]; s != "" && s != kinds.MatchAll && !a.c.offers(s) {
			a.add(Warning, ruleUnknown, []any{"networking", "outbound", i, "tags", model.Q(model.TagService)},
				"check the name; connections to it are refused until somebody offers it", "no proxy and no ExternalService offers the service %q", s)
		}
	}
}

func (a at) meshService(spec *kinds.MeshServiceSpec) {
	origin := a.o.Label(model.LabelOrigin)
	if !a.c.known() || a.o.Label(model.LabelManagedBy) == model.ManagedByMSGen || (origin != "" && origin != model.OriginZone) {
		return
	}
	for _, dp := range a.c.proxies {
		if spec.Selects(dp.Meta.Name, model.Spec[kinds.DataplaneSpec](dp)) {
			return
		}
	}
	var what string
	switch sel := spec.Selector; {
	case sel.DataplaneRef != nil && sel.DataplaneRef.Name != "":
		what = "the name " + sel.DataplaneRef.Name
	case len(sel.DataplaneTags) > 0:
		what = "the tags " + tags(sel.DataplaneTags)
	default:
		a.add(Warning, ruleSelectsNothing, []any{"spec", "selector"}, "name proxies by dataplaneTags or dataplaneRef", "is empty, so it selects no proxy")
		return
	}
	a.add(Warning, ruleSelectsNothing, []any{"spec", "selector"}, "correct the selector, or start a proxy that it selects",
		"selects no proxy: no Dataplane of mesh %q has %s", a.c.Mesh, what)
}

func (a at) multiZone(spec *kinds.MeshMultiZoneServiceSpec) {
	rows := a.c.Tables.Table(kinds.MeshService, a.c.Mesh).Rows()
	if !a.c.known() || slices.ContainsFunc(rows, func(r model.Row) bool { return spec.Selects(a.o, r.Object) }) {
		return
	}
	a.add(Warning, ruleSelectsNothing, []any{"spec", "selector"}, "correct the selector; it selects by labels of MeshServices",
		"selects none of the %d MeshServices of mesh %q", len(rows), a.c.Mesh)
}

// external: traffic to a MeshExternalService leaves the mesh through an egress,
// which proxies reach with mutual TLS only.
func (a at) external(spec *kinds.MeshExternalServiceSpec) {
	if len(spec.Endpoints) == 0 && spec.Extension == nil {
		a.add(Warning, ruleSelectsNothing, []any{"spec", "endpoints"}, "name an address and a port", "has no endpoint, so it leads nowhere")
	}
	switch {
	case !a.c.View.Facts().MTLS:
		a.add(Warning, ruleNeedsMTLS, nil, "enable mutual TLS in the Mesh",
			"cannot be reached: traffic to it takes the zone egress, which needs mutual TLS, and mesh %q has none", a.c.Mesh)
	case a.c.known() && a.c.Tables.Table(kinds.ZoneEgress, "").Len() == 0:
		a.add(Warning, ruleNeedsEgress, nil, "start a zone egress",
			"cannot be reached: traffic to it takes the zone egress, and there is none")
	}
}

// outside: a service belongs to the proxies that offer it, and in a mesh that sends
// what leaves it through its egress there must be one.
func (a at) outside(spec *kinds.ExternalServiceSpec) {
	for _, dp := range a.c.proxies {
		offers := func(in kinds.Inbound) bool {
			return in.Service() == spec.Service() && !in.Ignored() && in.Port != model.ServicelessPort
		}
		if slices.ContainsFunc(model.Spec[kinds.DataplaneSpec](dp).Inbounds(), offers) {
			a.add(Warning, ruleReplaced, []any{"tags", model.Q(model.TagService)}, "give one of them another name",
				"gets no traffic: the proxy %s offers the service %s, too, and proxies come first", dp.Meta.Name, spec.Service())
			return
		}
	}
	facts := a.c.View.Facts()
	if !facts.MTLS || !facts.ZoneEgress || !a.c.known() || a.c.Tables.Table(kinds.ZoneEgress, "").Len() > 0 {
		return
	}
	a.add(Warning, ruleNeedsEgress, nil, "start a zone egress, or set routing.zoneEgress to false in the Mesh",
		"service %s cannot be reached: the Mesh sends what leaves it through the zone egress, and there is none", spec.Service())
}

// hostnames tells which names a service did not get, as its status says.
func (a at) hostnames() {
	_, list := kinds.HostnamesOf(a.o)
	for i := range list {
		for _, cond := range list[i].Conditions {
			if cond.Type != kinds.ConditionGenerated || cond.Status != "False" {
				continue
			}
			name := list[i].HostnameGeneratorRef.CoreName
			if cond.Reason == kinds.ReasonCollision {
				a.add(Warning, ruleCollision, nil, "make the template of the generator tell services apart, or rename one of them",
					"gets no name from HostnameGenerator %q, since another service has it: %s", name, cond.Message)
				continue
			}
			a.add(Warning, ruleTemplate, nil, "correct the template of the generator",
				"gets no name from HostnameGenerator %q: %s", name, cond.Message)
		}
	}
}

// noProxies says once what cannot be told.
func (c *check) noProxies() {
	if c.known() {
		return
	}
	row, ok := c.Tables.Table(kinds.Mesh, "").Get(c.Mesh)
	if !ok {
		return
	}
	at{c, row.Object}.add(Info, ruleNoProxies, nil, "add Dataplanes to the files, or ask a control plane that has proxies",
		"there are no Dataplanes: what policies and services select is not known")
}

// tags writes tags as k=v, k=v.
func tags(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, ", ")
}
