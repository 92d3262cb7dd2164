package meshretry

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// conditions maps what may stand in http.retryOn to the IR's names.
var conditions = map[string]string{
	"5xx":                     "5xx",
	"GatewayError":            "gateway-error",
	"Reset":                   "reset",
	"Retriable4xx":            "retriable-4xx",
	"ConnectFailure":          "connect-failure",
	"EnvoyRatelimited":        "envoy-ratelimited",
	"RefusedStream":           "refused-stream",
	"Http3PostConnectFailure": "http3-post-connect-failure",
}

// grpcConditions maps what may stand in grpc.retryOn to the IR's names.
var grpcConditions = map[string]string{
	"Canceled":          "cancelled",
	"DeadlineExceeded":  "deadline-exceeded",
	"Internal":          "internal",
	"ResourceExhausted": "resource-exhausted",
	"Unavailable":       "unavailable",
}

// methods are the HTTP methods that may follow HttpMethod in http.retryOn.
var methods = []string{"Connect", "Delete", "Get", "Head", "Options", "Patch", "Post", "Put", "Trace"}

// What is tried again where retryOn says nothing.
var (
	httpDefault = []string{"gateway-error", "connect-failure", "refused-stream"}
	grpcDefault = []string{
		"cancelled", "connect-failure", "gateway-error", "refused-stream", "reset", "resource-exhausted", "unavailable",
	}
)

// grpcBase is the first wait of a gRPC back-off that names none.
const grpcBase = 25 * time.Millisecond

// methodOf returns the method of an entry like HttpMethodGet.
func methodOf(entry string) (string, bool) {
	m, ok := strings.CutPrefix(entry, "HttpMethod")
	if !ok || !slices.Contains(methods, m) {
		return "", false
	}
	return strings.ToUpper(m), true
}

// statusOf returns the status code that an entry is.
func statusOf(entry string) (uint32, bool) {
	n, err := strconv.ParseUint(entry, 10, 16)
	if err != nil || n < 100 || n > 599 || len(entry) != 3 {
		return 0, false
	}
	return uint32(n), true
}

func (h *HTTP) retry() *ir.Retry {
	if h.NumRetries != nil && *h.NumRetries == 0 {
		return nil
	}
	r := &ir.Retry{
		Attempts: h.NumRetries, PerTryTimeout: policy.Std(h.PerTryTimeout),
		RateLimitedBackOff: h.RateLimitedBackOff.backOff(),
		ResponseHeaders:    policy.Matches(h.RetriableResponseHeaders),
		RequestHeaders:     policy.Matches(h.RetriableRequestHeaders),
	}
	for _, e := range h.RetryOn {
		if m, ok := methodOf(e); ok {
			r.Methods = append(r.Methods, m)
		} else if n, ok := statusOf(e); ok {
			r.StatusCodes = append(r.StatusCodes, n)
		} else if c := conditions[e]; c != "" {
			r.On = append(r.On, c)
		}
	}
	if len(r.On) == 0 {
		r.On = slices.Clone(httpDefault)
	}
	// Without a base the maximum would have no meaning, so nothing is set.
	if b := h.BackOff; b != nil && b.BaseInterval != nil {
		b.apply(r, b.BaseInterval.Std())
	}
	for _, p := range h.HostSelection {
		tags := maps.Clone(p.Tags)
		delete(tags, model.TagService)
		r.HostSelection = append(r.HostSelection, ir.HostSelection{
			Predicate: p.Predicate, Tags: tags, UpdateFrequency: p.UpdateFrequency,
		})
	}
	if h.HostSelectionMaxAttempts != nil {
		r.HostAttempts = *h.HostSelectionMaxAttempts
	}
	return r
}

func (g *GRPC) retry() *ir.Retry {
	if g.NumRetries != nil && *g.NumRetries == 0 {
		return nil
	}
	r := &ir.Retry{
		Attempts: g.NumRetries, PerTryTimeout: policy.Std(g.PerTryTimeout),
		RateLimitedBackOff: g.RateLimitedBackOff.backOff(),
	}
	for _, e := range g.RetryOn {
		r.On = append(r.On, grpcConditions[e])
	}
	if len(r.On) == 0 {
		r.On = slices.Clone(grpcDefault)
	}
	if b := g.BackOff; b != nil {
		base := grpcBase
		if b.MaxInterval != nil {
			base = min(base, b.MaxInterval.Std())
		}
		b.apply(r, *policy.StdOr(b.BaseInterval, base))
	}
	return r
}

// apply sets the waits between tries. Two policies that are merged may give a
// maximum below the base, which proxies refuse: then all waits are the base.
func (b *BackOff) apply(r *ir.Retry, base time.Duration) {
	r.BackOffBase, r.BackOffMax = &base, policy.Std(b.MaxInterval)
	if r.BackOffMax != nil && *r.BackOffMax < base {
		r.BackOffMax = &base
	}
}

func (b *RateLimitedBackOff) backOff() *ir.RateLimitedBackOff {
	if b == nil {
		return nil
	}
	out := &ir.RateLimitedBackOff{Max: policy.Std(b.MaxInterval)}
	for _, h := range b.ResetHeaders {
		out.Resets = append(out.Resets, ir.ResetHeader(h))
	}
	return out
}
