// Package policy is what all targetRef policies share: references, validation of
// targets, the choice of the policies that match a proxy, their precedence, the
// merging of their confs, and the application of the result to the description
// of a proxy (ir.Proxy). A policy kind is one Def in a leaf package, listed in
// package catalog.
//
// The way through it:
//
//	Indexes   one mesh's policies, parsed and ordered          (view, per change of a table)
//	Match     Indexes × Facts of a proxy → Matched             (view, per proxy; part of its inputs)
//	Shape     Matched × ir.Proxy → routes and splits           (build)
//	Dress     Matched × ir.Proxy → everything else             (build)
//
// Everything is a pure function of its arguments. Indexes, Matched and Memo may
// be shared by goroutines; an ir.Proxy belongs to one.
package policy

import (
	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// Item is an element of spec.to or spec.from: a conf for what it selects.
type Item[C any] struct {
	// TargetRef selects destinations (to) or clients (from).
	TargetRef TargetRef `json:"targetRef" schema:"required"`
	// Default is what holds for what was selected.
	Default C `json:"default,omitzero"`
}

// Rule is an element of spec.rules: a conf for all traffic that enters.
type Rule[C any] struct {
	// Default is what holds for traffic that enters the selected proxies.
	Default C `json:"default,omitzero"`
}

// Parts are the parts of a policy's spec in a form that does not depend on the kind.
type Parts[C any] struct {
	Target   *TargetRef
	To, From []Item[C]
	Rules    []Rule[C]
	// Default is the conf of policies that have neither of the lists.
	Default *C
}

// List names the place of a conf in a spec.
type List string

// The places.
const (
	ListTo      List = "to"
	ListFrom    List = "from"
	ListRules   List = "rules"
	ListDefault List = "default"
)

// Where tells a leaf's validation which conf it looks at.
type Where struct {
	// Top is the policy's own target, never without kind.
	Top TargetRef
	// Ref is the item's target; nil in rules and default.
	Ref  *TargetRef
	List List
}

// Def describes a policy kind. C is its conf: what may be set under default.
// Hooks that are nil do nothing. A hook gets the merged conf for its node; the
// conf is shared and must not be changed. Hooks cannot fail: what is invalid was
// refused at the gate, what cannot be done becomes a warning (Context.Warn).
type Def[C any] struct {
	// Kind: Name, Plural, Short, One, Many, Display, DisplayPlural and New have
	// to be given; the rest follows.
	Kind    model.Kind
	Targets Targets
	// Parts takes a spec (what New returns) apart.
	Parts func(spec any) Parts[C]
	// Lists are the lists that the spec has.
	Lists []List
	// FromAsRules: from only selects Mesh and means the same as rules.
	FromAsRules bool

	// ValidateSpec adds what is wrong with the spec as a whole; v is at "spec".
	ValidateSpec func(o *model.Object, p Parts[C], v *model.Violations)
	// Validate adds what is wrong with a conf; v is at the conf's default, or at
	// its item if Inline says that the conf's fields stand beside targetRef.
	Validate func(c *C, v *model.Violations, w Where)
	Inline   bool
	// Warn returns sentences about what is accepted but likely not meant.
	Warn func(o *model.Object, p Parts[C]) []string

	// Merge overrides how confs of ascending precedence become one; nil = JSON
	// merge patch, lists whose name starts with "append" concatenated.
	Merge func(cs []Contribution[C]) *C
	// Fits tells whether the value at a path below the conf means something where
	// a protocol is spoken; nil = all do. It serves to explain, see Explain.
	Fits func(path string, p ir.Protocol) bool
	// Absent: hooks also run, with a nil conf, where no policy says anything.
	Absent bool

	// Shape decides where an outbound's traffic goes; see the function Shape.
	Shape func(c *C, o *ir.Outbound, x *Context)

	// Inbound acts on a port on which others reach the workload, and its Local
	// cluster. The conf is of the rules (or from) of the policies that selected
	// the port.
	Inbound func(c *C, i *ir.Inbound, x *Context)
	// Clients acts on the same, with the confs of from told apart by client, from
	// weak to strong; see Exclude.
	Clients func(items []ClientItem[C], i *ir.Inbound, x *Context)
	// Outbound acts on a port on which the workload reaches a destination.
	Outbound func(c *C, o *ir.Outbound, x *Context)
	// Requests acts on a route of an outbound; its conf also counts policies
	// whose top level selects the route.
	Requests func(c *C, r *ir.Route, o *ir.Outbound, x *Context)
	// Cluster acts on what outbounds and routes send to.
	Cluster func(c *C, cl *ir.Cluster, x *Context)
	// OfCluster tells whether Cluster uses the value at a path below the conf; nil =
	// it uses all. It serves to explain, as Fits, without which it has no effect.
	OfCluster func(path string) bool
	// ClusterFromInbounds: the conf of Cluster is that of the proxy's inbounds.
	ClusterFromInbounds bool
	// Passthrough acts on traffic that leaves the mesh; the conf is that of
	// items which select all destinations.
	Passthrough func(c *C, x *Context)
	// Patches returns the changes that a conf makes to finished resources; see
	// Policy.Patches.
	Patches func(c *C) []PlacedPatch
	// Proxy acts on the proxy as a whole, after the nodes.
	Proxy func(c *C, x *Context)
	// AtEgress says for which services outside of the mesh the kind acts on the
	// zone's egress, too.
	AtEgress EgressPart
	// Permits tells whether a conf of from lets clients connect. Only the kind
	// that decides about it has it; see Permissions.
	Permits func(c *C) bool

	// What follows is for findings about objects, not for configurations.

	// Backends returns the backends that a conf names.
	Backends func(c *C) []PlacedBackend
	// Protocols are those with which the kind has an effect; nil = Fits tells.
	Protocols []ir.Protocol
	// OnlyMTLS: the kind has an effect only in meshes with mutual TLS.
	OnlyMTLS bool
}

// Contribution is one conf that takes part in a merge.
type Contribution[C any] struct {
	Conf *C
	// Object is the policy it comes from, Rule the index in its list.
	Object *model.Object
	Rule   int
}

// ClientItem is a conf for the clients that have certain tags.
type ClientItem[C any] struct {
	// Tags the client has; none = all clients.
	Tags   map[string]string
	Conf   *C
	Origin ir.Origin
}

// TagMatch is a condition on a client's tag.
type TagMatch struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Not   bool   `json:"not"`
}

// Policy is a policy kind with its conf's type erased.
type Policy struct {
	Kind    *model.Kind
	Targets Targets
	// OnlyMTLS: the kind has an effect only in meshes with mutual TLS.
	OnlyMTLS bool

	parts       func(spec any) parts
	lists       []List
	fromAsRules bool
	absent      bool
	fromInbound bool
	atEgress    EgressPart
	inline      bool
	fits        func(path string, p ir.Protocol) bool // nil = all do
	ofCluster   func(path string) bool                // nil = all are
	merge       func(cs []contribution) any
	patches     func(c any) []PlacedPatch
	permits     func(c any) bool
	backends    func(c any) []PlacedBackend
	protocols   []ir.Protocol
	none        any // a nil *C
	hooks       hooks
}

// parts is Parts with confs as *C.
type parts struct {
	target   *TargetRef
	to, from []item
	rules    []item
	def      any // *C, nil = none
}

type item struct {
	ref  TargetRef
	conf any // *C
}

type contribution struct {
	conf any // *C
	obj  *model.Object
	rule int
}

type clientItem struct {
	tags   map[string]string
	conf   any // *C
	origin ir.Origin
}

type hooks struct {
	shape       func(c any, o *ir.Outbound, x *Context)
	inbound     func(c any, i *ir.Inbound, x *Context)
	clients     func(items []clientItem, i *ir.Inbound, x *Context)
	outbound    func(c any, o *ir.Outbound, x *Context)
	requests    func(c any, r *ir.Route, o *ir.Outbound, x *Context)
	cluster     func(c any, cl *ir.Cluster, x *Context)
	passthrough func(c any, x *Context)
	proxy       func(c any, x *Context)
}

// Define makes a Policy of a Def and completes its Kind.
func Define[C any](d Def[C]) *Policy {
	k := d.Kind
	p := &Policy{
		Kind: &k, Targets: d.Targets, OnlyMTLS: d.OnlyMTLS, lists: d.Lists,
		fromAsRules: d.FromAsRules, absent: d.Absent, fromInbound: d.ClusterFromInbounds, atEgress: d.AtEgress, inline: d.Inline, fits: d.Fits, ofCluster: d.OfCluster, protocols: d.Protocols,
		parts: func(spec any) parts { return erase(d.Parts(spec)) },
		merge: d.eraseMerge(), none: (*C)(nil), hooks: d.eraseHooks(),
	}
	if f := d.Patches; f != nil {
		p.patches = func(c any) []PlacedPatch { return f(c.(*C)) }
	}
	if f := d.Permits; f != nil {
		p.permits = func(c any) bool { return f(c.(*C)) }
	}
	if f := d.Backends; f != nil {
		p.backends = func(c any) []PlacedBackend { return f(c.(*C)) }
	}
	k.Scope, k.Shape = model.InMesh, model.SpecBlock
	k.Flow = model.BothWays
	k.Feeds = model.FeedsLabels | model.FeedsSpec
	k.Policy = &model.PolicyInfo{
		TargetRef: true, To: p.has(ListTo), From: p.has(ListFrom), Rules: p.has(ListRules), FromAsRules: d.FromAsRules,
	}
	k.Validate = func(o *model.Object, v *model.Violations) { d.validate(o, v.At("spec")) }
	k.Warn = d.warn
	k.Columns = []model.Column{
		{Title: "TARGETREF KIND", Value: func(o *model.Object) string { return p.Top(o).Kind }},
		{Title: "TARGETREF NAME", Value: func(o *model.Object) string { return p.Top(o).Name }},
	}
	return p
}

// Top returns the target of a policy object.
func (p *Policy) Top(o *model.Object) TargetRef { return topOf(p.parts(o.Spec).target) }

// PlacedPatch is a patch with the path of its value below the conf.
type PlacedPatch struct {
	Path  []any
	Patch ir.Patch
}

// Patches returns the changes that a policy object makes to finished resources,
// with the paths of their values. Who knows the types of these resources can
// check them before the object is stored.
func (p *Policy) Patches(o *model.Object) []PlacedPatch {
	ps := p.parts(o.Spec)
	if p.patches == nil || ps.def == nil {
		return nil
	}
	out := p.patches(ps.def)
	for i := range out {
		out[i].Path = append([]any{"spec", string(ListDefault)}, out[i].Path...)
	}
	return out
}

func (p *Policy) has(l List) bool {
	for _, x := range p.lists {
		if x == l {
			return true
		}
	}
	return false
}

func erase[C any](p Parts[C]) parts {
	out := parts{target: p.Target}
	for i := range p.To {
		out.to = append(out.to, item{p.To[i].TargetRef, &p.To[i].Default})
	}
	for i := range p.From {
		out.from = append(out.from, item{p.From[i].TargetRef, &p.From[i].Default})
	}
	for i := range p.Rules {
		out.rules = append(out.rules, item{conf: &p.Rules[i].Default})
	}
	if p.Default != nil {
		out.def = p.Default
	}
	return out
}

func (d *Def[C]) eraseMerge() func(cs []contribution) any {
	return func(cs []contribution) any {
		typed := make([]Contribution[C], len(cs))
		for i, c := range cs {
			typed[i] = Contribution[C]{Conf: c.conf.(*C), Object: c.obj, Rule: c.rule}
		}
		if d.Merge != nil {
			return d.Merge(typed)
		}
		return MergeConfs(typed)
	}
}

func (d *Def[C]) eraseHooks() hooks {
	var h hooks
	if f := d.Shape; f != nil {
		h.shape = func(c any, o *ir.Outbound, x *Context) { f(c.(*C), o, x) }
	}
	if f := d.Inbound; f != nil {
		h.inbound = func(c any, i *ir.Inbound, x *Context) { f(c.(*C), i, x) }
	}
	if f := d.Clients; f != nil {
		h.clients = func(items []clientItem, i *ir.Inbound, x *Context) { f(typedItems[C](items), i, x) }
	}
	if f := d.Outbound; f != nil {
		h.outbound = func(c any, o *ir.Outbound, x *Context) { f(c.(*C), o, x) }
	}
	if f := d.Requests; f != nil {
		h.requests = func(c any, r *ir.Route, o *ir.Outbound, x *Context) { f(c.(*C), r, o, x) }
	}
	if f := d.Cluster; f != nil {
		h.cluster = func(c any, cl *ir.Cluster, x *Context) { f(c.(*C), cl, x) }
	}
	if f := d.Passthrough; f != nil {
		h.passthrough = func(c any, x *Context) { f(c.(*C), x) }
	}
	if f := d.Proxy; f != nil {
		h.proxy = func(c any, x *Context) { f(c.(*C), x) }
	}
	return h
}

func typedItems[C any](items []clientItem) []ClientItem[C] {
	out := make([]ClientItem[C], len(items))
	for i, it := range items {
		out[i] = ClientItem[C]{Tags: it.tags, Conf: it.conf.(*C), Origin: it.origin}
	}
	return out
}
