package policy

import (
	"cmp"
	"encoding/binary"
	"slices"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// Effects finds out, over the proxies of a mesh, which policies never set a value
// because stronger ones set it everywhere. It asks the same resolution that
// configurations are made with, for each destination of the mesh.
type Effects struct {
	dests []place
	memo  *Memo
	seen  map[model.Hash]bool // selections that were looked at
	done  map[memoKey]bool    // lists of items that were looked at
	won   map[Cited]bool
	lost  map[Cited]map[Cited]bool // to whom
}

// NewEffects returns Effects for these destinations of a mesh.
func NewEffects(dests []ir.Destination, labels func(ir.Destination) map[string]string, memo *Memo) *Effects {
	e := &Effects{memo: memo, seen: map[model.Hash]bool{}, done: map[memoKey]bool{}, won: map[Cited]bool{}, lost: map[Cited]map[Cited]bool{}}
	for _, d := range dests {
		var p place
		p.dest, p.key = destinationIn(d, labels)
		e.dests = append(e.dests, p)
	}
	pass := &destination{service: passthroughService}
	e.dests = append(e.dests, place{pass, resKey{dest: ir.DestKey{Name: passthroughService}}})
	return e
}

// Add looks at a proxy. Proxies that the same policies select alike cost nothing.
func (e *Effects) Add(m *Matched) {
	h := m.selection()
	if e.seen[h] {
		return
	}
	e.seen[h] = true
	for _, r := range resolvers(m, e.memo) {
		switch p := r.m.policy; {
		case len(r.m.sel) == 0:
		case p.has(ListDefault):
			e.consider(p, r.forProxy(), false)
		default:
			e.inbounds(r, len(m.facts.ports()))
			e.outbounds(r)
		}
	}
}

// selection covers which policies select which ports.
func (m *Matched) selection() model.Hash {
	var b []byte
	for _, mt := range m.list {
		for _, s := range mt.sel {
			b = append(b, s.hash[:]...)
			for _, p := range s.ports {
				b = binary.AppendUvarint(b, uint64(p)+1)
			}
			b = append(b, 0)
		}
	}
	return model.HashOf(b)
}

func (e *Effects) inbounds(r *resolver, ports int) {
	p := r.m.policy
	for port := range ports {
		if p.hooks.clients == nil {
			e.consider(p, r.forPort(port), false)
			continue
		}
		var items []clientRef
		for _, s := range r.m.sel {
			if !slices.Contains(s.ports, port) {
				continue
			}
			for i, it := range s.parts.from {
				if tags, ok := subsetOf(it.ref); ok {
					items = append(items, clientRef{tags, ref{s.compiled, ListFrom, i}})
				}
			}
		}
		// For clients with just the tags of an item all items with fewer hold, too.
		for _, it := range items {
			var refs []ref
			for _, other := range items {
				if containsAll(it.tags, other.tags) {
					refs = append(refs, other.ref)
				}
			}
			e.consider(p, &merged{refs: refs}, false)
		}
	}
}

func (e *Effects) outbounds(r *resolver) {
	var routes []string
	for _, s := range r.m.sel {
		for _, route := range s.routes {
			routes = append(routes, route.Hash)
		}
	}
	for _, at := range e.dests {
		e.consider(r.m.policy, r.forDestination(at.dest, at.key), at.dest.kind != "")
		for _, route := range routes {
			d := *at.dest
			d.route = route
			e.consider(r.m.policy, r.forDestination(&d, resKey{at.key.dest, route}), at.dest.kind != "")
		}
	}
}

// consider notes who wins among the items that make a conf.
func (e *Effects) consider(p *Policy, c *merged, resource bool) {
	if c == nil || len(c.refs) == 0 {
		return
	}
	key := memoKey{p, hashRefs(c.refs)}
	if e.done[key] {
		return
	}
	e.done[key] = true
	for _, r := range c.refs {
		if k := r.c.whole(); e.lost[k] == nil {
			e.lost[k] = map[Cited]bool{}
		}
	}
	if len(c.refs) == 1 {
		e.won[c.refs[0].c.whole()] = true
		return
	}
	for _, v := range attribute(p, c.refs, resource) {
		for _, f := range v.From {
			f.Path = ""
			e.won[f] = true
			for _, l := range v.Over {
				l.Path = ""
				e.lost[l.Cited][f] = true
			}
		}
	}
}

// whole cites a policy as a whole.
func (c *compiled) whole() Cited {
	o := c.row.Object
	return Cited{Kind: o.Kind.Name, Mesh: o.Meta.Mesh, Name: o.Meta.Name}
}

// Overruled is a policy that takes part somewhere and sets nothing anywhere.
type Overruled struct {
	Cited
	// By are the policies that set everything that it would set.
	By []Cited
}

// Overruled returns the policies of which no value is in force anywhere though
// they select proxies and destinations, sorted.
func (e *Effects) Overruled() []Overruled {
	var out []Overruled
	for c, to := range e.lost {
		if e.won[c] {
			continue
		}
		o := Overruled{Cited: c}
		for by := range to {
			o.By = append(o.By, by)
		}
		slices.SortFunc(o.By, compareCited)
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b Overruled) int { return compareCited(a.Cited, b.Cited) })
	return out
}

func compareCited(a, b Cited) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Mesh, b.Mesh), cmp.Compare(a.Name, b.Name))
}
