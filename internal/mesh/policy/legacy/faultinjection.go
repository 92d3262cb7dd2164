package legacy

import (
	"regexp"
	"slices"
	"strings"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// FaultInjection delays or breaks requests on purpose, to see how clients cope.
var FaultInjection = define(names{
	"FaultInjection", "fault-injections", "fault-injection", "fault-injections", "Fault Injection", "Fault Injections",
}, func() any { return new(FaultInjectionSpec) }, validateFaultInjection)

// FaultInjectionSpec says which requests suffer which faults.
type FaultInjectionSpec struct {
	Connections
	// Conf holds the faults.
	Conf *FaultInjectionConf `json:"conf,omitempty"`
}

// FaultInjectionConf holds faults, which are independent of each other.
type FaultInjectionConf struct {
	// Delay holds requests back.
	Delay *FaultDelay `json:"delay,omitempty"`
	// Abort answers requests with an error.
	Abort *FaultAbort `json:"abort,omitempty"`
	// ResponseBandwidth slows responses down.
	ResponseBandwidth *FaultBandwidth `json:"responseBandwidth,omitempty"`
}

// FaultDelay holds requests back.
type FaultDelay struct {
	// Percentage of requests, 0 to 100.
	Percentage *float64 `json:"percentage,omitempty"`
	// Value is how long.
	Value *model.ProtoDuration `json:"value,omitempty"`
}

// FaultAbort answers requests with an error.
type FaultAbort struct {
	// Percentage of requests, 0 to 100.
	Percentage *float64 `json:"percentage,omitempty"`
	// HTTPStatus is the status code of the answer.
	HTTPStatus *uint32 `json:"httpStatus,omitempty"`
}

// FaultBandwidth slows responses down.
type FaultBandwidth struct {
	// Percentage of responses, 0 to 100.
	Percentage *float64 `json:"percentage,omitempty"`
	// Limit is the rate: a number and one of kbps, Mbps and Gbps.
	Limit *string `json:"limit,omitempty"`
}

func validateFaultInjection(o *model.Object, v *model.Violations) {
	s := model.Spec[FaultInjectionSpec](o)
	s.check(v, false)
	for i := range s.Destinations {
		checkHTTPLike(s.Destinations[i].Match, v.At("destinations", i, "match"))
	}
	at := v.At("conf")
	if s.Conf == nil || (s.Conf.Delay == nil && s.Conf.Abort == nil && s.Conf.ResponseBandwidth == nil) {
		at.Add("must have at least one fault: delay, abort or responseBandwidth")
		return
	}
	if d := s.Conf.Delay; d != nil {
		d.validate(at.At("delay"))
	}
	if a := s.Conf.Abort; a != nil {
		a.validate(at.At("abort"))
	}
	if b := s.Conf.ResponseBandwidth; b != nil {
		b.validate(at.At("responseBandwidth"))
	}
}

// checkHTTPLike wants a protocol with requests.
func checkHTTPLike(match map[string]string, v *model.Violations) {
	allowed := []string{kinds.ProtocolHTTP, kinds.ProtocolHTTP2, kinds.ProtocolGRPC}
	switch p, ok := match[model.TagProtocol]; {
	case len(match) == 0:
	case !ok:
		v.Add("the tag %s is missing; faults are possible for %s", model.TagProtocol, strings.Join(allowed, ", "))
	case !slices.Contains(allowed, p):
		v.At(model.Q(model.TagProtocol)).Add("%q has no requests that could be broken; use one of %s", p, strings.Join(allowed, ", "))
	}
}

func (d *FaultDelay) validate(v *model.Violations) {
	checkPercentage(d.Percentage, v.At("percentage"))
	if d.Value == nil {
		v.At("value").Add("must be given: how long to delay")
	}
	checkNotNegative(d.Value, v.At("value"))
}

func (a *FaultAbort) validate(v *model.Violations) {
	checkPercentage(a.Percentage, v.At("percentage"))
	switch at := v.At("httpStatus"); {
	case a.HTTPStatus == nil:
		at.Add("must be given: the status code of the answer")
	case !finalStatus(*a.HTTPStatus):
		at.Add("%d is no status code of HTTP that can end a request", *a.HTTPStatus)
	}
}

// finalStatus tells whether IANA's registry has the code, apart from 1xx, which
// end no request.
func finalStatus(code uint32) bool {
	switch code {
	case 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 510, 511:
		return true
	}
	return (code >= 200 && code <= 208) || code == 226 || (code >= 300 && code <= 308) ||
		(code >= 400 && code <= 417) || (code >= 500 && code <= 508)
}

func (b *FaultBandwidth) validate(v *model.Violations) {
	checkPercentage(b.Percentage, v.At("percentage"))
	switch at := v.At("limit"); {
	case b.Limit == nil || *b.Limit == "":
		at.Add("must be given: a rate such as 50 kbps")
	case !bandwidth.MatchString(*b.Limit):
		at.Add("%q is no rate; write a number and one of kbps, Mbps and Gbps", *b.Limit)
	}
}

var bandwidth = regexp.MustCompile(`^[0-9]{1,9}\s?[kKmMgG]bps$`)
