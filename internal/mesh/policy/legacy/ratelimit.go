package legacy

import "weft/internal/mesh/model"

// RateLimit bounds how many requests clients may send to a proxy.
var RateLimit = define(names{
	"RateLimit", "rate-limits", "rate-limit", "rate-limits", "Rate Limit", "Rate Limits",
}, func() any { return new(RateLimitSpec) }, validateRateLimit)

// RateLimitSpec says which clients may send how many requests to which servers.
type RateLimitSpec struct {
	Connections
	// Conf holds the limit.
	Conf *RateLimitConf `json:"conf,omitempty"`
}

// RateLimitConf holds the limit.
type RateLimitConf struct {
	// HTTP bounds requests of HTTP.
	HTTP *HTTPRateLimit `json:"http,omitempty"`
}

// HTTPRateLimit bounds requests of HTTP, counted by every proxy for itself.
type HTTPRateLimit struct {
	// Requests that are allowed in the interval.
	Requests uint32 `json:"requests,omitempty"`
	// Interval in which requests are counted.
	Interval *model.ProtoDuration `json:"interval,omitempty"`
	// OnRateLimit is the answer to further requests.
	OnRateLimit *OnRateLimit `json:"onRateLimit,omitempty"`
}

// OnRateLimit is the answer to requests above the limit.
type OnRateLimit struct {
	// Status code of the answer. Absent = 429.
	Status *uint32 `json:"status,omitempty"`
	// Headers of the answer.
	Headers []RateLimitHeader `json:"headers,omitempty"`
}

// RateLimitHeader is a header of an answer.
type RateLimitHeader struct {
	// Key is the name of the header.
	Key string `json:"key,omitempty"`
	// Value of the header.
	Value string `json:"value,omitempty"`
	// Append keeps values that are there; otherwise they are replaced. Absent = true.
	Append *bool `json:"append,omitempty"`
}

func validateRateLimit(o *model.Object, v *model.Violations) {
	s := model.Spec[RateLimitSpec](o)
	s.check(v, false)
	at := v.At("conf")
	if s.Conf == nil || s.Conf.HTTP == nil {
		at.Add("must have http with requests and interval")
		return
	}
	h := s.Conf.HTTP
	at = at.At("http")
	if h.Requests == 0 {
		at.At("requests").Add("must be at least 1")
	}
	checkRequired(h.Interval, at.At("interval"))
	if h.OnRateLimit == nil {
		return
	}
	at = at.At("onRateLimit")
	if st := h.OnRateLimit.Status; st != nil && (*st < 100 || *st >= 600) {
		at.At("status").Add("%d is no status code of HTTP; use 100 to 599", *st)
	}
	for i, hd := range h.OnRateLimit.Headers {
		if hd.Key == "" {
			at.At("headers", i, "key").Add("must not be empty")
		}
		if hd.Value == "" {
			at.At("headers", i, "value").Add("must not be empty")
		}
	}
}
