package view

import (
	"maps"
	"slices"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Destination is something that proxies may send traffic to, without its
// endpoints, which change on their own. It is immutable.
type Destination struct {
	ir.Destination
	Protocol ir.Protocol
	// Labels of a resource, for references and policies.
	Labels map[string]string
	// Identities are the names (values of kuma.io/service) that its proxies
	// prove; none = any member of the mesh.
	Identities []string
	// TLSReady tells whether all its proxies can be talked to with the mesh's
	// TLS even where plain text is accepted too.
	TLSReady bool
	// Selects are the tags that its proxies have, as far as that is known.
	Selects map[string]string
	// SNI is what clients ask for; empty for services known by their tag, whose
	// SNI depends on the client's tags.
	SNI string
	// Outside are the endpoints of an ExternalService, which are part of the
	// client's configuration and not live.
	Outside []Outside
	// Warnings tell which endpoints are left out, and why.
	Warnings []ir.Warning
	hash     model.Hash
}

// Outside is an endpoint of an ExternalService.
type Outside struct {
	ir.Endpoint
	// Name is the ExternalService's.
	Name string
	// TLS is nil for plain text.
	TLS *ir.ExternalTLS
}

// Key returns the key of the destination's endpoints.
func (d *Destination) Key() ir.DestKey {
	return ir.DestKey{Kind: d.Kind, Mesh: d.Mesh, Name: d.Name, Section: d.Section}
}

// Hash covers everything that clients depend on.
func (d *Destination) Hash() model.Hash { return d.hash }

// seal computes the hash; afterwards the destination must not change.
func (d *Destination) seal() *Destination {
	var h digest
	for _, s := range []string{d.Kind, d.Mesh, d.Name, d.Display, d.Namespace, d.Zone, d.Section, string(d.Protocol), d.SNI} {
		h.str(s)
	}
	h.num(uint64(d.Port))
	h.flag(d.External)
	h.flag(d.TLSReady)
	h.tags(d.Labels)
	h.strs(d.Identities)
	h.tags(d.Selects)
	h.num(uint64(len(d.Outside)))
	for i := range d.Outside {
		o := &d.Outside[i]
		h.str(o.Name)
		h.endpoint(&o.Endpoint)
		h.flag(o.TLS != nil)
		if o.TLS != nil {
			h.hash(model.HashJSON(o.TLS))
		}
	}
	h.num(uint64(len(d.Warnings)))
	for _, w := range d.Warnings {
		h.str(w.Kind)
		h.str(w.Name)
		h.str(w.Message)
	}
	d.hash = h.sum()
	return d
}

// Resource is a destination that is an object, with one Destination per port.
type Resource struct {
	Object *model.Object
	Ports  []*Destination
}

// Port returns the port of that number, or the first one for 0.
func (r *Resource) Port(number uint32) *Destination {
	for _, d := range r.Ports {
		if number == 0 || d.Port == number {
			return d
		}
	}
	return nil
}

// Destinations is the table of what the proxies of a mesh may send to.
type Destinations struct {
	services map[string]*Destination
	// resources are ordered from the oldest, then by name, by kind.
	resources map[string][]*Resource
	byKey     map[ir.DestKey]*Destination
	hash      model.Hash
}

// Hash covers all destinations.
func (t *Destinations) Hash() model.Hash { return t.hash }

// Service returns the service known by its tag. A service that nobody has is a
// destination without protocol, so that clients get a port that refuses.
func (t *Destinations) Service(mesh, name string) *Destination {
	if d := t.services[name]; d != nil {
		return d
	}
	return (&Destination{Destination: ir.Destination{Mesh: mesh, Name: name}}).seal()
}

// Resource returns the destination with that key, or nil.
func (t *Destinations) Resource(key ir.DestKey) *Destination { return t.byKey[key] }

// Has tells whether proxies, or an ExternalService, offer the service known by
// its tag.
func (t *Destinations) Has(service string) bool { return t.services[service] != nil }

// Backend returns the resource, and its port, that a reference to a real backend
// names; nil if there is none. from is the object that it stands in.
func (t *Destinations) Backend(ref policy.BackendRef, from policy.Source) (*Resource, *Destination) {
	var r *Resource
	if len(ref.Labels) > 0 {
		r = t.ByLabels(ref.Kind, ref.Labels)
	} else {
		ns := ref.Namespace
		if ns == "" {
			ns = from.Namespace
		}
		r = t.ByName(ref.Kind, ref.Name, ns, from.Zone)
	}
	if r == nil {
		return nil, nil
	}
	var port uint32
	if ref.Port != nil && ref.Kind != policy.RefMeshExternalService {
		port = *ref.Port
	}
	return r, r.Port(port)
}

// All returns all destinations: services known by their tag, then resources port
// by port, each sorted.
func (t *Destinations) All() []*Destination {
	out := make([]*Destination, 0, len(t.services)+len(t.byKey))
	for _, name := range slices.Sorted(maps.Keys(t.services)) {
		out = append(out, t.services[name])
	}
	for _, kind := range slices.Sorted(maps.Keys(t.resources)) {
		for _, r := range t.resources[kind] {
			out = append(out, r.Ports...)
		}
	}
	return out
}

// ByName returns the resource with that display name in the zone and namespace,
// or nil. Objects that carry no zone (written for all zones) match any.
func (t *Destinations) ByName(kind, name, namespace, zone string) *Resource {
	for _, r := range t.resources[kind] {
		o := r.Object
		z := o.Label(model.LabelZone)
		if o.DisplayName() == name && o.Label(model.LabelK8sNamespace) == namespace && (z == zone || z == "") {
			return r
		}
	}
	return nil
}

// ByLabels returns the oldest resource that has all the labels, or nil.
func (t *Destinations) ByLabels(kind string, labels map[string]string) *Resource {
	for _, r := range t.resources[kind] {
		if hasLabels(r.Object, labels) {
			return r
		}
	}
	return nil
}

// hasLabels also finds the display name where no label holds it.
func hasLabels(o *model.Object, want map[string]string) bool {
	for k, v := range want {
		if k == model.LabelDisplayName {
			if o.DisplayName() != v {
				return false
			}
			continue
		}
		if have, ok := o.Meta.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// newDestinations joins services and resources, which are sorted by age, into a
// table, or returns prev if nothing differs.
func newDestinations(services map[string]*Destination, resources map[string][]*Resource, prev *Destinations) *Destinations {
	t := &Destinations{services: services, resources: resources, byKey: map[ir.DestKey]*Destination{}}
	var h digest
	for _, name := range slices.Sorted(maps.Keys(services)) {
		h.hash(services[name].hash)
	}
	for _, kind := range slices.Sorted(maps.Keys(resources)) {
		for _, r := range resources[kind] { // their order counts, too: the oldest is chosen
			for _, d := range r.Ports {
				t.byKey[d.Key()] = d
				h.hash(d.hash)
			}
		}
	}
	t.hash = h.sum()
	if prev != nil && prev.hash == t.hash && sameResources(prev.resources, resources) {
		return prev
	}
	return t
}

// sameResources also looks at what of the objects is not in the hash: addresses.
func sameResources(a, b map[string][]*Resource) bool {
	return maps.EqualFunc(a, b, func(x, y []*Resource) bool {
		return slices.EqualFunc(x, y, func(p, q *Resource) bool { return p.Object == q.Object })
	})
}
