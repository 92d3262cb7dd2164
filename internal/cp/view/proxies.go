package view

import (
	"maps"
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// member is a Dataplane, taken apart once per version of it.
type member struct {
	row      model.Row
	spec     *kinds.DataplaneSpec
	inbounds []port
	// services are the distinct services of the inbounds that others may use.
	services []string
	// direct tells whether the proxy calls others by their addresses.
	direct bool
}

// port is an inbound as others see it.
type port struct {
	service  string
	name     string
	number   uint32
	tags     map[string]string
	protocol ir.Protocol
	healthy  bool
	endpoint ir.Endpoint
}

func newMember(row model.Row) *member {
	spec := model.Spec[kinds.DataplaneSpec](row.Object)
	m := &member{row: row, spec: spec}
	if n := spec.Networking; n != nil && n.TransparentProxying != nil {
		m.direct = len(n.TransparentProxying.DirectAccessServices) > 0
	}
	seen := map[string]bool{}
	for i := range spec.Inbounds() {
		in := &spec.Networking.Inbound[i]
		if in.Ignored() {
			continue
		}
		m.inbounds = append(m.inbounds, newPort(spec, in))
		if s := in.Service(); s != "" && !seen[s] {
			seen[s] = true
			m.services = append(m.services, s)
		}
	}
	return m
}

func newPort(spec *kinds.DataplaneSpec, in *kinds.Inbound) port {
	tags := maps.Clone(in.Tags)
	delete(tags, model.TagService)
	return port{
		service:  in.Service(),
		name:     in.Name,
		number:   in.Port,
		tags:     in.Tags,
		protocol: ir.ParseProtocol(in.Tags[model.TagProtocol]),
		healthy:  in.Healthy(),
		endpoint: ir.Endpoint{
			Address: spec.EndpointAddress(in), Port: in.Port, Weight: 1,
			Tags: tags, Zone: in.Tags[model.TagZone],
		},
	}
}

// change is a Dataplane before and after; nil = was not, or is no more.
type change struct{ old, now *member }

// members are the Dataplanes of a mesh, sorted by name like their table.
type members struct {
	table  *model.Table
	list   []*member
	direct int // number of those that call others by their addresses
}

// next returns the members for a newer table, and what changed.
func (m *members) next(t *model.Table) (*members, []change) {
	if t == m.table || t.Hash() == m.table.Hash() {
		return m, nil
	}
	n := &members{table: t, list: make([]*member, 0, t.Len())}
	var changes []change
	old := m.list
	for _, row := range t.Rows() {
		for len(old) > 0 && old[0].row.Meta.Name < row.Meta.Name {
			changes = append(changes, change{old: old[0]})
			old = old[1:]
		}
		var before *member
		if len(old) > 0 && old[0].row.Meta.Name == row.Meta.Name {
			before, old = old[0], old[1:]
		}
		now := before
		if before == nil || before.row.Hash != row.Hash {
			now = newMember(row)
			changes = append(changes, change{old: before, now: now})
		}
		n.list = append(n.list, now)
		if now.direct {
			n.direct++
		}
	}
	for _, o := range old {
		changes = append(changes, change{old: o})
	}
	return n, changes
}

func compareMembers(a, b *member) int { return strings.Compare(a.row.Meta.Name, b.row.Meta.Name) }
