package inspect

import (
	"cmp"
	"fmt"
	"slices"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy/legacy"
)

// Part is a part of a sidecar on which older policies act, with those in force.
type Part struct {
	// Type is dataplane, inbound, outbound or service.
	Type string
	// Name says where an inbound or outbound is; Service is the service there.
	Name, Service string
	Policies      []*model.Object
}

// Call is a port on which a proxy reaches a service that is known by its tag.
type Call struct {
	Address string
	Port    uint32
	Service string
}

// CallsOf returns the outbounds of a Dataplane's own definition. Those that
// redirected traffic takes are not among them.
func CallsOf(dp *model.Object) []Call {
	var out []Call
	for _, o := range model.Spec[kinds.DataplaneSpec](dp).Outbounds() {
		if s := o.Tags[model.TagService]; s != "" {
			out = append(out, Call{cmp.Or(o.Address, kinds.DefaultOutboundAddress), o.Port, s})
		}
	}
	return out
}

// PartsOf returns the parts of a sidecar with the older policies in force, those
// without any left out: the proxy as a whole, inbounds, outbounds, services.
func PartsOf(t model.Tables, dp *model.Object, calls []Call) []Part {
	spec := model.Spec[kinds.DataplaneSpec](dp)
	m := legacy.NewSet(t, dp.Meta.Mesh, nil).Match(spec)
	parts := []Part{{Type: "dataplane", Policies: m.Whole()}}
	inbounds := spec.Inbounds()
	for i := range inbounds {
		in := &inbounds[i]
		parts = append(parts, Part{
			Type: "inbound", Name: fmt.Sprintf("%s:%d:%d", spec.ListenAddress(in), in.Port, cmp.Or(in.ServicePort, in.Port)),
			Service: in.Service(), Policies: m.OnInbound(in.Tags),
		})
	}
	var services []string
	for _, c := range calls {
		parts = append(parts, Part{
			Type: "outbound", Name: fmt.Sprintf("%s:%d", c.Address, c.Port), Service: c.Service, Policies: m.OnOutbound(c.Service),
		})
		services = append(services, c.Service)
	}
	slices.Sort(services)
	for _, s := range slices.Compact(services) {
		parts = append(parts, Part{Type: "service", Name: s, Service: s, Policies: m.OnService(s)})
	}
	return slices.DeleteFunc(parts, func(p Part) bool { return len(p.Policies) == 0 })
}
