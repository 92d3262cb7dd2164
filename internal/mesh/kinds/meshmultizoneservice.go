package kinds

import "weft/internal/mesh/model"

// MeshMultiZoneService joins MeshServices of several zones under one name.
var MeshMultiZoneService = &model.Kind{
	Name: "MeshMultiZoneService", Plural: "meshmultizoneservices", Short: "mzsvc",
	One: "meshmultizoneservice", Many: "meshmultizoneservices",
	Display: "Mesh Multi Zone Service", DisplayPlural: "Mesh Multi Zone Services",
	Scope: model.InMesh, Shape: model.SpecBlock,
	Flow:  model.GlobalToZone | model.GlobalWrites,
	Feeds: model.FeedsLabels | model.FeedsSpec | model.FeedsStatus,
	Essence: func(o *model.Object) any {
		e := serviceEssence{Spec: o.Spec}
		if s := model.Status[MeshMultiZoneServiceStatus](o); s != nil {
			e.Addresses, e.VIPs = s.Addresses, s.VIPs
		}
		return e
	},
	New:       func() any { return new(MeshMultiZoneServiceSpec) },
	NewStatus: func() any { return new(MeshMultiZoneServiceStatus) },
	Validate:  validateMeshMultiZoneService,
	Warn:      warnDNSName,
}

// MeshMultiZoneServiceSpec says which MeshServices are joined and on which ports
// clients reach them.
type MeshMultiZoneServiceSpec struct {
	// Selector says which services are joined.
	Selector MeshMultiZoneServiceSelector `json:"selector" schema:"required"`
	// Ports on which clients reach the services. A port leads to the ports of
	// the joined services that have the same number.
	Ports []MeshMultiZoneServicePort `json:"ports,omitempty" schema:"required,minItems=1"`
}

// MeshMultiZoneServiceSelector selects services.
type MeshMultiZoneServiceSelector struct {
	// MeshService selects MeshServices of the same mesh.
	MeshService MeshServiceLabels `json:"meshService" schema:"required"`
}

// MeshServiceLabels selects MeshServices by their labels.
type MeshServiceLabels struct {
	// MatchLabels are the labels that a service must have, all of them.
	MatchLabels map[string]string `json:"matchLabels,omitempty" schema:"required"`
}

// MeshMultiZoneServicePort is a port of a MeshMultiZoneService.
type MeshMultiZoneServicePort struct {
	// Name of the port, by which policies and routes may refer to it. Without
	// one the port number serves as the name.
	Name *string `json:"name,omitempty"`
	// Port that clients use.
	Port int32 `json:"port" schema:"required"`
	// AppProtocol spoken on the port: tcp, http, http2, grpc or kafka.
	AppProtocol string `json:"appProtocol,omitempty" schema:"default=tcp"`
}

// MeshMultiZoneServiceStatus is what the control plane of a zone found out about the service.
type MeshMultiZoneServiceStatus struct {
	// Addresses are the hostnames under which the zone's clients reach the service.
	Addresses []Address `json:"addresses,omitempty"`
	// VIPs are the virtual addresses that the hostnames resolve to.
	VIPs []VIP `json:"vips,omitempty"`
	// MeshServices that are joined, sorted by name, namespace, zone and mesh.
	MeshServices []MatchedMeshService `json:"meshServices,omitempty"`
	// HostnameGenerators tell what became of each generator that selects the service.
	HostnameGenerators []HostnameGeneratorStatus `json:"hostnameGenerators,omitempty"`
}

// MatchedMeshService names a MeshService that a MeshMultiZoneService joins.
type MatchedMeshService struct {
	// Name of the service in its zone.
	Name string `json:"name" schema:"required"`
	// Namespace of the service; empty on Universal.
	Namespace string `json:"namespace" schema:"required"`
	// Zone of the service.
	Zone string `json:"zone" schema:"required"`
	// Mesh of the service.
	Mesh string `json:"mesh" schema:"required"`
}

// SectionName is how policies, routes and outbounds refer to the port: its name,
// or its number as text.
func (p *MeshMultiZoneServicePort) SectionName() string { return sectionName(p.name(), p.Port) }

func (p *MeshMultiZoneServicePort) name() string {
	if p.Name == nil {
		return ""
	}
	return *p.Name
}

// Protocol returns the port's protocol, tcp if none was given.
func (p *MeshMultiZoneServicePort) Protocol() string { return protocolOr(p.AppProtocol) }

// Port returns the port with that number.
func (s *MeshMultiZoneServiceSpec) Port(number int32) (*MeshMultiZoneServicePort, bool) {
	for i := range s.Ports {
		if s.Ports[i].Port == number {
			return &s.Ports[i], true
		}
	}
	return nil, false
}

// PortBySection returns the port with that name, or with that number as text. A
// name wins over a number.
func (s *MeshMultiZoneServiceSpec) PortBySection(section string) (*MeshMultiZoneServicePort, bool) {
	for i := range s.Ports {
		if s.Ports[i].name() == section && section != "" {
			return &s.Ports[i], true
		}
	}
	number, ok := portNumber(section)
	if !ok {
		return nil, false
	}
	return s.Port(number)
}

// Selects tells whether a MeshService of the given mesh belongs to the
// MeshMultiZoneService m: same mesh, and all labels equal.
func (s *MeshMultiZoneServiceSpec) Selects(m, service *model.Object) bool {
	want := s.Selector.MeshService.MatchLabels
	return m.Meta.Mesh == service.Meta.Mesh && len(want) > 0 && hasAll(labelsWithDisplayName(service), want)
}

// labelsWithDisplayName returns the object's labels; an object that does not
// carry kuma.io/display-name, as on the control plane where it was written,
// counts as labelled with its own name.
func labelsWithDisplayName(o *model.Object) map[string]string {
	if o.Meta.Labels[model.LabelDisplayName] != "" {
		return o.Meta.Labels
	}
	labels := make(map[string]string, len(o.Meta.Labels)+1)
	for k, v := range o.Meta.Labels {
		labels[k] = v
	}
	labels[model.LabelDisplayName] = o.Meta.Name
	return labels
}

// appProtocols lists the protocols that a port of a service may have.
func appProtocols() []string {
	return []string{ProtocolGRPC, ProtocolHTTP, ProtocolHTTP2, ProtocolKafka, ProtocolTCP}
}

func validateMeshMultiZoneService(o *model.Object, v *model.Violations) {
	s := model.Spec[MeshMultiZoneServiceSpec](o)
	if len(s.Selector.MeshService.MatchLabels) == 0 {
		v.At("spec", "selector", "meshService", "matchLabels").Add("must have at least one label, otherwise every service would be joined")
	}
	ports := v.At("spec", "ports")
	if len(s.Ports) == 0 {
		ports.Add("must have at least one port")
	}
	seen := map[int32]bool{}
	for i, p := range s.Ports {
		at := ports.At(i)
		if p.Name != nil && *p.Name == "" {
			at.At("name").Add("must not be empty; leave it out to use the port number as the name")
		}
		checkPort(int64(p.Port), at.At("port"))
		checkOneOf(p.AppProtocol, at.At("appProtocol"), appProtocols()...)
		if seen[p.Port] {
			at.At("port").Add("port %d is listed before; a service has every port once", p.Port)
		}
		seen[p.Port] = true
	}
}
