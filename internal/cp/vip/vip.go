// Package vip gives out virtual addresses, so that workloads behind a
// transparent proxy have something to connect to. Whoever has an address keeps
// it, and an address that became free waits for Quarantine before somebody else
// gets it, also across restarts: clients remember names longer than services
// live.
//
// Addresses of the older kind (Entries, Allocate, Task) are those of services
// known by their tag, of hosts of ExternalServices and of names of
// VirtualOutbounds; the leader keeps them in one Config object per mesh, which
// the view reads. A Pool gives addresses to services that are objects; package
// services writes them into the status of those.
package vip

import (
	"cmp"
	"fmt"
	"slices"

	"weft/internal/cp/view"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// originService marks outbounds that exist because proxies offer the service.
const originService = "service"

// Entries returns what needs an address in a mesh, sorted. Warnings tell about
// VirtualOutbounds that could not be evaluated for some tags.
func Entries(t model.Tables, mesh, zone string) (map[view.VIPKey][]view.VIPOutbound, []string) {
	c := &collector{out: map[view.VIPKey][]view.VIPOutbound{}}
	for _, row := range t.Table(kinds.VirtualOutbound, mesh).Rows() {
		c.virtual = append(c.virtual, row.Object)
	}
	for _, row := range t.Table(kinds.Dataplane, mesh).Rows() {
		for _, tags := range offered(row) {
			c.service(tags, 0, originService)
		}
	}
	for _, row := range t.Table(kinds.ZoneIngress, "").Rows() {
		spec := model.Spec[kinds.ZoneIngressSpec](row.Object)
		if !spec.RemoteTo(zone) {
			continue
		}
		for _, s := range spec.AvailableServices {
			if s.Mesh == mesh {
				c.service(s.Tags, 0, originService)
			}
		}
	}
	for _, row := range t.Table(kinds.ExternalService, mesh).Rows() {
		c.external(row.Object)
	}
	return c.out, c.warnings
}

type collector struct {
	virtual  []*model.Object
	out      map[view.VIPKey][]view.VIPOutbound
	warnings []string
}

// service notes a service with an own port, 0 = only the common one.
func (c *collector) service(tags map[string]string, port uint32, origin string) {
	name := tags[model.TagService]
	if name == "" {
		return
	}
	c.add(view.VIPKey{Type: view.VIPService, Name: name}, view.VIPOutbound{Port: port, TagSet: map[string]string{model.TagService: name}, Origin: origin})
	c.named(tags)
}

func (c *collector) external(o *model.Object) {
	spec := model.Spec[kinds.ExternalServiceSpec](o)
	host, port, ok := spec.HostPort()
	if !ok {
		return
	}
	origin := "external-service:" + o.Meta.Name
	c.service(spec.Tags, port, origin)
	if name := spec.Service(); name != "" && !spec.Networking.DisableHostDNSEntry {
		c.add(view.VIPKey{Type: view.VIPHost, Name: host},
			view.VIPOutbound{Port: port, TagSet: map[string]string{model.TagService: name}, Origin: origin})
	}
}

// named notes the names that VirtualOutbounds make from tags: the more specific
// first, then the newest.
func (c *collector) named(tags map[string]string) {
	type match struct {
		o    *model.Object
		spec *kinds.VirtualOutboundSpec
		rank kinds.Specificity
	}
	var ms []match
	for _, o := range c.virtual {
		spec := model.Spec[kinds.VirtualOutboundSpec](o)
		if rank, ok := kinds.BestMatch(spec.Selectors, tags); ok {
			ms = append(ms, match{o, spec, rank})
		}
	}
	slices.SortStableFunc(ms, func(a, b match) int {
		return cmp.Or(b.rank.Compare(a.rank), b.o.Meta.Created.Compare(a.o.Meta.Created))
	})
	for _, m := range ms {
		host, port, err := m.spec.Evaluate(tags)
		if err != nil {
			c.warnings = append(c.warnings, fmt.Sprintf("%s: %v", m.o.Key(), err))
			continue
		}
		own, _ := m.spec.ParameterTags(tags)
		c.add(view.VIPKey{Type: view.VIPDomain, Name: host},
			view.VIPOutbound{Port: port, TagSet: own, Origin: "virtual-outbound:" + m.o.Meta.Name})
	}
}

// add keeps the first of each port.
func (c *collector) add(k view.VIPKey, o view.VIPOutbound) {
	if slices.ContainsFunc(c.out[k], func(x view.VIPOutbound) bool { return x.Port == o.Port }) {
		return
	}
	c.out[k] = append(c.out[k], o)
}
