// Package meshratelimit limits, in each proxy by itself, how many requests and
// connections come in.
package meshratelimit

import (
	"strings"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says which limits hold where.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// To holds for traffic through gateways.
	To []policy.Item[Conf] `json:"to,omitempty"`
	// From holds for traffic that enters the selected sidecars. Deprecated: use rules.
	From []policy.Item[Conf] `json:"from,omitempty"`
	// Rules hold for traffic that enters the selected sidecars.
	Rules []policy.Rule[Conf] `json:"rules,omitempty"`
}

// Conf is what may be set under default.
type Conf struct {
	// Local limits count in each proxy by itself.
	Local *Local `json:"local,omitempty"`
}

// Local limits count in each proxy by itself.
type Local struct {
	// HTTP limits requests.
	HTTP *HTTP `json:"http,omitempty"`
	// TCP limits connections.
	TCP *TCP `json:"tcp,omitempty"`
}

// HTTP limits requests.
type HTTP struct {
	// Disabled switches the limit off.
	Disabled *bool `json:"disabled,omitempty"`
	// RequestRate is how many requests may come in.
	RequestRate *Rate `json:"requestRate,omitempty"`
	// OnRateLimit is the answer to requests above the limit.
	OnRateLimit *OnRateLimit `json:"onRateLimit,omitempty"`
}

// TCP limits connections.
type TCP struct {
	// Disabled switches the limit off.
	Disabled *bool `json:"disabled,omitempty"`
	// ConnectionRate is how many connections may be opened.
	ConnectionRate *Rate `json:"connectionRate,omitempty"`
}

// Rate is a number per interval.
type Rate struct {
	// Num is the number in an interval.
	Num uint32 `json:"num" schema:"required"`
	// Interval after which the count starts anew; more than 50ms.
	Interval model.Duration `json:"interval" schema:"required"`
}

// OnRateLimit is the answer to requests above the limit.
type OnRateLimit struct {
	// Status code of the answer. 429 if absent.
	Status *uint32 `json:"status,omitempty"`
	// Headers of the answer.
	Headers *policy.HeaderAdditions `json:"headers,omitempty"`
}

// minInterval is what the proxy's timers can keep.
const minInterval = 50 * time.Millisecond

// Policy is the kind MeshRateLimit.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshRateLimit", Plural: "meshratelimits", Short: "mrl", One: "meshratelimit", Many: "meshratelimits",
		Display: "Mesh Rate Limit", DisplayPlural: "Mesh Rate Limits",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{
		Top: policy.Sidecars, TopSystem: policy.MeshGateway | policy.MeshHTTPRoute, GatewayTags: true,
		To: policy.Mesh, ToGateway: policy.Mesh, ToRoute: policy.Mesh, From: policy.Mesh,
		ByScope: true,
	},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, To: s.To, From: s.From, Rules: s.Rules}
	},
	Lists:       []policy.List{policy.ListTo, policy.ListFrom, policy.ListRules},
	FromAsRules: true,
	Validate:    validate,
	AtEgress:    policy.EgressServices,
	Inbound:     inbound,
	Fits:        func(path string, p ir.Protocol) bool { return p.HTTPLike() || !strings.HasPrefix(path, "local.http.") },
})

func validate(c *Conf, v *model.Violations, _ policy.Where) {
	at := v.At("local")
	if c.Local == nil {
		at.Add("is missing: say what is limited")
		return
	}
	if c.Local.HTTP == nil && c.Local.TCP == nil {
		at.Add("says nothing: give http, tcp or both")
	}
	if h := c.Local.HTTP; h != nil {
		at := at.At("http")
		if h.Disabled == nil && h.RequestRate == nil && h.OnRateLimit == nil {
			at.Add("says nothing: give at least one of disabled, requestRate and onRateLimit")
		}
		h.RequestRate.validate(at.At("requestRate"))
		if h.OnRateLimit != nil {
			policy.CheckAnswer(h.OnRateLimit.Status, at.At("onRateLimit", "status"))
			h.OnRateLimit.Headers.Check(at.At("onRateLimit", "headers"))
		}
	}
	if t := c.Local.TCP; t != nil {
		at := at.At("tcp")
		if t.Disabled == nil && t.ConnectionRate == nil {
			at.Add("says nothing: give disabled or connectionRate")
		}
		t.ConnectionRate.validate(at.At("connectionRate"))
	}
}

func (r *Rate) validate(v *model.Violations) {
	if r == nil {
		return
	}
	if r.Num == 0 {
		v.At("num").Add("0 would let nothing in: give a number above 0, or set disabled")
	}
	if r.Interval.Std() <= minInterval {
		v.At("interval").Add("%s is too short: give more than %s", r.Interval, minInterval)
	}
}

// inbound limits what enters. Where an older policy limits requests already,
// that one stays.
func inbound(c *Conf, i *ir.Inbound, x *policy.Context) {
	if c.Local == nil || limited(i) {
		x.Ignore()
		return
	}
	if r := c.Local.HTTP.limit(); r != nil && i.HTTP != nil {
		i.HTTP.LocalRateLimit = true
		for _, route := range i.HTTP.Routes {
			route.RateLimit = r
		}
	}
	if t := c.Local.TCP; t != nil && t.ConnectionRate != nil && !on(t.Disabled) {
		rate := t.ConnectionRate.rate()
		i.ConnectionRate = &rate
	}
}

func limited(i *ir.Inbound) bool { return i.HTTP != nil && i.HTTP.LocalRateLimit }

func (h *HTTP) limit() *ir.RateLimit {
	if h == nil || h.RequestRate == nil || on(h.Disabled) {
		return nil
	}
	out := &ir.RateLimit{Rate: h.RequestRate.rate()}
	if o := h.OnRateLimit; o != nil {
		if o.Status != nil {
			out.StatusCode = *o.Status
		}
		out.ResponseHeaders = o.Headers.Change()
	}
	return out
}

func (r *Rate) rate() ir.Rate { return ir.Rate{Num: r.Num, Interval: r.Interval.Std()} }

func on(b *bool) bool { return b != nil && *b }
