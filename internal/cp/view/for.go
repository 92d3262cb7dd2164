package view

import (
	"cmp"
	"slices"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// For returns the inputs of a proxy; false if there is no such object, or none
// of its mesh.
func (m *Mesh) For(kind *model.Kind, name string, md Metadata) (*Inputs, bool) {
	if kind.Name != kinds.Dataplane.Name || !m.exists {
		return nil, false
	}
	own := m.members.get(name)
	if own == nil {
		return nil, false
	}
	in := &Inputs{
		ID: ir.ProxyID{Mesh: m.name, Name: name}, Own: own.row, Node: md,
		CP: &m.cp, cpHash: m.cpHash, Mesh: m.mesh, meshHash: m.meshHash, Memo: m.memo,
		Policies: m.policies.Match(policy.FactsOf(own.row.Object, nil)),
		Legacy:   m.legacy.Match(own.spec),
	}
	if in.Policies.Routes() || in.Legacy.Routes() {
		in.Table = m.dests
	}
	in.Outbounds = m.outboundsOf(own)
	if own.direct {
		in.Direct = m.directAccess(own, in.Outbounds)
	}
	return in, true
}

func (m *members) get(name string) *member {
	i, ok := slices.BinarySearchFunc(m.list, name, func(x *member, n string) int { return cmp.Compare(x.row.Meta.Name, n) })
	if !ok {
		return nil
	}
	return m.list[i]
}

// usesVIPs tells whether a proxy's workload reaches destinations by virtual
// addresses and not by ports that the object lists.
func usesVIPs(spec *kinds.DataplaneSpec) bool {
	n := spec.Networking
	return n != nil && n.TransparentProxying != nil && n.TransparentProxying.RedirectPortInbound != 0
}

func (m *Mesh) outboundsOf(own *member) *Outbounds {
	if !usesVIPs(own.spec) {
		return m.listed(own.row.Object, own.spec)
	}
	t := own.spec.Networking.TransparentProxying
	if !m.restricted(t) {
		return m.virtual
	}
	if len(t.ReachableServices) == 0 && t.ReachableBackends == nil {
		return m.permitted(own.spec.Tags())
	}
	var list []Outbound
	client := own.spec.Tags()
	for i := range m.virtual.list {
		if o := &m.virtual.list[i]; m.reachable(own.row.Object, t, o, client) {
			list = append(list, *o)
		}
	}
	return newOutbounds(list)
}

// directAccess lists the addresses of other proxies that the workload calls
// directly. Addresses that are outbounds already keep their meaning.
func (m *Mesh) directAccess(own *member, taken *Outbounds) []ir.DirectAccess {
	type place struct {
		address string
		port    uint32
	}
	seen := map[place]bool{}
	for _, o := range taken.list {
		seen[place{o.Address, o.Port}] = true
	}
	want := own.spec.Networking.TransparentProxying.DirectAccessServices
	all := slices.Contains(want, kinds.MatchAll)
	var out []ir.DirectAccess
	for _, other := range m.members.list {
		if other == own {
			continue
		}
		for i := range other.inbounds {
			p := &other.inbounds[i]
			at := place{p.endpoint.Address, p.number}
			if seen[at] || (!all && !slices.Contains(want, p.service)) {
				continue
			}
			seen[at] = true
			out = append(out, ir.DirectAccess{Address: at.address, Port: at.port})
		}
	}
	slices.SortFunc(out, func(a, b ir.DirectAccess) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port))
	})
	return out
}
