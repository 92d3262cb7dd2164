// Package bootstrap asks the control plane for the bootstrap document of one
// proxy: whom to trust, the request and its answer, and what to do about each
// kind of failure. kuma-dp calls it once at start, from one goroutine.
package bootstrap

import "weft/internal/version"

// Request is the body of POST /bootstrap.
type Request struct {
	// Mesh is empty for zone proxies.
	Mesh string `json:"mesh"`
	// Name of the proxy.
	Name string `json:"name"`
	// ProxyType is dataplane, ingress or egress.
	ProxyType string `json:"proxyType"`
	// Token is the proxy's token; the control plane puts it into the document.
	Token string `json:"dataplaneToken,omitempty"`
	// TokenPath is the file with the token, for an Envoy that reads it itself.
	TokenPath string `json:"dataplaneTokenPath,omitempty"`
	// Resource is the proxy's own definition as JSON text.
	Resource string `json:"dataplaneResource,omitempty"`
	// Version says what runs here.
	Version Version `json:"version"`
	// CACert is the CA that Envoy shall verify the control plane with; empty
	// lets the control plane name its own certificate.
	CACert string `json:"caCert"`
	// DynamicMetadata is passed through to the node metadata.
	DynamicMetadata map[string]string `json:"dynamicMetadata"`
	// DNSPort is where Envoy shall answer names of the mesh.
	DNSPort uint32 `json:"dnsPort,omitempty"`
	// ReadinessPort is where kuma-dp reports readiness.
	ReadinessPort uint32 `json:"readinessPort,omitempty"`
	// ProbeProxyEnabled is true when the application probe proxy runs. The
	// name on the wire says the opposite; that is how 2.10 spells it.
	ProbeProxyEnabled bool `json:"appProbeProxyDisabled,omitempty"`
	// OperatingSystem is the name of the system as Go spells it.
	OperatingSystem string `json:"operatingSystem"`
	// Features lists what this kuma-dp can do.
	Features []string `json:"features"`
	// Resources bounds what the proxy may use.
	Resources Resources `json:"resources"`
	// Workdir is the directory of sockets shared with Envoy.
	Workdir string `json:"workdir"`
	// Metrics holds the certificate of the metrics listener.
	Metrics MetricsResources `json:"metricsResources"`
	// SystemCAPath is the bundle of the host's trusted CAs.
	SystemCAPath string `json:"systemCaPath"`
	// IPv6Enabled is false when IPv6 must not be used.
	IPv6Enabled bool `json:"ipv6Enabled"`
}

// Version says what runs here.
type Version struct {
	// KumaDP is this program.
	KumaDP version.Build `json:"kumaDp"`
	// Envoy is the Envoy that it runs.
	Envoy EnvoyVersion `json:"envoy"`
}

// EnvoyVersion describes the Envoy that kuma-dp runs.
type EnvoyVersion struct {
	// Version is its release.
	Version string `json:"version"`
	// Build is the whole line that it prints about itself.
	Build string `json:"build"`
	// Compatible reports whether this kuma-dp knows that release.
	Compatible bool `json:"kumaDpCompatible"`
}

// Resources bounds what the proxy may use.
type Resources struct {
	// MaxHeapSizeBytes is the memory limit; zero means not known.
	MaxHeapSizeBytes uint64 `json:"maxHeapSizeBytes"`
}

// MetricsResources holds the certificate of the metrics listener.
type MetricsResources struct {
	// CertPath is the certificate file.
	CertPath string `json:"certPath"`
	// KeyPath is the key file.
	KeyPath string `json:"keyPath"`
}

// FeatureTCPAccessLog says that kuma-dp forwards access logs from a pipe.
const FeatureTCPAccessLog = "feature-tcp-accesslog-via-named-pipe"

// FeatureDelta asks for differences (delta xDS) instead of whole lists. Control
// planes that do not know it ignore it.
const FeatureDelta = "feature-delta-grpc"

// FeatureTokenSecret says that Envoy can read the token from TokenPath by itself
// and send it, so that the document need not hold it.
const FeatureTokenSecret = "feature-token-secret"

// FeatureReconnectBackoff says that the pauses between Envoy's attempts to connect
// can be bounded.
const FeatureReconnectBackoff = "feature-reconnect-backoff"

// FeatureAdminPaths says that Envoy's administration can be narrowed to paths.
const FeatureAdminPaths = "feature-admin-paths"

// Response is the answer to a good request.
type Response struct {
	// Bootstrap is Envoy's bootstrap document, YAML.
	Bootstrap []byte `json:"bootstrap"`
	// Sidecar is what kuma-dp itself needs to know.
	Sidecar Sidecar `json:"kumaSidecarConfiguration"`
}

// Sidecar is what kuma-dp itself needs to know.
type Sidecar struct {
	// Networking of the proxy.
	Networking Networking `json:"networking"`
	// Metrics that kuma-dp collects.
	Metrics Metrics `json:"metrics"`
}

// Networking of the proxy.
type Networking struct {
	// TransparentProxy is true when traffic is redirected into the proxy.
	TransparentProxy bool `json:"isUsingTransparentProxy"`
	// CorefileTemplate is the operator's template for the DNS server.
	CorefileTemplate []byte `json:"corefileTemplate"`
	// Address of the proxy.
	Address string `json:"address"`
}

// Metrics that kuma-dp collects.
type Metrics struct {
	// Aggregate lists endpoints of applications.
	Aggregate []Aggregate `json:"aggregate"`
}

// Aggregate is one endpoint with metrics of an application.
type Aggregate struct {
	// Name of the endpoint.
	Name string `json:"name"`
	// Address to ask.
	Address string `json:"address"`
	// Port to ask.
	Port uint32 `json:"port"`
	// Path to ask.
	Path string `json:"path"`
}
