package view

import (
	"slices"
	"strings"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Outbound is a port on which a workload reaches a destination.
type Outbound struct {
	Address string
	Port    uint32
	// Tags restrict a service known by its tag to some of its endpoints. nil for
	// resources.
	Tags map[string]string
	Dest *Destination
	// Names are the DNS names of the address.
	Names []string
	// Virtual addresses exist in this mesh only, and nothing listens on them.
	Virtual bool
}

// Outbounds is a list of outbounds with its hash. It is immutable.
type Outbounds struct {
	list []Outbound
	hash model.Hash
}

// List returns the outbounds; the caller must not change it.
func (o *Outbounds) List() []Outbound { return o.list }

func newOutbounds(list []Outbound) *Outbounds {
	var h digest
	h.b = make([]byte, 0, 64*len(list))
	for i := range list {
		o := &list[i]
		h.str(o.Address)
		h.num(uint64(o.Port))
		h.flag(o.Virtual)
		h.flag(o.Tags != nil)
		h.tags(o.Tags)
		h.strs(o.Names)
		h.hash(o.Dest.hash)
	}
	return &Outbounds{list: list, hash: h.sum()}
}

// listed resolves the outbounds that an object lists.
func (m *Mesh) listed(o *model.Object, spec *kinds.DataplaneSpec) *Outbounds {
	list := make([]Outbound, 0, len(spec.Outbounds()))
	for i := range spec.Outbounds() {
		ob := &spec.Networking.Outbound[i]
		out := Outbound{Address: ob.ListenAddress(), Port: ob.Port}
		if ref := ob.BackendRef; ref != nil {
			if out.Dest = m.backend(o, ref); out.Dest == nil {
				continue
			}
		} else {
			out.Tags = ob.Tags
			out.Dest = m.dests.Service(m.name, ob.Service())
		}
		list = append(list, out)
	}
	return newOutbounds(list)
}

// backend finds the resource that an outbound names, nil if there is none.
func (m *Mesh) backend(o *model.Object, ref *kinds.BackendRef) *Destination {
	var r *Resource
	if len(ref.Labels) > 0 {
		r = m.dests.ByLabels(ref.Kind, ref.Labels)
	} else {
		r = m.dests.ByName(ref.Kind, ref.Name, o.Label(model.LabelK8sNamespace), m.zoneOf(o))
	}
	if r == nil {
		return nil
	}
	if ref.Kind == kinds.MeshExternalService.Name {
		return r.Port(0)
	}
	return r.Port(ref.Port)
}

func (m *Mesh) zoneOf(o *model.Object) string {
	if z := o.Label(model.LabelZone); z != "" {
		return z
	}
	return m.cp.Zone
}

// legacyVIPs returns the outbounds on addresses of services known by their tags.
// A name that two entries have leads to the address of the first: its service's,
// say, and not that of a VirtualOutbound that gives the service another port.
// Hence the ports of the others are reached there too. Of two services it is the
// one that was there earlier: who calls his service "a.b" later does not take over
// a name of "a_b".
func (m *Mesh) legacyVIPs(vips VIPs) []Outbound {
	keys := vips.byAge()
	var out []Outbound
	entries := map[string]*[]Outbound{} // by name
	for _, k := range keys {
		if vips[k].Address == "" {
			continue
		}
		list := m.vipOutbounds(k, vips[k])
		if len(list) == 0 {
			continue
		}
		out = append(out, list...)
		for _, name := range vipNames(k, m.cp.DNSDomain) {
			first := entries[name]
			if first == nil {
				entries[name] = &list
				continue
			}
			moved := movedTo(*first, list)
			out, *first = append(out, moved...), append(*first, moved...)
		}
	}
	return out
}

// movedTo returns the outbounds of an entry as they are on the address of another
// one. Ports that it has itself are left out.
func movedTo(first, list []Outbound) []Outbound {
	var out []Outbound
	for _, o := range list {
		if !slices.ContainsFunc(first, func(f Outbound) bool { return f.Port == o.Port }) {
			o.Address, o.Names = first[0].Address, first[0].Names
			out = append(out, o)
		}
	}
	return out
}

// vipOutbounds returns the outbounds of an entry: its own ports and, for
// services and hosts, the common one. The first of equal ports wins.
func (m *Mesh) vipOutbounds(k VIPKey, e VIPEntry) []Outbound {
	names := vipNames(k, m.cp.DNSDomain)
	var out []Outbound
	add := func(port uint32, tags map[string]string) {
		if port == 0 || slices.ContainsFunc(out, func(o Outbound) bool { return o.Port == port }) {
			return
		}
		out = append(out, Outbound{
			Address: e.Address, Port: port, Tags: tags, Names: names, Virtual: true,
			Dest: m.dests.Service(m.name, tags[model.TagService]),
		})
	}
	for _, o := range e.Outbounds {
		add(o.Port, o.TagSet)
	}
	common := k.Type == VIPService || (k.Type == VIPHost && !isIP(k.Name))
	if m.cp.ServiceVIPs && common && len(e.Outbounds) > 0 {
		add(m.cp.ServiceVIPPort, e.Outbounds[0].TagSet)
	}
	return out
}

func vipNames(k VIPKey, domain string) []string {
	if k.Type != VIPService {
		if isIP(k.Name) {
			return nil // an address needs no name
		}
		return []string{k.Name}
	}
	names := []string{k.Name + "." + domain}
	if dotted := strings.ReplaceAll(k.Name, "_", "."); dotted != k.Name {
		names = append(names, dotted+"."+domain)
	}
	return names
}

// resourceVIPs returns the outbounds on the addresses of resources.
func resourceVIPs(rs []*Resource) []Outbound {
	var out []Outbound
	for _, r := range rs {
		vips, names := vipsOf(r.Object)
		for i, vip := range vips {
			for _, d := range r.Ports {
				o := Outbound{Address: vip, Port: d.Port, Dest: d, Virtual: true}
				if i == 0 {
					o.Names = names
				}
				out = append(out, o)
			}
		}
	}
	return out
}

// vipsOf returns the addresses and DNS names of a resource.
func vipsOf(o *model.Object) (vips, names []string) {
	var list []kinds.VIP
	var addresses []kinds.Address
	switch s := o.Status.(type) {
	case *kinds.MeshServiceStatus:
		list, addresses = s.VIPs, s.Addresses
	case *kinds.MeshMultiZoneServiceStatus:
		list, addresses = s.VIPs, s.Addresses
	case *kinds.MeshExternalServiceStatus:
		list, addresses = []kinds.VIP{s.VIP}, s.Addresses
	}
	for _, v := range list {
		if v.IP != "" {
			vips = append(vips, v.IP)
		}
	}
	for _, a := range addresses {
		names = append(names, a.Hostname)
	}
	return vips, names
}

// reachable tells whether a proxy that lists what it reaches uses an outbound on
// a virtual address (services.md 8). Of what it lists neither for services nor for
// resources, the permissions decide.
func (m *Mesh) reachable(o *model.Object, t *kinds.TransparentProxying, ob *Outbound, client kinds.MultiTags) bool {
	if ob.Tags != nil {
		if len(t.ReachableServices) > 0 {
			return slices.Contains(t.ReachableServices, ob.Dest.Name)
		}
		return m.mayReach(client, ob)
	}
	if t.ReachableBackends == nil {
		return false // it lists services only
	}
	return slices.ContainsFunc(t.ReachableBackends.Refs, func(r kinds.ReachableBackendRef) bool {
		return m.refSelects(o, &r, ob.Dest)
	})
}

func (m *Mesh) refSelects(o *model.Object, r *kinds.ReachableBackendRef, d *Destination) bool {
	if r.Kind != d.Kind || (r.Port != nil && *r.Port != d.Port) {
		return false
	}
	if len(r.Labels) > 0 {
		for k, v := range r.Labels {
			if k == model.LabelDisplayName && d.Display == v {
				continue
			}
			if have, ok := d.Labels[k]; !ok || have != v {
				return false
			}
		}
		return true
	}
	ns := r.Namespace
	if ns == "" {
		ns = o.Label(model.LabelK8sNamespace)
	}
	return r.Name == d.Display && ns == d.Namespace && (d.Zone == "" || d.Zone == m.zoneOf(o))
}

// restricted tells whether a proxy uses a part of the virtual addresses only.
func (m *Mesh) restricted(t *kinds.TransparentProxying) bool {
	return len(t.ReachableServices) > 0 || t.ReachableBackends != nil || m.mode == kinds.MeshServicesReachableBackends || m.trims()
}
