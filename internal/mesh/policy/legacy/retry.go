package legacy

import (
	"fmt"
	"slices"

	"weft/internal/mesh/model"
)

// Retry makes clients try requests and connections again.
var Retry = define(names{
	"Retry", "retries", "retry", "retries", "Retry", "Retries",
}, func() any { return new(RetrySpec) }, validateRetry)

// RetrySpec says which clients try again, at which services and when.
type RetrySpec struct {
	Connections
	// Conf says when to try again.
	Conf *RetryConf `json:"conf,omitempty"`
}

// RetryConf says when to try again, for each protocol.
type RetryConf struct {
	// HTTP is for services with the protocol http.
	HTTP *HTTPRetry `json:"http,omitempty"`
	// TCP is for services with the protocols tcp and kafka.
	TCP *TCPRetry `json:"tcp,omitempty"`
	// GRPC is for services with the protocol grpc.
	GRPC *GRPCRetry `json:"grpc,omitempty"`
}

// HTTPRetry says when to try HTTP requests again.
type HTTPRetry struct {
	// NumRetries is how often. Absent = 1.
	NumRetries *uint32 `json:"numRetries,omitempty"`
	// PerTryTimeout is how long one try may take. Absent = as long as the request.
	PerTryTimeout *model.ProtoDuration `json:"perTryTimeout,omitempty"`
	// BackOff is the time between tries.
	BackOff *BackOff `json:"backOff,omitempty"`
	// RetriableStatusCodes are answers after which to try again.
	RetriableStatusCodes []uint32 `json:"retriableStatusCodes,omitempty"`
	// RetriableMethods are the methods of requests to try again; absent = all.
	RetriableMethods []string `json:"retriableMethods,omitempty" schema:"enum=NONE|CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE"`
	// RetryOn says after what to try again.
	RetryOn []string `json:"retryOn,omitempty" schema:"enum=all_5xx|gateway_error|reset|connect_failure|envoy_ratelimited|retriable_4xx|refused_stream|retriable_status_codes|retriable_headers|http3_post_connect_failure"`
}

// BackOff is the time between tries: it grows from baseInterval to maxInterval.
type BackOff struct {
	// BaseInterval is the first time.
	BaseInterval *model.ProtoDuration `json:"baseInterval,omitempty"`
	// MaxInterval is the longest time. Absent = ten times the first.
	MaxInterval *model.ProtoDuration `json:"maxInterval,omitempty"`
}

// TCPRetry says how often to try to connect.
type TCPRetry struct {
	// MaxConnectAttempts is how often, the first one included.
	MaxConnectAttempts uint32 `json:"maxConnectAttempts,omitempty"`
}

// GRPCRetry says when to try gRPC calls again.
type GRPCRetry struct {
	// RetryOn says after which status to try again.
	RetryOn []string `json:"retryOn,omitempty" schema:"enum=cancelled|deadline_exceeded|internal|resource_exhausted|unavailable"`
	// NumRetries is how often. Absent = 1.
	NumRetries *uint32 `json:"numRetries,omitempty"`
	// PerTryTimeout is how long one try may take. Absent = as long as the call.
	PerTryTimeout *model.ProtoDuration `json:"perTryTimeout,omitempty"`
	// BackOff is the time between tries.
	BackOff *BackOff `json:"backOff,omitempty"`
}

func validateRetry(o *model.Object, v *model.Violations) {
	s := model.Spec[RetrySpec](o)
	s.check(v, true)
	switch at, c := v.At("conf"), s.Conf; {
	case c == nil:
		at.Add("has to be defined: it says when to try again")
	case c.HTTP == nil && c.TCP == nil && c.GRPC == nil:
		at.Add("must have at least one of http, tcp and grpc")
	default:
		c.validate(at)
	}
}

func (c *RetryConf) validate(v *model.Violations) {
	if h := c.HTTP; h != nil {
		at := v.At("http")
		if h.empty() {
			at.Add("must not be empty")
		}
		checkTries(h.NumRetries, h.PerTryTimeout, h.BackOff, at)
		checkRepeated(h.RetriableStatusCodes, at.At("retriableStatusCodes"))
		checkRepeated(h.RetriableMethods, at.At("retriableMethods"))
		checkRepeated(h.RetryOn, at.At("retryOn"))
		for i, m := range h.RetriableMethods {
			if m == "NONE" {
				at.At("retriableMethods", i).Add("NONE is no method of requests; remove it")
			}
		}
		if slices.Contains(h.RetryOn, "retriable_status_codes") && len(h.RetriableStatusCodes) == 0 {
			at.At("retriableStatusCodes").Add("must not be empty with the condition retriable_status_codes in retryOn")
		}
	}
	if t := c.TCP; t != nil && t.MaxConnectAttempts == 0 {
		v.At("tcp", "maxConnectAttempts").Add("must be at least 1")
	}
	if g := c.GRPC; g != nil {
		at := v.At("grpc")
		if g.NumRetries == nil && g.PerTryTimeout == nil && g.BackOff == nil && len(g.RetryOn) == 0 {
			at.Add("must not be empty")
		}
		checkTries(g.NumRetries, g.PerTryTimeout, g.BackOff, at)
		checkRepeated(g.RetryOn, at.At("retryOn"))
	}
}

func (h *HTTPRetry) empty() bool {
	return h.NumRetries == nil && h.PerTryTimeout == nil && h.BackOff == nil &&
		len(h.RetriableStatusCodes)+len(h.RetriableMethods)+len(h.RetryOn) == 0
}

func checkTries(num *uint32, perTry *model.ProtoDuration, b *BackOff, v *model.Violations) {
	if num != nil && *num == 0 {
		v.At("numRetries").Add("must be at least 1, or left out")
	}
	checkPositive(perTry, v.At("perTryTimeout"))
	if b != nil {
		checkRequired(b.BaseInterval, v.At("backOff", "baseInterval"))
		checkPositive(b.MaxInterval, v.At("backOff", "maxInterval"))
	}
}

// checkRepeated adds a violation for every value that is there more than once.
func checkRepeated[T comparable](list []T, v *model.Violations) {
	at := map[T][]int{}
	for i, e := range list {
		at[e] = append(at[e], i)
	}
	for i, e := range list {
		if where := at[e]; len(where) > 1 && where[0] == i {
			v.Add("%s is there more than once, at the indexes %v", fmt.Sprint(e), where)
		}
	}
}
