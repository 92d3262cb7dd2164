package envoy

import (
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	fault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	locallimit "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/mesh/ir"
)

const (
	filterLocalLimit = "envoy.filters.http.local_ratelimit"
	filterFault      = "envoy.filters.http.fault"

	limitStat = "rate_limit"
)

func tokenBucket(r ir.Rate) *typev3.TokenBucket {
	return &typev3.TokenBucket{
		MaxTokens:     r.Num,
		TokensPerFill: wrapperspb.UInt32(r.Num),
		FillInterval:  durationpb.New(r.Interval),
	}
}

// localLimitFilter does nothing by itself; routes configure it.
func localLimitFilter() *locallimit.LocalRateLimit {
	return &locallimit.LocalRateLimit{StatPrefix: limitStat}
}

func localLimitOf(r *ir.RateLimit) *locallimit.LocalRateLimit {
	out := &locallimit.LocalRateLimit{
		StatPrefix:     limitStat,
		TokenBucket:    tokenBucket(r.Rate),
		FilterEnabled:  always("local_rate_limit_enabled"),
		FilterEnforced: always("local_rate_limit_enforced"),
	}
	if r.StatusCode != 0 {
		out.Status = &typev3.HttpStatus{Code: typev3.StatusCode(r.StatusCode)}
	}
	out.ResponseHeadersToAdd = eachValue(r.ResponseHeaders)
	return out
}

func always(runtimeKey string) *core.RuntimeFractionalPercent {
	return &core.RuntimeFractionalPercent{
		RuntimeKey:   runtimeKey,
		DefaultValue: &typev3.FractionalPercent{Numerator: 100, Denominator: typev3.FractionalPercent_HUNDRED},
	}
}

// eachValue lists additions, then replacements, with one entry for each value
// between commas.
func eachValue(c ir.HeaderChange) []*core.HeaderValueOption {
	var out []*core.HeaderValueOption
	each := func(hs []ir.Header, action core.HeaderValueOption_HeaderAppendAction) {
		for _, h := range hs {
			for v := range strings.SplitSeq(h.Value, ",") {
				out = append(out, headerOption(ir.Header{Name: h.Name, Value: v}, action))
			}
		}
	}
	each(c.Add, core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	each(c.Set, core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	return out
}

func faultOf(f ir.Fault) *fault.HTTPFault {
	out := &fault.HTTPFault{}
	if f.AbortStatus != 0 {
		out.Abort = &fault.FaultAbort{
			ErrorType:  &fault.FaultAbort_HttpStatus{HttpStatus: f.AbortStatus},
			Percentage: fraction(f.AbortPercent),
		}
	}
	if f.Delay != nil && *f.Delay > 0 { // Envoy takes no delay of 0
		out.Delay = &commonfault.FaultDelay{
			FaultDelaySecifier: &commonfault.FaultDelay_FixedDelay{FixedDelay: durationpb.New(*f.Delay)},
			Percentage:         fraction(f.DelayPercent),
		}
	}
	if f.LimitKbps != 0 {
		out.ResponseRateLimit = &commonfault.FaultRateLimit{
			LimitType:  &commonfault.FaultRateLimit_FixedLimit_{FixedLimit: &commonfault.FaultRateLimit_FixedLimit{LimitKbps: f.LimitKbps}},
			Percentage: fraction(f.LimitPercent),
		}
	}
	for _, m := range f.Clients {
		out.Headers = append(out.Headers, tagsMatch(m.Value, false))
	}
	for _, m := range f.NotClients {
		out.Headers = append(out.Headers, tagsMatch(m.Value, true))
	}
	return out
}

// tagsMatch matches the header with the client's tags against a regular expression.
func tagsMatch(expr string, invert bool) *route.HeaderMatcher {
	return &route.HeaderMatcher{
		Name:                 tagsHeader,
		HeaderMatchSpecifier: &route.HeaderMatcher_StringMatch{StringMatch: safeRegex(expr)},
		InvertMatch:          invert,
	}
}
