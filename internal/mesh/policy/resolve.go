package policy

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// resolver finds the conf of one policy kind for each node of one proxy. It
// remembers what it found, since most nodes have the same.
type resolver struct {
	m    *match
	memo *Memo
	// general tells whether all items select all destinations.
	general bool
	res     map[resKey]*merged
	single  *merged
	done    bool
}

type resKey struct {
	dest ir.DestKey
	hash string
}

// destination is a destination in the words of items: a service known by its
// tag, or a resource.
type destination struct {
	service string // if it is no resource
	kind    string // if it is one
	id      identity
	section string
	labels  map[string]string
	// route is the name of a route of it, "" = the destination as a whole.
	route string
}

func newResolver(m *match, memo *Memo) *resolver {
	r := &resolver{m: m, memo: memo, general: !m.routed}
	for _, s := range m.sel {
		for _, it := range s.parts.to {
			r.general = r.general && it.ref.Kind == RefMesh
		}
	}
	return r
}

// ref is a conf that takes part, by its place.
type ref struct {
	c    *compiled
	list List
	idx  int
}

func (r ref) item() item {
	switch r.list {
	case ListTo:
		return r.c.parts.to[r.idx]
	case ListFrom:
		return r.c.parts.from[r.idx]
	case ListRules:
		return r.c.parts.rules[r.idx]
	case ListDefault:
	}
	return item{conf: r.c.parts.def}
}

// conf merges what the refs name, or finds it in the memo. nil = no refs.
func (r *resolver) conf(refs []ref) *merged {
	if len(refs) == 0 {
		return nil
	}
	return r.memo.get(memoKey{r.m.policy, hashRefs(refs)}, func() *merged {
		return mergeRefs(r.m.policy, refs)
	})
}

func hashRefs(refs []ref) model.Hash {
	b := make([]byte, 0, 24*len(refs))
	for _, x := range refs {
		b = append(b, x.c.hash[:]...)
		b = append(b, x.list[0])
		b = binary.AppendUvarint(b, uint64(x.idx))
	}
	return model.HashOf(b)
}

func mergeRefs(p *Policy, refs []ref) *merged {
	cs := make([]contribution, len(refs))
	out := &merged{refs: refs}
	for i, x := range refs {
		o := x.c.row.Object
		cs[i] = contribution{conf: x.item().conf, obj: o, rule: x.idx}
		out.origins = append(out.origins, OriginOf(o, x.idx))
	}
	out.conf = p.merge(cs)
	return out
}

// OriginOf names a rule of a policy object.
func OriginOf(o *model.Object, rule int) ir.Origin {
	return ir.Origin{Kind: o.Kind.Name, Mesh: o.Meta.Mesh, Name: o.Meta.Name, Rule: rule}
}

// forProxy returns the conf of policies that have only a default.
func (r *resolver) forProxy() *merged {
	if !r.done {
		r.done = true
		var refs []ref
		for _, s := range r.m.sel {
			if s.parts.def != nil {
				refs = append(refs, ref{s.compiled, ListDefault, 0})
			}
		}
		r.single = r.conf(refs)
	}
	return r.single
}

// forPort returns the conf of traffic that enters a port (policies.md 1.10).
func (r *resolver) forPort(port int) *merged {
	var refs []ref
	for _, s := range r.m.sel {
		if slices.Contains(s.ports, port) {
			refs = append(refs, s.inboundRefs()...)
		}
	}
	return r.conf(refs)
}

// inboundRefs returns the rules of a policy, or what stands for them.
func (c *compiled) inboundRefs() []ref {
	if len(c.parts.rules) > 0 {
		return refsOf(c, ListRules, len(c.parts.rules))
	}
	return refsOf(c, ListFrom, len(c.parts.from))
}

func refsOf(c *compiled, l List, n int) []ref {
	out := make([]ref, n)
	for i := range out {
		out[i] = ref{c, l, i}
	}
	return out
}

// forClients returns the items for traffic that enters a port, from weak to
// strong. ok is false if no policy selected the port.
func (r *resolver) forClients(port int) (items []clientItem, ok bool) {
	for _, s := range r.m.sel {
		if !slices.Contains(s.ports, port) {
			continue
		}
		ok = true
		for i, it := range s.parts.from {
			if tags, ok := subsetOf(it.ref); ok {
				items = append(items, clientItem{tags: tags, conf: it.conf, origin: OriginOf(s.row.Object, i)})
			}
		}
	}
	return items, ok
}

// forDestination returns the conf for traffic to a destination.
func (r *resolver) forDestination(d *destination, key resKey) *merged {
	if len(r.m.sel) == 0 {
		return nil
	}
	if r.general {
		// Resources and services differ in the order of items only when some
		// items are more specific than others.
		key = resKey{}
	}
	if m, ok := r.res[key]; ok {
		return m
	}
	m := r.conf(r.toRefs(d))
	if r.res == nil {
		r.res = map[resKey]*merged{}
	}
	r.res[key] = m
	return m
}

// toRefs returns the items that select a destination, from weak to strong.
func (r *resolver) toRefs(d *destination) []ref {
	var out []ref
	for _, s := range r.m.sel {
		for i := range s.parts.to {
			if s.selectsDestination(&s.parts.to[i].ref, d) {
				out = append(out, ref{s.compiled, ListTo, i})
			}
		}
	}
	if d.kind != "" {
		slices.SortStableFunc(out, compareRefs)
	}
	return out
}

// compareRefs orders the items for resources: among policies of equal rank the
// item's own kind counts before the policy's name (policies.md 1.6).
func compareRefs(a, b ref) int {
	if a.c == b.c {
		return compareItems(a.item().ref, b.item().ref)
	}
	return cmp.Or(
		compareTargets(a.c.own, b.c.own),
		compareOrigins(a.c.row.Object, b.c.row.Object),
		compareRoles(a.c.row.Object, b.c.row.Object),
		compareItems(a.item().ref, b.item().ref),
		strings.Compare(b.c.row.DisplayName(), a.c.row.DisplayName()),
		a.c.pos-b.c.pos,
	)
}

func compareItems(a, b TargetRef) int {
	if n := rank(a.Kind) - rank(b.Kind); n != 0 || a.Kind != RefMeshService {
		return n
	}
	return compareBool(a.SectionName != "", b.SectionName != "")
}

// selectsDestination tells whether an item of the policy selects a destination.
func (c *compiled) selectsDestination(t *TargetRef, d *destination) bool {
	if c.kind == RefMeshHTTPRoute {
		return d.route != "" && refSelects(t, c.row.Object, d) && c.selectsRoute(d)
	}
	return refSelects(t, c.row.Object, d)
}

// selectsRoute tells whether the route that the policy is for made route d.route.
func (c *compiled) selectsRoute(d *destination) bool {
	for i := range c.routes {
		if c.routes[i].Hash == d.route && refSelects(&c.routes[i].Target, c.origin, d) {
			return true
		}
	}
	return false
}

// refSelects tells whether a reference in policy o selects a destination.
func refSelects(t *TargetRef, o *model.Object, d *destination) bool {
	if t.Kind == RefMesh {
		return true
	}
	if d.kind == "" {
		switch t.Kind {
		case RefMeshService:
			return t.Name != "" && t.Name == d.service
		case RefMeshServiceSubset:
			return t.Name == d.service && len(t.Tags) == 0
		}
		return false
	}
	if t.Kind != d.kind {
		return false
	}
	if t.SectionName != "" && t.Kind != RefMeshExternalService && t.SectionName != d.section {
		return false
	}
	if len(t.Labels) > 0 {
		return labelsMatch(t.Labels, d.labels)
	}
	if t.Kind == RefMeshService && t.SectionName == "" {
		if name, ns, port, ok := kubeServiceName(t.Name); ok {
			return d.labels[model.LabelK8sNamespace] == ns && d.labels[model.LabelDisplayName] == name &&
				(port == "" || port == d.section)
		}
	}
	want := refIdentity(*t, o)
	if d.kind == RefMeshMultiZoneService {
		want.zone = d.id.zone // it is in no zone, whatever zone the policy is from
	}
	return want == d.id
}
