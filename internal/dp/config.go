package dp

import (
	"encoding/json"
	"time"
)

// Config is everything that `kuma-dp run` can be told. It is filled from
// defaults, then flags, then the environment (see Options), then checked once;
// nobody changes it afterwards. Its JSON form is only seen in the log.
type Config struct {
	// ControlPlane says how to reach the control plane and how to trust it.
	ControlPlane ControlPlaneConfig `json:"controlPlane"`
	// Dataplane says which proxy this is.
	Dataplane DataplaneConfig `json:"dataplane"`
	// Runtime says how Envoy is run.
	Runtime RuntimeConfig `json:"dataplaneRuntime"`
	// DNS says how names are resolved.
	DNS DNSConfig `json:"dns"`
	// ProbeProxy serves the probes of a kubelet.
	ProbeProxy ProbeProxyConfig `json:"applicationProbeProxyServer"`
	// Application is the program that is run beside the proxy.
	Application ApplicationConfig `json:"application"`
}

// ControlPlaneConfig says how to reach the control plane and how to trust it.
type ControlPlaneConfig struct {
	// URL of the data plane server of the control plane.
	URL string `json:"url"`
	// Retry bounds the wait for the first answer.
	Retry RetryConfig `json:"retry"`
	// CACert is PEM text; it wins over CACertFile.
	CACert string `json:"caCert,omitempty"`
	// CACertFile is a PEM file with the CA of the control plane.
	CACertFile string `json:"caCertFile"`
	// CACertPinFile keeps the certificate that was seen at first contact.
	CACertPinFile string `json:"caCertPinFile,omitempty"`
	// SkipVerify turns verification off; the log says so at every start.
	SkipVerify bool `json:"skipVerify,omitempty"`
}

// RetryConfig bounds the wait for the first answer of the control plane.
type RetryConfig struct {
	// Backoff is the constant pause between two attempts.
	Backoff Duration `json:"backoff"`
	// MaxDuration is the time after which no further attempt is made.
	MaxDuration Duration `json:"maxDuration"`
}

// DataplaneConfig says which proxy this is.
type DataplaneConfig struct {
	// Mesh is empty for zone proxies and when a definition is given.
	Mesh string `json:"mesh"`
	// Name is empty when a definition is given.
	Name string `json:"name"`
	// ProxyType is dataplane, ingress or egress.
	ProxyType string `json:"proxyType"`
	// DrainTime is how long clients get to leave at shutdown.
	DrainTime Duration `json:"drainTime"`
	// DrainIdleTime ends draining early once no client was seen for so long;
	// zero waits for the whole DrainTime.
	DrainIdleTime Duration `json:"drainIdleTime"`
	// ReadinessPort serves /ready on loopback; zero turns it off.
	ReadinessPort uint16 `json:"readinessPort"`
}

// RuntimeConfig says how Envoy is run.
type RuntimeConfig struct {
	// BinaryPath is the Envoy to run.
	BinaryPath string `json:"binaryPath"`
	// ConfigDir receives bootstrap.yaml and the token.
	ConfigDir string `json:"configDir"`
	// SocketDir receives the sockets shared with Envoy.
	SocketDir string `json:"socketDir"`
	// Concurrency is the number of Envoy's workers; zero leaves it to Envoy.
	Concurrency uint32 `json:"concurrency"`
	// XDSVariant is how Envoy asks for its configuration: DELTA_GRPC (what
	// changed) or GRPC (whole lists).
	XDSVariant string `json:"envoyXdsTransportProtocolVariant"`
	// TokenPath is a file with the proxy's token.
	TokenPath string `json:"dataplaneTokenPath"`
	// Token is the proxy's token itself.
	Token Secret `json:"dataplaneToken"`
	// Resource is the proxy's definition, YAML or JSON.
	Resource string `json:"resource"`
	// ResourcePath is a file with the definition, "-" for stdin.
	ResourcePath string `json:"resourcePath"`
	// ResourceVars fill the template variables of the definition.
	ResourceVars map[string]string `json:"resourceVars"`
	// EnvoyLogLevel is Envoy's log level; empty takes that of kuma-dp.
	EnvoyLogLevel string `json:"envoyLogLevel"`
	// EnvoyComponentLogLevel sets levels of Envoy's components.
	EnvoyComponentLogLevel string `json:"envoyComponentLogLevel"`
	// Resources bounds what the proxy may use.
	Resources ResourcesConfig `json:"resources"`
	// Metrics holds the certificate of the metrics listener.
	Metrics MetricsConfig `json:"metrics"`
	// DynamicConfiguration is what the control plane changes at run time.
	DynamicConfiguration DynamicConfig `json:"dynamicConfiguration"`
	// SystemCAPath is the bundle of the host's trusted CAs.
	SystemCAPath string `json:"systemCaPath"`
	// IPv6Enabled is false when IPv6 must not be used.
	IPv6Enabled bool `json:"IPv6Enabled"`
}

// ResourcesConfig bounds what the proxy may use.
type ResourcesConfig struct {
	// MaxMemoryBytes is the memory limit; zero asks the cgroup.
	MaxMemoryBytes uint64 `json:"maxMemoryBytes"`
}

// MetricsConfig holds the certificate of the metrics listener.
type MetricsConfig struct {
	// CertPath is the certificate file.
	CertPath string `json:"metricsCertPath"`
	// KeyPath is the key file.
	KeyPath string `json:"metricsKeyPath"`
}

// DynamicConfig is what the control plane changes at run time.
type DynamicConfig struct {
	// RefreshInterval is the time between two looks.
	RefreshInterval Duration `json:"refreshInterval"`
}

// DNSConfig says how names are resolved. Its fields are also what a Corefile
// template can use.
type DNSConfig struct {
	// Enabled starts CoreDNS.
	Enabled bool `json:"enabled"`
	// CoreDNSPort is where applications' queries arrive.
	CoreDNSPort uint16 `json:"coreDnsPort"`
	// EnvoyDNSPort is where Envoy answers names of the mesh.
	EnvoyDNSPort uint16 `json:"envoyDnsPort"`
	// CoreDNSBinaryPath names an external CoreDNS; the default means the one
	// inside kuma-dp.
	CoreDNSBinaryPath string `json:"coreDnsBinaryPath"`
	// CoreDNSConfigTemplatePath is a Corefile template.
	CoreDNSConfigTemplatePath string `json:"coreDnsConfigTemplatePath"`
	// ConfigDir receives the Corefile.
	ConfigDir string `json:"configDir"`
	// PrometheusPort serves CoreDNS's metrics.
	PrometheusPort uint16 `json:"prometheusPort"`
	// CoreDNSLogging logs every query.
	CoreDNSLogging bool `json:"coreDNSLogging"`
}

// ProbeProxyConfig serves the probes of a kubelet.
type ProbeProxyConfig struct {
	// Port is where probes arrive; zero turns it off.
	Port uint16 `json:"port"`
}

// ApplicationConfig says which program is run beside the proxy.
type ApplicationConfig struct {
	// Command is the program and its arguments; none means no program. It is
	// not logged, as arguments may be secrets.
	Command []string `json:"-"`
	// StopTime is how long the program may take to end.
	StopTime Duration `json:"stopTime"`
	// User that the program runs as; empty means that of kuma-dp.
	User string `json:"user"`
}

// Duration prints in logs the way it is written in settings.
type Duration struct{ time.Duration }

// MarshalJSON prints 30s, not nanoseconds.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// Secret is text that no log and no error may show.
type Secret string

// MarshalJSON hides the text but shows whether there is any.
func (s Secret) MarshalJSON() ([]byte, error) {
	if s == "" {
		return []byte(`""`), nil
	}
	return []byte(`"[redacted]"`), nil
}

// String hides the text.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[redacted]"
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return s.String() }

const (
	typeDataplane = "dataplane"
	typeIngress   = "ingress"
	typeEgress    = "egress"
)

// libraryCoreDNS is the default binary path; it stands for the CoreDNS that is
// linked into kuma-dp.
const libraryCoreDNS = "coredns"

// Values of RuntimeConfig.XDSVariant.
const (
	XDSDelta = "DELTA_GRPC"
	XDSFull  = "GRPC"
)

// DefaultConfig returns the settings of a proxy that was told nothing.
func DefaultConfig() Config {
	return Config{
		ControlPlane: ControlPlaneConfig{
			URL:   "https://localhost:5678",
			Retry: RetryConfig{Backoff: Duration{3 * time.Second}, MaxDuration: Duration{5 * time.Minute}},
		},
		Dataplane: DataplaneConfig{
			ProxyType:     typeDataplane,
			DrainTime:     Duration{30 * time.Second},
			ReadinessPort: 9902,
		},
		Runtime: RuntimeConfig{
			BinaryPath:           "envoy",
			XDSVariant:           XDSDelta,
			ResourceVars:         map[string]string{},
			DynamicConfiguration: DynamicConfig{RefreshInterval: Duration{10 * time.Second}},
			IPv6Enabled:          true,
		},
		DNS: DNSConfig{
			Enabled:           true,
			CoreDNSPort:       15053,
			EnvoyDNSPort:      15054,
			CoreDNSBinaryPath: libraryCoreDNS,
			PrometheusPort:    19153,
		},
		Application: ApplicationConfig{StopTime: Duration{10 * time.Second}},
	}
}

// Redacted returns the settings as JSON for the log, without secrets.
func (c *Config) Redacted() string {
	b, err := json.Marshal(c)
	if err != nil {
		return "unprintable: " + err.Error()
	}
	return string(b)
}

// isZoneProxy reports whether the proxy belongs to a zone, not to a mesh.
func (c *Config) isZoneProxy() bool {
	return c.Dataplane.ProxyType == typeIngress || c.Dataplane.ProxyType == typeEgress
}

// hasDefinition reports whether the proxy brings its own definition.
func (c *Config) hasDefinition() bool {
	return c.Runtime.Resource != "" || c.Runtime.ResourcePath != ""
}
