package config

import "time"

// DPServer are the settings of the port that data planes connect to.
type DPServer struct {
	// Port to listen on.
	Port int `json:"port" env:"PORT"`
	ServerTLS
	// How long a client may take to send the header of a request.
	ReadHeaderTimeout time.Duration `json:"readHeaderTimeout" env:"READ_HEADER_TIMEOUT"`
	Authn             DPServerAuthn `json:"authn" env:"AUTHN"`
	HDS               HDS           `json:"hds" env:"HDS"`
}

// DPServerAuthn says how proxies prove who they are.
type DPServerAuthn struct {
	DPProxy   DPProxyAuthn   `json:"dpProxy" env:"DP_PROXY"`
	ZoneProxy ZoneProxyAuthn `json:"zoneProxy" env:"ZONE_PROXY"`
	// If true, Envoy reads its token from a file at every connection, so that it can be renewed.
	EnableReloadableTokens bool `json:"enableReloadableTokens" env:"ENABLE_RELOADABLE_TOKENS"`
}

// Values of DPProxyAuthn.Type and ZoneProxyAuthn.Type.
const (
	ProxyAuthnNone                = "none"
	ProxyAuthnDPToken             = "dpToken"
	ProxyAuthnZoneToken           = "zoneToken"
	ProxyAuthnServiceAccountToken = "serviceAccountToken"
)

// DPProxyAuthn says how data plane proxies prove who they are.
type DPProxyAuthn struct {
	// `dpToken`, `serviceAccountToken` (Kubernetes) or `none` (whoever reaches the port may be any proxy); empty = dpToken on universal, serviceAccountToken on Kubernetes.
	Type    string  `json:"type" env:"TYPE"`
	DPToken DPToken `json:"dpToken" env:"DP_TOKEN"`
}

// DPToken are the settings of dataplane tokens.
type DPToken struct {
	// If true, the control plane issues dataplane tokens.
	EnableIssuer bool        `json:"enableIssuer" env:"ENABLE_ISSUER"`
	Validator    DPValidator `json:"validator" env:"VALIDATOR"`
}

// DPValidator says which keys verify dataplane tokens.
type DPValidator struct {
	// If true, tokens signed with the signing keys among the mesh's Secrets are accepted.
	UseSecrets bool `json:"useSecrets" env:"USE_SECRETS"`
	// Further keys, for tokens that are issued without the control plane.
	PublicKeys []MeshPublicKey `json:"publicKeys"`
}

// MeshPublicKey verifies dataplane tokens that were issued without the control plane.
type MeshPublicKey struct {
	PublicKey
	// Mesh whose tokens the key verifies; empty = those of every mesh.
	Mesh string `json:"mesh,omitempty"`
}

// ZoneProxyAuthn says how zone ingresses and egresses prove who they are.
type ZoneProxyAuthn struct {
	// `zoneToken`, `serviceAccountToken` (Kubernetes) or `none`; empty = zoneToken on universal, serviceAccountToken on Kubernetes.
	Type      string    `json:"type" env:"TYPE"`
	ZoneToken ZoneToken `json:"zoneToken" env:"ZONE_TOKEN"`
}

// ZoneToken are the settings of zone tokens.
type ZoneToken struct {
	// If true, the control plane issues zone tokens.
	EnableIssuer bool          `json:"enableIssuer" env:"ENABLE_ISSUER"`
	Validator    ZoneValidator `json:"validator" env:"VALIDATOR"`
}

// ZoneValidator says which keys verify zone tokens.
type ZoneValidator struct {
	// If true, tokens signed with the signing keys among the GlobalSecrets are accepted.
	UseSecrets bool `json:"useSecrets" env:"USE_SECRETS"`
	// Further keys, for tokens that are issued without the control plane.
	PublicKeys []PublicKey `json:"publicKeys"`
}

// HDS are the settings of the health discovery service, by which proxies check
// their own workloads.
type HDS struct {
	// If true, workloads with a service probe are checked.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// How often a proxy reports.
	Interval time.Duration `json:"interval" env:"INTERVAL"`
	// How often 2.10 looked whether probes had changed.
	RefreshInterval time.Duration `json:"refreshInterval" env:"REFRESH_INTERVAL" unused:"changed probes are sent at once"`
	// Where a probe does not say otherwise.
	CheckDefaults HDSCheck `json:"checkDefaults" env:"CHECK"`
}

// HDSCheck are the defaults of a probe.
type HDSCheck struct {
	// How long a check may take.
	Timeout time.Duration `json:"timeout" env:"TIMEOUT"`
	// Time between checks.
	Interval time.Duration `json:"interval" env:"INTERVAL"`
	// Time between checks as long as there is no traffic.
	NoTrafficInterval time.Duration `json:"noTrafficInterval" env:"NO_TRAFFIC_INTERVAL"`
	// Successes after which a workload is healthy.
	HealthyThreshold int `json:"healthyThreshold" env:"HEALTHY_THRESHOLD"`
	// Failures after which it is not.
	UnhealthyThreshold int `json:"unhealthyThreshold" env:"UNHEALTHY_THRESHOLD"`
}

// BootstrapServer says what Envoy gets for its start.
type BootstrapServer struct {
	Params BootstrapParams `json:"params" env:"PARAMS"`
}

// BootstrapParams are values in Envoy's bootstrap configuration.
type BootstrapParams struct {
	// Address of Envoy's admin interface.
	AdminAddress string `json:"adminAddress" env:"ADMIN_ADDRESS"`
	// Port of Envoy's admin interface, where the Dataplane does not say otherwise.
	AdminPort int `json:"adminPort" env:"ADMIN_PORT"`
	// File into which Envoy logs requests to its admin interface.
	AdminAccessLogPath string `json:"adminAccessLogPath" env:"ADMIN_ACCESS_LOG_PATH"`
	// Host under which proxies reach the control plane; empty = the one they used for the bootstrap request.
	XDSHost string `json:"xdsHost" env:"XDS_HOST"`
	// Port under which proxies reach the control plane; 0 = dpServer.port.
	XDSPort int `json:"xdsPort" env:"XDS_PORT"`
	// How long connecting to the control plane may take.
	XDSConnectTimeout time.Duration `json:"xdsConnectTimeout" env:"XDS_CONNECT_TIMEOUT"`
	// File with a template of the DNS server's configuration for all proxies; empty = the built-in one.
	CorefileTemplatePath string `json:"corefileTemplatePath" env:"COREFILE_TEMPLATE_PATH"`
}

// XDSServer are the settings of the configuration of proxies.
type XDSServer struct {
	// How often 2.10 looked whether a proxy's configuration had changed.
	DataplaneConfigurationRefreshInterval time.Duration `json:"dataplaneConfigurationRefreshInterval" env:"DATAPLANE_CONFIGURATION_REFRESH_INTERVAL" unused:"changes are sent at once"`
	// How often the status of a proxy is written at most.
	DataplaneStatusFlushInterval time.Duration `json:"dataplaneStatusFlushInterval" env:"DATAPLANE_STATUS_FLUSH_INTERVAL"`
	// Wait after a rejected configuration.
	NACKBackoff time.Duration `json:"nackBackoff" env:"NACK_BACKOFF"`
	// A Dataplane that its proxy registered is removed this long after the proxy has left.
	DataplaneDeregistrationDelay time.Duration `json:"dataplaneDeregistrationDelay" env:"KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY"`
}

func defaultDPServer() DPServer {
	return DPServer{
		Port:              5678,
		ServerTLS:         defaultServerTLS(),
		ReadHeaderTimeout: 5 * time.Second,
		Authn: DPServerAuthn{
			DPProxy:   DPProxyAuthn{DPToken: DPToken{EnableIssuer: true, Validator: DPValidator{UseSecrets: true}}},
			ZoneProxy: ZoneProxyAuthn{ZoneToken: ZoneToken{EnableIssuer: true, Validator: ZoneValidator{UseSecrets: true}}},
		},
		HDS: HDS{
			Enabled: true, Interval: 5 * time.Second, RefreshInterval: 10 * time.Second,
			CheckDefaults: HDSCheck{
				Timeout: 2 * time.Second, Interval: time.Second, NoTrafficInterval: time.Second,
				HealthyThreshold: 1, UnhealthyThreshold: 1,
			},
		},
	}
}

func defaultBootstrapServer() BootstrapServer {
	return BootstrapServer{Params: BootstrapParams{
		AdminAddress: "127.0.0.1", AdminPort: 9901, AdminAccessLogPath: "/dev/null",
		XDSConnectTimeout: time.Second,
	}}
}

func defaultXDSServer() XDSServer {
	return XDSServer{
		DataplaneConfigurationRefreshInterval: time.Second,
		DataplaneStatusFlushInterval:          10 * time.Second,
		NACKBackoff:                           5 * time.Second,
		DataplaneDeregistrationDelay:          10 * time.Second,
	}
}
