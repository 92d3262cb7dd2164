// Package meshtimeout bounds how long connections, requests and streams may take.
package meshtimeout

import (
	"strings"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says which timeouts hold for which traffic of which proxies.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// To holds for traffic from the selected proxies to destinations.
	To []policy.Item[Conf] `json:"to,omitempty"`
	// From holds for traffic that enters the selected proxies. Deprecated: use rules.
	From []policy.Item[Conf] `json:"from,omitempty"`
	// Rules hold for traffic that enters the selected proxies.
	Rules []policy.Rule[Conf] `json:"rules,omitempty"`
}

// Conf is what may be set under default. 0 switches a timeout off.
type Conf struct {
	// ConnectionTimeout is how long opening a connection may take. 5s if absent.
	ConnectionTimeout *model.Duration `json:"connectionTimeout,omitempty"`
	// IdleTimeout is how long a connection without traffic is kept. 1h if absent.
	IdleTimeout *model.Duration `json:"idleTimeout,omitempty"`
	// HTTP holds for the protocols http, http2 and grpc.
	HTTP *HTTP `json:"http,omitempty"`
}

// HTTP are the timeouts of requests and streams.
type HTTP struct {
	// RequestTimeout is how long a request with its response may take. 15s if absent.
	RequestTimeout *model.Duration `json:"requestTimeout,omitempty"`
	// StreamIdleTimeout is how long a stream may be without traffic. 30m if absent.
	StreamIdleTimeout *model.Duration `json:"streamIdleTimeout,omitempty"`
	// MaxStreamDuration is how long a stream may live. Off if absent.
	MaxStreamDuration *model.Duration `json:"maxStreamDuration,omitempty"`
	// MaxConnectionDuration is how long a connection may live. Off if absent.
	MaxConnectionDuration *model.Duration `json:"maxConnectionDuration,omitempty"`
	// RequestHeadersTimeout is how long receiving a request's headers may take. Off if absent.
	RequestHeadersTimeout *model.Duration `json:"requestHeadersTimeout,omitempty"`
}

// What holds where the merged conf says nothing.
const (
	defaultConnect    = 5 * time.Second
	defaultIdle       = time.Hour
	defaultRequest    = 15 * time.Second
	defaultStreamIdle = 30 * time.Minute
)

// Policy is the kind MeshTimeout.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshTimeout", Plural: "meshtimeouts", Short: "mt", One: "meshtimeout", Many: "meshtimeouts",
		Display: "Mesh Timeout", DisplayPlural: "Mesh Timeouts",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{
		Top: policy.Sidecars, TopSystem: policy.MeshGateway | policy.MeshHTTPRoute, GatewayTags: true,
		To:        policy.Mesh | policy.MeshService | policy.MeshExternalService | policy.MeshMultiZoneService,
		ToGateway: policy.Mesh | policy.MeshExternalService,
		ToRoute:   policy.Mesh | policy.MeshExternalService,
		From:      policy.Mesh, FromSidecar: true,
	},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, To: s.To, From: s.From, Rules: s.Rules}
	},
	Lists:        []policy.List{policy.ListTo, policy.ListFrom, policy.ListRules},
	FromAsRules:  true,
	ValidateSpec: validateSpec,
	Validate:     validate,
	Absent:       true,
	Inbound:      inbound,
	Outbound:     outbound,
	Requests:     requests,
	Cluster:      func(c *Conf, cl *ir.Cluster, _ *policy.Context) { c.cluster(cl) },
	OfCluster: func(path string) bool {
		switch path {
		case "connectionTimeout", "idleTimeout", "http.maxStreamDuration", "http.maxConnectionDuration":
			return true
		}
		return false
	},
	Fits: func(path string, p ir.Protocol) bool {
		switch path {
		case "idleTimeout":
			return p != ir.ProtocolGRPC
		case "http.maxStreamDuration", "http.maxConnectionDuration": // see cluster
			return p == ir.ProtocolHTTP || p == ir.ProtocolHTTP2
		}
		return p.HTTPLike() || !strings.HasPrefix(path, "http.")
	},
})

func validateSpec(_ *model.Object, p policy.Parts[Conf], v *model.Violations) {
	if len(p.To)+len(p.From)+len(p.Rules) == 0 {
		v.Add("says nothing: give at least one item in to, from or rules")
	}
}

func validate(c *Conf, v *model.Violations, w policy.Where) {
	policy.CheckPositive(c.ConnectionTimeout, v.At("connectionTimeout"))
	policy.CheckNotNegative(c.IdleTimeout, v.At("idleTimeout"))
	if h := c.HTTP; h != nil {
		at := v.At("http")
		policy.CheckNotNegative(h.RequestTimeout, at.At("requestTimeout"))
		policy.CheckNotNegative(h.StreamIdleTimeout, at.At("streamIdleTimeout"))
		policy.CheckNotNegative(h.MaxStreamDuration, at.At("maxStreamDuration"))
		policy.CheckNotNegative(h.MaxConnectionDuration, at.At("maxConnectionDuration"))
		policy.CheckNotNegative(h.RequestHeadersTimeout, at.At("requestHeadersTimeout"))
		if h.RequestTimeout == nil && h.StreamIdleTimeout == nil && h.MaxStreamDuration == nil && h.MaxConnectionDuration == nil {
			at.Add("give at least one of requestTimeout, streamIdleTimeout, maxStreamDuration and maxConnectionDuration, or leave it out")
		}
	}
	if c.ConnectionTimeout == nil && c.IdleTimeout == nil && c.HTTP == nil {
		v.Add("says nothing: give at least one of connectionTimeout, idleTimeout and http")
	}
	if w.Top.Kind == policy.RefMeshHTTPRoute {
		checkOnRoute(c, v)
	}
}

// checkOnRoute refuses what a single route cannot have.
func checkOnRoute(c *Conf, v *model.Violations) {
	refuse := func(d *model.Duration, path ...any) {
		if d != nil {
			v.At(path...).Add("belongs to connections, not to a route: leave it out, or select proxies instead of a MeshHTTPRoute")
		}
	}
	refuse(c.ConnectionTimeout, "connectionTimeout")
	refuse(c.IdleTimeout, "idleTimeout")
	if c.HTTP != nil {
		refuse(c.HTTP.MaxStreamDuration, "http", "maxStreamDuration")
		refuse(c.HTTP.MaxConnectionDuration, "http", "maxConnectionDuration")
	}
}

// http returns the HTTP part, never nil.
func (c *Conf) http() *HTTP {
	if c == nil || c.HTTP == nil {
		return &HTTP{}
	}
	return c.HTTP
}

func inbound(c *Conf, i *ir.Inbound, _ *policy.Context) {
	c.listener(&i.Listener)
	if i.HTTP != nil {
		for _, r := range i.HTTP.Routes {
			c.route(r)
		}
	}
	c.cluster(&i.Local)
}

func outbound(c *Conf, o *ir.Outbound, _ *policy.Context) {
	if c == nil && !policy.Resource(o.Destination) {
		// Without a policy the listeners of services known by their tag keep
		// what older policies say, but connections are the clusters' business.
		if o.HTTP != nil {
			o.HTTP.IdleTimeout = new(time.Duration)
		}
		return
	}
	c.listener(&o.Listener)
}

func requests(c *Conf, r *ir.Route, o *ir.Outbound, _ *policy.Context) {
	if c != nil || policy.Resource(o.Destination) {
		c.route(r)
	}
}

func (c *Conf) listener(l *ir.Listener) {
	if l.HTTP != nil {
		l.HTTP.IdleTimeout = new(time.Duration)
		l.HTTP.RequestHeadersTimeout = policy.StdOr(c.http().RequestHeadersTimeout, 0)
	}
	if l.TCP != nil {
		l.TCP.IdleTimeout = policy.StdOr(c.idle(), defaultIdle)
	}
}

func (c *Conf) route(r *ir.Route) {
	if r.Redirect != nil || r.Respond != nil {
		return
	}
	h := c.http()
	r.Timeout = policy.StdOr(h.RequestTimeout, defaultRequest)
	if h.StreamIdleTimeout != nil || r.IdleTimeout == nil {
		r.IdleTimeout = policy.StdOr(h.StreamIdleTimeout, defaultStreamIdle)
	}
}

func (c *Conf) cluster(cl *ir.Cluster) {
	cl.ConnectTimeout = policy.StdOr(c.connect(), defaultConnect)
	if cl.Protocol != ir.ProtocolHTTP && cl.Protocol != ir.ProtocolHTTP2 {
		return
	}
	h := c.http()
	cl.IdleTimeout = policy.StdOr(c.idle(), defaultIdle)
	cl.MaxStreamDuration = policy.StdOr(h.MaxStreamDuration, 0)
	cl.MaxConnectionDuration = policy.StdOr(h.MaxConnectionDuration, 0)
}

func (c *Conf) idle() *model.Duration {
	if c == nil {
		return nil
	}
	return c.IdleTimeout
}

func (c *Conf) connect() *model.Duration {
	if c == nil {
		return nil
	}
	return c.ConnectionTimeout
}
