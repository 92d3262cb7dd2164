package legacy

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Dress applies the older policies to what was shaped: inbounds, and logs and
// traces of the proxy. It comes before the newer ones, which leave some of it
// and replace other parts.
func Dress(p *ir.Proxy, m *Matched, env *Env) {
	if m == nil {
		return
	}
	m.permit(p)
	for _, in := range p.Inbounds {
		if in.HTTP != nil {
			m.faults(in)
			m.limits(in)
		}
	}
	s := &shaper{p: p, m: m, env: env}
	s.logPassthrough()
	for _, in := range p.Inbounds {
		if in.HTTP != nil {
			in.Tracing = s.tracing("_INBOUND")
		}
	}
}

// permit decides who may connect. If no permission speaks about any inbound,
// the decision is left to newer policies.
func (m *Matched) permit(p *ir.Proxy) {
	found := false
	for _, in := range p.Inbounds {
		found = found || len(m.inbound(TrafficPermission, in.Tags)) > 0
	}
	for _, in := range p.Inbounds {
		if !found || in.TLS == nil {
			continue
		}
		in.Access = &ir.Access{Network: true}
		list := m.inbound(TrafficPermission, in.Tags)
		if len(list) == 0 {
			continue
		}
		sortCandidates(list)
		o := list[0].object
		in.Access.PolicyName = o.Meta.Name
		in.Access.Origins = []ir.Origin{{Kind: TrafficPermission.Name, Mesh: o.Meta.Mesh, Name: o.Meta.Name}}
		for _, src := range model.Spec[TrafficPermissionSpec](o).Sources {
			in.Access.Allow = append(in.Access.Allow, principal(src.Match, in.TLS.Mesh))
		}
	}
}

func sortCandidates(list []candidate) {
	newestFirst(list, func(c candidate) (*model.Object, kinds.Specificity) { return c.object, c.from })
}

// principal says what the certificates of clients with these tags hold. A tag
// with any value cannot be told from a certificate.
func principal(match map[string]string, mesh string) ir.Principal {
	var p ir.Principal
	for _, k := range slices.Sorted(maps.Keys(match)) {
		if v := match[k]; v != kinds.MatchAll && k != model.TagService {
			p.All = append(p.All, ir.IdentityMatch{URI: "kuma://" + k + "/" + v})
		}
	}
	if v, ok := match[model.TagService]; ok && v != kinds.MatchAll {
		p.All = append(p.All, ir.IdentityMatch{URI: "spiffe://" + mesh + "/" + v})
	}
	return p
}

// faults disturbs requests: one fault for each policy, that of the most specific
// clients first.
func (m *Matched) faults(in *ir.Inbound) {
	list := m.inbound(FaultInjection, in.Tags)
	for i := range list {
		list[i].from = firstSource(list[i].object)
	}
	sortCandidates(list)
	for _, c := range list {
		spec := model.Spec[FaultInjectionSpec](c.object)
		f := spec.Conf.fault()
		if len(spec.Sources) > 0 {
			f.Clients = []ir.ValueMatch{clients(spec.Sources)}
		}
		in.HTTP.Faults = append(in.HTTP.Faults, f)
	}
}

// firstSource is how specific the first selector of the clients is.
func firstSource(o *model.Object) kinds.Specificity {
	sources := o.Spec.(connected).ends().Sources
	if len(sources) == 0 {
		return kinds.Specificity{}
	}
	return kinds.SpecificityOf(sources[0].Match)
}

// clients matches what clients say about themselves against any of the selectors.
func clients(sources []kinds.Selector) ir.ValueMatch {
	if len(sources) == 1 {
		return policy.TagsRegex(sources[0].Match)
	}
	var out []string
	for _, s := range sources {
		out = append(out, policy.TagsRegex(s.Match).Value)
	}
	m := policy.TagsRegex(nil)
	m.Value = "(" + strings.Join(out, "|") + ")"
	return m
}

func (c *FaultInjectionConf) fault() ir.Fault {
	var out ir.Fault
	percent := func(p *float64) ir.Percent {
		if p == nil {
			return 0
		}
		return ir.Percent(*p)
	}
	if a := c.Abort; a != nil && a.HTTPStatus != nil {
		out.AbortStatus, out.AbortPercent = *a.HTTPStatus, percent(a.Percentage)
	}
	if d := c.Delay; d != nil && d.Value != nil {
		out.Delay, out.DelayPercent = std(d.Value), percent(d.Percentage)
	}
	if b := c.ResponseBandwidth; b != nil && b.Limit != nil {
		out.LimitKbps, out.LimitPercent = kbps(*b.Limit), percent(b.Percentage)
	}
	return out
}

// kbps reads a rate that the gate let in; 0 if it is none.
func kbps(s string) uint64 {
	unit := strings.TrimLeft(s, "0123456789")
	n, err := strconv.ParseUint(s[:len(s)-len(unit)], 10, 32)
	if err != nil {
		return 0
	}
	switch strings.ToLower(strings.TrimSpace(unit)) {
	case "kbps":
		return n
	case "mbps":
		return n * 1000
	case "gbps":
		return n * 1_000_000
	}
	return 0
}

// sourced is a limit for the clients of one selector.
type sourced struct {
	object *model.Object
	match  map[string]string
}

// limits bounds requests: a route for the clients of each selector comes before
// the one for all, the most specific first.
func (m *Matched) limits(in *ir.Inbound) {
	var list []sourced
	for _, c := range m.inbound(RateLimit, in.Tags) {
		for _, s := range model.Spec[RateLimitSpec](c.object).Sources {
			list = append(list, sourced{c.object, s.Match})
		}
	}
	if len(list) == 0 {
		return
	}
	newestFirst(list, func(s sourced) (*model.Object, kinds.Specificity) { return s.object, kinds.SpecificityOf(s.match) })
	var routes []*ir.Route
	for _, s := range list {
		limit := model.Spec[RateLimitSpec](s.object).Conf.limit()
		for _, r := range in.HTTP.Routes {
			limited := *r
			limited.Match.Headers = append(slices.Clone(r.Match.Headers), policy.TagsRegex(s.match))
			limited.RateLimit = limit
			routes = append(routes, &limited)
		}
	}
	in.HTTP.LocalRateLimit = true
	in.HTTP.Routes = append(routes, in.HTTP.Routes...)
}

func (c *RateLimitConf) limit() *ir.RateLimit {
	if c == nil || c.HTTP == nil {
		return nil
	}
	h := c.HTTP
	out := &ir.RateLimit{Rate: rate(h.Requests, *stdOr(0, h.Interval))}
	if o := h.OnRateLimit; o != nil {
		var v model.Violations
		if policy.CheckAnswer(o.Status, &v); o.Status != nil && v.Empty() {
			out.StatusCode = *o.Status
		}
		for _, x := range o.Headers {
			header := ir.Header{Name: x.Key, Value: x.Value}
			if !sendable(header) {
				continue
			}
			if x.Append != nil && *x.Append {
				out.ResponseHeaders.Add = append(out.ResponseHeaders.Add, header)
			} else {
				out.ResponseHeaders.Set = append(out.ResponseHeaders.Set, header)
			}
		}
	}
	return out
}

// minInterval is the shortest interval in which proxies count.
const minInterval = 50 * time.Millisecond

// rate returns so many requests per interval, counted in one that proxies take.
func rate(requests uint32, interval time.Duration) ir.Rate {
	if interval >= minInterval || interval <= 0 {
		return ir.Rate{Num: requests, Interval: max(interval, minInterval)}
	}
	n := uint64(requests) * uint64(minInterval) / uint64(interval)
	return ir.Rate{Num: uint32(min(n, math.MaxUint32)), Interval: minInterval}
}
