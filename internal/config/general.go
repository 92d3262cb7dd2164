package config

import "time"

// General are settings that concern everything.
type General struct {
	// How long DNS answers for names in Dataplanes are remembered.
	DNSCacheTTL time.Duration `json:"dnsCacheTTL" env:"DNS_CACHE_TTL"`
	// Certificate of all servers that have none of their own (PEM file); empty = one is made and kept in workDir as kuma-cp.crt.
	TLSCertFile string `json:"tlsCertFile" env:"TLS_CERT_FILE"`
	// Key of the certificate (PEM file).
	TLSKeyFile string `json:"tlsKeyFile" env:"TLS_KEY_FILE"`
	// TLS versions and ciphers of all servers that do not say otherwise.
	TLSVersions
	// Folder in which the control plane keeps its files; empty = .kuma in the home folder of the user.
	WorkDir string `json:"workDir" env:"WORK_DIR"`
	// First wait before a part that failed is started again; it doubles each time.
	ResilientComponentBaseBackoff time.Duration `json:"resilientComponentBaseBackoff" env:"RESILIENT_COMPONENT_BASE_BACKOFF" unused:"a part that failed is started again after 0.5 to 30 seconds"`
	// Longest wait before a part that failed is started again.
	ResilientComponentMaxBackoff time.Duration `json:"resilientComponentMaxBackoff" env:"RESILIENT_COMPONENT_MAX_BACKOFF" unused:"a part that failed is started again after 0.5 to 30 seconds"`
}

// MonitoringAssignmentServer are the settings of the monitoring assignments, by which Prometheus finds proxies.
type MonitoringAssignmentServer struct {
	// Port to listen on.
	Port int `json:"port" env:"PORT"`
	// Versions of the interface; only `v1` exists.
	APIVersions []string `json:"apiVersions" env:"API_VERSIONS"`
	// How often 2.10 looked whether assignments had changed.
	AssignmentRefreshInterval time.Duration `json:"assignmentRefreshInterval" env:"ASSIGNMENT_REFRESH_INTERVAL"`
	// How long an answer is held back until there is something new, where the request does not say otherwise.
	DefaultFetchTimeout time.Duration `json:"defaultFetchTimeout" env:"DEFAULT_FETCH_TIMEOUT"`
	// If true, the port uses TLS.
	TLSEnabled bool `json:"tlsEnabled" env:"TLS_ENABLED"`
	ServerTLS
}

// Diagnostics are the settings of the port with metrics and probes.
type Diagnostics struct {
	// Port to listen on.
	ServerPort int `json:"serverPort" env:"SERVER_PORT"`
	// If true, profiles can be taken under /debug/pprof/.
	DebugEndpoints bool `json:"debugEndpoints" env:"DEBUG_ENDPOINTS"`
	// If true, the port uses TLS.
	TLSEnabled bool `json:"tlsEnabled" env:"TLS_ENABLED"`
	ServerTLS
}

// Defaults says which objects are not made by themselves.
type Defaults struct {
	// If true, the Mesh default is not made.
	SkipMeshCreation bool `json:"skipMeshCreation" env:"SKIP_MESH_CREATION"`
	// If true, none of the first objects is made: no Mesh, no signing keys, no HostnameGenerators.
	SkipTenantResources bool `json:"skipTenantResources" env:"SKIP_TENANT_RESOURCES"`
	// If true, new meshes get a TrafficRoute and a TrafficPermission for everything.
	CreateMeshRoutingResources bool `json:"createMeshRoutingResources" env:"CREATE_MESH_ROUTING_RESOURCES"`
	// If true, the first HostnameGenerators are not made.
	SkipHostnameGenerators bool `json:"SkipHostnameGenerators" yaml:"skipHostnameGenerators" env:"SKIP_HOSTNAME_GENERATORS"`
}

// Metrics are the settings of insights: what the control plane tells about proxies, zones and meshes.
type Metrics struct {
	Dataplane    MetricsDataplane    `json:"dataplane" env:"DATAPLANE"`
	Zone         MetricsZone         `json:"zone" env:"ZONE" unused:"zones do not connect to a global control plane yet"`
	Mesh         MetricsMesh         `json:"mesh" env:"MESH" unused:"insights are counted when somebody asks for them"`
	ControlPlane MetricsControlPlane `json:"controlPlane" env:"CONTROL_PLANE"`
}

// MetricsDataplane are the settings of DataplaneInsights.
type MetricsDataplane struct {
	// Connections that are remembered per proxy.
	SubscriptionLimit int `json:"subscriptionLimit" env:"SUBSCRIPTION_LIMIT"`
	// A connection without a sign of life for this long counts as ended.
	IdleTimeout time.Duration `json:"idleTimeout" env:"IDLE_TIMEOUT"`
}

// MetricsZone are the settings of ZoneInsights.
type MetricsZone struct {
	// Connections that are remembered per zone; 0 = none is stored.
	SubscriptionLimit int `json:"subscriptionLimit" env:"SUBSCRIPTION_LIMIT"`
	// A connection without a sign of life for this long counts as ended.
	IdleTimeout time.Duration `json:"idleTimeout" env:"IDLE_TIMEOUT"`
	// If true, ended connections keep only their times.
	CompactFinishedSubscriptions bool `json:"compactFinishedSubscriptions" env:"COMPACT_FINISHED_SUBSCRIPTIONS"`
}

// MetricsMesh are the settings of MeshInsights and ServiceInsights.
type MetricsMesh struct {
	// Deprecated name of minResyncInterval; 0 = not set.
	MinResyncTimeout time.Duration `json:"minResyncTimeout" env:"MIN_RESYNC_TIMEOUT"`
	// Deprecated name of fullResyncInterval; 0 = not set.
	MaxResyncTimeout time.Duration `json:"maxResyncTimeout" env:"MAX_RESYNC_TIMEOUT"`
	// Least time between two updates of the same insight.
	MinResyncInterval time.Duration `json:"minResyncInterval" env:"MIN_RESYNC_INTERVAL"`
	// All insights are computed again after this time.
	FullResyncInterval time.Duration `json:"fullResyncInterval" env:"FULL_RESYNC_INTERVAL"`
	// How many events 2.10 kept for a slow reader before it dropped some.
	BufferSize int `json:"bufferSize" env:"BUFFER_SIZE"`
	// How many events 2.10 worked on at once.
	EventProcessors int `json:"eventProcessors" env:"EVENT_PROCESSORS"`
}

// MetricsControlPlane are the settings of the control plane's own metrics.
type MetricsControlPlane struct {
	// If true, objects are counted per kind (metric resources_count).
	ReportResourcesCount bool `json:"reportResourcesCount" env:"REPORT_RESOURCES_COUNT"`
}

// Reports was 2.10's usage report.
type Reports struct {
	// If true, 2.10 sent data about its use to the vendor.
	Enabled bool `json:"enabled" env:"ENABLED"`
}

// DNSServer says how names of services and virtual IPs are made.
type DNSServer struct {
	// Domain of service names.
	Domain string `json:"domain" env:"DOMAIN"`
	// Addresses from which virtual IPs of services are taken.
	CIDR string `json:"CIDR" env:"CIDR"`
	// If true, every kuma.io/service gets a virtual IP.
	ServiceVIPEnabled bool `json:"serviceVipEnabled" env:"SERVICE_VIP_ENABLED"`
	// Port of the virtual IPs.
	ServiceVIPPort int `json:"serviceVipPort" env:"SERVICE_VIP_PORT"`
}

// Experimental are settings that may change.
type Experimental struct {
	// If true, Services of Kubernetes become outbounds by virtual IPs only.
	KubeOutboundsAsVIPs bool `json:"kubeOutboundsAsVIPs" env:"KUBE_OUTBOUNDS_AS_VIPS" unused:"kuma-cp does not run on Kubernetes yet"`
	// If true, virtual outbounds are stored by tags.
	UseTagFirstVirtualOutboundModel bool `json:"useTagFirstVirtualOutboundModel" env:"USE_TAG_FIRST_VIRTUAL_OUTBOUND_MODEL" unused:"both forms are read, and the one that every version reads is written"`
	// Tags by which ingresses group endpoints; empty = all.
	IngressTagFilters     []string    `json:"ingressTagFilters" env:"INGRESS_TAG_FILTERS" unused:"zone ingresses are not served yet"`
	KDSEventBasedWatchdog KDSWatchdog `json:"kdsEventBasedWatchdog" env:"KDS_EVENT_BASED_WATCHDOG" unused:"zones do not connect to a global control plane yet"`
	// If true, proxies get only the destinations that MeshTrafficPermissions let them reach.
	AutoReachableServices bool `json:"autoReachableServices" env:"AUTO_REACHABLE_SERVICES"`
	// If true, sidecars are native sidecar containers of Kubernetes.
	SidecarContainers bool `json:"sidecarContainers" env:"SIDECAR_CONTAINERS" unused:"kuma-cp does not run on Kubernetes yet"`
}

// KDSWatchdog are 2.10's settings of sync by events.
type KDSWatchdog struct {
	// If true, 2.10 synchronised when there was something to send.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// How long 2.10 collected events.
	FlushInterval time.Duration `json:"flushInterval" env:"FLUSH_INTERVAL"`
	// How often it compared everything nevertheless.
	FullResyncInterval time.Duration `json:"fullResyncInterval" env:"FULL_RESYNC_INTERVAL"`
	// If true, 2.10 spread its full comparisons.
	DelayFullResync bool `json:"delayFullResync" env:"DELAY_FULL_RESYNC"`
}

// Proxy are settings of all proxies.
type Proxy struct {
	Gateway ProxyGateway `json:"gateway" env:"GATEWAY"`
}

// ProxyGateway are settings of builtin gateways.
type ProxyGateway struct {
	// Most connections from clients to one gateway; 0 = 50000.
	GlobalDownstreamMaxConnections uint64 `json:"globalDownstreamMaxConnections" env:"GLOBAL_DOWNSTREAM_MAX_CONNECTIONS"`
}

// Tracing are the settings of tracing the control plane itself.
type Tracing struct {
	OpenTelemetry OpenTelemetry `json:"openTelemetry" env:"OPENTELEMETRY"`
}

// OpenTelemetry sends traces; everything else is set by the OTEL_* variables.
type OpenTelemetry struct {
	// If true, traces are sent.
	Enabled bool `json:"enabled,omitempty" env:"ENABLED"`
	// Deprecated, see OTEL_EXPORTER_OTLP_ENDPOINT: collector as `host:port`; if set, traces are sent there.
	Endpoint string `json:"endpoint,omitempty" env:"ENDPOINT"`
}

// EventBus was 2.10's way to pass on changes.
type EventBus struct {
	// How many events 2.10 kept for a slow reader before it dropped some.
	BufferSize int `json:"bufferSize" env:"BUFFER_SIZE"`
}

// Policies says which policies exist.
type Policies struct {
	// Policies that exist, by the names of their REST collections; others are unknown to the API, to sync and to proxies.
	PluginPoliciesEnabled []string `json:"pluginPoliciesEnabled" env:"PLUGIN_POLICIES_ENABLED"`
}

// CoreResources says which of the newer kinds exist.
type CoreResources struct {
	// Kinds that exist, by the names of their REST collections.
	Enabled []string            `json:"enabled" env:"ENABLED"`
	Status  CoreResourcesStatus `json:"status" env:"STATUS" unused:"the status of services is updated at once"`
}

// CoreResourcesStatus are 2.10's intervals for the status of services.
type CoreResourcesStatus struct {
	// How often 2.10 updated the status of MeshMultiZoneServices.
	MeshMultiZoneServiceInterval time.Duration `json:"meshMultiZoneServiceInterval" env:"MESH_MULTI_ZONE_SERVICE_INTERVAL"`
	// How often 2.10 updated the status of MeshServices.
	MeshServiceInterval time.Duration `json:"meshServiceInterval" env:"MESH_SERVICE_INTERVAL"`
}

// IPAM says from where virtual IPs of the newer kinds of services are taken.
type IPAM struct {
	MeshService          IPAMRange `json:"meshService" env:"MESH_SERVICE"`
	MeshExternalService  IPAMRange `json:"meshExternalService" env:"MESH_EXTERNAL_SERVICE"`
	MeshMultiZoneService IPAMRange `json:"meshMultiZoneService" env:"MESH_MULTI_ZONE_SERVICE"`
	// How often 2.10 gave out addresses.
	AllocationInterval time.Duration `json:"allocationInterval" env:"ALLOCATION_INTERVAL" unused:"addresses are given out at once"`
	// Networks that count as inside for gateways.
	KnownInternalCIDRs []string `json:"knownInternalCIDRs" env:"KNOWN_INTERNAL_CIDRS"`
}

// IPAMRange is a range of addresses.
type IPAMRange struct {
	// Addresses from which virtual IPs are taken.
	CIDR string `json:"cidr" env:"CIDR"`
}

// MeshService are the settings of generated MeshServices.
type MeshService struct {
	// How often 2.10 generated MeshServices.
	GenerationInterval time.Duration `json:"generationInterval" env:"GENERATION_INTERVAL" unused:"MeshServices are generated at once"`
	// A generated MeshService without data planes is deleted after this time.
	DeletionGracePeriod time.Duration `json:"deletionGracePeriod" env:"DELETION_GRACE_PERIOD"`
}
