package policy

import (
	"slices"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// Indexes are the policies of one mesh, parsed, ordered and indexed by what they
// select. They are immutable.
type Indexes struct {
	mesh string
	list []*index // parallel to the policies
	hash model.Hash
}

// index holds the objects of one policy kind.
type index struct {
	policy *Policy
	table  *model.Table
	routes model.Hash // of the routes that the kind's targets were resolved with
	all    []*compiled
	// any selects by nothing that could be looked up; the others are found by a
	// pair that a proxy must have.
	any     []*compiled
	byLabel map[pair][]*compiled
	byTag   map[pair][]*compiled
	byName  map[string][]*compiled // Dataplane by name
	byGate  map[string][]*compiled // MeshGateway by name
}

type pair struct{ key, value string }

// NewIndexes returns the indexes of a mesh's policies. prev may be nil; what did
// not change since is taken from it.
func NewIndexes(ps []*Policy, mesh string, tables model.Tables, prev *Indexes) *Indexes {
	x := &Indexes{mesh: mesh, list: make([]*index, len(ps))}
	routes := model.EmptyTable
	for _, p := range ps {
		if p.Kind.Name == RefMeshHTTPRoute {
			routes = tables.Table(p.Kind, mesh)
		}
	}
	hashes := make([]model.Hash, len(ps))
	for i, p := range ps {
		t := tables.Table(p.Kind, mesh)
		if prev != nil && i < len(prev.list) && prev.list[i].reusable(p, t, routes) {
			x.list[i] = prev.list[i]
		} else {
			x.list[i] = newIndex(p, t, routes)
		}
		hashes[i] = t.Hash()
	}
	x.hash = model.Fold(hashes...)
	return x
}

// Hash covers all policies of the mesh.
func (x *Indexes) Hash() model.Hash { return x.hash }

func (ix *index) reusable(p *Policy, t, routes *model.Table) bool {
	if ix.policy != p || ix.table.Hash() != t.Hash() {
		return false
	}
	return ix.routes == routes.Hash() || (p.Targets.Top|p.Targets.TopSystem)&MeshHTTPRoute == 0
}

func newIndex(p *Policy, t, routes *model.Table) *index {
	ix := &index{
		policy: p, table: t, routes: routes.Hash(),
		byLabel: map[pair][]*compiled{}, byTag: map[pair][]*compiled{},
		byName: map[string][]*compiled{}, byGate: map[string][]*compiled{},
	}
	for _, row := range t.Rows() {
		ix.all = append(ix.all, p.compile(row, routes))
	}
	order(ix.all)
	for _, c := range ix.all {
		ix.file(c)
	}
	return ix
}

// file puts a policy where a proxy that it may select will look.
func (ix *index) file(c *compiled) {
	t := c.top
	switch {
	case t.Kind == RefDataplane && len(t.Labels) > 0:
		add(ix.byLabel, rarest(t.Labels), c)
	case t.Kind == RefDataplane && t.Name != "":
		ix.byName[t.Name] = append(ix.byName[t.Name], c)
	case t.Kind == RefMeshGateway:
		ix.byGate[t.Name] = append(ix.byGate[t.Name], c)
	case t.Kind == RefMeshService || t.Kind == RefMeshServiceSubset:
		add(ix.byTag, pair{model.TagService, t.Name}, c)
	case t.Kind == RefMeshSubset && rarest(t.Tags) != (pair{}):
		add(ix.byTag, rarest(t.Tags), c)
	default:
		ix.any = append(ix.any, c)
	}
}

func add(m map[pair][]*compiled, k pair, c *compiled) { m[k] = append(m[k], c) }

func rarest(m map[string]string) pair {
	k, v := Rarest(m)
	return pair{k, v}
}

// Rarest returns the pair that is likely to be rare: names of services and
// applications rather than zones. "*" fits any value and cannot be looked up; if
// there is nothing else, the key is "".
func Rarest(m map[string]string) (key, value string) {
	common := func(k string) bool { return k == model.TagZone || k == model.TagProtocol }
	for k, v := range m {
		if v == "*" {
			continue
		}
		if key == "" || common(key) && !common(k) || common(key) == common(k) && k < key {
			key, value = k, v
		}
	}
	return key, value
}

// Matched are the policies that select one proxy, from weak to strong, by kind.
// It is immutable and is part of the proxy's inputs.
type Matched struct {
	list  []*match // parallel to the policies
	facts *Facts
	hash  model.Hash
	// Warnings tell about policies that were left out.
	Warnings []ir.Warning
}

// Hash covers the policies and what they select on the proxy.
func (m *Matched) Hash() model.Hash { return m.hash }

// Has tells whether a policy of the kind selects the proxy. Who shapes outbounds
// by older policies does so only where no newer route does.
func (m *Matched) Has(kind string) bool {
	for _, mt := range m.list {
		if mt.policy.Kind.Name == kind {
			return len(mt.sel) > 0
		}
	}
	return false
}

// port returns the index of the port with that address, -1 if there is none.
func (m *Matched) port(address string, port uint32) int {
	for i := range m.facts.Ports {
		if p := &m.facts.Ports[i]; p.Port == port && p.Address == address {
			return i
		}
	}
	return -1
}

// match holds the policies of one kind that select a proxy.
type match struct {
	policy *Policy
	sel    []selected
	// routed tells whether any of them is for routes only.
	routed bool
}

// selected is a policy with the ports of the proxy that it selects.
type selected struct {
	*compiled
	// ports are indexes into Facts.Ports or Definition.Listeners.
	ports []int
}

// Match returns the policies that select a proxy. It keeps f, which must not be
// changed afterwards.
func (x *Indexes) Match(f *Facts) *Matched {
	m := &Matched{list: make([]*match, len(x.list)), facts: f}
	keys := lookupKeys(f)
	var hs []model.Hash
	for i, ix := range x.list {
		mt := &match{policy: ix.policy}
		m.list[i] = mt
		for _, c := range ix.candidates(f, keys) {
			if c.shadow && !f.Shadow {
				continue
			}
			if c.missing != "" {
				m.Warnings = append(m.Warnings, ir.Warning{
					Kind: ix.policy.Kind.Name, Name: c.row.Meta.Name,
					Message: "has no effect: there is no MeshHTTPRoute " + c.missing + " in this mesh",
				})
				continue
			}
			ports, ok := c.selects(f)
			if !ok {
				continue
			}
			mt.sel = append(mt.sel, selected{c, ports})
			mt.routed = mt.routed || c.kind == RefMeshHTTPRoute
			hs = append(hs, c.hash)
		}
	}
	m.hash = model.Fold(hs...)
	return m
}

// lookup are the pairs under which policies for a proxy may be filed.
type lookup struct{ labels, tags []pair }

func lookupKeys(f *Facts) lookup {
	var l lookup
	for k, v := range f.Labels {
		l.labels = append(l.labels, pair{k, v})
	}
	seen := map[pair]bool{}
	addAll := func(tags map[string]string) {
		for k, v := range tags {
			if p := (pair{k, v}); !seen[p] {
				seen[p] = true
				l.tags = append(l.tags, p)
			}
		}
	}
	for _, p := range f.Ports {
		addAll(p.Tags)
	}
	addAll(f.Tags)
	if f.Definition != nil {
		for _, ls := range f.Definition.Listeners {
			addAll(ls.Tags)
		}
	}
	return l
}

// candidates returns the policies that may select the proxy, in order.
func (ix *index) candidates(f *Facts, l lookup) []*compiled {
	if len(ix.all) == 0 {
		return nil
	}
	out := slices.Clone(ix.any)
	out = append(out, ix.byName[f.Name]...)
	if f.Definition != nil {
		out = append(out, ix.byGate[f.Definition.Name]...)
	}
	if len(ix.byLabel) > 0 {
		for _, p := range l.labels {
			out = append(out, ix.byLabel[p]...)
		}
	}
	if len(ix.byTag) > 0 {
		for _, p := range l.tags {
			out = append(out, ix.byTag[p]...)
		}
	}
	slices.SortFunc(out, func(a, b *compiled) int { return a.pos - b.pos })
	return out
}
