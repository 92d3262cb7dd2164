package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// endpointsOf returns the endpoints of a cluster as its client uses them, the
// first to be tried first, and the ports of the mesh's proxies that would be some.
func endpointsOf(s Subject, c *ir.Cluster, tables model.Tables) ([]ir.Endpoint, []LeftOut) {
	all, rule := c.Static, c.Locality
	if c.Endpoints != nil {
		all, rule = s.Endpoints(*c.Endpoints), c.Endpoints.Locality.Rule()
	}
	var used []ir.Endpoint
	var out []LeftOut
	known := map[at]bool{}
	for _, e := range all {
		known[at{e.Address, e.Port}] = true
		if _, err := netip.ParseAddr(e.Address); c.Endpoints != nil && err != nil {
			out = append(out, LeftOut{Address: e.Address, Port: e.Port, Because: "its address is a name that does not resolve"})
			continue
		}
		if rule != nil {
			p, ok := rule.Place(e)
			if !ok {
				out = append(out, LeftOut{Address: e.Address, Port: e.Port, Because: fmt.Sprintf("it is in zone %s, which no rule of locality awareness names", e.Zone)})
				continue
			}
			e.Zone, e.SubZone, e.Priority = p.Zone, p.SubZone, p.Priority
		}
		used = append(used, e)
	}
	slices.SortStableFunc(used, func(a, b ir.Endpoint) int { return int(a.Priority) - int(b.Priority) })
	if c.Endpoints == nil || c.Destination.Mesh != s.Proxy.ID.Mesh {
		return used, out
	}
	return used, append(out, idle(c, tables, known)...)
}

// idle returns the ports of Dataplanes that a destination selects, but that are
// no endpoints of it.
func idle(c *ir.Cluster, tables model.Tables, known map[at]bool) []LeftOut {
	selects := selector(c, tables)
	if selects == nil {
		return nil
	}
	var out []LeftOut
	for _, row := range tables.Table(kinds.Dataplane, c.Destination.Mesh).Rows() {
		spec := model.Spec[kinds.DataplaneSpec](row.Object)
		inbounds := spec.Inbounds()
		for i := range inbounds {
			in := &inbounds[i]
			where := at{spec.EndpointAddress(in), in.Port}
			if known[where] || !selects(row.Meta.Name, in) {
				continue
			}
			l := LeftOut{Proxy: row.Meta.Name, Address: where.address, Port: where.port}
			switch {
			case in.Ignored():
				l.Because = "its state is Ignored"
			case in.NotReady():
				l.Because = "its workload is not ready"
			default:
				l.Because = "its proxy was connected and is gone, or its address is a name that does not resolve"
			}
			out = append(out, l)
		}
	}
	return out
}

// selector tells which inbounds belong to the destination of a cluster; nil for
// those that are joined of others.
func selector(c *ir.Cluster, tables model.Tables) func(proxy string, in *kinds.Inbound) bool {
	d := c.Destination
	switch d.Kind {
	case "":
		subset := ""
		if c.Endpoints != nil {
			subset = c.Endpoints.Subset
		}
		return func(_ string, in *kinds.Inbound) bool { return in.Service() == d.Name && inSubset(in.Tags, subset) }
	case kinds.MeshService.Name:
		row, ok := tables.Table(kinds.MeshService, d.Mesh).Get(d.Name)
		if !ok {
			break
		}
		s := model.Spec[kinds.MeshServiceSpec](row.Object)
		p, ok := s.PortBySection(d.Section)
		if !ok {
			break
		}
		target := p.Target()
		return func(proxy string, in *kinds.Inbound) bool {
			return target.Matches(in.Port, in.Name) && s.SelectsInbound(proxy, in.Tags)
		}
	}
	return nil
}

// inSubset tells whether tags are in a subset, as ir.EndpointsRef writes it.
func inSubset(tags map[string]string, subset string) bool {
	if subset == "" {
		return true
	}
	for pair := range strings.SplitSeq(subset, ",") {
		if k, v, _ := strings.Cut(pair, "="); tags[k] != v {
			return false
		}
	}
	return true
}
