package legacy

import (
	"strings"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

func std(d *model.ProtoDuration) *time.Duration {
	if d == nil {
		return nil
	}
	t := d.Std()
	return &t
}

// printable tells whether a text has no control characters.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// sendable tells whether proxies take a header. The gate of 2.10 let in others.
func sendable(h ir.Header) bool {
	return h.Name != "" && printable(h.Name) && printable(h.Value) && policy.Fillable(h.Value)
}

// stdOr returns the first duration that is given, or else.
func stdOr(or time.Duration, list ...*model.ProtoDuration) *time.Duration {
	for _, d := range list {
		if d != nil {
			return std(d)
		}
	}
	return &or
}

func (s *shaper) timeout(service string) *TimeoutConf {
	if o := s.m.outbound(Timeout, service); o != nil {
		if c := model.Spec[TimeoutSpec](o).Conf; c != nil {
			return c
		}
	}
	return &TimeoutConf{}
}

func (c *TimeoutConf) http() *HTTPTimeout {
	if c.HTTP == nil {
		return &HTTPTimeout{}
	}
	return c.HTTP
}

func (c *TimeoutConf) grpc() *GRPCTimeout {
	if c.GRPC == nil {
		return &GRPCTimeout{}
	}
	return c.GRPC
}

func (c *TimeoutConf) request() *time.Duration { return stdOr(0, c.http().RequestTimeout) }

func (c *TimeoutConf) idle() *time.Duration { return stdOr(0, c.http().IdleTimeout) }

func (c *TimeoutConf) streamIdle(p ir.Protocol) *time.Duration {
	if p == ir.ProtocolGRPC {
		return stdOr(0, c.http().StreamIdleTimeout, c.grpc().StreamIdleTimeout)
	}
	return stdOr(0, c.http().StreamIdleTimeout)
}

func (c *TimeoutConf) tcpIdle() *time.Duration {
	if c.TCP == nil {
		return stdOr(0)
	}
	return stdOr(0, c.TCP.IdleTimeout)
}

func (c *TimeoutConf) cluster(cl *ir.Cluster) {
	cl.ConnectTimeout = stdOr(defaultConnect, c.ConnectTimeout)
	if !cl.Protocol.HTTPLike() {
		return
	}
	cl.IdleTimeout = stdOr(0, c.http().IdleTimeout)
	longest := []*model.ProtoDuration{c.http().MaxStreamDuration}
	if cl.Protocol == ir.ProtocolGRPC {
		longest = append(longest, c.grpc().MaxStreamDuration)
	}
	for _, d := range longest {
		if d != nil {
			cl.MaxStreamDuration = std(d)
			break
		}
	}
}

// dress applies what belongs to the service that a cluster leads to.
func (m *Matched) dress(c *ir.Cluster) {
	service := c.Destination.Name
	if o := m.outbound(CircuitBreaker, service); o != nil {
		if conf := model.Spec[CircuitBreakerSpec](o).Conf; conf != nil {
			conf.apply(c)
		}
	}
	if o := m.outbound(HealthCheck, service); o != nil {
		if conf := model.Spec[HealthCheckSpec](o).Conf; conf != nil {
			conf.apply(c)
		}
	}
}

func (c *CircuitBreakerConf) apply(cl *ir.Cluster) {
	if t := c.Thresholds; t != nil {
		cl.Limits = &ir.ConnectionLimits{
			MaxConnections: t.MaxConnections, MaxPendingRequests: t.MaxPendingRequests,
			MaxRetries: t.MaxRetries, MaxRequests: t.MaxRequests,
		}
	}
	split := c.SplitExternalAndLocalErrors
	out := &ir.Outlier{
		Interval: std(c.Interval), BaseEjection: std(c.BaseEjectionTime),
		MaxEjectionPercent: c.MaxEjectionPercent, SplitLocalErrors: &split,
	}
	cl.Outlier = out
	d := c.Detectors
	if d == nil {
		return
	}
	out.TotalFailures = d.TotalErrors.count()
	out.GatewayFailures = d.GatewayErrors.count()
	out.LocalFailures = d.LocalErrors.count()
	if s := d.StandardDeviation; s != nil {
		out.SuccessRate = &ir.SuccessRate{MinimumHosts: s.MinimumHosts, RequestVolume: s.RequestVolume, StdevFactor: s.Factor}
	}
	if f := d.Failure; f != nil {
		out.FailurePercentage = &ir.FailurePercentage{MinimumHosts: f.MinimumHosts, RequestVolume: f.RequestVolume, Threshold: f.Threshold}
	}
}

// consecutive is the number of errors in a row where a detector gives none.
const consecutive = 5

func (c *ConsecutiveErrors) count() *uint32 {
	switch {
	case c == nil:
		return nil
	case c.Consecutive == nil:
		n := uint32(consecutive)
		return &n
	}
	return c.Consecutive
}

func (c *HealthCheckConf) apply(cl *ir.Cluster) {
	if t := c.HealthyPanicThreshold; t != nil {
		p := ir.Percent(*t)
		cl.PanicThreshold = &p
	}
	if f := c.FailTrafficOnPanic; f != nil {
		cl.FailTrafficOnPanic = *f
	}
	out := ir.HealthCheck{
		Interval: *stdOr(0, c.Interval), Timeout: *stdOr(0, c.Timeout),
		UnhealthyThreshold: c.UnhealthyThreshold, HealthyThreshold: c.HealthyThreshold,
		InitialJitter: std(c.InitialJitter), IntervalJitter: std(c.IntervalJitter), NoTraffic: std(c.NoTrafficInterval),
		EventLogPath: c.EventLogPath, AlwaysLogFailures: c.AlwaysLogHealthCheckFailures, ReuseConnection: c.ReuseConnection,
	}
	if n := c.IntervalJitterPercent; n != 0 {
		out.IntervalJitterPercent = &n
	}
	if h := c.HTTP; h != nil {
		if !printable(h.Path) {
			return // no proxy would ask for it
		}
		out.HTTP = h.check(cl.Protocol)
	} else {
		out.TCP = c.TCP.check()
	}
	cl.HealthChecks = append(cl.HealthChecks, out)
}

func (h *HTTPHealthCheck) check(p ir.Protocol) *ir.HTTPCheck {
	out := &ir.HTTPCheck{Path: h.Path, Statuses: h.ExpectedStatuses, HTTP2: p == ir.ProtocolHTTP2}
	for _, r := range h.RequestHeadersToAdd {
		if r.Header == nil {
			continue
		}
		header := ir.Header{Name: r.Header.Key, Value: r.Header.Value}
		if !sendable(header) {
			continue
		}
		if r.Append == nil || *r.Append {
			out.Headers.Add = append(out.Headers.Add, header)
		} else {
			out.Headers.Set = append(out.Headers.Set, header)
		}
	}
	return out
}

// check connects, and compares bytes where given; t may be nil.
func (t *TCPHealthCheck) check() *ir.TCPCheck {
	if t == nil {
		return &ir.TCPCheck{}
	}
	out := &ir.TCPCheck{Send: string(t.Send)}
	for _, r := range t.Receive {
		out.Receive = append(out.Receive, string(r))
	}
	return out
}

// What is tried again where retryOn says nothing.
var (
	httpRetryOn = []string{"gateway-error", "connect-failure", "refused-stream"}
	grpcRetryOn = []string{
		"cancelled", "connect-failure", "gateway-error", "refused-stream", "reset", "resource-exhausted", "unavailable",
	}
)

func (m *Matched) retryOf(service string) *RetryConf {
	if o := m.outbound(Retry, service); o != nil {
		return model.Spec[RetrySpec](o).Conf
	}
	return nil
}

// retry says when requests on an outbound are tried again, nil = never.
func (r *router) retry(o *ir.Outbound) *ir.Retry {
	c := r.m.retryOf(o.Destination.Name)
	switch {
	case c == nil:
	case o.Protocol == ir.ProtocolHTTP && c.HTTP != nil:
		h := c.HTTP
		out := &ir.Retry{
			On: conditions(h.RetryOn, httpRetryOn), StatusCodes: h.RetriableStatusCodes, Methods: h.RetriableMethods,
			Attempts: h.NumRetries, PerTryTimeout: std(h.PerTryTimeout),
		}
		h.BackOff.apply(out)
		return out
	case o.Protocol == ir.ProtocolGRPC && c.GRPC != nil:
		g := c.GRPC
		out := &ir.Retry{On: conditions(g.RetryOn, grpcRetryOn), Attempts: g.NumRetries, PerTryTimeout: std(g.PerTryTimeout)}
		g.BackOff.apply(out)
		return out
	}
	return nil
}

func (b *BackOff) apply(r *ir.Retry) {
	if b == nil {
		return
	}
	r.BackOffBase, r.BackOffMax = std(b.BaseInterval), std(b.MaxInterval)
	if r.BackOffMax != nil && r.BackOffBase != nil && *r.BackOffMax < *r.BackOffBase {
		r.BackOffMax = r.BackOffBase // proxies refuse one that shrinks
	}
}

func conditions(list, or []string) []string {
	if len(list) == 0 {
		return append([]string(nil), or...)
	}
	var out []string
	for _, c := range list {
		if c == "all_5xx" {
			c = "5xx"
		}
		out = append(out, strings.ReplaceAll(c, "_", "-"))
	}
	return out
}

// limit bounds requests to outside services, which cannot do it themselves.
// Where the zone's egress is on the way, it does.
func (r *router) limit(backends []policy.Backend) *ir.RateLimit {
	for _, b := range backends {
		if !b.Destination.External || r.env.ZoneEgress {
			continue
		}
		if o := r.m.outbound(RateLimit, b.Destination.Name); o != nil {
			return model.Spec[RateLimitSpec](o).Conf.limit()
		}
	}
	return nil
}
