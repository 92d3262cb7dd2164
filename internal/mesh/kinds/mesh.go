// Package kinds holds every kind of object that is not a policy: one file each
// with its descriptor, its spec struct and the questions others ask about it.
// Everything here is a pure value or function; specs are immutable once stored.
package kinds

import (
	"weft/internal/mesh/model"
)

// Mesh is the kind that holds the settings of one isolated mesh.
var Mesh = &model.Kind{
	Name: "Mesh", Plural: "meshes", Short: "m", One: "mesh", Many: "meshes",
	Display: "Mesh", DisplayPlural: "Meshes",
	Scope: model.Global, Shape: model.Flat,
	Flow:  model.GlobalToZone | model.GlobalWrites | model.KeepsName,
	Feeds: model.FeedsSpec,
	New:   func() any { return new(MeshSpec) },
	Default: func(o *model.Object) {
		defaultMesh(model.Spec[MeshSpec](o))
	},
	Validate: validateMesh,
	Warn:     warnDNSName,
	Columns: []model.Column{
		{Title: "mTLS", Value: func(o *model.Object) string {
			if b := model.Spec[MeshSpec](o).EnabledCA(); b != nil {
				return b.Type + "/" + b.Name
			}
			return "off"
		}},
		{Title: "LOCALITY", Value: func(o *model.Object) string {
			if model.Spec[MeshSpec](o).LocalityAware() {
				return "on"
			}
			return "off"
		}},
		{Title: "ZONEEGRESS", Value: func(o *model.Object) string {
			if model.Spec[MeshSpec](o).ZoneEgress() {
				return "on"
			}
			return "off"
		}},
	},
}

// MeshSpec holds the settings of a mesh.
type MeshSpec struct {
	// Mutual TLS between proxies.
	MTLS *MeshMTLS `json:"mtls,omitempty"`
	// Tracing backends for the older policy TrafficTrace.
	Tracing *MeshTracing `json:"tracing,omitempty"`
	// Logging backends for the older policy TrafficLog.
	Logging *MeshLogging `json:"logging,omitempty"`
	// Metrics backends (superseded by MeshMetric).
	Metrics *MeshMetrics `json:"metrics,omitempty"`
	// Networking settings of all proxies.
	Networking *MeshNetworking `json:"networking,omitempty"`
	// Routing between zones.
	Routing *MeshRouting `json:"routing,omitempty"`
	// Constraints say which proxies may be members.
	Constraints *MeshConstraints `json:"constraints,omitempty"`
	// Policies (by kind) that are not created with the mesh; "*" = none is created.
	SkipCreatingInitialPolicies []string `json:"skipCreatingInitialPolicies,omitempty"`
	// Whether MeshServices are generated and used.
	MeshServices *MeshServicesSettings `json:"meshServices,omitempty"`
}

// MeshMTLS configures mutual TLS.
type MeshMTLS struct {
	// Name of the backend that signs certificates; empty = mutual TLS is off.
	EnabledBackend string `json:"enabledBackend,omitempty"`
	// Certificate authorities.
	Backends []CABackend `json:"backends,omitempty"`
	// Do not check the backends when the mesh is written.
	SkipValidation bool `json:"skipValidation,omitempty"`
}

// CABackend is a certificate authority of a mesh.
type CABackend struct {
	Name string `json:"name,omitempty"`
	// builtin or provided.
	Type string `json:"type,omitempty"`
	// Certificates of proxies.
	DPCert *DPCert `json:"dpCert,omitempty"`
	// Settings of the type.
	Conf model.Struct `json:"conf,omitempty"`
	// Whether inbounds also accept plain traffic.
	Mode MTLSMode `json:"mode,omitempty" schema:"enum=STRICT|PERMISSIVE"`
	// How the root certificates are fetched.
	RootChain *RootChain `json:"rootChain,omitempty"`
}

// MTLSMode says whether inbounds insist on mutual TLS.
type MTLSMode string

// The modes.
const (
	MTLSStrict     MTLSMode = ""
	MTLSPermissive MTLSMode = "PERMISSIVE"
)

// The types of certificate authorities.
const (
	CABuiltin  = "builtin"
	CAProvided = "provided"
)

// DPCert says how certificates of proxies are made.
type DPCert struct {
	Rotation *CertRotation `json:"rotation,omitempty"`
	// Time limit for one certificate; absent = none.
	RequestTimeout *model.ProtoDuration `json:"requestTimeout,omitempty"`
}

// CertRotation says how long certificates live.
type CertRotation struct {
	// Like 30m, 24h, 7d, 1y: one number and one unit. Absent = 24h.
	Expiration string `json:"expiration,omitempty"`
}

// RootChain says how root certificates are fetched.
type RootChain struct {
	// Time limit; absent = 10s.
	RequestTimeout *model.ProtoDuration `json:"requestTimeout,omitempty"`
}

// BuiltinCA is the conf of a CABackend of type builtin.
type BuiltinCA struct {
	CACert *BuiltinCACert `json:"caCert,omitempty"`
}

// BuiltinCACert says how the root certificate is made.
type BuiltinCACert struct {
	// Absent = 2048.
	RSABits *uint32 `json:"RSAbits,omitempty"`
	// Absent = 10y.
	Expiration string `json:"expiration,omitempty"`
}

// ProvidedCA is the conf of a CABackend of type provided.
type ProvidedCA struct {
	Cert *DataSource `json:"cert,omitempty"`
	Key  *DataSource `json:"key,omitempty"`
}

// MeshTracing lists tracing backends.
type MeshTracing struct {
	DefaultBackend string           `json:"defaultBackend,omitempty"`
	Backends       []TracingBackend `json:"backends,omitempty"`
}

// TracingBackend is a place that spans are sent to.
type TracingBackend struct {
	Name string `json:"name,omitempty"`
	// Percentage of requests that are traced; absent = 100.
	Sampling *float64 `json:"sampling,omitempty"`
	// zipkin or datadog.
	Type string       `json:"type,omitempty"`
	Conf model.Struct `json:"conf,omitempty"`
}

// ZipkinConf is the conf of a TracingBackend of type zipkin.
type ZipkinConf struct {
	URL           string `json:"url,omitempty"`
	TraceID128bit bool   `json:"traceId128bit,omitempty"`
	// httpJson (default), httpJsonV1 or httpProto.
	APIVersion string `json:"apiVersion,omitempty"`
	// Absent = true.
	SharedSpanContext *bool `json:"sharedSpanContext,omitempty"`
}

// DatadogConf is the conf of a TracingBackend of type datadog.
type DatadogConf struct {
	Address      string `json:"address,omitempty"`
	Port         uint32 `json:"port,omitempty"`
	SplitService bool   `json:"splitService,omitempty"`
}

// MeshLogging lists logging backends.
type MeshLogging struct {
	DefaultBackend string           `json:"defaultBackend,omitempty"`
	Backends       []LoggingBackend `json:"backends,omitempty"`
}

// LoggingBackend is a place that access logs are sent to.
type LoggingBackend struct {
	Name string `json:"name,omitempty"`
	// Format of a line; empty = the default one.
	Format string `json:"format,omitempty"`
	// file or tcp.
	Type string       `json:"type,omitempty"`
	Conf model.Struct `json:"conf,omitempty"`
}

// FileLogConf is the conf of a LoggingBackend of type file.
type FileLogConf struct {
	Path string `json:"path,omitempty"`
}

// TCPLogConf is the conf of a LoggingBackend of type tcp.
type TCPLogConf struct {
	// HOST:PORT
	Address string `json:"address,omitempty"`
}

// MeshMetrics lists metrics backends.
type MeshMetrics struct {
	EnabledBackend string           `json:"enabledBackend,omitempty"`
	Backends       []MetricsBackend `json:"backends,omitempty"`
}

// MetricsBackend says how metrics of proxies are exposed.
type MetricsBackend struct {
	Name string `json:"name,omitempty"`
	// prometheus.
	Type string       `json:"type,omitempty"`
	Conf model.Struct `json:"conf,omitempty"`
}

// PrometheusConf is the conf of a MetricsBackend of type prometheus.
type PrometheusConf struct {
	// 0 = 5670.
	Port uint32 `json:"port,omitempty"`
	// Empty = /metrics.
	Path string `json:"path,omitempty"`
	// Tags of the metrics endpoint; absent = kuma.io/service: dataplane-metrics.
	Tags map[string]string `json:"tags,omitempty"`
	// Deprecated twin of tls.
	SkipMTLS *bool `json:"skipMTLS,omitempty"`
	// Endpoints of applications whose metrics are added.
	Aggregate []PrometheusAggregate `json:"aggregate,omitempty"`
	Envoy     *PrometheusEnvoy      `json:"envoy,omitempty"`
	TLS       *PrometheusTLS        `json:"tls,omitempty"`
}

// PrometheusAggregate is an application endpoint whose metrics are added.
type PrometheusAggregate struct {
	Name string `json:"name,omitempty"`
	Port uint32 `json:"port,omitempty"`
	Path string `json:"path,omitempty"`
	// Absent = true.
	Enabled *bool  `json:"enabled,omitempty"`
	Address string `json:"address,omitempty"`
}

// PrometheusEnvoy filters Envoy's own metrics.
type PrometheusEnvoy struct {
	FilterRegex string `json:"filterRegex,omitempty"`
	UsedOnly    *bool  `json:"usedOnly,omitempty"`
}

// PrometheusTLS says how the scraper reaches the metrics endpoint.
type PrometheusTLS struct {
	Mode PrometheusTLSMode `json:"mode,omitempty" schema:"enum=activeMTLSBackend|providedTLS|disabled"`
}

// PrometheusTLSMode says which certificates protect the metrics endpoint.
type PrometheusTLSMode string

// The modes.
const (
	PrometheusActiveMTLS  PrometheusTLSMode = ""
	PrometheusProvidedTLS PrometheusTLSMode = "providedTLS"
	PrometheusTLSDisabled PrometheusTLSMode = "disabled"
)

// MeshNetworking holds networking settings.
type MeshNetworking struct {
	Outbound *MeshOutbound `json:"outbound,omitempty"`
}

// MeshOutbound holds settings of outgoing traffic.
type MeshOutbound struct {
	// Whether traffic to unknown destinations passes; absent = true.
	Passthrough *bool `json:"passthrough,omitempty"`
}

// MeshRouting says how traffic crosses zones.
type MeshRouting struct {
	// Prefer endpoints of the own zone (superseded by MeshLoadBalancingStrategy).
	LocalityAwareLoadBalancing bool `json:"localityAwareLoadBalancing,omitempty"`
	// Send traffic to other zones and external services through the zone egress.
	ZoneEgress bool `json:"zoneEgress,omitempty"`
	// Deny MeshExternalServices unless a MeshTrafficPermission allows them.
	DefaultForbidMeshExternalServiceAccess bool `json:"defaultForbidMeshExternalServiceAccess,omitempty"`
}

// MeshConstraints say which proxies may be members.
type MeshConstraints struct {
	DataplaneProxy *DataplaneConstraints `json:"dataplaneProxy,omitempty"`
}

// DataplaneConstraints are tag sets of which a proxy must match one of the
// requirements (if there are any) and none of the restrictions.
type DataplaneConstraints struct {
	Requirements []TagRule `json:"requirements,omitempty"`
	Restrictions []TagRule `json:"restrictions,omitempty"`
}

// TagRule is a set of tags; "*" = the tag must be there.
type TagRule struct {
	Tags map[string]string `json:"tags,omitempty"`
}

// MeshServicesSettings say whether MeshServices are generated and used.
type MeshServicesSettings struct {
	Mode MeshServicesMode `json:"mode,omitempty" schema:"enum=Disabled|Everywhere|ReachableBackends|Exclusive"`
}

// MeshServicesMode says whether MeshServices are generated and used.
type MeshServicesMode string

// The modes.
const (
	// MeshServicesDisabled: none is generated.
	MeshServicesDisabled MeshServicesMode = ""
	// MeshServicesEverywhere: used next to kuma.io/service destinations.
	MeshServicesEverywhere MeshServicesMode = "Everywhere"
	// MeshServicesReachableBackends: used only where a proxy lists them.
	MeshServicesReachableBackends MeshServicesMode = "ReachableBackends"
	// MeshServicesExclusive: kuma.io/service destinations do not exist.
	MeshServicesExclusive MeshServicesMode = "Exclusive"
)
