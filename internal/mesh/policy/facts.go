package policy

import (
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Facts are what the choice of policies knows about a proxy.
type Facts struct {
	Mesh string
	// Name is the display name of the Dataplane, Zone and Namespace its labels'.
	Name, Zone, Namespace string
	Labels                map[string]string
	// Ports are the inbounds of a sidecar. Ignored ones may be among them.
	Ports []Port
	// Gateway tells whether the proxy is a gateway, Tags are that gateway's.
	Gateway Gateway
	Tags    map[string]string
	// Definition is the MeshGateway of a builtin gateway, nil if none selects it.
	Definition *Definition
	// Shadow lets shadow policies take part.
	Shadow bool
	// egress tells that the proxy is a zone's egress, where no gates hold.
	egress bool
}

// Port is an inbound of a sidecar.
type Port struct {
	Name    string
	Address string
	Port    uint32
	Tags    map[string]string
	Ignored bool
}

// Gateway says which sort of gateway a proxy is.
type Gateway uint8

// The sorts.
const (
	NoGateway Gateway = iota
	DelegatedGateway
	BuiltinGateway
)

// Definition is the MeshGateway of a builtin gateway.
type Definition struct {
	Name      string // display name
	Labels    map[string]string
	Listeners []Listener
}

// Listener is a listener of a builtin gateway. Tags are those of the Dataplane's
// gateway, the MeshGateway and the listener together.
type Listener struct {
	Port     uint32
	Hostname string
	Tags     map[string]string
}

// proxyType returns the type in the sense of TargetRef.ProxyTypes.
func (f *Facts) proxyType() string {
	if f.Gateway == NoGateway {
		return TypeSidecar
	}
	return TypeGateway
}

// gateLabels returns the labels that the zone gate looks at.
func (f *Facts) gateLabels() map[string]string {
	if f.Gateway == BuiltinGateway && f.Definition != nil {
		return f.Definition.Labels
	}
	return f.Labels
}

// identity is what a reference by name is compared with.
type identity struct {
	name, mesh, namespace, zone string
}

func (f *Facts) identity() identity {
	return identity{f.Name, f.Mesh, f.Namespace, f.Zone}
}

// refIdentity returns what a reference by name in policy object o names.
func refIdentity(ref TargetRef, o *model.Object) identity {
	ns := ref.Namespace
	if ns == "" {
		ns = o.Label(model.LabelK8sNamespace)
	}
	return identity{ref.Name, o.Meta.Mesh, ns, o.Label(model.LabelZone)}
}

// FactsOf returns the facts of a Dataplane. gateway is the MeshGateway that
// selects a builtin gateway, nil if there is none.
func FactsOf(dp, gateway *model.Object) *Facts {
	spec := model.Spec[kinds.DataplaneSpec](dp)
	f := &Facts{
		Mesh: dp.Meta.Mesh, Name: dp.DisplayName(), Labels: dp.Meta.Labels,
		Zone: dp.Label(model.LabelZone), Namespace: dp.Label(model.LabelK8sNamespace),
	}
	for i := range spec.Inbounds() {
		in := &spec.Networking.Inbound[i]
		f.Ports = append(f.Ports, Port{
			Name: in.Name, Address: spec.ListenAddress(in), Port: in.Port, Tags: in.Tags, Ignored: in.Ignored(),
		})
	}
	if g := spec.Gateway(); g != nil {
		f.Gateway, f.Tags = DelegatedGateway, g.Tags
		if spec.IsBuiltinGateway() {
			f.Gateway = BuiltinGateway
		}
	}
	if f.Gateway == BuiltinGateway && gateway != nil {
		f.Definition = definitionOf(gateway, f.Tags)
	}
	return f
}

func definitionOf(gateway *model.Object, tags map[string]string) *Definition {
	spec := model.Spec[kinds.MeshGatewaySpec](gateway)
	d := &Definition{Name: gateway.DisplayName(), Labels: gateway.Meta.Labels}
	list := spec.Listeners()
	for i := range list {
		l := &list[i]
		d.Listeners = append(d.Listeners, Listener{Port: l.Port, Hostname: l.Host(), Tags: spec.ListenerTags(l, tags)})
	}
	return d
}
