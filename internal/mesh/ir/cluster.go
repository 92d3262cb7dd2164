package ir

import "time"

// Cluster is a group of endpoints with how to talk to them.
type Cluster struct {
	Name        string
	Destination Destination
	Protocol    Protocol
	// Endpoints names live endpoints; Static lists fixed ones. One of both is used.
	Endpoints *EndpointsRef
	Static    []Endpoint
	// Locality says which of Static come first; nil = as they are. Endpoints have
	// their own.
	Locality *Locality
	// DNS resolves Static addresses that are names, to IPv6 too with DNSIPv6.
	DNS, DNSIPv6 bool
	// OriginalDestination connects to wherever a redirected connection was meant
	// to go, instead of to endpoints.
	OriginalDestination bool
	// HTTP2 and HTTP1 choose the version spoken to the endpoints; neither = not HTTP.
	HTTP1, HTTP2 bool
	// SourceAddress is bound for connections, "" = any.
	SourceAddress string
	TLS           *ClientTLS

	ConnectTimeout        *time.Duration
	IdleTimeout           *time.Duration // of HTTP connections
	MaxStreamDuration     *time.Duration
	MaxConnectionDuration *time.Duration

	Limits       *ConnectionLimits
	Outlier      *Outlier
	HealthChecks []HealthCheck
	Balancer     *Balancer
	// PanicThreshold is the share of healthy endpoints below which all are used.
	PanicThreshold     *Percent
	FailTrafficOnPanic bool
	// LocalityWeighted spreads by locality weights.
	LocalityWeighted bool
	Origins          Origins
}

// EndpointsRef names a list of endpoints. It is comparable and is all that the
// maker of an encoded list gets beside the endpoint table, so that proxies with
// equal refs share one encoded resource.
type EndpointsRef struct {
	// Name is the cluster's name, which the list carries on the wire.
	Name string
	// Dest is the key of the destination in the view's table.
	Dest DestKey
	// Subset restricts to endpoints with these tags: "k=v,k2=v2", sorted.
	Subset string
	// Locality is the rule for priorities and weights, "" = none.
	Locality LocalityKey
}

// DestKey identifies a destination in a mesh's table. It is comparable.
type DestKey struct {
	Kind    string // "" = by service tag, else the resource kind
	Mesh    string // mesh of the destination
	Name    string // service tag value or resource name
	Section string // resource port: name, or number where unnamed
}

// LocalityKey is a Locality in a comparable form; see Locality.Key. "" = none:
// endpoints stand where they say.
type LocalityKey string

// Endpoint is an address with what is known of it.
type Endpoint struct {
	Address  string
	Port     uint32
	Weight   uint32
	Tags     map[string]string // all tags but kuma.io/service
	Zone     string
	SubZone  string
	Priority uint32
}

// ConnectionLimits bound what is open to a cluster; nil fields = the proxy's default.
type ConnectionLimits struct {
	MaxConnections, MaxConnectionPools, MaxPendingRequests, MaxRetries, MaxRequests *uint32
}

// Outlier ejects endpoints that fail.
type Outlier struct {
	Interval, BaseEjection *time.Duration
	MaxEjectionPercent     *uint32
	SplitLocalErrors       *bool
	// Detectors; nil = off.
	TotalFailures, GatewayFailures, LocalFailures *uint32 // consecutive
	SuccessRate                                   *SuccessRate
	FailurePercentage                             *FailurePercentage
}

// SuccessRate ejects endpoints far below the mean.
type SuccessRate struct {
	MinimumHosts, RequestVolume *uint32
	StdevFactor                 *float64
}

// FailurePercentage ejects endpoints that fail more often than a threshold.
type FailurePercentage struct {
	MinimumHosts, RequestVolume, Threshold *uint32
}

// HealthCheck probes endpoints.
type HealthCheck struct {
	Interval, Timeout                        time.Duration
	UnhealthyThreshold, HealthyThreshold     uint32
	InitialJitter, IntervalJitter, NoTraffic *time.Duration
	IntervalJitterPercent                    *uint32
	EventLogPath                             string
	AlwaysLogFailures, ReuseConnection       *bool
	HTTP                                     *HTTPCheck
	GRPC                                     *GRPCCheck
	TCP                                      *TCPCheck
}

// HTTPCheck asks for a path.
type HTTPCheck struct {
	Path string
	// ClientTags are sent as tags of the client.
	ClientTags map[string][]string
	Headers    HeaderChange
	Statuses   []uint32
	HTTP2      bool
}

// GRPCCheck calls the gRPC health service.
type GRPCCheck struct{ Service, Authority string }

// TCPCheck connects, and sends and expects bytes where there are any.
type TCPCheck struct {
	Send    string
	Receive []string
}

// Balancer chooses endpoints.
type Balancer struct {
	Type              string // RoundRobin, LeastRequest, RingHash, Random, Maglev
	ChoiceCount       *uint32
	ActiveRequestBias *float64
	HashFunction      string
	MinRing, MaxRing  *uint32
	TableSize         *uint32
}
