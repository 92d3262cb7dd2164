package policy

import (
	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// Shape decides where the traffic of each outbound goes: it fills HTTP.Routes or
// TCP.Splits of outbounds that have neither yet, and removes outbounds for which
// nothing is left to do. The clusters come from env.Backends.
func Shape(p *ir.Proxy, m *Matched, env *Env, memo *Memo) {
	shapeBy(p, resolvers(m, memo), env)
	DropUnshaped(p)
}

// ShapeSelected is Shape by those kinds only of which a policy selects the
// proxy, for meshes whose other outbounds older routes make. Outbounds for which
// nothing is left to do stay; see DropUnshaped.
func ShapeSelected(p *ir.Proxy, m *Matched, env *Env, memo *Memo) {
	var rs []*resolver
	for _, r := range resolvers(m, memo) {
		if len(r.m.sel) > 0 {
			rs = append(rs, r)
		}
	}
	shapeBy(p, rs, env)
}

// shapeBy runs the hooks of the given kinds.
func shapeBy(p *ir.Proxy, rs []*resolver, env *Env) {
	for _, o := range p.Outbounds {
		if o.HTTP != nil || o.TCP != nil {
			continue
		}
		d, key := outboundDestination(o.Destination, env)
		for _, r := range rs {
			h := r.m.policy.hooks.shape
			if h == nil {
				continue
			}
			x := &Context{Proxy: p, Env: env, Kind: r.m.policy.Kind.Name}
			c := r.forDestination(d, key)
			if conf := x.take(c, r.m.policy); conf != nil {
				h(conf, o, x)
				x.note(&o.Origins)
			}
		}
	}
}

// DropUnshaped removes outbounds that nobody has made.
func DropUnshaped(p *ir.Proxy) {
	kept := p.Outbounds[:0]
	for _, o := range p.Outbounds {
		if o.HTTP != nil || o.TCP != nil {
			kept = append(kept, o)
		}
	}
	p.Outbounds = kept
}

// Dress applies all policies to the nodes of a proxy that was shaped: inbounds,
// outbounds, their routes, clusters, passthrough and the proxy as a whole, kind
// by kind in the order of the catalog.
func Dress(p *ir.Proxy, m *Matched, env *Env, memo *Memo) {
	p.Warnings = append(p.Warnings, m.Warnings...)
	at := &places{env: env}
	for _, r := range resolvers(m, memo) {
		d := dresser{m: m, r: r, p: r.m.policy, at: at, x: &Context{Proxy: p, Env: env, Kind: r.m.policy.Kind.Name}}
		d.inbounds()
		d.outbounds()
		d.clusters()
		d.rest()
	}
}

func resolvers(m *Matched, memo *Memo) []*resolver {
	out := make([]*resolver, len(m.list))
	for i, mt := range m.list {
		out[i] = newResolver(mt, memo)
	}
	return out
}

// dresser applies one policy kind to one proxy.
type dresser struct {
	m  *Matched
	r  *resolver
	p  *Policy
	x  *Context
	at *places
}

// places are the destinations of a proxy's outbounds and clusters in the words
// of items, found once for all kinds.
type places struct {
	env                 *Env
	outbounds, clusters []place
}

type place struct {
	dest *destination
	key  resKey
}

func (a *places) ofOutbounds(list []*ir.Outbound) []place {
	if a.outbounds == nil {
		a.outbounds = make([]place, len(list))
		for i, o := range list {
			a.outbounds[i].dest, a.outbounds[i].key = outboundDestination(o.Destination, a.env)
		}
	}
	return a.outbounds
}

func (a *places) ofClusters(list []*ir.Cluster) []place {
	if a.clusters == nil {
		a.clusters = make([]place, len(list))
		for i, c := range list {
			a.clusters[i].dest, a.clusters[i].key = outboundDestination(c.Destination, a.env)
		}
	}
	return a.clusters
}

// idle tells whether the kind has nothing to say on this proxy.
func (d *dresser) idle() bool { return len(d.r.m.sel) == 0 && !d.p.absent }

// take sets the context's origins to those of the conf and returns the conf, a
// nil *C if there is none and the kind acts even then, or nil.
func (x *Context) take(m *merged, p *Policy) any {
	x.Origins = nil
	if m != nil {
		x.Origins = m.origins
		return m.conf
	}
	if p.absent {
		return p.none
	}
	return nil
}

// note records the origins of what was written to a node.
func (x *Context) note(to *ir.Origins) {
	if len(x.Origins) == 0 {
		return
	}
	if *to == nil {
		*to = ir.Origins{}
	}
	(*to)[x.Kind] = x.Origins
}

func (d *dresser) inbounds() {
	h := d.p.hooks
	if (h.inbound == nil && h.clients == nil) || d.idle() {
		return
	}
	for _, in := range d.x.Proxy.Inbounds {
		port := d.m.port(in.Address, in.Port)
		if h.inbound != nil {
			if c := d.x.take(d.portConf(port), d.p); c != nil {
				h.inbound(c, in, d.x)
				d.x.note(&in.Origins)
			}
		}
		if h.clients != nil {
			items, ok := d.r.forClients(port)
			if !ok && !d.p.absent {
				continue
			}
			d.x.Origins = nil
			for _, it := range items {
				d.x.Origins = append(d.x.Origins, it.origin)
			}
			h.clients(items, in, d.x)
			d.x.note(&in.Origins)
		}
	}
}

func (d *dresser) portConf(port int) *merged {
	if d.p.has(ListDefault) {
		return d.r.forProxy()
	}
	return d.r.forPort(port)
}

func (d *dresser) destinationConf(dest *destination, key resKey) *merged {
	if d.p.has(ListDefault) {
		return d.r.forProxy()
	}
	return d.r.forDestination(dest, key)
}

func (d *dresser) outbounds() {
	h := d.p.hooks
	if (h.outbound == nil && h.requests == nil) || d.idle() {
		return
	}
	places := d.at.ofOutbounds(d.x.Proxy.Outbounds)
	for i, o := range d.x.Proxy.Outbounds {
		dest, key := places[i].dest, places[i].key
		c := d.destinationConf(dest, key)
		if h.outbound != nil {
			if conf := d.x.take(c, d.p); conf != nil {
				h.outbound(conf, o, d.x)
				d.x.note(&o.Origins)
			}
		}
		if h.requests != nil && o.HTTP != nil {
			d.requests(o, dest, key, c)
		}
	}
}

func (d *dresser) requests(o *ir.Outbound, dest *destination, key resKey, c *merged) {
	for _, r := range o.HTTP.Routes {
		rc := c
		if d.r.m.routed && r.Name != "" {
			at := *dest
			at.route = r.Name
			rc = d.r.forDestination(&at, resKey{key.dest, r.Name})
		}
		if conf := d.x.take(rc, d.p); conf != nil {
			d.p.hooks.requests(conf, r, o, d.x)
			d.x.note(&r.Origins)
		}
	}
}

func (d *dresser) clusters() {
	h := d.p.hooks.cluster
	if h == nil || d.idle() {
		return
	}
	places := d.at.ofClusters(d.x.Proxy.Clusters)
	for i, cl := range d.x.Proxy.Clusters {
		var m *merged
		if d.p.fromInbound {
			m = d.anyPortConf()
		} else {
			m = d.destinationConf(places[i].dest, places[i].key)
		}
		if conf := d.x.take(m, d.p); conf != nil {
			h(conf, cl, d.x)
			d.x.note(&cl.Origins)
		}
	}
}

// anyPortConf returns the conf of the first port that has one.
func (d *dresser) anyPortConf() *merged {
	for _, in := range d.x.Proxy.Inbounds {
		port := d.m.port(in.Address, in.Port)
		if m := d.r.forPort(port); m != nil {
			return m
		}
	}
	return nil
}

// passthroughService is the name by which items see traffic that leaves the mesh.
const passthroughService = "pass_through"

func (d *dresser) rest() {
	h := d.p.hooks
	if d.idle() {
		return
	}
	if h.passthrough != nil && d.x.Proxy.Transparent != nil {
		dest := &destination{service: passthroughService}
		if conf := d.x.take(d.destinationConf(dest, resKey{dest: ir.DestKey{Name: passthroughService}}), d.p); conf != nil {
			h.passthrough(conf, d.x)
			d.x.note(&d.x.Proxy.Transparent.Origins)
		}
	}
	if h.proxy != nil {
		if conf := d.x.take(d.r.forProxy(), d.p); conf != nil {
			h.proxy(conf, d.x)
			d.x.note(&d.x.Proxy.Origins)
		}
	}
}

// outboundDestination puts a destination into the words of items.
func outboundDestination(d ir.Destination, env *Env) (*destination, resKey) {
	if env.Backends == nil {
		return destinationIn(d, nil)
	}
	return destinationIn(d, env.Backends.Labels)
}

// destinationIn is outboundDestination with the labels of resources.
func destinationIn(d ir.Destination, labels func(ir.Destination) map[string]string) (*destination, resKey) {
	key := resKey{dest: ir.DestKey{Kind: d.Kind, Mesh: d.Mesh, Name: d.Name, Section: d.Section}}
	if !Resource(d) {
		return &destination{service: d.Name}, key
	}
	out := &destination{
		kind: d.Kind, section: d.Section,
		id: identity{name: d.Display, mesh: d.Mesh, namespace: d.Namespace, zone: d.Zone},
	}
	if labels != nil {
		out.labels = labels(d)
	}
	return out, key
}

// Resource tells whether a destination is a resource that items select by name
// or labels, and not a service known by its tag.
func Resource(d ir.Destination) bool {
	switch d.Kind {
	case RefMeshService, RefMeshExternalService, RefMeshMultiZoneService:
		return true
	}
	return false
}

// SourceOf returns what of a policy object completes the references in it.
func SourceOf(o *model.Object) Source {
	return Source{Mesh: o.Meta.Mesh, Zone: o.Label(model.LabelZone), Namespace: o.Label(model.LabelK8sNamespace)}
}
