package policy

import (
	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// EgressPart is what a policy kind acts on at a zone's egress.
type EgressPart uint8

// The parts.
const (
	// EgressServices are older ExternalServices, told by their tags.
	EgressServices EgressPart = 1 << iota
	// EgressResources are MeshExternalServices.
	EgressResources
)

// MatchResources returns the policies for MeshExternalServices at an egress: all of
// the mesh, as no client is known there that their top level could select
// (policies.md 1.12).
func (x *Indexes) MatchResources() *Matched {
	return x.matchEgress(&Facts{Mesh: x.mesh, egress: true}, EgressResources, func(c *compiled, _ *Facts) ([]int, bool) {
		return nil, c.kind != RefMeshHTTPRoute
	})
}

// MatchService returns the policies for an ExternalService at an egress, which
// stands for a port at an address. Kinds about what comes in select it by its tags;
// of those about what goes out the ones count that are for any client.
func (x *Indexes) MatchService(address string, port uint32, tags map[string]string) *Matched {
	f := &Facts{Mesh: x.mesh, Ports: []Port{{Address: address, Port: port, Tags: tags}}, egress: true}
	return x.matchEgress(f, EgressServices, func(c *compiled, f *Facts) ([]int, bool) {
		if len(c.parts.from)+len(c.parts.rules) == 0 && len(c.parts.to) > 0 {
			return nil, c.top.Kind == RefMesh && len(c.top.ProxyTypes) == 0
		}
		return c.selects(f)
	})
}

func (x *Indexes) matchEgress(f *Facts, part EgressPart, selects func(*compiled, *Facts) ([]int, bool)) *Matched {
	m := &Matched{facts: f}
	var hs []model.Hash
	for _, ix := range x.list {
		if ix.policy.atEgress&part == 0 {
			continue
		}
		mt := &match{policy: ix.policy}
		m.list = append(m.list, mt)
		for _, c := range ix.all {
			if c.shadow || c.missing != "" {
				continue
			}
			if ports, ok := selects(c, f); ok {
				mt.sel = append(mt.sel, selected{c, ports})
				hs = append(hs, c.hash)
			}
		}
	}
	m.hash = model.Fold(hs...)
	return m
}

// BehindEgress tells whether a destination is reached through the egress of the
// zone, and this proxy is not the egress: then what is on the way there is no
// endpoint of the destination.
func (x *Context) BehindEgress(d ir.Destination) bool {
	return d.Kind == RefMeshExternalService && x.Proxy.Type != ir.ZoneEgress
}
