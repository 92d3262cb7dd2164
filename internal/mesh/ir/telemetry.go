package ir

import (
	"encoding/json"
	"time"
)

// AccessLog writes a line for each request or connection.
type AccessLog struct {
	// File is a path; TCP an address that kuma-dp forwards to; OTel names a Backend.
	File string
	TCP  string
	OTel string
	// Format is plain text, JSON ordered key values. One of both.
	Format    string
	JSON      []KeyValue
	OmitEmpty bool
	// Attributes and Body are for OTel.
	Attributes []KeyValue
	Body       json.RawMessage
}

// KeyValue is a pair in a defined order.
type KeyValue struct{ Key, Value string }

// Tracing sends spans.
type Tracing struct {
	Provider string // Zipkin, Datadog, OpenTelemetry
	Backend  string // name of the Backend
	Service  string
	// Zipkin's own.
	Path, APIVersion, Hostname    string
	TraceID128, SharedSpanContext bool
	Overall, Client, Random       *Percent
	Tags                          []TraceTag
	SpawnUpstreamSpan, SplitSpans bool
}

// TraceTag is added to spans: a literal or a request header's value.
type TraceTag struct {
	Name, Literal   string
	Header, Default string
}

// Backend is a collector.
type Backend struct {
	Name  string
	Host  string
	Port  uint32
	HTTP2 bool
	TLS   bool
	// Origin groups the resource for patches: mesh-trace, meshaccesslog, tracing …
	Origin string
}

// MetricsListener is the older Prometheus listener of a mesh.
type MetricsListener struct {
	Port        uint32
	Path        string
	FilterRegex string
	UsedOnly    bool
	// TLS: "" plain, "mesh" mutual TLS of the mesh, "files" certificate files.
	TLS               string
	CertPath, KeyPath string
	ServerTLS         *ServerTLS
}

// Observability is MeshMetric's part.
type Observability struct {
	Prometheus []PrometheusEndpoint
	OTel       []OTelMetrics
	// Document is what kuma-dp is told, JSON.
	Document json.RawMessage
}

// PrometheusEndpoint is a scrape port.
type PrometheusEndpoint struct {
	Client            string
	Port              uint32
	Path              string
	CertPath, KeyPath string // both set = TLS
}

// OTelMetrics is a pipe to a collector.
type OTelMetrics struct {
	Name    string
	Backend string
	// Socket is the pipe that kuma-dp writes to.
	Socket  string
	Refresh time.Duration
}

// Patch changes finished resources. Target is cluster, listener, networkFilter,
// httpFilter or virtualHost.
type Patch struct {
	Target    string
	Operation string
	Match     PatchMatch
	// Value is the resource or filter as JSON, JSONPatch an RFC 6902 document; one of both.
	Value     json.RawMessage
	JSONPatch json.RawMessage
	// Added is the origin that later patches know an added resource by; "" = the
	// usual one.
	Added  string
	Origin Origin
}

// PatchMatch selects what a patch applies to; empty fields match all.
type PatchMatch struct {
	Origin, Name, ListenerName, RouteConfigurationName string
	Tags                                               map[string]string
}
