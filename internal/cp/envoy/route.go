package envoy

import (
	"fmt"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/mesh/ir"
)

func routeOf(r *ir.Route) (*route.Route, error) {
	match, err := routeMatch(r.Match)
	if err != nil {
		return nil, fmt.Errorf("route %q: %w", r.Name, err)
	}
	out := &route.Route{
		Name:                    r.Name,
		Match:                   match,
		RequestHeadersToAdd:     headersToAdd(r.RequestHeaders),
		RequestHeadersToRemove:  r.RequestHeaders.Remove,
		ResponseHeadersToAdd:    headersToAdd(r.ResponseHeaders),
		ResponseHeadersToRemove: r.ResponseHeaders.Remove,
	}
	if r.RateLimit != nil {
		packed, err := pack(localLimitOf(r.RateLimit))
		if err != nil {
			return nil, fmt.Errorf("route %q: %w", r.Name, err)
		}
		out.TypedPerFilterConfig = map[string]*anypb.Any{filterLocalLimit: packed}
	}
	switch {
	case r.Redirect != nil:
		out.Action = &route.Route_Redirect{Redirect: redirectOf(r.Redirect, r.Match)}
	case r.Respond != nil:
		out.Action = &route.Route_DirectResponse{DirectResponse: responseOf(r.Respond)}
	default:
		action, err := forward(r)
		if err != nil {
			return nil, fmt.Errorf("route %q: %w", r.Name, err)
		}
		out.Action = &route.Route_Route{Route: action}
	}
	return out, nil
}

func routeMatch(m ir.Match) (*route.RouteMatch, error) {
	out := &route.RouteMatch{}
	switch {
	case m.Path != "":
		out.PathSpecifier = &route.RouteMatch_Path{Path: m.Path}
	case m.Regex != "":
		out.PathSpecifier = &route.RouteMatch_SafeRegex{SafeRegex: regex(m.Regex)}
	default:
		out.PathSpecifier = &route.RouteMatch_Prefix{Prefix: m.Prefix}
	}
	if m.Method != "" {
		h, err := headerMatch(ir.ValueMatch{Type: ir.MatchExact, Name: ":method", Value: m.Method})
		if err != nil {
			return nil, err
		}
		out.Headers = append(out.Headers, h)
	}
	for _, v := range m.Headers {
		h, err := headerMatch(v)
		if err != nil {
			return nil, err
		}
		out.Headers = append(out.Headers, h)
	}
	for _, v := range m.Query {
		q, err := queryMatch(v)
		if err != nil {
			return nil, err
		}
		out.QueryParameters = append(out.QueryParameters, q)
	}
	return out, nil
}

func regex(s string) *matcher.RegexMatcher { return &matcher.RegexMatcher{Regex: s} }

func exact(s string) *matcher.StringMatcher {
	return &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Exact{Exact: s}}
}

func prefix(s string) *matcher.StringMatcher {
	return &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Prefix{Prefix: s}}
}

func safeRegex(s string) *matcher.StringMatcher {
	if s == "" { // Envoy takes no empty expression, which means the empty text
		return exact("")
	}
	return &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_SafeRegex{SafeRegex: regex(s)}}
}

func headerMatch(v ir.ValueMatch) (*route.HeaderMatcher, error) {
	h := &route.HeaderMatcher{Name: v.Name}
	set := func(m *matcher.StringMatcher) {
		h.HeaderMatchSpecifier = &route.HeaderMatcher_StringMatch{StringMatch: m}
	}
	switch v.Type {
	case ir.MatchExact:
		set(exact(v.Value))
	case ir.MatchRegex:
		set(safeRegex(v.Value))
	case ir.MatchPrefix:
		if v.Value != "" { // every value has the empty prefix
			set(prefix(v.Value))
			break
		}
		h.HeaderMatchSpecifier = &route.HeaderMatcher_PresentMatch{PresentMatch: true}
	case ir.MatchPresent:
		h.HeaderMatchSpecifier = &route.HeaderMatcher_PresentMatch{PresentMatch: true}
	case ir.MatchAbsent:
		h.HeaderMatchSpecifier = &route.HeaderMatcher_PresentMatch{PresentMatch: false}
	default:
		return nil, fmt.Errorf("header %q: unknown match type %q", v.Name, v.Type)
	}
	return h, nil
}

func queryMatch(v ir.ValueMatch) (*route.QueryParameterMatcher, error) {
	q := &route.QueryParameterMatcher{Name: v.Name}
	var m *matcher.StringMatcher
	switch v.Type {
	case ir.MatchExact:
		m = exact(v.Value)
	case ir.MatchRegex:
		m = safeRegex(v.Value)
	case ir.MatchPrefix:
		m = prefix(v.Value)
	case ir.MatchPresent:
		q.QueryParameterMatchSpecifier = &route.QueryParameterMatcher_PresentMatch{PresentMatch: true}
		return q, nil
	default:
		return nil, fmt.Errorf("query parameter %q: unknown match type %q", v.Name, v.Type)
	}
	q.QueryParameterMatchSpecifier = &route.QueryParameterMatcher_StringMatch{StringMatch: m}
	return q, nil
}

// headersToAdd lists replacements before additions, which is the order in which
// Envoy applies them.
func headersToAdd(c ir.HeaderChange) []*core.HeaderValueOption {
	var out []*core.HeaderValueOption
	for _, h := range c.Set {
		out = append(out, headerOption(h, core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
	}
	for _, h := range c.Add {
		out = append(out, headerOption(h, core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD))
	}
	return out
}

func headerOption(h ir.Header, action core.HeaderValueOption_HeaderAppendAction) *core.HeaderValueOption {
	return &core.HeaderValueOption{Header: &core.HeaderValue{Key: h.Name, Value: h.Value}, AppendAction: action}
}

// forward sends requests to clusters.
func forward(r *ir.Route) (*route.RouteAction, error) {
	a := &route.RouteAction{Timeout: duration(r.Timeout), IdleTimeout: duration(r.IdleTimeout)}
	setRouteTarget(a, r.Splits)
	setRewrite(a, r)
	for _, m := range r.Mirrors {
		p := &route.RouteAction_RequestMirrorPolicy{Cluster: m.Cluster}
		if m.Percent != nil {
			p.RuntimeFraction = &core.RuntimeFractionalPercent{DefaultValue: fraction(*m.Percent)}
		}
		a.RequestMirrorPolicies = append(a.RequestMirrorPolicies, p)
	}
	for _, h := range r.HashPolicies {
		p, err := hashPolicy(h)
		if err != nil {
			return nil, err
		}
		a.HashPolicy = append(a.HashPolicy, p)
	}
	var err error
	a.RetryPolicy, err = retryPolicy(r.Retry)
	return a, err
}

func setRouteTarget(a *route.RouteAction, splits []ir.Split) {
	if len(splits) == 1 {
		a.ClusterSpecifier = &route.RouteAction_Cluster{Cluster: splits[0].Cluster}
		return
	}
	w := &route.WeightedCluster{}
	for _, s := range splits {
		w.Clusters = append(w.Clusters, &route.WeightedCluster_ClusterWeight{Name: s.Cluster, Weight: wrapperspb.UInt32(s.Weight)})
	}
	a.ClusterSpecifier = &route.RouteAction_WeightedClusters{WeightedClusters: w}
}

func setRewrite(a *route.RouteAction, r *ir.Route) {
	if r.AutoHostRewrite {
		a.HostRewriteSpecifier = &route.RouteAction_AutoHostRewrite{AutoHostRewrite: wrapperspb.Bool(true)}
	}
	w := r.Rewrite
	if w == nil {
		return
	}
	switch {
	case w.Host != "":
		a.HostRewriteSpecifier = &route.RouteAction_HostRewriteLiteral{HostRewriteLiteral: w.Host}
	case w.HostFromPath != nil:
		a.HostRewriteSpecifier = &route.RouteAction_HostRewritePathRegex{HostRewritePathRegex: replaceSome(w.HostFromPath)}
	case w.HostToBackend:
		a.HostRewriteSpecifier = &route.RouteAction_AutoHostRewrite{AutoHostRewrite: wrapperspb.Bool(true)}
	}
	switch {
	case w.Path != nil:
		a.RegexRewrite = replaceAll(*w.Path)
	case w.Prefix != nil && r.Match.Path != "":
		// The whole path is the prefix that was matched.
		a.RegexRewrite = replaceAll(*w.Prefix)
	case w.Prefix != nil:
		a.PrefixRewrite = *w.Prefix
	case w.PathRegex != nil:
		a.RegexRewrite = replaceSome(w.PathRegex)
	}
}

func replaceSome(r *ir.RegexReplace) *matcher.RegexMatchAndSubstitute {
	return &matcher.RegexMatchAndSubstitute{Pattern: regex(r.Pattern), Substitution: r.Substitution}
}

// replaceAll replaces the whole path.
func replaceAll(with string) *matcher.RegexMatchAndSubstitute {
	return &matcher.RegexMatchAndSubstitute{Pattern: regex(".*"), Substitution: with}
}

// redirectCodes by status; others are a violation at the gate.
var redirectCodes = map[int]route.RedirectAction_RedirectResponseCode{
	301: route.RedirectAction_MOVED_PERMANENTLY,
	302: route.RedirectAction_FOUND,
	303: route.RedirectAction_SEE_OTHER,
	307: route.RedirectAction_TEMPORARY_REDIRECT,
	308: route.RedirectAction_PERMANENT_REDIRECT,
}

func redirectOf(r *ir.Redirect, m ir.Match) *route.RedirectAction {
	out := &route.RedirectAction{HostRedirect: r.Host, PortRedirect: r.Port, ResponseCode: redirectCodes[r.StatusCode], StripQuery: r.StripQuery}
	if r.Scheme != "" {
		out.SchemeRewriteSpecifier = &route.RedirectAction_SchemeRedirect{SchemeRedirect: r.Scheme}
	}
	switch {
	case r.Path != nil:
		out.PathRewriteSpecifier = &route.RedirectAction_RegexRewrite{RegexRewrite: replaceAll(*r.Path)}
	case r.Prefix != nil && m.Path != "":
		out.PathRewriteSpecifier = &route.RedirectAction_RegexRewrite{RegexRewrite: replaceAll(*r.Prefix)}
	case r.Prefix != nil:
		out.PathRewriteSpecifier = &route.RedirectAction_PrefixRewrite{PrefixRewrite: *r.Prefix}
	}
	return out
}

func responseOf(r *ir.Response) *route.DirectResponseAction {
	out := &route.DirectResponseAction{Status: uint32(r.StatusCode)}
	if r.Body != "" {
		out.Body = &core.DataSource{Specifier: &core.DataSource_InlineString{InlineString: r.Body}}
	}
	return out
}

// fraction writes a percentage with the smallest denominator that holds it.
func fraction(p ir.Percent) *typev3.FractionalPercent {
	whole := func(f float64) bool { return f == float64(uint32(f)) }
	switch f := float64(p); {
	case whole(f):
		return &typev3.FractionalPercent{Numerator: uint32(f), Denominator: typev3.FractionalPercent_HUNDRED}
	case whole(f * 100):
		return &typev3.FractionalPercent{Numerator: uint32(f * 100), Denominator: typev3.FractionalPercent_TEN_THOUSAND}
	default:
		return &typev3.FractionalPercent{Numerator: uint32(f * 10000), Denominator: typev3.FractionalPercent_MILLION}
	}
}
