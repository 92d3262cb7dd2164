package kinds

import (
	"weft/internal/mesh/model"
)

// MeshInsight is the kind that sums up a mesh.
var MeshInsight = &model.Kind{
	Name: "MeshInsight", Plural: "mesh-insights",
	Display: "Mesh Insight", DisplayPlural: "Mesh Insights",
	Scope: model.Global, Shape: model.Flat,
	Flow: 0, Feeds: model.FeedsNothing, ReadOnly: true,
	New: func() any { return new(MeshInsightSpec) },
	Owner: func(o *model.Object) (model.Key, bool) {
		return Mesh.Key("", o.Meta.Name), true
	},
}

// ServiceInsight is the kind that sums up the services of a mesh, all in one
// stored object; the API shows them one by one.
var ServiceInsight = &model.Kind{
	Name: "ServiceInsight", Plural: "service-insights",
	Display: "Service Insight", DisplayPlural: "Service Insights",
	Scope: model.InMesh, Shape: model.Flat,
	Flow: model.GlobalToZone, Feeds: model.FeedsNothing, ReadOnly: true,
	New: func() any { return new(ServiceInsightSpec) },
}

// MeshInsightSpec sums up a mesh.
type MeshInsightSpec struct {
	Dataplanes DataplaneStat `json:"dataplanes"`
	// Number of policies and of all objects by kind.
	Policies  map[string]CountStat `json:"policies,omitempty"`
	Resources map[string]CountStat `json:"resources,omitempty"`
	// Dataplanes by version of what runs in them.
	DPVersions MeshDPVersions `json:"dpVersions"`
	// Dataplanes by certificate authority.
	MTLS     MeshMTLSStat    `json:"mTLS"`
	Services MeshServiceStat `json:"services"`
	// Dataplanes by what they are.
	DataplanesByType DataplanesByType `json:"dataplanesByType"`
}

// DataplaneStat counts Dataplanes by status.
type DataplaneStat struct {
	Total             uint32 `json:"total,omitempty"`
	Online            uint32 `json:"online,omitempty"`
	Offline           uint32 `json:"offline,omitempty"`
	PartiallyDegraded uint32 `json:"partiallyDegraded,omitempty"`
}

// CountStat is a number of objects.
type CountStat struct {
	Total uint32 `json:"total,omitempty"`
}

// MeshDPVersions counts Dataplanes by version; "unknown" if none was reported.
type MeshDPVersions struct {
	KumaDP map[string]DataplaneStat `json:"kumaDp,omitempty"`
	Envoy  map[string]DataplaneStat `json:"envoy,omitempty"`
}

// MeshMTLSStat counts Dataplanes by certificate authority.
type MeshMTLSStat struct {
	IssuedBackends    map[string]DataplaneStat `json:"issuedBackends,omitempty"`
	SupportedBackends map[string]DataplaneStat `json:"supportedBackends,omitempty"`
}

// MeshServiceStat counts services.
type MeshServiceStat struct {
	Total    uint32 `json:"total,omitempty"`
	Internal uint32 `json:"internal,omitempty"`
	External uint32 `json:"external,omitempty"`
}

// DataplanesByType counts Dataplanes by what they are.
type DataplanesByType struct {
	Standard         DataplaneStat `json:"standard"`
	Gateway          DataplaneStat `json:"gateway"`
	GatewayBuiltin   DataplaneStat `json:"gatewayBuiltin"`
	GatewayDelegated DataplaneStat `json:"gatewayDelegated"`
}

// ServiceInsightSpec sums up the services of a mesh.
type ServiceInsightSpec struct {
	Services map[string]ServiceSummary `json:"services,omitempty"`
}

// ServiceSummary sums up one service.
type ServiceSummary struct {
	Status     ServiceStatus         `json:"status,omitempty" schema:"enum=none|offline|partially_degraded|online|not_available"`
	Dataplanes *ServiceDataplaneStat `json:"dataplanes,omitempty"`
	// Inbounds by certificate authority.
	IssuedBackends map[string]uint32 `json:"issuedBackends,omitempty"`
	ServiceType    ServiceType       `json:"serviceType,omitempty" schema:"enum=internal|external|gateway_delegated|gateway_builtin"`
	AddressPort    string            `json:"addressPort,omitempty"`
	Zones          []string          `json:"zones,omitempty"`
}

// ServiceDataplaneStat counts the Dataplanes of a service.
type ServiceDataplaneStat struct {
	Total   uint32 `json:"total,omitempty"`
	Online  uint32 `json:"online,omitempty"`
	Offline uint32 `json:"offline,omitempty"`
}

// ServiceStatus is how well a service is.
type ServiceStatus string

// The statuses.
const (
	ServiceStatusNone              ServiceStatus = ""
	ServiceStatusOffline           ServiceStatus = "offline"
	ServiceStatusPartiallyDegraded ServiceStatus = "partially_degraded"
	ServiceStatusOnline            ServiceStatus = "online"
	ServiceStatusNotAvailable      ServiceStatus = "not_available"
)

// ServiceType is what makes up a service.
type ServiceType string

// The types.
const (
	ServiceInternal         ServiceType = ""
	ServiceExternal         ServiceType = "external"
	ServiceGatewayDelegated ServiceType = "gateway_delegated"
	ServiceGatewayBuiltin   ServiceType = "gateway_builtin"
)
