// Package meshtrace sends spans of requests to a collector.
package meshtrace

import (
	"net/url"
	"strconv"
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says which spans go where.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// Default is what holds for the selected proxies.
	Default *Conf `json:"default,omitempty"`
}

// Conf is what may be set under default.
type Conf struct {
	// Backends has at most one element. An empty list switches tracing off.
	Backends []Backend `json:"backends,omitzero" schema:"maxItems=1"`
	// Sampling says how many requests are traced.
	Sampling *Sampling `json:"sampling,omitempty"`
	// Tags are added to spans.
	Tags []Tag `json:"tags,omitzero"`
}

// Backend is a collector. The field of the type's name says more.
type Backend struct {
	// Type of the collector.
	Type string `json:"type" schema:"required,enum=Zipkin|Datadog|OpenTelemetry"`
	// Zipkin is a collector of Zipkin spans.
	Zipkin *Zipkin `json:"zipkin,omitempty"`
	// Datadog is a Datadog agent.
	Datadog *Datadog `json:"datadog,omitempty"`
	// OpenTelemetry is an OpenTelemetry collector.
	OpenTelemetry *OpenTelemetry `json:"openTelemetry,omitempty"`
}

// Types of a Backend.
const (
	zipkin  = "Zipkin"
	datadog = "Datadog"
	otel    = "OpenTelemetry"
)

// Zipkin is a collector of Zipkin spans.
type Zipkin struct {
	// URL of the collector.
	URL string `json:"url" schema:"required"`
	// TraceID128Bit makes trace ids of 128 bits.
	TraceID128Bit *bool `json:"traceId128bit,omitempty" schema:"default=false"`
	// APIVersion is the form of spans.
	APIVersion string `json:"apiVersion,omitempty" schema:"enum=httpJson|httpProto,default=httpJson"`
	// SharedSpanContext lets client and server share a span.
	SharedSpanContext *bool `json:"sharedSpanContext,omitempty" schema:"default=true"`
}

// Datadog is a Datadog agent.
type Datadog struct {
	// URL of the agent: "http://host:port".
	URL string `json:"url" schema:"required"`
	// SplitService names services by direction and destination too.
	SplitService *bool `json:"splitService,omitempty" schema:"default=false"`
}

// OpenTelemetry is an OpenTelemetry collector.
type OpenTelemetry struct {
	// Endpoint of the collector: "host" or "host:port". The port is 4317 if absent.
	Endpoint string `json:"endpoint" schema:"required,minLength=1"`
}

// Sampling says how many requests are traced, in percent. Absent means 100.
type Sampling struct {
	// Overall is the upper limit, applied to all others.
	Overall *policy.Number `json:"overall,omitempty"`
	// Client is of requests whose client asks for a trace.
	Client *policy.Number `json:"client,omitempty"`
	// Random is of all other requests.
	Random *policy.Number `json:"random,omitempty"`
}

// Tag is added to spans: a literal or a header's value.
type Tag struct {
	// Name of the tag.
	Name string `json:"name" schema:"required"`
	// Literal is a fixed value.
	Literal *string `json:"literal,omitempty"`
	// Header is a header of the request.
	Header *Header `json:"header,omitempty"`
}

// Header is a header of the request.
type Header struct {
	// Name of the header.
	Name string `json:"name" schema:"required"`
	// Default is the value if the request has no such header.
	Default *string `json:"default,omitempty"`
}

const (
	zipkinPort = 9411
	otelPort   = 4317
	origin     = "mesh-trace"
)

// Policy is the kind MeshTrace.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshTrace", Plural: "meshtraces", Short: "mtr", One: "meshtrace", Many: "meshtraces",
		Display: "Mesh Trace", DisplayPlural: "Mesh Traces",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{Top: policy.Sidecars, TopSystem: policy.MeshGateway},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, Default: s.Default}
	},
	Lists:    []policy.List{policy.ListDefault},
	Validate: validate,
	Inbound: func(c *Conf, i *ir.Inbound, x *policy.Context) {
		apply(c, &i.Listener, "_INBOUND", x)
	},
	Outbound: func(c *Conf, o *ir.Outbound, x *policy.Context) {
		if o.Destination.Kind == policy.RefMeshExternalService {
			x.Ignore()
			return
		}
		apply(c, &o.Listener, "_OUTBOUND_"+o.Stat, x)
	},
})

func apply(c *Conf, l *ir.Listener, suffix string, x *policy.Context) {
	if l.HTTP == nil {
		x.Ignore()
		return
	}
	l.Tracing = c.tracing(x.Proxy, suffix)
}

// tracing returns what a listener does, and adds the collector to the proxy.
func (c *Conf) tracing(p *ir.Proxy, suffix string) *ir.Tracing {
	if len(c.Backends) == 0 {
		return nil
	}
	t := &ir.Tracing{Service: p.Service}
	b := &c.Backends[0]
	t.Provider = b.Type
	collector := ir.Backend{Origin: origin}
	switch {
	case b.Type == zipkin && b.Zipkin != nil:
		u, _ := url.Parse(b.Zipkin.URL) // was checked at the gate
		t.Path, t.Hostname, t.APIVersion = u.Path, u.Host, b.Zipkin.APIVersion
		t.TraceID128 = on(b.Zipkin.TraceID128Bit)
		t.SharedSpanContext = b.Zipkin.SharedSpanContext == nil || *b.Zipkin.SharedSpanContext
		collector.Name, collector.Host, collector.Port = "meshtrace:zipkin", u.Hostname(), portOf(u)
		collector.TLS = u.Scheme == "https"
	case b.Type == datadog && b.Datadog != nil:
		u, _ := url.Parse(b.Datadog.URL)
		if on(b.Datadog.SplitService) {
			t.Service += suffix
		}
		collector.Name, collector.Host, collector.Port = "meshtrace:datadog", u.Hostname(), portOf(u)
	case b.Type == otel && b.OpenTelemetry != nil:
		host, port, _ := policy.Endpoint(b.OpenTelemetry.Endpoint)
		if port == 0 {
			port = otelPort
		}
		collector.Name, collector.Host, collector.Port, collector.HTTP2 = "meshtrace:opentelemetry", host, port, true
	default:
		return nil
	}
	t.Backend = collector.Name
	if s := c.Sampling; s != nil {
		t.Overall, t.Client, t.Random = policy.Percent(s.Overall), policy.Percent(s.Client), policy.Percent(s.Random)
	}
	for _, tag := range c.Tags {
		t.Tags = append(t.Tags, tag.tag())
	}
	add(p, collector)
	return t
}

func add(p *ir.Proxy, b ir.Backend) {
	for _, old := range p.Backends {
		if old.Name == b.Name {
			return
		}
	}
	p.Backends = append(p.Backends, b)
}

func (t *Tag) tag() ir.TraceTag {
	out := ir.TraceTag{Name: t.Name}
	switch {
	case t.Header != nil:
		out.Header = t.Header.Name
		if t.Header.Default != nil {
			out.Default = *t.Header.Default
		}
	case t.Literal != nil:
		out.Literal = *t.Literal
	}
	return out
}

// portOf returns the port of an URL, or that of its scheme.
func portOf(u *url.URL) uint32 {
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return uint32(n)
	}
	switch u.Scheme {
	case "http":
		return 80
	case "https":
		return 443
	}
	return zipkinPort
}

func validate(c *Conf, v *model.Violations, _ policy.Where) {
	if c.Backends == nil {
		v.At("backends").Add("are missing: say where spans go; an empty list switches tracing off")
	}
	for i := range c.Backends {
		c.Backends[i].validate(v.At("backends", i))
	}
	for i, t := range c.Tags {
		at := v.At("tags", i)
		if t.Name == "" {
			at.At("name").Add("is missing: a tag needs a name")
		}
		if (t.Literal == nil) == (t.Header == nil) {
			at.Add("give either literal or header")
		}
		if t.Header != nil && t.Header.Name == "" {
			at.At("header", "name").Add("is missing: name a header")
		}
	}
	if s := c.Sampling; s != nil {
		policy.CheckPercent(s.Client, v.At("sampling", "client"))
		policy.CheckPercent(s.Random, v.At("sampling", "random"))
		policy.CheckPercent(s.Overall, v.At("sampling", "overall"))
	}
}

func (b *Backend) validate(v *model.Violations) {
	const missing = "is missing: the backend's type says that it is there"
	switch b.Type {
	case zipkin:
		if b.Zipkin == nil {
			v.At("zipkin").Add(missing)
			return
		}
		b.Zipkin.validate(v.At("zipkin", "url"))
	case datadog:
		if b.Datadog == nil {
			v.At("datadog").Add(missing)
			return
		}
		b.Datadog.validate(v.At("datadog", "url"))
	case otel:
		if b.OpenTelemetry == nil {
			v.At("openTelemetry").Add(missing)
			return
		}
		policy.CheckEndpoint(b.OpenTelemetry.Endpoint, v.At("openTelemetry", "endpoint"))
	}
}

func (z *Zipkin) validate(v *model.Violations) {
	if z.URL == "" {
		v.Add("must not be empty: give the collector's URL, like http://zipkin:9411/api/v2/spans")
		return
	}
	if u, ok := parse(z.URL); !ok || (u.Scheme != "http" && u.Scheme != "https") {
		v.Add("%q is no URL; write it like http://zipkin:9411/api/v2/spans", z.URL)
	}
}

// parse reads an URL with a host.
func parse(s string) (*url.URL, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || strings.ContainsAny(s, " \t") {
		return nil, false
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, false
		}
	}
	return u, true
}

func (d *Datadog) validate(v *model.Violations) {
	u, ok := parse(d.URL)
	if !ok {
		v.Add("%q is no URL; write it like http://host:8126", d.URL)
		return
	}
	if u.Scheme != "http" {
		v.Add("the agent speaks http, not %q", u.Scheme)
	}
	if u.Port() == "" {
		v.Add("the port is missing; write it like http://host:8126")
	}
	for _, part := range []struct {
		name string
		set  bool
	}{
		{"user", u.User != nil}, {"path", u.Path != ""}, {"query", u.RawQuery != ""},
	} {
		if part.set {
			v.Add("a %s has no meaning here; leave it out", part.name)
		}
	}
}

func on(b *bool) bool { return b != nil && *b }
