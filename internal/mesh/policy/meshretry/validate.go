package meshretry

import (
	"reflect"

	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

func validateSpec(_ *model.Object, p policy.Parts[Conf], v *model.Violations) {
	if len(p.To) == 0 {
		v.At("to").Add("give at least one item: it says what is tried again")
	}
}

// validate reports below "conf", as clients of the API know it.
func validate(c *Conf, v *model.Violations, _ policy.Where) {
	v = v.At("conf")
	if c.TCP == nil && c.HTTP == nil && c.GRPC == nil {
		v.Add("says nothing: give at least one of tcp, http and grpc")
	}
	if c.TCP != nil {
		at := v.At("tcp")
		if c.TCP.MaxConnectAttempt == nil {
			at.Add("says nothing: give maxConnectAttempt, or leave it out")
		}
		policy.CheckAboveZero(c.TCP.MaxConnectAttempt, at.At("maxConnectAttempt"))
	}
	if c.HTTP != nil {
		c.HTTP.validate(v.At("http"))
	}
	if c.GRPC != nil {
		c.GRPC.validate(v.At("grpc"))
	}
}

const empty = "says nothing: give at least one of its fields, or leave it out"

func (h *HTTP) validate(v *model.Violations) {
	if reflect.ValueOf(*h).IsZero() {
		v.Add(empty)
		return
	}
	policy.CheckNotNegative(h.PerTryTimeout, v.At("perTryTimeout"))
	h.BackOff.validate(v.At("backOff"))
	h.RateLimitedBackOff.validate(v.At("rateLimitedBackOff"))
	for i, e := range h.RetryOn {
		_, method := methodOf(e)
		_, status := statusOf(e)
		if !method && !status && conditions[e] == "" {
			v.At("retryOn", i).Add("%q is unknown: use a condition like 5xx or GatewayError, a method like HttpMethodGet, or a status code", e)
		}
	}
	policy.CheckMatches(h.RetriableResponseHeaders, v.At("retriableResponseHeaders"))
	policy.CheckMatches(h.RetriableRequestHeaders, v.At("retriableRequestHeaders"))
	priorities := false
	for i, p := range h.HostSelection {
		at := v.At("hostSelection", i)
		switch p.Predicate {
		case "OmitHostsWithTags":
			if len(p.Tags) == 0 {
				at.At("tags").Add("are missing: say which endpoints to avoid")
			}
		case "OmitPreviousPriorities":
			if p.UpdateFrequency <= 0 {
				at.At("updateFrequency").Add("%d makes no sense: give a number of tries above 0", p.UpdateFrequency)
			}
			if priorities {
				at.At("predicate").Add("OmitPreviousPriorities may be given only once")
			}
			priorities = true
		}
	}
	policy.CheckAboveZero(h.HostSelectionMaxAttempts, v.At("hostSelectionMaxAttempts"))
}

func (g *GRPC) validate(v *model.Violations) {
	if reflect.ValueOf(*g).IsZero() {
		v.Add(empty)
		return
	}
	policy.CheckNotNegative(g.PerTryTimeout, v.At("perTryTimeout"))
	g.BackOff.validate(v.At("backOff"))
	g.RateLimitedBackOff.validate(v.At("rateLimitedBackOff"))
}

func (b *BackOff) validate(v *model.Violations) {
	if b == nil {
		return
	}
	if b.BaseInterval == nil && b.MaxInterval == nil {
		v.Add(empty)
	}
	policy.CheckPositive(b.BaseInterval, v.At("baseInterval"))
	policy.CheckPositive(b.MaxInterval, v.At("maxInterval"))
	if b.BaseInterval != nil && b.MaxInterval != nil && *b.MaxInterval < *b.BaseInterval && *b.MaxInterval > 0 {
		v.At("maxInterval").Add("%s is less than baseInterval, %s", b.MaxInterval, b.BaseInterval)
	}
}

func (b *RateLimitedBackOff) validate(v *model.Violations) {
	if b == nil {
		return
	}
	if len(b.ResetHeaders) == 0 {
		v.At("resetHeaders").Add("are missing: say which response headers tell how long to wait")
	}
	policy.CheckPositive(b.MaxInterval, v.At("maxInterval"))
}
