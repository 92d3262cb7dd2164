package kinds

import (
	"weft/internal/mesh/model"
)

// Dataplane is the kind that describes one proxy next to a workload, or a gateway.
var Dataplane = &model.Kind{
	Name: "Dataplane", Plural: "dataplanes", Short: "dp", One: "dataplane", Many: "dataplanes",
	Display: "Dataplane", DisplayPlural: "Dataplanes",
	Scope: model.InMesh, Shape: model.Flat,
	Flow:     model.ZoneToGlobal | model.ZoneWrites,
	Feeds:    model.FeedsSpec | model.FeedsLabels,
	New:      func() any { return new(DataplaneSpec) },
	Validate: validateDataplane,
	Columns: []model.Column{
		{Title: "TAGS", Value: func(o *model.Object) string { return model.Spec[DataplaneSpec](o).Tags().String() }},
		{Title: "ADDRESS", Value: func(o *model.Object) string { return model.Spec[DataplaneSpec](o).AdvertisedAddress() }},
	},
}

// DataplaneSpec describes one proxy.
type DataplaneSpec struct {
	// Addresses and ports of the proxy.
	Networking *DataplaneNetworking `json:"networking,omitempty"`
	// Overrides the mesh's metrics backend.
	Metrics *MetricsBackend `json:"metrics,omitempty"`
	// Deprecated: virtual probes.
	Probes *DataplaneProbes `json:"probes,omitempty"`
}

// DataplaneNetworking holds addresses and ports.
type DataplaneNetworking struct {
	// IP address or DNS name of the proxy, as it is inside its network.
	Address string `json:"address,omitempty"`
	// Address that other proxies connect to; absent = address.
	AdvertisedAddress string `json:"advertisedAddress,omitempty"`
	// Makes the proxy a gateway.
	Gateway *DataplaneGateway `json:"gateway,omitempty"`
	// Ports of the workload that are offered to others.
	Inbound []Inbound `json:"inbound,omitempty"`
	// Local ports on which the workload reaches others.
	Outbound []Outbound `json:"outbound,omitempty"`
	// Present if traffic is redirected to the proxy by the kernel.
	TransparentProxying *TransparentProxying `json:"transparentProxying,omitempty"`
	// Envoy's admin endpoint.
	Admin *EnvoyAdmin `json:"admin,omitempty"`
}

// EnvoyAdmin is Envoy's admin endpoint.
type EnvoyAdmin struct {
	// 0 = the control plane's default (9901).
	Port uint32 `json:"port,omitempty"`
}

// Inbound is one port of the workload that is offered to others.
type Inbound struct {
	// Port that the proxy listens on.
	Port uint32 `json:"port,omitempty"`
	// Port of the workload; 0 = port.
	ServicePort uint32 `json:"servicePort,omitempty"`
	// Address of the workload; absent = address.
	ServiceAddress string `json:"serviceAddress,omitempty"`
	// Address that the proxy listens on; absent = networking.address.
	Address string `json:"address,omitempty"`
	// Tags; kuma.io/service is needed.
	Tags map[string]string `json:"tags,omitempty"`
	// Deprecated twin of state.
	Health *InboundHealth `json:"health,omitempty"`
	// Lets Envoy probe the workload's port and the control plane follow the result.
	ServiceProbe *ServiceProbe `json:"serviceProbe,omitempty"`
	// Whether the workload can take traffic.
	State InboundState `json:"state,omitempty" schema:"enum=Ready|NotReady|Ignored"`
	// Name of the port, used by MeshService.targetPort and sectionName.
	Name string `json:"name,omitempty"`
}

// InboundState says whether the workload can take traffic.
type InboundState string

// The states.
const (
	InboundReady    InboundState = ""
	InboundNotReady InboundState = "NotReady"
	InboundIgnored  InboundState = "Ignored"
)

// InboundHealth is the older form of InboundState.
type InboundHealth struct {
	Ready bool `json:"ready,omitempty"`
}

// ServiceProbe says how the workload's port is probed.
type ServiceProbe struct {
	Interval           *model.ProtoDuration `json:"interval,omitempty"`
	Timeout            *model.ProtoDuration `json:"timeout,omitempty"`
	UnhealthyThreshold *uint32              `json:"unhealthyThreshold,omitempty"`
	HealthyThreshold   *uint32              `json:"healthyThreshold,omitempty"`
	// Try to establish a TCP connection.
	TCP *TCPProbe `json:"tcp,omitempty"`
}

// TCPProbe has no settings.
type TCPProbe struct{}

// Outbound is a local port on which the workload reaches a destination.
type Outbound struct {
	// Absent = 127.0.0.1.
	Address string `json:"address,omitempty"`
	Port    uint32 `json:"port,omitempty"`
	// Tags of the destination; kuma.io/service is needed unless there is a backendRef.
	Tags map[string]string `json:"tags,omitempty"`
	// The destination as an object.
	BackendRef *BackendRef `json:"backendRef,omitempty"`
}

// BackendRef names a MeshService or a relative of it.
type BackendRef struct {
	Kind   string            `json:"kind,omitempty"`
	Name   string            `json:"name,omitempty"`
	Port   uint32            `json:"port,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
}

// DataplaneGateway makes the proxy a gateway.
type DataplaneGateway struct {
	Tags map[string]string `json:"tags,omitempty"`
	Type GatewayType       `json:"type,omitempty" schema:"enum=DELEGATED|BUILTIN"`
}

// GatewayType says who implements a gateway.
type GatewayType string

// The types.
const (
	GatewayDelegated GatewayType = ""
	GatewayBuiltin   GatewayType = "BUILTIN"
)

// TransparentProxying says how traffic is redirected to the proxy.
type TransparentProxying struct {
	RedirectPortInbound  uint32 `json:"redirectPortInbound,omitempty"`
	RedirectPortOutbound uint32 `json:"redirectPortOutbound,omitempty"`
	// Services whose single endpoints can be reached by their address; "*" = all.
	DirectAccessServices []string `json:"directAccessServices,omitempty"`
	// kuma.io/service values that the workload uses; empty = all.
	ReachableServices []string     `json:"reachableServices,omitempty"`
	IPFamilyMode      IPFamilyMode `json:"ipFamilyMode,omitempty" schema:"enum=UnSpecified|DualStack|IPv4|IPv6"`
	// Objects that the workload uses; absent = all, without refs = none.
	ReachableBackends *ReachableBackends `json:"reachableBackends,omitempty"`
}

// IPFamilyMode says which IP families are redirected.
type IPFamilyMode string

// The modes.
const (
	IPFamilyUnspecified IPFamilyMode = ""
	IPFamilyDualStack   IPFamilyMode = "DualStack"
	IPFamilyIPv4        IPFamilyMode = "IPv4"
	IPFamilyIPv6        IPFamilyMode = "IPv6"
)

// ReachableBackends lists what a workload uses.
type ReachableBackends struct {
	Refs []ReachableBackendRef `json:"refs,omitempty"`
}

// ReachableBackendRef names objects by name and namespace, or by labels.
type ReachableBackendRef struct {
	Kind      string            `json:"kind,omitempty"`
	Name      string            `json:"name,omitempty"`
	Namespace string            `json:"namespace,omitempty"`
	Port      *uint32           `json:"port,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// DataplaneProbes are the deprecated virtual probes: a port on which HTTP probes
// of the platform pass the proxy.
type DataplaneProbes struct {
	Port      uint32          `json:"port,omitempty"`
	Endpoints []ProbeEndpoint `json:"endpoints,omitempty"`
}

// ProbeEndpoint is one virtual probe.
type ProbeEndpoint struct {
	InboundPort uint32 `json:"inboundPort,omitempty"`
	InboundPath string `json:"inboundPath,omitempty"`
	Path        string `json:"path,omitempty"`
}
