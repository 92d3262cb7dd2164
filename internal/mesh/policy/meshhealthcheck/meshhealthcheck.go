// Package meshhealthcheck probes the endpoints of destinations, so that those
// that do not answer get no traffic.
package meshhealthcheck

import (
	"strings"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says how endpoints of which destinations are probed.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// To holds for traffic from the selected proxies to destinations.
	To []policy.Item[Conf] `json:"to,omitempty"`
}

// Conf is what may be set under default. The destination's protocol chooses
// among http, grpc and tcp.
type Conf struct {
	// Interval between two probes. 1m if absent.
	Interval *model.Duration `json:"interval,omitempty"`
	// Timeout of a probe. 15s if absent.
	Timeout *model.Duration `json:"timeout,omitempty"`
	// UnhealthyThreshold is the number of failures in a row that make an
	// endpoint unhealthy. 5 if absent.
	UnhealthyThreshold *int32 `json:"unhealthyThreshold,omitempty"`
	// HealthyThreshold is the number of successes in a row that make an endpoint
	// healthy again. 1 if absent.
	HealthyThreshold *int32 `json:"healthyThreshold,omitempty"`
	// InitialJitter is the longest random wait before the first probe.
	InitialJitter *model.Duration `json:"initialJitter,omitempty"`
	// IntervalJitter is the longest random wait added to the interval.
	IntervalJitter *model.Duration `json:"intervalJitter,omitempty"`
	// IntervalJitterPercent is the same in percent of the interval.
	IntervalJitterPercent *int32 `json:"intervalJitterPercent,omitempty"`
	// HealthyPanicThreshold is the percentage of healthy endpoints below which
	// all are used. Deprecated: use MeshCircuitBreaker.
	HealthyPanicThreshold *policy.Number `json:"healthyPanicThreshold,omitempty"`
	// FailTrafficOnPanic lets traffic fail instead of using all endpoints.
	FailTrafficOnPanic *bool `json:"failTrafficOnPanic,omitempty"`
	// EventLogPath is a file on the proxy's host that gets a line for each change.
	EventLogPath string `json:"eventLogPath,omitempty"`
	// AlwaysLogHealthCheckFailures also logs failures that change nothing.
	AlwaysLogHealthCheckFailures *bool `json:"alwaysLogHealthCheckFailures,omitempty"`
	// NoTrafficInterval is the interval for destinations without traffic.
	NoTrafficInterval *model.Duration `json:"noTrafficInterval,omitempty"`
	// TCP probes destinations of the protocol tcp.
	TCP *TCP `json:"tcp,omitempty"`
	// HTTP probes destinations of the protocols http and http2.
	HTTP *HTTP `json:"http,omitempty"`
	// GRPC probes destinations of the protocol grpc.
	GRPC *GRPC `json:"grpc,omitempty"`
	// ReuseConnection probes over one connection. True if absent.
	ReuseConnection *bool `json:"reuseConnection,omitempty"`
}

// TCP connects, and sends and expects data where given.
type TCP struct {
	// Disabled switches the probe off.
	Disabled *bool `json:"disabled,omitempty"`
	// Send is what is sent, in base64. Absent means nothing.
	Send *string `json:"send,omitempty"`
	// Receive lists what has to be in the answer, in base64.
	Receive []string `json:"receive,omitzero"`
}

// HTTP asks for a path.
type HTTP struct {
	// Disabled switches the probe off.
	Disabled *bool `json:"disabled,omitempty"`
	// Path that is asked for. "/" if absent.
	Path *string `json:"path,omitempty"`
	// RequestHeadersToAdd are sent with the request.
	RequestHeadersToAdd *policy.HeaderAdditions `json:"requestHeadersToAdd,omitempty"`
	// ExpectedStatuses are the status codes of healthy endpoints. 200 if absent.
	ExpectedStatuses []int32 `json:"expectedStatuses,omitzero"`
}

// GRPC calls the gRPC health service.
type GRPC struct {
	// Disabled switches the probe off.
	Disabled *bool `json:"disabled,omitempty"`
	// ServiceName that is asked about. Absent means the server as a whole.
	ServiceName string `json:"serviceName,omitempty"`
	// Authority is the value of the request's host header.
	Authority string `json:"authority,omitempty"`
}

// What holds where the merged conf says nothing.
const (
	defaultInterval  = time.Minute
	defaultTimeout   = 15 * time.Second
	defaultUnhealthy = 5
	defaultHealthy   = 1
)

// Policy is the kind MeshHealthCheck.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshHealthCheck", Plural: "meshhealthchecks", Short: "mhc", One: "meshhealthcheck", Many: "meshhealthchecks",
		Display: "Mesh Health Check", DisplayPlural: "Mesh Health Checks",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{
		Top: policy.Sidecars | policy.MeshGateway, GatewayTags: true,
		To:        policy.Mesh | policy.MeshService | policy.MeshMultiZoneService,
		ToGateway: policy.Mesh | policy.MeshService | policy.MeshMultiZoneService,
	},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, To: s.To}
	},
	Lists:    []policy.List{policy.ListTo},
	Validate: validate,
	Warn:     warn,
	AtEgress: policy.EgressResources,
	Cluster:  cluster,
	Fits:     fits,
})

// fits tells whether a value counts for destinations of a protocol; see check.
func fits(path string, p ir.Protocol) bool {
	switch part, _, _ := strings.Cut(path, "."); part {
	case "healthyPanicThreshold", "failTrafficOnPanic":
		return true
	case "http":
		return p == ir.ProtocolHTTP || p == ir.ProtocolHTTP2
	case "grpc":
		return p == ir.ProtocolGRPC
	}
	return p == ir.ProtocolTCP || p.HTTPLike()
}

func warn(_ *model.Object, p policy.Parts[Conf]) []string {
	for i := range p.To {
		if p.To[i].Default.HealthyPanicThreshold != nil {
			return []string{"healthyPanicThreshold of to[].default is deprecated: set it in a MeshCircuitBreaker, under outlierDetection"}
		}
	}
	return nil
}

func validate(c *Conf, v *model.Violations, _ policy.Where) {
	policy.CheckPositive(c.Interval, v.At("interval"))
	policy.CheckPositive(c.Timeout, v.At("timeout"))
	policy.CheckPositive(c.InitialJitter, v.At("initialJitter"))
	policy.CheckPositive(c.IntervalJitter, v.At("intervalJitter"))
	policy.CheckPositive(c.NoTrafficInterval, v.At("noTrafficInterval"))
	policy.CheckAboveZero(c.UnhealthyThreshold, v.At("unhealthyThreshold"))
	policy.CheckAboveZero(c.HealthyThreshold, v.At("healthyThreshold"))
	if n := c.IntervalJitterPercent; n != nil && (*n < 0 || *n > 100) {
		v.At("intervalJitterPercent").Add("%d is out of range: a percentage is from 0 to 100", *n)
	}
	policy.CheckPercent(c.HealthyPanicThreshold, v.At("healthyPanicThreshold"))
	if c.EventLogPath != "" {
		policy.CheckFilePath(c.EventLogPath, v.At("eventLogPath"))
	}
	if h := c.HTTP; h != nil {
		if h.Path != nil && *h.Path == "" {
			v.At("http", "path").Add("must not be empty: give a path, or leave it out for /")
		}
		for i, s := range h.ExpectedStatuses {
			policy.CheckStatus(s, v.At("http", "expectedStatuses", i))
		}
		h.RequestHeadersToAdd.Check(v.At("http", "requestHeadersToAdd"))
	}
	if c.TCP == nil && c.HTTP == nil && c.GRPC == nil {
		v.Add("probes nothing: give at least one of http, tcp and grpc")
	}
}

func cluster(c *Conf, cl *ir.Cluster, x *policy.Context) {
	if x.BehindEgress(cl.Destination) {
		x.Ignore()
		return
	}
	if c.HealthyPanicThreshold != nil {
		cl.PanicThreshold = policy.Percent(c.HealthyPanicThreshold)
	}
	if c.FailTrafficOnPanic != nil {
		cl.FailTrafficOnPanic = *c.FailTrafficOnPanic
	}
	hc, ok := c.check(cl.Protocol, x.Proxy.Tags)
	if ok {
		cl.HealthChecks = append(cl.HealthChecks, hc)
	} else if c.HealthyPanicThreshold == nil && c.FailTrafficOnPanic == nil {
		x.Ignore()
	}
}

// check returns the probe for destinations of a protocol, if there is one.
func (c *Conf) check(p ir.Protocol, tags map[string][]string) (ir.HealthCheck, bool) {
	out := ir.HealthCheck{
		Interval: *policy.StdOr(c.Interval, defaultInterval), Timeout: *policy.StdOr(c.Timeout, defaultTimeout),
		UnhealthyThreshold: count(c.UnhealthyThreshold, defaultUnhealthy),
		HealthyThreshold:   count(c.HealthyThreshold, defaultHealthy),
		InitialJitter:      policy.Std(c.InitialJitter), IntervalJitter: policy.Std(c.IntervalJitter),
		NoTraffic: policy.Std(c.NoTrafficInterval), EventLogPath: c.EventLogPath,
		AlwaysLogFailures: c.AlwaysLogHealthCheckFailures, ReuseConnection: c.ReuseConnection,
	}
	if n := c.IntervalJitterPercent; n != nil {
		u := uint32(*n)
		out.IntervalJitterPercent = &u
	}
	tcp := c.TCP != nil && !on(c.TCP.Disabled)
	switch p {
	case ir.ProtocolHTTP, ir.ProtocolHTTP2:
		if c.HTTP != nil && !on(c.HTTP.Disabled) {
			out.HTTP = c.HTTP.check(p, tags)
			return out, true
		}
		tcp = tcp && c.HTTP != nil // was switched off, not left out
	case ir.ProtocolGRPC:
		if c.GRPC != nil && !on(c.GRPC.Disabled) {
			out.GRPC = &ir.GRPCCheck{Service: c.GRPC.ServiceName, Authority: c.GRPC.Authority}
			return out, true
		}
		tcp = tcp && c.GRPC != nil
	case ir.ProtocolTCP:
	default:
		return out, false
	}
	if !tcp {
		return out, false
	}
	out.TCP = &ir.TCPCheck{Receive: c.TCP.Receive}
	if c.TCP.Send != nil {
		out.TCP.Send = *c.TCP.Send
	}
	return out, true
}

func (h *HTTP) check(p ir.Protocol, tags map[string][]string) *ir.HTTPCheck {
	out := &ir.HTTPCheck{Path: "/", Headers: h.RequestHeadersToAdd.Change(), HTTP2: p == ir.ProtocolHTTP2}
	if h.Path != nil {
		out.Path = *h.Path
	}
	if len(tags) > 0 {
		out.ClientTags = tags
	}
	for _, s := range h.ExpectedStatuses {
		out.Statuses = append(out.Statuses, uint32(s))
	}
	return out
}

func count(n *int32, or uint32) uint32 {
	if n == nil {
		return or
	}
	return uint32(*n)
}

func on(b *bool) bool { return b != nil && *b }
