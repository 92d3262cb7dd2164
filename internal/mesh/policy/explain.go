package policy

import (
	"fmt"
	"slices"
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// Explanation says what policies set at the places of one proxy, and why. The
// lists are parallel to those of the ir.Proxy that was explained.
type Explanation struct {
	Proxy       []Verdict
	Passthrough []Verdict
	Inbounds    []InboundVerdicts
	Outbounds   []OutboundVerdicts
	Clusters    [][]Verdict
}

// InboundVerdicts are of a port on which others reach the workload.
type InboundVerdicts struct {
	// All holds for every client.
	All []Verdict
	// Clients are the kinds that tell clients apart.
	Clients []ClientVerdicts
}

// OutboundVerdicts are of a port on which the workload reaches a destination.
type OutboundVerdicts struct {
	Destination []Verdict
	// Routes are verdicts of kinds that say something else for a route than for
	// its destination, parallel to HTTP.Routes.
	Routes [][]Verdict
}

// Verdict is the conf of one kind at one place, taken apart into values.
type Verdict struct {
	Kind string `json:"kind"`
	// Unused: it does nothing here, since it needs mutual TLS or HTTP that are not
	// there, or since an older policy decides.
	Unused bool    `json:"unused,omitempty"`
	Values []Value `json:"values"`
}

// Value is a value of a merged conf, with the policy that set it and those that
// set it, too, and lost.
type Value struct {
	// Path leads to the value below the conf; in lists that merge by a key, the
	// key stands in brackets. It is empty for a conf that says nothing.
	Path  string `json:"path"`
	Value any    `json:"value"`
	// Unused: it does nothing here, since it is for another protocol.
	Unused bool `json:"unused,omitempty"`
	// From is the strongest; for lists that are joined all, weakest first.
	From []Cited `json:"from"`
	// Over are the weaker ones, strongest first.
	Over []Lost `json:"over,omitempty"`
	// Element is the key of the list's element that it belongs to, "" for others.
	// Of routes it is their name.
	Element string `json:"-"`
}

// Cited names an item of a policy.
type Cited struct {
	Kind string `json:"kind"`
	Mesh string `json:"mesh"`
	Name string `json:"name"`
	// Path leads to the conf in the policy: spec.to[1].default.
	Path string `json:"path"`
}

// Lost is a value that a stronger policy replaced.
type Lost struct {
	Cited
	Value any `json:"value"`
	// Because says why the winner is stronger.
	Because string `json:"because"`
}

// ClientVerdicts are of a kind that tells the clients of a port apart.
type ClientVerdicts struct {
	Kind string
	// Unused as in Verdict.
	Unused bool
	p      *Policy
	items  []clientRef // from weak to strong
}

type clientRef struct {
	tags map[string]string
	ref  ref
}

// Groups returns the verdict of each item by itself, strongest first, with the
// tags that clients must have.
func (c *ClientVerdicts) Groups() []ClientGroup {
	out := make([]ClientGroup, 0, len(c.items))
	for _, it := range slices.Backward(c.items) {
		out = append(out, ClientGroup{Tags: it.tags, Values: attribute(c.p, []ref{it.ref}, false)})
	}
	return out
}

// ClientGroup is what an item says of the clients with these tags.
type ClientGroup struct {
	// Tags that a client has; none = all clients.
	Tags   map[string]string `json:"tags,omitempty"`
	Values []Value           `json:"values"`
}

// For returns the verdict for a client with these tags; false if no item is
// about it.
func (c *ClientVerdicts) For(tags map[string][]string) (Verdict, bool) {
	var refs []ref
	for _, it := range c.items {
		if hasAllOf(tags, it.tags) {
			refs = append(refs, it.ref)
		}
	}
	if len(refs) == 0 {
		return Verdict{}, false
	}
	return Verdict{Kind: c.Kind, Unused: c.Unused, Values: attribute(c.p, refs, false)}, true
}

// Explain tells why the policies that were applied to p set there what they set.
// labels returns those of destinations that are resources.
func Explain(p *ir.Proxy, m *Matched, labels func(ir.Destination) map[string]string, memo *Memo) *Explanation {
	x := &Explanation{
		Inbounds:  make([]InboundVerdicts, len(p.Inbounds)),
		Outbounds: make([]OutboundVerdicts, len(p.Outbounds)),
		Clusters:  make([][]Verdict, len(p.Clusters)),
	}
	byDest := map[resKey][]ir.Origins{}
	for _, c := range p.Clusters {
		_, key := destinationIn(c.Destination, nil)
		byDest[key] = append(byDest[key], c.Origins)
	}
	for _, r := range resolvers(m, memo) {
		if len(r.m.sel) == 0 {
			continue
		}
		e := explainer{x: x, p: p, m: m, r: r, labels: labels, byDest: byDest}
		if r.m.policy.has(ListDefault) {
			addTo(&x.Proxy, e.verdict(r.forProxy(), e.whole()))
			continue
		}
		e.inbounds()
		e.outbounds()
		e.clusters()
		if r.m.policy.hooks.passthrough != nil {
			d := &destination{service: passthroughService}
			at := spot{protocol: ir.ProtocolTCP}
			if p.Transparent != nil {
				at.wrote = []ir.Origins{p.Transparent.Origins}
			}
			addTo(&x.Passthrough, e.verdict(r.forDestination(d, resKey{dest: ir.DestKey{Name: passthroughService}}), at))
		}
	}
	return x
}

// explainer explains one kind.
type explainer struct {
	x      *Explanation
	p      *ir.Proxy
	m      *Matched
	r      *resolver
	labels func(ir.Destination) map[string]string
	// byDest are the origins of clusters by their destination.
	byDest map[resKey][]ir.Origins
}

func addTo(to *[]Verdict, v *Verdict) {
	if v != nil {
		*to = append(*to, *v)
	}
}

// spot is a place of a proxy that a conf is for.
type spot struct {
	// wrote are the origins that dressing noted there.
	wrote []ir.Origins
	// protocol is spoken there, "" = any; resource: see attribute.
	protocol ir.Protocol
	resource bool
	// connections: a MeshTCPRoute routes what speaks HTTP as connections.
	connections bool
	// cluster: only what is for clusters counts.
	cluster bool
}

func (e *explainer) verdict(c *merged, at spot) *Verdict {
	if c == nil {
		return nil
	}
	pol := e.r.m.policy
	v := &Verdict{Kind: pol.Kind.Name, Values: attribute(pol, c.refs, at.resource), Unused: !at.wroteBy(pol)}
	if pol.fits != nil && at.protocol != "" {
		for i := range v.Values {
			v.Values[i].Unused = !at.fits(pol, v.Values[i].Path)
		}
	}
	return v
}

// fits tells whether a value means something at the place. What is not for
// clusters has to fit how traffic is routed, too.
func (at *spot) fits(p *Policy, path string) bool {
	ofCluster := p.hooks.cluster != nil && (p.ofCluster == nil || p.ofCluster(path))
	if !ofCluster && (at.cluster || at.connections && !p.fits(path, ir.ProtocolTCP)) {
		return false
	}
	return p.fits(path, at.protocol)
}

// wroteBy tells whether a kind did something at the place.
func (at *spot) wroteBy(p *Policy) bool {
	return slices.ContainsFunc(at.wrote, func(o ir.Origins) bool { return len(o[p.Kind.Name]) > 0 })
}

// whole is the proxy with its listeners, where policies for all of it act.
func (e *explainer) whole() spot {
	at := spot{wrote: []ir.Origins{e.p.Origins}}
	if e.p.Transparent != nil {
		at.wrote = append(at.wrote, e.p.Transparent.Origins)
	}
	for _, in := range e.p.Inbounds {
		at.wrote = append(at.wrote, in.Origins)
	}
	for _, o := range e.p.Outbounds {
		at.wrote = append(at.wrote, o.Origins)
	}
	return at
}

// outbound is an outbound with its routes and the clusters of its destination.
func (e *explainer) outbound(o *ir.Outbound, key resKey) spot {
	at := spot{
		wrote: []ir.Origins{o.Origins}, protocol: protocolOf(o.Protocol), resource: Resource(o.Destination),
		connections: o.TCP != nil && o.Protocol.HTTPLike(),
	}
	if o.HTTP != nil {
		for _, r := range o.HTTP.Routes {
			at.wrote = append(at.wrote, r.Origins)
		}
	}
	at.wrote = append(at.wrote, e.byDest[key]...)
	return at
}

func protocolOf(p ir.Protocol) ir.Protocol {
	if p == ir.ProtocolUnknown {
		return ir.ProtocolTCP
	}
	return p
}

func (e *explainer) inbounds() {
	pol := e.r.m.policy
	for i, in := range e.p.Inbounds {
		port := e.m.port(in.Address, in.Port)
		if pol.hooks.clients == nil {
			if pol.fromAsRules || pol.has(ListRules) {
				at := spot{wrote: []ir.Origins{in.Origins}, protocol: protocolOf(in.Protocol)}
				addTo(&e.x.Inbounds[i].All, e.verdict(e.r.forPort(port), at))
			}
			continue
		}
		at := spot{wrote: []ir.Origins{in.Origins}}
		cv := ClientVerdicts{Kind: pol.Kind.Name, Unused: !at.wroteBy(pol), p: pol}
		for _, s := range e.r.m.sel {
			if !slices.Contains(s.ports, port) {
				continue
			}
			for j, it := range s.parts.from {
				if tags, ok := subsetOf(it.ref); ok {
					cv.items = append(cv.items, clientRef{tags, ref{s.compiled, ListFrom, j}})
				}
			}
		}
		if len(cv.items) > 0 {
			e.x.Inbounds[i].Clients = append(e.x.Inbounds[i].Clients, cv)
		}
	}
}

func (e *explainer) outbounds() {
	for i, o := range e.p.Outbounds {
		d, key := destinationIn(o.Destination, e.labels)
		whole := e.r.forDestination(d, key)
		out := &e.x.Outbounds[i]
		at := e.outbound(o, key)
		addTo(&out.Destination, e.verdict(whole, at))
		if o.HTTP == nil || !e.r.m.routed || e.r.m.policy.hooks.requests == nil {
			continue
		}
		if out.Routes == nil {
			out.Routes = make([][]Verdict, len(o.HTTP.Routes))
		}
		for j, route := range o.HTTP.Routes {
			if route.Name == "" {
				continue
			}
			one := *d
			one.route = route.Name
			if c := e.r.forDestination(&one, resKey{key.dest, route.Name}); c != whole {
				addTo(&out.Routes[j], e.verdict(c, spot{wrote: []ir.Origins{route.Origins}, protocol: at.protocol, resource: at.resource}))
			}
		}
	}
}

func (e *explainer) clusters() {
	if e.r.m.policy.hooks.cluster == nil || e.r.m.policy.fromInbound {
		return
	}
	for i, c := range e.p.Clusters {
		d, key := destinationIn(c.Destination, e.labels)
		at := spot{wrote: []ir.Origins{c.Origins}, protocol: protocolOf(c.Protocol), resource: d.kind != "", cluster: true}
		addTo(&e.x.Clusters[i], e.verdict(e.r.forDestination(d, key), at))
	}
}

// Keyed is implemented by confs with a list whose elements merge by a key.
type Keyed interface {
	// Keyed returns the elements, and the field of the conf for which they stand;
	// of two with one key in one conf the first counts.
	Keyed() (field string, elements []KeyedElement)
}

// KeyedElement is an element of a list that merges by a key.
type KeyedElement struct {
	// Key tells elements apart, Path shows where it stands.
	Key, Path string
	Value     any
}

// attribute merges the confs that the refs name, from weak to strong, and says of
// each value where it comes from. resource: they are ordered as for a resource.
func attribute(p *Policy, refs []ref, resource bool) []Value {
	layers := make([]map[string]leaf, len(refs))
	for i, r := range refs {
		layers[i] = map[string]leaf{}
		for _, l := range leavesOf(r.item().conf) {
			if _, has := layers[i][l.key]; !has {
				layers[i][l.key] = l
			}
		}
	}
	var out []Value
	for _, l := range leavesOf(mergeRefs(p, refs).conf) {
		v := Value{Path: l.path, Value: l.value, Element: l.element}
		var winner ref
		for i, r := range slices.Backward(refs) {
			mine, has := layers[i][l.key]
			switch {
			case !has:
			case l.joined:
				v.From = append([]Cited{r.cite()}, v.From...)
			case v.From == nil:
				v.From, winner = []Cited{r.cite()}, r
			default:
				v.Over = append(v.Over, Lost{Cited: r.cite(), Value: mine.value, Because: why(winner, r, resource)})
			}
		}
		if v.From == nil { // a conf that says nothing
			v.From = []Cited{refs[len(refs)-1].cite()}
		}
		out = append(out, v)
	}
	return out
}

func (r ref) cite() Cited {
	o := r.c.row.Object
	path := fmt.Sprintf("spec.%s[%d]", r.list, r.idx)
	if r.list == ListDefault {
		path = "spec"
	}
	if !r.c.policy.inline {
		path += ".default"
	}
	return Cited{Kind: o.Kind.Name, Mesh: o.Meta.Mesh, Name: o.Meta.Name, Path: path}
}

// leaf is a value of a conf that merging replaces as a whole.
type leaf struct {
	key, path string
	element   string // see Value
	value     any
	joined    bool // a list to which others add
}

// leavesOf returns the leaves of a conf in the order of their paths.
func leavesOf(conf any) []leaf {
	var out []leaf
	tree, _ := treeOf(conf).(map[string]any)
	if k, ok := conf.(Keyed); ok {
		field, elements := k.Keyed()
		delete(tree, field)
		for _, e := range elements {
			of := leaves(treeOf(e.Value), field+"["+e.Key+"]", e.Path, "")
			for i := range of {
				of[i].element = e.Key
			}
			out = append(out, of...)
		}
	}
	if len(out) == 0 || len(tree) > 0 {
		out = append(leaves(tree, "", "", ""), out...)
	}
	return out
}

func leaves(v any, key, path, name string) []leaf {
	m, ok := v.(map[string]any)
	if !ok || len(m) == 0 {
		_, list := v.([]any)
		return []leaf{{key: key, path: path, value: v, joined: list && strings.HasPrefix(name, "append")}}
	}
	var out []leaf
	for _, k := range sortedKeys(m) {
		out = append(out, leaves(m[k], dotted(key, k), dotted(path, k), k)...)
	}
	return out
}

func dotted(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func sortedKeys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// why says why one item is stronger than another: the first step of the order of
// precedence that tells them apart (policies.md 1.6).
func why(strong, weak ref, resource bool) string {
	a, b := strong.c, weak.c
	if a == b || a.row.Object == b.row.Object {
		if resource && compareItems(strong.item().ref, weak.item().ref) != 0 {
			return "it names the destination more closely"
		}
		return "it stands later in the same policy"
	}
	ao, bo := a.row.Object, b.row.Object
	switch {
	case compareTargets(a.own, b.own) != 0:
		return fmt.Sprintf("a policy for %s is stronger than one for %s", targetText(a.own), targetText(b.own))
	case compareOrigins(ao, bo) != 0:
		return fmt.Sprintf("a policy %s is stronger than one %s", originText(ao), originText(bo))
	case !resource && compareGatewayTags(a.own, b.own) != 0:
		return "it names more tags of the gateway's listeners"
	case compareRoles(ao, bo) != 0:
		return fmt.Sprintf("its role, %s, is stronger than %s", RoleOf(ao), RoleOf(bo))
	case resource && compareItems(strong.item().ref, weak.item().ref) != 0:
		return "it names the destination more closely"
	}
	an, bn := ao.DisplayName(), bo.DisplayName()
	if an == bn {
		an, bn = ao.Meta.Name, bo.Meta.Name
	}
	return fmt.Sprintf("of equal policies the one whose name comes first is stronger: %q before %q", an, bn)
}

func originText(o *model.Object) string {
	switch o.Label(model.LabelOrigin) {
	case model.OriginGlobal:
		return "of the global control plane"
	case model.OriginZone:
		return "of a zone"
	}
	return "without the label " + model.LabelOrigin
}

func targetText(t TargetRef) string {
	switch {
	case t.Kind == RefDataplane && t.SectionName != "":
		return "an inbound of a Dataplane"
	case t.Kind == RefDataplane && t.Name != "":
		return "a Dataplane by name"
	case t.Kind == RefDataplane && len(t.Labels) > 0:
		return "Dataplanes by labels"
	case t.Kind == RefMesh:
		return "the whole Mesh"
	}
	return "a " + t.Kind
}
