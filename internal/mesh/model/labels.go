package model

// Labels that the control plane computes or reads.
const (
	LabelMesh             = "kuma.io/mesh"
	LabelOrigin           = "kuma.io/origin"
	LabelZone             = "kuma.io/zone"
	LabelEnv              = "kuma.io/env"
	LabelDisplayName      = "kuma.io/display-name"
	LabelPolicyRole       = "kuma.io/policy-role"
	LabelProxyType        = "kuma.io/proxy-type"
	LabelEffect           = "kuma.io/effect"
	LabelManagedBy        = "kuma.io/managed-by"
	LabelGracePeriodStart = "kuma.io/deletion-grace-period-started-at"
	LabelKDSSync          = "kuma.io/kds-sync"
	LabelK8sNamespace     = "k8s.kuma.io/namespace"
	LabelK8sServiceName   = "k8s.kuma.io/service-name"
	LabelK8sServicePort   = "k8s.kuma.io/service-port"
	LabelK8sHeadless      = "k8s.kuma.io/is-headless-service"
)

// Tags with a meaning on inbounds, gateways and external services.
const (
	TagService             = "kuma.io/service"
	TagProtocol            = "kuma.io/protocol"
	TagZone                = "kuma.io/zone"
	TagInstance            = "kuma.io/instance"
	TagMesh                = "kuma.io/mesh"
	TagExternalServiceName = "kuma.io/external-service-name"
)

// Values of LabelOrigin, LabelEnv, LabelEffect and LabelManagedBy.
const (
	OriginGlobal   = "global"
	OriginZone     = "zone"
	EnvKubernetes  = "kubernetes"
	EnvUniversal   = "universal"
	EffectShadow   = "shadow"
	ManagedByMSGen = "meshservice-generator"
)

// DefaultMesh is the mesh that objects without one belong to.
const DefaultMesh = "default"

// ServicelessPort marks an inbound of a workload that no service selects.
const ServicelessPort = 49151
