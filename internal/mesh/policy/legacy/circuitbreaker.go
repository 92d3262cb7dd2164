package legacy

import "weft/internal/mesh/model"

// CircuitBreaker makes clients avoid servers that fail, and bounds connections
// and requests to a service.
var CircuitBreaker = define(names{
	"CircuitBreaker", "circuit-breakers", "circuit-breaker", "circuit-breakers", "Circuit Breaker", "Circuit Breakers",
}, func() any { return new(CircuitBreakerSpec) }, validateCircuitBreaker)

// CircuitBreakerSpec says which clients avoid which servers and when.
type CircuitBreakerSpec struct {
	Connections
	// Conf says when to avoid a server and which bounds exist.
	Conf *CircuitBreakerConf `json:"conf,omitempty"`
}

// CircuitBreakerConf says when to avoid a server and which bounds exist.
type CircuitBreakerConf struct {
	// Interval between two looks at the servers. Absent = 10s.
	Interval *model.ProtoDuration `json:"interval,omitempty"`
	// BaseEjectionTime is how long a server is avoided at first; it grows with
	// every time. Absent = 30s.
	BaseEjectionTime *model.ProtoDuration `json:"baseEjectionTime,omitempty"`
	// MaxEjectionPercent is the part of the servers that may be avoided at a
	// time. Absent = 10.
	MaxEjectionPercent *uint32 `json:"maxEjectionPercent,omitempty"`
	// SplitExternalAndLocalErrors tells errors of connections from those that
	// servers answered.
	SplitExternalAndLocalErrors bool `json:"splitExternalAndLocalErrors,omitempty"`
	// Detectors of servers that fail.
	Detectors *Detectors `json:"detectors,omitempty"`
	// Thresholds of connections and requests.
	Thresholds *Thresholds `json:"thresholds,omitempty"`
}

// Detectors find servers that fail; each that is present is on.
type Detectors struct {
	// TotalErrors counts consecutive errors: 5xx answers and failed connections.
	TotalErrors *ConsecutiveErrors `json:"totalErrors,omitempty"`
	// GatewayErrors counts consecutive answers 502, 503 and 504.
	GatewayErrors *ConsecutiveErrors `json:"gatewayErrors,omitempty"`
	// LocalErrors counts consecutive failed connections, if those are told apart.
	LocalErrors *ConsecutiveErrors `json:"localErrors,omitempty"`
	// StandardDeviation compares a server's success rate with that of the others.
	StandardDeviation *StandardDeviation `json:"standardDeviation,omitempty"`
	// Failure compares a server's failures with a fixed percentage.
	Failure *FailurePercentage `json:"failure,omitempty"`
}

// ConsecutiveErrors counts errors in a row.
type ConsecutiveErrors struct {
	// Consecutive is the number of errors in a row. Absent = 5.
	Consecutive *uint32 `json:"consecutive,omitempty"`
}

// StandardDeviation compares a server's success rate with that of the others.
type StandardDeviation struct {
	// RequestVolume is the least number of requests in an interval. Absent = 100.
	RequestVolume *uint32 `json:"requestVolume,omitempty"`
	// MinimumHosts is the least number of servers with so many requests. Absent = 5.
	MinimumHosts *uint32 `json:"minimumHosts,omitempty"`
	// Factor of the standard deviation by which a server may fall behind. Absent = 1.9.
	Factor *float64 `json:"factor,omitempty"`
}

// FailurePercentage compares a server's failures with a fixed percentage.
type FailurePercentage struct {
	// RequestVolume is the least number of requests in an interval. Absent = 50.
	RequestVolume *uint32 `json:"requestVolume,omitempty"`
	// MinimumHosts is the least number of servers with so many requests. Absent = 5.
	MinimumHosts *uint32 `json:"minimumHosts,omitempty"`
	// Threshold is the percentage of failures, 0 to 100. Absent = 85.
	Threshold *uint32 `json:"threshold,omitempty"`
}

// Thresholds bound what clients may use of a service.
type Thresholds struct {
	// MaxConnections at a time. Absent = 1024.
	MaxConnections *uint32 `json:"maxConnections,omitempty"`
	// MaxPendingRequests that wait for a connection. Absent = 1024.
	MaxPendingRequests *uint32 `json:"maxPendingRequests,omitempty"`
	// MaxRetries at a time. Absent = 3.
	MaxRetries *uint32 `json:"maxRetries,omitempty"`
	// MaxRequests at a time. Absent = 1024.
	MaxRequests *uint32 `json:"maxRequests,omitempty"`
}

func validateCircuitBreaker(o *model.Object, v *model.Violations) {
	s := model.Spec[CircuitBreakerSpec](o)
	s.check(v, true)
	at, c := v.At("conf"), s.Conf
	if c == nil || (c.Detectors == nil && c.Thresholds == nil) {
		at.Add("must have detectors or thresholds")
		return
	}
	checkPositive(c.Interval, at.At("interval"))
	checkPositive(c.BaseEjectionTime, at.At("baseEjectionTime"))
	if p := c.MaxEjectionPercent; p != nil {
		checkPercent(float64(*p), at.At("maxEjectionPercent"))
	}
	if d := c.Detectors; d != nil {
		if *d == (Detectors{}) {
			at.At("detectors").Add("must have at least one detector")
		}
		if d.Failure != nil && d.Failure.Threshold != nil {
			checkPercent(float64(*d.Failure.Threshold), at.At("detectors", "failure", "threshold"))
		}
		if f := d.StandardDeviation; f != nil && f.Factor != nil && !(*f.Factor >= 0 && *f.Factor <= maxFactor) {
			at.At("detectors", "standardDeviation", "factor").Add("must be between 0 and %d", maxFactor)
		}
	}
	if t := c.Thresholds; t != nil && *t == (Thresholds{}) {
		at.At("thresholds").Add("must have at least one threshold")
	}
}

// maxFactor keeps the factor within what Envoy's thousandths in 32 bits can hold.
const maxFactor = 4_000_000
