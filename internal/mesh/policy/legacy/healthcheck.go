package legacy

import (
	"weft/internal/mesh/model"
)

// HealthCheck makes clients probe their servers and avoid those that fail.
var HealthCheck = define(names{
	"HealthCheck", "health-checks", "healthcheck", "healthchecks", "Health Check", "Health Checks",
}, func() any { return new(HealthCheckSpec) }, validateHealthCheck)

// HealthCheckSpec says which clients probe which servers and how.
type HealthCheckSpec struct {
	Connections
	// Conf says how to probe.
	Conf *HealthCheckConf `json:"conf,omitempty"`
}

// HealthCheckConf says how to probe: by an HTTP request with http, by bytes with
// tcp, else by connecting.
type HealthCheckConf struct {
	// Interval between probes.
	Interval *model.ProtoDuration `json:"interval,omitempty"`
	// Timeout of a probe.
	Timeout *model.ProtoDuration `json:"timeout,omitempty"`
	// UnhealthyThreshold is the number of failed probes that make a server unhealthy.
	UnhealthyThreshold uint32 `json:"unhealthyThreshold,omitempty"`
	// HealthyThreshold is the number of good probes that make a server healthy again.
	HealthyThreshold uint32 `json:"healthyThreshold,omitempty"`
	// TCP probes by bytes.
	TCP *TCPHealthCheck `json:"tcp,omitempty"`
	// HTTP probes by requests.
	HTTP *HTTPHealthCheck `json:"http,omitempty"`
	// InitialJitter delays the first probe by a random time up to this one.
	InitialJitter *model.ProtoDuration `json:"initialJitter,omitempty"`
	// IntervalJitter lengthens every interval by a random time up to this one.
	IntervalJitter *model.ProtoDuration `json:"intervalJitter,omitempty"`
	// IntervalJitterPercent lengthens every interval by a random part up to this percentage.
	IntervalJitterPercent uint32 `json:"intervalJitterPercent,omitempty"`
	// HealthyPanicThreshold is the percentage of healthy servers below which all
	// servers are used, healthy or not. Absent = 50.
	HealthyPanicThreshold *float32 `json:"healthyPanicThreshold,omitempty"`
	// FailTrafficOnPanic uses no server at all in that case.
	FailTrafficOnPanic *bool `json:"failTrafficOnPanic,omitempty"`
	// EventLogPath is a file of the proxy that health events are written to.
	EventLogPath string `json:"eventLogPath,omitempty"`
	// AlwaysLogHealthCheckFailures writes every failed probe, not only changes.
	AlwaysLogHealthCheckFailures *bool `json:"alwaysLogHealthCheckFailures,omitempty"`
	// NoTrafficInterval is the interval as long as there was no traffic. Absent = 60s.
	NoTrafficInterval *model.ProtoDuration `json:"noTrafficInterval,omitempty"`
	// ReuseConnection probes over one connection. Absent = true.
	ReuseConnection *bool `json:"reuseConnection,omitempty"`
}

// TCPHealthCheck probes by bytes.
type TCPHealthCheck struct {
	// Send are the bytes to send, in base64; absent = only connect.
	Send []byte `json:"send,omitzero"`
	// Receive are the bytes that must come back, in base64, as blocks in this order.
	Receive [][]byte `json:"receive,omitempty"`
}

// HTTPHealthCheck probes by requests.
type HTTPHealthCheck struct {
	// Path of the request.
	Path string `json:"path,omitempty"`
	// RequestHeadersToAdd are headers of the request.
	RequestHeadersToAdd []HealthCheckHeader `json:"requestHeadersToAdd,omitempty"`
	// ExpectedStatuses of healthy servers; absent = 200.
	ExpectedStatuses []uint32 `json:"expectedStatuses,omitempty"`
}

// HealthCheckHeader is a header of a probe.
type HealthCheckHeader struct {
	// Header with its value.
	Header *HeaderValue `json:"header,omitempty"`
	// Append keeps values that are there; otherwise they are replaced. Absent = true.
	Append *bool `json:"append,omitempty"`
}

// HeaderValue is a header with its value.
type HeaderValue struct {
	// Key is the name of the header.
	Key string `json:"key,omitempty"`
	// Value of the header.
	Value string `json:"value,omitempty"`
}

func validateHealthCheck(o *model.Object, v *model.Violations) {
	s := model.Spec[HealthCheckSpec](o)
	s.check(v, true)
	at := v.At("conf")
	if s.Conf == nil {
		at.Add("has to be defined: it says how to probe")
		return
	}
	s.Conf.validate(at)
}

func (c *HealthCheckConf) validate(v *model.Violations) {
	checkRequired(c.Interval, v.At("interval"))
	checkRequired(c.Timeout, v.At("timeout"))
	if c.UnhealthyThreshold == 0 {
		v.At("unhealthyThreshold").Add("must be at least 1")
	}
	if c.HealthyThreshold == 0 {
		v.At("healthyThreshold").Add("must be at least 1")
	}
	checkPositive(c.InitialJitter, v.At("initialJitter"))
	checkPositive(c.IntervalJitter, v.At("intervalJitter"))
	checkPositive(c.NoTrafficInterval, v.At("noTrafficInterval"))
	if t := c.HealthyPanicThreshold; t != nil {
		checkPercent(float64(*t), v.At("healthyPanicThreshold"))
	}
	if c.HTTP != nil && c.TCP != nil {
		v.Add("must have one of http and tcp, not both")
	}
	if c.HTTP != nil {
		c.HTTP.validate(v.At("http"))
	}
}

func (h *HTTPHealthCheck) validate(v *model.Violations) {
	if h.Path == "" {
		v.At("path").Add("has to be defined and must not be empty")
	}
	for i, s := range h.ExpectedStatuses {
		if s < 100 || s >= 600 {
			v.At("expectedStatuses", i).Add("%d is no status code of HTTP; use 100 to 599", s)
		}
	}
	for i, r := range h.RequestHeadersToAdd {
		switch at := v.At("requestHeadersToAdd", i, "header"); {
		case r.Header == nil:
			at.Add("has to be defined")
		case r.Header.Key == "":
			at.At("key").Add("must not be empty")
		}
	}
}
