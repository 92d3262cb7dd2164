package policy

import (
	"slices"
	"strings"

	"weft/internal/mesh/model"
)

// Kinds of a TargetRef.
const (
	RefMesh                 = "Mesh"
	RefMeshSubset           = "MeshSubset"
	RefMeshGateway          = "MeshGateway"
	RefMeshService          = "MeshService"
	RefMeshExternalService  = "MeshExternalService"
	RefMeshMultiZoneService = "MeshMultiZoneService"
	RefMeshServiceSubset    = "MeshServiceSubset"
	RefMeshHTTPRoute        = "MeshHTTPRoute"
	RefDataplane            = "Dataplane"
)

// Proxy types of a TargetRef.
const (
	TypeSidecar = "Sidecar"
	TypeGateway = "Gateway"
)

// TargetRef selects proxies, destinations, clients or routes, depending on where it stands.
type TargetRef struct {
	// Kind of what is selected.
	Kind string `json:"kind" schema:"required,enum=Mesh|MeshSubset|MeshGateway|MeshService|MeshExternalService|MeshMultiZoneService|MeshServiceSubset|MeshHTTPRoute|Dataplane"`
	// Name of what is selected. Not with the kinds Mesh and MeshSubset.
	Name string `json:"name,omitempty"`
	// Tags that selected proxies have. With the kinds MeshSubset,
	// MeshServiceSubset and, for its listeners, MeshGateway.
	Tags map[string]string `json:"tags,omitempty"`
	// Mesh is reserved and must not be set.
	Mesh string `json:"mesh,omitempty"`
	// ProxyTypes restrict the selection to these types of proxies; absent means
	// all types. With the kinds Mesh and MeshSubset.
	ProxyTypes []string `json:"proxyTypes,omitzero" schema:"enum=Sidecar|Gateway"`
	// Namespace of what Name selects; absent means the namespace of the policy.
	Namespace string `json:"namespace,omitempty"`
	// Labels that everything selected has. Either labels or name and namespace.
	Labels map[string]string `json:"labels,omitempty"`
	// SectionName selects one inbound of a Dataplane by its name, or one port of a service by
	// its name or, if it has none, its number.
	SectionName string `json:"sectionName,omitempty"`
}

// BackendRef selects the destination of a share of a route's traffic.
type BackendRef struct {
	TargetRef
	// Weight of the backend in proportion to the sum of all weights of the route.
	Weight *uint64 `json:"weight,omitempty" schema:"min=0,default=1"`
	// Port of a MeshService, MeshExternalService or MeshMultiZoneService.
	Port *uint32 `json:"port,omitempty"`
}

// Real tells whether the reference is to a resource and not to a service known
// by its tag only.
func (b *BackendRef) Real() bool {
	switch b.Kind {
	case RefMeshExternalService, RefMeshMultiZoneService:
		return true
	case RefMeshService:
		return b.Port != nil
	}
	return false
}

// Share returns the backend's weight.
func (b *BackendRef) Share() uint64 {
	if b.Weight == nil {
		return 1
	}
	return *b.Weight
}

// topOf returns what the missing top-level reference means.
func topOf(ref *TargetRef) TargetRef {
	if ref == nil {
		return TargetRef{Kind: RefMesh}
	}
	return *ref
}

// ForGateways tells whether the reference can select gateways.
func (t TargetRef) ForGateways() bool {
	switch t.Kind {
	case RefMeshGateway, RefMeshHTTPRoute:
		return true
	case RefMesh, RefMeshSubset:
		return len(t.ProxyTypes) == 0 || slices.Contains(t.ProxyTypes, TypeGateway)
	}
	return false
}

// rank orders kinds from general to specific; the order is part of the contract.
func rank(kind string) int {
	switch kind {
	case RefMesh:
		return 1
	case RefDataplane:
		return 2
	case RefMeshSubset:
		return 3
	case RefMeshGateway:
		return 4
	case RefMeshService:
		return 5
	case RefMeshExternalService:
		return 6
	case RefMeshMultiZoneService:
		return 7
	case RefMeshServiceSubset:
		return 8
	case RefMeshHTTPRoute:
		return 9
	}
	return 0
}

// Roles of a policy, from weak to strong.
const (
	RoleSystem        = "system"
	RoleProducer      = "producer"
	RoleConsumer      = "consumer"
	RoleWorkloadOwner = "workload-owner"
)

// RoleOf returns the role of a policy object; without a label it is system.
func RoleOf(o *model.Object) string {
	if r := o.Label(model.LabelPolicyRole); r != "" {
		return r
	}
	return RoleSystem
}

func roleRank(role string) int {
	switch role {
	case RoleSystem:
		return 1
	case RoleProducer:
		return 2
	case RoleConsumer:
		return 3
	case RoleWorkloadOwner:
		return 4
	}
	return 0
}

func originRank(origin string) int {
	switch origin {
	case model.OriginGlobal:
		return 1
	case model.OriginZone:
		return 3
	}
	return 2
}

// tagsMatch tells whether tags have all wanted pairs; the value "*" stands for
// any value.
func tagsMatch(want, tags map[string]string) bool {
	for k, v := range want {
		got, ok := tags[k]
		if !ok || (v != "*" && v != got) {
			return false
		}
	}
	return true
}

// labelsMatch tells whether labels have all wanted pairs.
func labelsMatch(want, labels map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// kubeServiceName reads the older form of a Kubernetes service's name,
// <name>_<namespace>_svc or <name>_<namespace>_svc_<port>.
func kubeServiceName(s string) (name, namespace, port string, ok bool) {
	parts := strings.Split(s, "_")
	if len(parts) != 3 && len(parts) != 4 || parts[2] != "svc" {
		return "", "", "", false
	}
	if len(parts) == 4 {
		port = parts[3]
		if strings.Trim(port, "0123456789") != "" || port == "" {
			return "", "", "", false
		}
	}
	return parts[0], parts[1], port, true
}
