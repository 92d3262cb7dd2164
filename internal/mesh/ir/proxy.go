// Package ir describes what one proxy should do, in plain values and without
// Envoy's words. Package build makes it from a proxy's inputs, policies dress
// it, package envoy turns it into resources, and the API prints it. An ir.Proxy
// is owned by one goroutine while it is built and immutable afterwards.
//
// Optional durations are pointers, because "not set" (the proxy's own default)
// and "0" (no limit) differ. Slices are in the order in which the proxy gets
// them.
package ir

import "time"

// ProxyType says what a proxy is for.
type ProxyType string

// The proxy types.
const (
	Sidecar        ProxyType = "dataplane"
	BuiltinGateway ProxyType = "gateway"
	ZoneIngress    ProxyType = "ingress"
	ZoneEgress     ProxyType = "egress"
)

// ProxyID names a proxy. Mesh is empty for zone proxies.
type ProxyID struct{ Mesh, Name string }

// Protocol is what is spoken on a port; see ParseProtocol.
type Protocol string

// The protocols. ProtocolUnknown is handled as TCP.
const (
	ProtocolUnknown Protocol = ""
	ProtocolTCP     Protocol = "tcp"
	ProtocolTLS     Protocol = "tls"
	ProtocolHTTP    Protocol = "http"
	ProtocolHTTP2   Protocol = "http2"
	ProtocolGRPC    Protocol = "grpc"
	ProtocolKafka   Protocol = "kafka"
	ProtocolMySQL   Protocol = "mysql"
)

// HTTPLike tells whether requests can be told apart on the connection.
func (p Protocol) HTTPLike() bool {
	return p == ProtocolHTTP || p == ProtocolHTTP2 || p == ProtocolGRPC
}

// Proxy is everything one proxy should do.
type Proxy struct {
	ID   ProxyID
	Type ProxyType
	// Service is the identifying service: the first kuma.io/service value.
	Service string
	// Address is where the proxy is reached by others (its own address).
	Address string
	// Tags are all tags of the proxy with all their values, sorted.
	Tags map[string][]string
	Zone string
	// IPv6 tells whether the proxy's host can use IPv6.
	IPv6 bool
	// WorkDir is where kuma-dp keeps its sockets; "" if unknown.
	WorkDir string
	// InternalCIDRs are the address ranges that count as internal for HTTP.
	InternalCIDRs []string

	Inbounds  []*Inbound
	Outbounds []*Outbound
	Clusters  []*Cluster // what outbounds and routes send to
	// Passage is set for zone proxies, which have neither inbounds nor outbounds.
	Passage      *Passage
	Transparent  *Transparent
	DirectAccess []DirectAccess
	// DirectTLS secures direct access; nil = plain.
	DirectTLS *ClientTLS
	Admin     *Admin
	DNS       *DNS
	Probes    *Probes
	// Identities are what the proxy proves itself with, one for each mesh.
	Identities []*Identity
	// Metrics is the older mesh-wide Prometheus listener.
	Metrics *MetricsListener
	// Observability is what MeshMetric asks for.
	Observability *Observability
	// Backends are collectors of spans and logs that routes and listeners name.
	Backends []Backend
	// Patches run last, on the finished resources.
	Patches []Patch
	// Warnings say what was asked for and could not be done.
	Warnings []Warning
	// Origins are of what holds for the proxy as a whole.
	Origins Origins
}

// Origin names what wrote a part of a node: a policy's rule.
type Origin struct {
	Kind string // policy kind
	Mesh string
	Name string
	// Rule is the index of the item in the policy's to, from or rules list.
	Rule int
}

// Origins maps a policy kind to the rules that formed its part of a node, the
// last one strongest.
type Origins map[string][]Origin

// Warning says that something that was asked for has no effect.
type Warning struct {
	Kind, Name string // the object that asked; may be empty
	Message    string
}

// Listener is what inbound and outbound ports have in common.
type Listener struct {
	Address string
	Port    uint32
	// Bind is false where traffic arrives by redirection, so that the proxy
	// need not open the port itself.
	Bind bool
	// Tags are attached to the listener for patches to match on.
	Tags     map[string]string
	Protocol Protocol
	// HTTP is set for HTTP-like protocols, TCP otherwise. Kafka counts the
	// protocol's messages before TCP.
	HTTP  *HTTP
	TCP   *TCP
	Kafka bool
	// AccessLogs, Tracing and ConnectionLimit come from policies.
	AccessLogs []AccessLog
	Tracing    *Tracing
	// ConnectionRate limits new connections.
	ConnectionRate *Rate
	Origins        Origins
}

// Inbound is a port on which others reach the workload.
type Inbound struct {
	Listener
	// Name is the port's name, may be empty.
	Name    string
	Service string
	// Workload is where the application listens.
	WorkloadAddress string
	WorkloadPort    uint32
	// SourceAddress is bound for connections to the workload, "" = any.
	SourceAddress string
	// TLS is set when the mesh has mutual TLS.
	TLS *ServerTLS
	// Access says who may connect; nil = everybody (no mutual TLS).
	Access *Access
	// Local is how the workload is talked to.
	Local Cluster
}

// Outbound is a port on which the workload reaches a destination.
type Outbound struct {
	Listener
	// Destination is the service name (legacy) or the destination's name.
	Destination Destination
	// RouteName is the route configuration's name, Stat what statistics and
	// the virtual host are called.
	RouteName string
	Stat      string
}

// Destination says what an outbound or a cluster leads to.
type Destination struct {
	// Kind is "" for a service known by its tag, else MeshService,
	// MeshExternalService, MeshMultiZoneService or ExternalService.
	Kind string
	Mesh string
	// Name is the service tag's value or the resource's name, Display its
	// display name, Namespace and Zone the resource's.
	Name, Display, Namespace, Zone string
	// Section is the resource's port: its name, or its number where unnamed.
	Section string
	Port    uint32
	// External destinations are outside of all meshes.
	External bool
}

// HTTP says how requests on a listener are handled.
type HTTP struct {
	Routes []*Route
	// IdleTimeout is of connections, RequestHeadersTimeout of receiving headers,
	// RequestTimeout of receiving a request, StreamIdleTimeout of streams.
	IdleTimeout           *time.Duration
	RequestHeadersTimeout *time.Duration
	RequestTimeout        *time.Duration
	StreamIdleTimeout     *time.Duration
	// Retry is for routes that have none of their own.
	Retry *Retry
	// RawPath matches the path as it came, without normalising it.
	RawPath bool
	// GRPCStats counts gRPC calls.
	GRPCStats bool
	// LocalRateLimit adds the filter that routes configure.
	LocalRateLimit bool
	// Faults are injected in order.
	Faults []Fault
	// AddClientTags sends the client's tags to the destination in x-kuma-tags.
	AddClientTags map[string][]string
	// DropClientTags takes them away again, where requests leave the mesh.
	DropClientTags bool
}

// TCP says where bytes of a connection go. Without splits connections are closed.
type TCP struct {
	Splits      []Split
	IdleTimeout *time.Duration
	// MaxConnectAttempts bounds attempts to reach an endpoint; 0 = the proxy's default.
	MaxConnectAttempts uint32
	// Subset are tags that the endpoint must have.
	Subset map[string]string
}

// Split is a share of traffic for a cluster.
type Split struct {
	Cluster string
	Weight  uint32
}

// Transparent describes listeners for redirected traffic.
type Transparent struct {
	InboundPort, OutboundPort uint32
	IPv4, IPv6                bool
	// Passthrough allows connections to where nothing of the mesh is.
	Passthrough bool
	// AccessLogs are of outbound passthrough connections.
	AccessLogs []AccessLog
	// Matches restrict passthrough to these (MeshPassthrough); nil = no restriction.
	Matches []PassthroughMatch
	Origins Origins
}

// PassthroughMatch allows traffic to a destination outside the mesh.
type PassthroughMatch struct {
	Type     string // Domain, IP, CIDR
	Value    string
	Port     uint32 // 0 = any
	Protocol Protocol
}

// DirectAccess is an address of another proxy that may be called directly.
type DirectAccess struct {
	Address    string
	Port       uint32
	AccessLogs []AccessLog
}

// Admin says how the proxy's administration is reached.
type Admin struct {
	// ListenAddress:Port is the guarded listener; Address:Port the proxy's own.
	ListenAddress string
	Address       string
	Port          uint32
	// ReadinessPort is kuma-dp's own; 0 = none, then the proxy's /ready is used.
	ReadinessPort uint32
	// CertPEM, KeyPEM and CAPEM secure the full access; empty = only /ready.
	CertPEM, KeyPEM, CAPEM []byte
}

// DNS is the table of names that the proxy answers.
type DNS struct {
	Port    uint32
	Domains []Domain // sorted by name
}

// Domain is one name with its addresses.
type Domain struct {
	Name      string
	Addresses []string
}

// Probes are Kubernetes' virtual probes.
type Probes struct {
	Port uint32
	// Bind as in Listener.
	Bind      bool
	Endpoints []ProbeEndpoint
}

// ProbeEndpoint maps a path on the probe port to one of the workload.
type ProbeEndpoint struct {
	Path        string
	InboundPort uint32
	InboundPath string
	// Cluster leads to the inbound's workload; "" = no inbound has the port.
	Cluster string
}
