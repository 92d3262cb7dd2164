package kinds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weft/internal/mesh/model"
)

// MeshService is a service of one zone: a set of proxies and the ports on which
// clients reach them. The control plane makes them from Dataplanes or from
// Kubernetes Services; users may write their own.
var MeshService = &model.Kind{
	Name: "MeshService", Plural: "meshservices", Short: "msvc", One: "meshservice", Many: "meshservices",
	Display: "Mesh Service", DisplayPlural: "Mesh Services",
	Scope: model.InMesh, Shape: model.SpecBlock,
	Flow:  model.ZoneToGlobal | model.ZoneToZones | model.ZoneWrites,
	Feeds: model.FeedsLabels | model.FeedsSpec | model.FeedsStatus,
	Essence: func(o *model.Object) any {
		e := serviceEssence{Spec: o.Spec}
		if s := model.Status[MeshServiceStatus](o); s != nil {
			e.Addresses, e.VIPs, e.TLS = s.Addresses, s.VIPs, s.TLS
		}
		return e
	},
	New:       func() any { return new(MeshServiceSpec) },
	NewStatus: func() any { return new(MeshServiceStatus) },
	Default:   defaultMeshService,
	Validate:  validateMeshService,
	Warn:      warnMeshService,
}

// serviceEssence is what proxies depend on of a service that is an object. What
// its status counts, or says about hostname generators, is for people.
type serviceEssence struct {
	Spec      any
	Addresses []Address
	VIPs      []VIP
	TLS       MeshServiceTLS
}

// States of a MeshService.
const (
	ServiceAvailable   = "Available"
	ServiceUnavailable = "Unavailable"
)

// IdentityServiceTag is the type of an identity that is a value of the tag kuma.io/service.
const IdentityServiceTag = "ServiceTag"

// Values of MeshServiceTLS.Status.
const (
	TLSReady    = "Ready"
	TLSNotReady = "NotReady"
)

// MeshServiceSpec says which proxies form a service and on which ports clients reach it.
type MeshServiceSpec struct {
	// State tells whether at least one proxy of the service is healthy. The
	// control plane of the service's zone maintains it; other zones use only
	// services that are available.
	State string `json:"state,omitempty" schema:"enum=Available|Unavailable,default=Unavailable"`
	// Selector says which proxies form the service. An empty one selects none.
	Selector MeshServiceSelector `json:"selector"`
	// Ports on which clients reach the service, distinct by port and appProtocol.
	Ports []MeshServicePort `json:"ports,omitempty" schema:"listMapKeys=port|appProtocol"`
	// Identities that proxies of the service prove to clients. The control plane
	// of the service's zone maintains them.
	Identities []MeshServiceIdentity `json:"identities,omitempty"`
}

// MeshServiceSelector selects proxies by the tags of an inbound or by name.
type MeshServiceSelector struct {
	// DataplaneTags are the tags that one and the same inbound of a proxy must
	// have. Not used when dataplaneRef is given.
	DataplaneTags map[string]string `json:"dataplaneTags,omitempty"`
	// DataplaneRef selects the one proxy with that name.
	DataplaneRef *DataplaneRef `json:"dataplaneRef,omitempty"`
}

// DataplaneRef names a Dataplane.
type DataplaneRef struct {
	// Name of the Dataplane; on Kubernetes <pod>.<namespace>.
	Name string `json:"name,omitempty"`
}

// MeshServicePort is a port of a MeshService.
type MeshServicePort struct {
	// Name of the port, by which policies and routes may refer to it. Without
	// one the port number serves as the name.
	Name string `json:"name,omitempty"`
	// Port that clients use.
	Port int32 `json:"port" schema:"required"`
	// TargetPort is the port of the inbound, or the name of the inbound, that
	// receives the traffic. Without one it is the same number as port.
	TargetPort TargetPort `json:"targetPort,omitzero"`
	// AppProtocol spoken on the port: tcp, http, http2, grpc or kafka. Other
	// values are handled as tcp.
	AppProtocol string `json:"appProtocol,omitempty" schema:"default=tcp"`
}

// MeshServiceIdentity is something that proxies of a service prove by their certificates.
type MeshServiceIdentity struct {
	// Type of the identity: ServiceTag is a value of the tag kuma.io/service.
	Type string `json:"type" schema:"required,enum=ServiceTag"`
	// Value of the identity.
	Value string `json:"value" schema:"required"`
}

// MeshServiceStatus is what the control plane of a zone found out about a service.
type MeshServiceStatus struct {
	// Addresses are the hostnames under which the zone's clients reach the service.
	Addresses []Address `json:"addresses,omitempty"`
	// VIPs are the virtual addresses that the hostnames resolve to.
	VIPs []VIP `json:"vips,omitempty"`
	// TLS tells whether clients may use the mesh's TLS.
	TLS MeshServiceTLS `json:"tls"`
	// HostnameGenerators tell what became of each generator that selects the service.
	HostnameGenerators []HostnameGeneratorStatus `json:"hostnameGenerators,omitempty"`
	// DataplaneProxies counts the proxies that the service selects.
	DataplaneProxies DataplaneProxies `json:"dataplaneProxies"`
}

// MeshServiceTLS tells whether all proxies of a service have a certificate.
type MeshServiceTLS struct {
	// Status is Ready once every proxy had a certificate, and stays so.
	Status string `json:"status,omitempty" schema:"enum=Ready|NotReady"`
}

// DataplaneProxies counts proxies.
type DataplaneProxies struct {
	// Connected is the number of proxies that are connected to a control plane.
	Connected int `json:"connected,omitempty"`
	// Healthy is the number of proxies with a ready inbound for every port of the service.
	Healthy int `json:"healthy,omitempty"`
	// Total is the number of proxies.
	Total int `json:"total,omitempty"`
}

// VIP is a virtual address.
type VIP struct {
	// IP is the address.
	IP string `json:"ip,omitempty"`
}

// TargetPort names an inbound by its port or by its name. The zero value names none.
type TargetPort struct {
	Number int32
	Name   string
}

// IsZero tells whether the target names nothing.
func (t TargetPort) IsZero() bool { return t == TargetPort{} }

// Matches tells whether the target is the inbound with that port and name.
func (t TargetPort) Matches(port uint32, name string) bool {
	if t.Name != "" {
		return t.Name == name
	}
	return t.Number > 0 && uint32(t.Number) == port
}

// JSONSchema says that a target is a number or a string.
func (TargetPort) JSONSchema() *model.Schema { return &model.Schema{IntOrString: true} }

// String returns the name or the number.
func (t TargetPort) String() string {
	if t.Name != "" {
		return t.Name
	}
	return strconv.Itoa(int(t.Number))
}

// MarshalJSON writes a string for a name, else a number.
func (t TargetPort) MarshalJSON() ([]byte, error) {
	if t.Name != "" {
		return json.Marshal(t.Name)
	}
	return json.Marshal(t.Number)
}

// UnmarshalJSON reads a number or a string. A string of digits is a name.
func (t *TargetPort) UnmarshalJSON(b []byte) error {
	*t = TargetPort{}
	if bytes.HasPrefix(b, []byte(`"`)) {
		return json.Unmarshal(b, &t.Name)
	}
	if err := json.Unmarshal(b, &t.Number); err != nil {
		return fmt.Errorf("must be the number of an inbound's port or the name of an inbound")
	}
	return nil
}

// SectionName is how policies, routes and outbounds refer to the port: its name,
// or its number as text.
func (p *MeshServicePort) SectionName() string { return sectionName(p.Name, p.Port) }

// Target returns the inbound that receives the port's traffic.
func (p *MeshServicePort) Target() TargetPort {
	if p.TargetPort.IsZero() {
		return TargetPort{Number: p.Port}
	}
	return p.TargetPort
}

// Protocol returns the port's protocol, tcp if none was given.
func (p *MeshServicePort) Protocol() string { return protocolOr(p.AppProtocol) }

// Port returns the port with that number.
func (s *MeshServiceSpec) Port(number int32) (*MeshServicePort, bool) {
	for i := range s.Ports {
		if s.Ports[i].Port == number {
			return &s.Ports[i], true
		}
	}
	return nil, false
}

// PortBySection returns the port with that name, or with that number as text. A
// name wins over a number.
func (s *MeshServiceSpec) PortBySection(section string) (*MeshServicePort, bool) {
	for i := range s.Ports {
		if s.Ports[i].Name == section && section != "" {
			return &s.Ports[i], true
		}
	}
	number, ok := portNumber(section)
	if !ok {
		return nil, false
	}
	return s.Port(number)
}

// Selects tells whether a proxy of that name belongs to the service. Proxies
// without inbounds, which gateways are, never do.
func (s *MeshServiceSpec) Selects(proxy string, dp *DataplaneSpec) bool {
	for i := range dp.Inbounds() {
		if s.SelectsInbound(proxy, dp.Networking.Inbound[i].Tags) {
			return true
		}
	}
	return false
}

// SelectsInbound tells whether a proxy of that name belongs to the service by an
// inbound with those tags.
func (s *MeshServiceSpec) SelectsInbound(proxy string, tags map[string]string) bool {
	if ref := s.Selector.DataplaneRef; ref != nil && ref.Name != "" {
		return ref.Name == proxy
	}
	return len(s.Selector.DataplaneTags) > 0 && hasAll(tags, s.Selector.DataplaneTags)
}

// hasAll tells whether every pair of want is among have.
func hasAll(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func sectionName(name string, port int32) string {
	if name != "" {
		return name
	}
	return strconv.Itoa(int(port))
}

// portNumber reads the canonical form of a port: "080" and "+80" are names.
func portNumber(section string) (int32, bool) {
	n, err := strconv.ParseUint(section, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != section {
		return 0, false
	}
	return int32(n), true
}

func protocolOr(appProtocol string) string {
	if appProtocol == "" {
		return "tcp"
	}
	return appProtocol
}

// defaultMeshService writes the target ports out, because receivers of older
// versions take an absent one as port 0, which matches no inbound.
func defaultMeshService(o *model.Object) {
	s := model.Spec[MeshServiceSpec](o)
	for i := range s.Ports {
		s.Ports[i].TargetPort = s.Ports[i].Target()
	}
}

func validateMeshService(o *model.Object, v *model.Violations) {
	validateServiceName(o, v)
	s := model.Spec[MeshServiceSpec](o)
	type key struct {
		port     int32
		protocol string
	}
	seen := map[key]bool{}
	for i, p := range s.Ports {
		at := v.At("spec", "ports", i)
		checkPort(int64(p.Port), at.At("port"))
		// A target that equals the port is wrong with it, or not at all.
		if t := p.TargetPort; t.Name == "" && !t.IsZero() && t.Number != p.Port {
			checkPort(int64(t.Number), at.At("targetPort"))
		}
		k := key{p.Port, p.Protocol()}
		if seen[k] {
			at.Add("port %d with protocol %s is listed before; list every pair once", k.port, k.protocol)
		}
		seen[k] = true
	}
}

func warnMeshService(o *model.Object) []string {
	warnings := warnDNSName(o)
	for i, p := range model.Spec[MeshServiceSpec](o).Ports {
		if !slices.Contains(appProtocols(), strings.ToLower(p.Protocol())) {
			warnings = append(warnings, fmt.Sprintf("spec.ports[%d].appProtocol: %q is not known and handled as tcp; known are %s",
				i, p.AppProtocol, strings.Join(appProtocols(), ", ")))
		}
	}
	return warnings
}

// validateServiceName bounds the display name, which becomes part of DNS names.
func validateServiceName(o *model.Object, v *model.Violations) {
	if n := o.DisplayName(); len(n) > maxServiceName {
		v.At("name").Add("must not be longer than %d characters, since it becomes a part of DNS names; it has %d", maxServiceName, len(n))
	}
}

// maxServiceName is the longest label of a DNS name.
const maxServiceName = 63
