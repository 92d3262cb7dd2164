// Package vip gives virtual addresses to services that are known by their tag,
// to hosts of ExternalServices and to names of VirtualOutbounds, so that
// workloads behind a transparent proxy have something to connect to. Everything
// here is a pure function; the leader writes the result into one Config object
// per mesh, which the view reads.
package vip

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
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
		for _, in := range model.Spec[kinds.DataplaneSpec](row.Object).Inbounds() {
			if !in.Ignored() && in.Port != model.ServicelessPort {
				c.service(in.Tags, 0, originService)
			}
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

// Allocate returns the entries with addresses. Entries that had one before keep
// it; the others get addresses in the order of type and name. Those start after
// the highest one so far, so that an address that became free is not given to
// another service while clients remember it; when the range is through, free ones
// are used from its start. Hosts that are addresses stand for themselves.
func Allocate(before view.VIPs, entries map[view.VIPKey][]view.VIPOutbound, cidr netip.Prefix) (view.VIPs, error) {
	p := pool{cidr: cidr.Masked(), taken: map[netip.Addr]bool{}}
	p.next = p.cidr.Addr()
	for k, e := range before {
		a, err := netip.ParseAddr(e.Address)
		if err != nil || !p.cidr.Contains(a) {
			continue
		}
		if _, still := entries[k]; still {
			p.taken[a] = true
		}
		if !a.Less(p.next) {
			p.next = a.Next()
		}
	}
	out := make(view.VIPs, len(entries))
	for _, k := range slices.SortedFunc(maps.Keys(entries), view.VIPKey.Compare) {
		e := view.VIPEntry{Address: before[k].Address, Outbounds: entries[k]}
		if _, err := netip.ParseAddr(k.Name); err == nil && k.Type == view.VIPHost {
			e.Address = k.Name
		}
		if e.Address == "" {
			a, ok := p.take()
			if !ok {
				return nil, fmt.Errorf("no address left in %s for %q: make the range larger (dnsServer.CIDR)", cidr, k.Name)
			}
			e.Address = a.String()
		}
		out[k] = e
	}
	return out, nil
}

// pool gives out the addresses of a range.
type pool struct {
	cidr    netip.Prefix
	taken   map[netip.Addr]bool
	next    netip.Addr
	wrapped bool
}

// take returns an address that nobody has; false if there is none.
func (p *pool) take() (netip.Addr, bool) {
	for {
		if !p.cidr.Contains(p.next) { // also after the last address there is
			if p.wrapped {
				return netip.Addr{}, false
			}
			p.wrapped, p.next = true, p.cidr.Addr()
		}
		a := p.next
		p.next = a.Next()
		if !p.taken[a] {
			p.taken[a] = true
			return a, true
		}
	}
}
