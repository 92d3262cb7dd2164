package policy

import (
	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// PlacedBackend is a reference to a backend with its path below the conf.
type PlacedBackend struct {
	Path []any
	Ref  BackendRef
	// Copy: only copies go there, so that weights mean nothing.
	Copy bool
}

// Reference is a reference in a policy object to a destination.
type Reference struct {
	// Path leads to it: spec, to, 0, targetRef.
	Path []any
	Ref  TargetRef
	// Backend is nil for the destination that an item is about.
	Backend *BackendRef
	Copy    bool
}

// References returns the references of a policy object to destinations, each item
// followed by the backends that it names.
func (p *Policy) References(o *model.Object) []Reference {
	var out []Reference
	for i, it := range p.parts(o.Spec).to {
		at := []any{"spec", string(ListTo), i}
		out = append(out, Reference{Path: join(at, "targetRef"), Ref: it.ref})
		if p.backends == nil {
			continue
		}
		if !p.inline {
			at = join(at, "default")
		}
		for _, b := range p.backends(it.conf) {
			out = append(out, Reference{Path: join(at, b.Path...), Ref: b.Ref.TargetRef, Backend: &b.Ref, Copy: b.Copy})
		}
	}
	return out
}

func join(at []any, more ...any) []any { return append(at[:len(at):len(at)], more...) }

// Spoken is a conf that only means something with some protocols.
type Spoken struct {
	// Path leads to the conf.
	Path []any
	// Ref is the item's target; nil for traffic that enters the selected proxies.
	Ref *TargetRef
	// Protocols are those with which a value of the conf counts.
	Protocols []ir.Protocol
}

// Spoken returns the confs of a policy object of which no value counts with some
// protocols.
func (p *Policy) Spoken(o *model.Object) []Spoken {
	if p.fits == nil && p.protocols == nil {
		return nil
	}
	var out []Spoken
	ps := p.parts(o.Spec)
	take := func(list List, items []item) {
		for i := range items {
			s := Spoken{Path: []any{"spec", string(list), i}, Protocols: p.protocols}
			if p.fits != nil {
				s.Protocols = p.counts(items[i].conf)
			}
			if len(s.Protocols) == 0 || len(s.Protocols) == len(ir.Protocols()) {
				continue
			}
			if !p.inline {
				s.Path = append(s.Path, "default")
			}
			if list == ListTo {
				s.Ref = &items[i].ref
			}
			out = append(out, s)
		}
	}
	take(ListTo, ps.to)
	take(ListFrom, ps.from)
	take(ListRules, ps.rules)
	return out
}

// counts returns the protocols with which a value of a conf counts.
func (p *Policy) counts(conf any) []ir.Protocol {
	var out []ir.Protocol
	values := leavesOf(conf)
	for _, protocol := range ir.Protocols() {
		for _, l := range values {
			if l.path != "" && p.fits(l.path, protocol) {
				out = append(out, protocol)
				break
			}
		}
	}
	return out
}

// Selects tells whether a reference in policy o selects a destination; labels are
// those of a destination that is a resource.
func Selects(ref TargetRef, o *model.Object, d ir.Destination, labels map[string]string) bool {
	dest, _ := destinationIn(d, func(ir.Destination) map[string]string { return labels })
	return refSelects(&ref, o, dest)
}

// Route returns the MeshHTTPRoute that the top level of policy o names among the
// routes of its mesh; ok is true if it names none.
func (p *Policy) Route(o *model.Object, routes *model.Table) (route *model.Object, ok bool) {
	top := p.Top(o)
	if top.Kind != RefMeshHTTPRoute {
		return nil, true
	}
	row, ok := findRoute(top, routes)
	return row.Object, ok
}
