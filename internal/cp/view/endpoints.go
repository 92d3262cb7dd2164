package view

import (
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Endpoints returns the endpoints that a ref names, sorted; the caller must not
// change them.
func (m *Mesh) Endpoints(ref ir.EndpointsRef) []ir.Endpoint {
	list := m.endpointsOf(ref.Dest).list
	if ref.Subset == "" {
		return list
	}
	want := parseSubset(ref.Subset)
	var out []ir.Endpoint
	for _, e := range list {
		if hasTags(e.Tags, want) {
			out = append(out, e)
		}
	}
	return out
}

// EndpointsHash covers all endpoints of a destination.
func (m *Mesh) EndpointsHash(dest ir.DestKey) model.Hash { return m.endpointsOf(dest).hash }

func (m *Mesh) endpointsOf(dest ir.DestKey) *endpoints {
	switch dest.Kind {
	case "":
		if s := m.services[dest.Name]; s != nil {
			return s.endpoints
		}
	case kinds.MeshService.Name:
		if s := m.resources.byName[dest.Name]; s != nil {
			for i, d := range s.res.Ports {
				if d.Section == dest.Section {
					return s.endpoints[i]
				}
			}
		}
	default:
		if e := m.joined[dest]; e != nil {
			return e
		}
	}
	return noEndpoints
}

// ChangedEndpoints returns the destinations whose endpoints differ from those in
// an older view.
func (m *Mesh) ChangedEndpoints(old *Mesh) []ir.DestKey {
	if m == old {
		return nil
	}
	if m.before == old.id {
		return m.changed
	}
	return m.differing(old)
}

// differing compares with another view. What both share is skipped.
func (m *Mesh) differing(old *Mesh) []ir.DestKey {
	var out []ir.DestKey
	compare := func(k ir.DestKey) {
		if a, b := m.endpointsOf(k), old.endpointsOf(k); a != b && a.hash != b.hash {
			out = append(out, k)
		}
	}
	for name, s := range m.services {
		if old.services[name] != s {
			compare(ir.DestKey{Mesh: m.name, Name: name})
		}
	}
	for name := range old.services {
		if m.services[name] == nil {
			compare(ir.DestKey{Mesh: m.name, Name: name})
		}
	}
	for _, pair := range [][2]*meshServices{{m.resources, old.resources}, {old.resources, m.resources}} {
		for name, s := range pair[0].byName {
			other := pair[1].byName[name]
			if s == other {
				continue
			}
			for _, d := range s.res.Ports {
				if k := d.Key(); pair[0] == m.resources || m.dests.byKey[k] == nil {
					compare(k)
				}
			}
		}
	}
	for k := range m.joined {
		compare(k)
	}
	for k := range old.joined {
		if m.joined[k] == nil {
			compare(k)
		}
	}
	return out
}

// parseSubset reads "k=v,k2=v2".
func parseSubset(s string) map[string]string {
	out := map[string]string{}
	for pair := range strings.SplitSeq(s, ",") {
		k, v, _ := strings.Cut(pair, "=")
		out[k] = v
	}
	return out
}

// hasTags tells whether an endpoint has all wanted tags; "*" stands for any value.
func hasTags(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || v != kinds.MatchAll && got != v {
			return false
		}
	}
	return true
}
