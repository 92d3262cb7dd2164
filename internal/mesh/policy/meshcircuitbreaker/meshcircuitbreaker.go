// Package meshcircuitbreaker bounds what is open to a destination and keeps away
// from endpoints that fail.
package meshcircuitbreaker

import (
	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says which limits hold for which traffic of which proxies.
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

// Conf is what may be set under default.
type Conf struct {
	// ConnectionLimits bound what is open at the same time.
	ConnectionLimits *ConnectionLimits `json:"connectionLimits,omitempty"`
	// OutlierDetection ejects endpoints that fail for a while.
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`
}

// ConnectionLimits bound what a proxy opens to all endpoints of a destination.
type ConnectionLimits struct {
	// MaxConnections is the number of connections.
	MaxConnections *uint32 `json:"maxConnections,omitempty"`
	// MaxConnectionPools is the number of connection pools.
	MaxConnectionPools *uint32 `json:"maxConnectionPools,omitempty"`
	// MaxPendingRequests is the number of requests that wait for a connection.
	MaxPendingRequests *uint32 `json:"maxPendingRequests,omitempty"`
	// MaxRetries is the number of retries at the same time.
	MaxRetries *uint32 `json:"maxRetries,omitempty"`
	// MaxRequests is the number of requests at the same time.
	MaxRequests *uint32 `json:"maxRequests,omitempty"`
}

// OutlierDetection ejects endpoints that fail for a while.
type OutlierDetection struct {
	// Disabled switches the detection off.
	Disabled *bool `json:"disabled,omitempty"`
	// Interval between two looks at the endpoints.
	Interval *model.Duration `json:"interval,omitempty"`
	// BaseEjectionTime times the number of ejections is how long one lasts.
	BaseEjectionTime *model.Duration `json:"baseEjectionTime,omitempty"`
	// MaxEjectionPercent is the share of endpoints that may be ejected.
	MaxEjectionPercent *uint32 `json:"maxEjectionPercent,omitempty"`
	// SplitExternalAndLocalErrors tells failures to connect from errors of the endpoint.
	SplitExternalAndLocalErrors *bool `json:"splitExternalAndLocalErrors,omitempty"`
	// Detectors say what counts as a failure.
	Detectors *Detectors `json:"detectors,omitempty"`
	// HealthyPanicThreshold is the percentage of healthy endpoints below which
	// all endpoints are used; 0 switches this off.
	HealthyPanicThreshold *policy.Number `json:"healthyPanicThreshold,omitempty"`
}

// Detectors say what counts as a failure. Those left out are off.
type Detectors struct {
	// TotalFailures counts errors of the endpoint and failures to connect.
	TotalFailures *Consecutive `json:"totalFailures,omitempty"`
	// GatewayFailures counts the answers 502, 503 and 504.
	GatewayFailures *Consecutive `json:"gatewayFailures,omitempty"`
	// LocalOriginFailures counts failures to connect, with splitExternalAndLocalErrors.
	LocalOriginFailures *Consecutive `json:"localOriginFailures,omitempty"`
	// SuccessRate looks for endpoints that are much worse than the others.
	SuccessRate *SuccessRate `json:"successRate,omitempty"`
	// FailurePercentage looks for endpoints that fail more often than a threshold.
	FailurePercentage *FailurePercentage `json:"failurePercentage,omitempty"`
}

// Consecutive is a number of failures in a row.
type Consecutive struct {
	// Consecutive failures after which an endpoint is ejected.
	Consecutive *uint32 `json:"consecutive,omitempty"`
}

// SuccessRate looks for endpoints that are much worse than the others.
type SuccessRate struct {
	// MinimumHosts with enough requests that are needed for a comparison.
	MinimumHosts *uint32 `json:"minimumHosts,omitempty"`
	// RequestVolume is how many requests in an interval are enough.
	RequestVolume *uint32 `json:"requestVolume,omitempty"`
	// StandardDeviationFactor times the standard deviation below the mean is the limit.
	StandardDeviationFactor *policy.Number `json:"standardDeviationFactor,omitempty"`
}

// FailurePercentage looks for endpoints that fail more often than a threshold.
type FailurePercentage struct {
	// MinimumHosts with enough requests that are needed.
	MinimumHosts *uint32 `json:"minimumHosts,omitempty"`
	// RequestVolume is how many requests in an interval are enough.
	RequestVolume *uint32 `json:"requestVolume,omitempty"`
	// Threshold is the percentage of failures from which an endpoint is ejected.
	Threshold *uint32 `json:"threshold,omitempty"`
}

// Policy is the kind MeshCircuitBreaker.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshCircuitBreaker", Plural: "meshcircuitbreakers", Short: "mcb",
		One: "meshcircuitbreaker", Many: "meshcircuitbreakers",
		Display: "Mesh Circuit Breaker", DisplayPlural: "Mesh Circuit Breakers",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{
		Top: policy.Sidecars | policy.MeshGateway, GatewayTags: true,
		To:        policy.Mesh | policy.MeshService | policy.MeshMultiZoneService,
		ToGateway: policy.Mesh | policy.MeshService | policy.MeshMultiZoneService,
		From:      policy.Mesh,
	},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, To: s.To, From: s.From, Rules: s.Rules}
	},
	Lists:        []policy.List{policy.ListTo, policy.ListFrom, policy.ListRules},
	FromAsRules:  true,
	ValidateSpec: validateSpec,
	Validate:     validate,
	Inbound:      func(c *Conf, i *ir.Inbound, _ *policy.Context) { c.apply(&i.Local) },
	AtEgress:     policy.EgressResources,
	Cluster: func(c *Conf, cl *ir.Cluster, x *policy.Context) {
		if x.BehindEgress(cl.Destination) {
			x.Ignore()
			return
		}
		c.apply(cl)
	},
})

func validateSpec(_ *model.Object, p policy.Parts[Conf], v *model.Violations) {
	if len(p.To)+len(p.From)+len(p.Rules) == 0 {
		v.Add("says nothing: give at least one item in to, from or rules")
	}
}

func validate(c *Conf, v *model.Violations, _ policy.Where) {
	if c.ConnectionLimits == nil && c.OutlierDetection == nil {
		v.Add("says nothing: give connectionLimits, outlierDetection or both")
	}
	if l := c.ConnectionLimits; l != nil {
		at := v.At("connectionLimits")
		policy.CheckAboveZero(l.MaxConnections, at.At("maxConnections"))
		policy.CheckAboveZero(l.MaxConnectionPools, at.At("maxConnectionPools"))
		policy.CheckAboveZero(l.MaxPendingRequests, at.At("maxPendingRequests"))
		policy.CheckAboveZero(l.MaxRetries, at.At("maxRetries"))
		policy.CheckAboveZero(l.MaxRequests, at.At("maxRequests"))
	}
	if o := c.OutlierDetection; o != nil {
		o.validate(v.At("outlierDetection"))
	}
}

func (o *OutlierDetection) validate(v *model.Violations) {
	policy.CheckPositive(o.Interval, v.At("interval"))
	policy.CheckPositive(o.BaseEjectionTime, v.At("baseEjectionTime"))
	checkShare(o.MaxEjectionPercent, v.At("maxEjectionPercent"))
	policy.CheckPercent(o.HealthyPanicThreshold, v.At("healthyPanicThreshold"))
	d := o.Detectors
	if d == nil {
		v.At("detectors").Add("is missing: say what counts as a failure")
		return
	}
	at := v.At("detectors")
	if *d == (Detectors{}) {
		at.Add("give at least one of totalFailures, gatewayFailures, localOriginFailures, successRate and failurePercentage")
	}
	d.TotalFailures.validate(at.At("totalFailures"))
	d.GatewayFailures.validate(at.At("gatewayFailures"))
	d.LocalOriginFailures.validate(at.At("localOriginFailures"))
	if s := d.SuccessRate; s != nil {
		at := at.At("successRate")
		policy.CheckAboveZero(s.MinimumHosts, at.At("minimumHosts"))
		policy.CheckAboveZero(s.RequestVolume, at.At("requestVolume"))
		if n := s.StandardDeviationFactor; n != nil {
			// The proxy keeps the factor in thousandths of 32 bits.
			if f, ok := n.Float(); !ok || f <= 0 || f > 4_000_000 {
				at.At("standardDeviationFactor").Add("%q makes no sense: give a number above 0, like 2 or \"1.9\"", n)
			}
		}
	}
	if f := d.FailurePercentage; f != nil {
		at := at.At("failurePercentage")
		policy.CheckAboveZero(f.MinimumHosts, at.At("minimumHosts"))
		policy.CheckAboveZero(f.RequestVolume, at.At("requestVolume"))
		checkShare(f.Threshold, at.At("threshold"))
	}
}

func (c *Consecutive) validate(v *model.Violations) {
	if c != nil {
		policy.CheckAboveZero(c.Consecutive, v.At("consecutive"))
	}
}

func checkShare(n *uint32, v *model.Violations) {
	if n != nil && *n > 100 {
		v.Add("%d is out of range: a percentage is from 0 to 100", *n)
	}
}

func (c *Conf) apply(cl *ir.Cluster) {
	if l := c.ConnectionLimits; l != nil {
		limits := ir.ConnectionLimits(*l)
		cl.Limits = &limits
	}
	o := c.OutlierDetection
	if o == nil || (o.Disabled != nil && *o.Disabled) {
		return
	}
	if o.HealthyPanicThreshold != nil {
		cl.PanicThreshold = policy.Percent(o.HealthyPanicThreshold)
	}
	cl.Outlier = o.outlier()
}

func (o *OutlierDetection) outlier() *ir.Outlier {
	out := &ir.Outlier{
		Interval: policy.Std(o.Interval), BaseEjection: policy.Std(o.BaseEjectionTime),
		MaxEjectionPercent: o.MaxEjectionPercent, SplitLocalErrors: o.SplitExternalAndLocalErrors,
	}
	d := o.Detectors
	if d == nil {
		return out
	}
	out.TotalFailures = d.TotalFailures.count()
	out.GatewayFailures = d.GatewayFailures.count()
	out.LocalFailures = d.LocalOriginFailures.count()
	if s := d.SuccessRate; s != nil {
		out.SuccessRate = &ir.SuccessRate{MinimumHosts: s.MinimumHosts, RequestVolume: s.RequestVolume}
		if s.StandardDeviationFactor != nil {
			f := s.StandardDeviationFactor.Value()
			out.SuccessRate.StdevFactor = &f
		}
	}
	if f := d.FailurePercentage; f != nil {
		fp := ir.FailurePercentage(*f)
		out.FailurePercentage = &fp
	}
	return out
}

func (c *Consecutive) count() *uint32 {
	if c == nil {
		return nil
	}
	return c.Consecutive
}
