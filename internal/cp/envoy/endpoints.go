package envoy

import (
	"cmp"
	"slices"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

// Assignment returns the encoded endpoint list of a ref. eps are the ref's
// endpoints as the view lists them. What Envoy would refuse (an endpoint at a
// name, which nobody resolves there) is left out, so that one bad endpoint does
// not cost the others.
func Assignment(ref ir.EndpointsRef, eps []ir.Endpoint) *xds.Resource {
	eps = slices.DeleteFunc(slices.Clone(eps), func(e ir.Endpoint) bool {
		return !isIP(e.Address) || e.Port > 65535
	})
	var cla *endpoint.ClusterLoadAssignment
	if rule := ref.Locality.Rule(); rule != nil {
		cla = placedAssignment(ref.Name, eps, rule)
	} else {
		cla = loadAssignment(ref.Name, eps)
	}
	r, err := encode(xds.Endpoints, ref.Name, cla)
	if err != nil { // only an empty name is left to break a rule: a programming error
		panic("envoy: " + err.Error())
	}
	return r
}

// locality groups endpoints; priority is part of it because Envoy keeps
// priorities per locality.
type locality struct {
	priority      uint32
	zone, subZone string
}

// loadAssignment groups endpoints by locality, in the order priority, zone,
// sub-zone; within a locality by address and port.
func loadAssignment(name string, eps []ir.Endpoint) *endpoint.ClusterLoadAssignment {
	eps = slices.Clone(eps)
	slices.SortStableFunc(eps, func(a, b ir.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.SubZone, b.SubZone),
			cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port))
	})
	cla := &endpoint.ClusterLoadAssignment{ClusterName: name}
	tags := metadataMemo{}
	var group *endpoint.LocalityLbEndpoints
	var at locality
	for _, e := range eps {
		if l := (locality{e.Priority, e.Zone, e.SubZone}); group == nil || l != at {
			at = l
			group = &endpoint.LocalityLbEndpoints{Priority: e.Priority}
			if e.Zone != "" || e.SubZone != "" {
				group.Locality = &core.Locality{Zone: strings.ToValidUTF8(e.Zone, "?"), SubZone: strings.ToValidUTF8(e.SubZone, "?")}
			}
			cla.Endpoints = append(cla.Endpoints, group)
		}
		group.LbEndpoints = append(group.LbEndpoints, lbEndpoint(e, tags))
	}
	return cla
}

// placedAssignment puts endpoints where a rule says, localities by zone and
// sub-zone.
func placedAssignment(name string, eps []ir.Endpoint, rule *ir.Locality) *endpoint.ClusterLoadAssignment {
	type placed struct {
		ir.Place
		e ir.Endpoint
	}
	var list []placed
	for _, e := range eps {
		if p, ok := rule.Place(e); ok {
			list = append(list, placed{p, e})
		}
	}
	slices.SortStableFunc(list, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.SubZone, b.SubZone), cmp.Compare(a.Priority, b.Priority),
			cmp.Compare(a.e.Address, b.e.Address), cmp.Compare(a.e.Port, b.e.Port))
	})
	cla := &endpoint.ClusterLoadAssignment{ClusterName: name}
	tags := metadataMemo{}
	if rule.Overprovisioning > 0 {
		cla.Policy = &endpoint.ClusterLoadAssignment_Policy{OverprovisioningFactor: wrapperspb.UInt32(rule.Overprovisioning)}
	}
	for i, p := range list {
		if i == 0 || p.Place != list[i-1].Place {
			group := &endpoint.LocalityLbEndpoints{Priority: p.Priority}
			if p.Zone != "" || p.SubZone != "" {
				group.Locality = &core.Locality{Zone: strings.ToValidUTF8(p.Zone, "?"), SubZone: strings.ToValidUTF8(p.SubZone, "?")}
			}
			if p.Weight > 0 {
				group.LoadBalancingWeight = wrapperspb.UInt32(p.Weight)
			}
			cla.Endpoints = append(cla.Endpoints, group)
		}
		group := cla.Endpoints[len(cla.Endpoints)-1]
		group.LbEndpoints = append(group.LbEndpoints, lbEndpoint(p.e, tags))
	}
	return cla
}

func lbEndpoint(e ir.Endpoint, tags metadataMemo) *endpoint.LbEndpoint {
	lb := &endpoint.LbEndpoint{
		HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: socketAddress(e.Address, e.Port)}},
		Metadata:       tags.of(e.Tags),
	}
	if e.Weight > 0 {
		lb.LoadBalancingWeight = wrapperspb.UInt32(e.Weight)
	}
	return lb
}

// metadataMemo remembers the metadata of tags within one list. Endpoints of a
// service mostly have the same tags, whose encoding is most of the work.
type metadataMemo map[string]*core.Metadata

func (m metadataMemo) of(tags map[string]string) *core.Metadata {
	if len(tags) == 0 {
		return nil
	}
	keys := make([]string, 0, len(tags))
	for k := range tags {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(k)
		b.WriteByte(0)
		b.WriteString(tags[k])
		b.WriteByte(0)
	}
	md := m[b.String()]
	if md == nil {
		md = endpointMetadata(tags)
		m[b.String()] = md
	}
	return md
}

// endpointMetadata holds tags for balancing and for the choice of a transport
// socket. It is encoded here once: what a message does not know of itself goes
// to the wire as it is.
func endpointMetadata(tags map[string]string) *core.Metadata {
	s := tagStruct(tags)
	md := &core.Metadata{FilterMetadata: map[string]*structpb.Struct{
		"envoy.lb":                     s,
		"envoy.transport_socket_match": s,
	}}
	raw, err := deterministic.Marshal(md)
	if err != nil {
		return nil // text that is no UTF-8: better an endpoint without tags than none
	}
	encoded := &core.Metadata{}
	encoded.ProtoReflect().SetUnknown(raw)
	return encoded
}
