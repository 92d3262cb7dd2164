package policy

import "weft/internal/mesh/model"

// Selecting are the policies of one kind that select a proxy, weakest first.
type Selecting struct {
	Kind    *model.Kind
	Objects []*model.Object
}

// Selecting returns the policies that select the proxy, by kind in the order of
// the catalog. Kinds without any are left out.
func (m *Matched) Selecting() []Selecting {
	var out []Selecting
	for _, mt := range m.list {
		if len(mt.sel) == 0 {
			continue
		}
		s := Selecting{Kind: mt.policy.Kind}
		for i := range mt.sel {
			// One policy on a MeshHTTPRoute is compiled once for each of its routes.
			if o := mt.sel[i].row.Object; len(s.Objects) == 0 || s.Objects[len(s.Objects)-1] != o {
				s.Objects = append(s.Objects, o)
			}
		}
		out = append(out, s)
	}
	return out
}

// Ports returns the inbounds that a policy object selects.
func (m *Matched) Ports(o *model.Object) []Port {
	var out []Port
	for _, mt := range m.list {
		if mt.policy.Kind != o.Kind {
			continue
		}
		for _, s := range mt.sel {
			if s.row.Meta.Name != o.Meta.Name || m.facts.Gateway == BuiltinGateway {
				continue
			}
			for _, i := range s.ports {
				out = append(out, m.facts.Ports[i])
			}
		}
	}
	return out
}
