package meshhttproute

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/policy"
)

// shape makes the routes of an outbound.
func shape(c *Conf, o *ir.Outbound, x *policy.Context) {
	ruled := c != nil && len(c.Rules) > 0
	if !o.Protocol.HTTPLike() && !ruled {
		return
	}
	own := x.Env.Backends.Own(o)
	s := shaper{o: o, x: x, own: own}
	var routes []*ir.Route
	for _, m := range s.expand(c) {
		routes = append(routes, s.routes(m)...)
	}
	if len(routes) == 0 {
		return
	}
	o.HTTP = &ir.HTTP{Routes: routes, GRPCStats: o.Protocol == ir.ProtocolGRPC}
}

// shaper makes the routes of one outbound.
type shaper struct {
	o   *ir.Outbound
	x   *policy.Context
	own policy.Backend
}

// matched is a rule with one of its matches.
type matched struct {
	match Match
	rule  *Rule
	name  string
}

// catchAll fits every request.
var catchAll = Match{Path: &PathMatch{Value: "/", Type: pathPrefix}}

// catchAllName is the name of routes that catchAll makes.
var catchAllName = HashMatches([]Match{catchAll})

// expand returns the rules, one for each match, the more specific first, with
// the rule that sends the rest to the destination that was called.
func (s *shaper) expand(c *Conf) []matched {
	var out []matched
	rest := true
	if c != nil {
		for i := range c.Rules {
			r := &c.Rules[i]
			name := HashMatches(r.Matches)
			for _, m := range r.Matches {
				out = append(out, matched{m, r, name})
				rest = rest && !m.isCatchAll()
			}
		}
	}
	slices.SortStableFunc(out, func(a, b matched) int { return compareMatches(&a.match, &b.match) })
	if rest {
		out = append(out, matched{catchAll, &Rule{}, catchAllName})
	}
	return out
}

func (m *Match) isCatchAll() bool {
	return m.Path != nil && *m.Path == *catchAll.Path && m.Method == "" && len(m.Headers) == 0 && len(m.QueryParams) == 0
}

// compareMatches orders the more specific match first.
func compareMatches(a, b *Match) int {
	return cmp.Or(
		comparePaths(a.Path, b.Path),
		first(a.Method != "", b.Method != ""),
		len(b.Headers)-len(a.Headers),
		len(b.QueryParams)-len(a.QueryParams),
	)
}

func comparePaths(a, b *PathMatch) int {
	if a == nil || b == nil {
		return first(a != nil, b != nil)
	}
	if a.Type != b.Type {
		return pathRank(a.Type) - pathRank(b.Type)
	}
	if a.Type == pathExact {
		return 0
	}
	return len(b.Value) - len(a.Value)
}

func pathRank(t string) int { return slices.Index([]string{pathExact, pathPrefix, pathRegex}, t) }

// first orders what is so before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// routes makes the routes of a rule's match: two for a path prefix, which means
// the path itself and everything below it.
func (s *shaper) routes(m matched) []*ir.Route {
	proto := &ir.Route{Name: m.name, Timeout: new(time.Duration)}
	if !s.forward(proto, m.rule) {
		return nil
	}
	s.filter(proto, m.rule)
	var out []*ir.Route
	for _, match := range m.match.ir() {
		r := *proto
		r.Match = match
		m.rule.path(&r)
		out = append(out, &r)
	}
	return out
}

// forward shares requests among backends; false if there are none.
func (s *shaper) forward(r *ir.Route, rule *Rule) bool {
	if rule.redirect() != nil {
		return true
	}
	if len(rule.Default.BackendRefs) == 0 {
		r.Splits = []ir.Split{{Cluster: s.x.Env.Backends.Use(s.own), Weight: 1}}
		r.AutoHostRewrite = s.own.Destination.External
		return true
	}
	var shares []policy.Share
	for _, ref := range rule.Default.BackendRefs {
		b, ok := s.resolve(ref, rule.backends)
		if !ok || ref.Share() == 0 {
			continue
		}
		shares = append(shares, policy.Share{Cluster: s.x.Env.Backends.Use(b), Weight: ref.Share()})
		r.AutoHostRewrite = r.AutoHostRewrite || b.Destination.External
	}
	r.Splits = policy.Splits(shares)
	return len(r.Splits) > 0
}

// resolve finds a backend; what cannot take requests counts as not found.
func (s *shaper) resolve(ref policy.BackendRef, from policy.Source) (policy.Backend, bool) {
	b, ok := s.x.Env.Backends.Resolve(ref, from)
	switch {
	case !ok:
		s.x.Warn(fmt.Sprintf("backend %s %s does not exist; requests for it go nowhere", ref.Kind, describe(ref)))
	case !b.Protocol.HTTPLike():
		s.x.Warn(fmt.Sprintf("backend %s %s does not speak HTTP; requests for it go nowhere", ref.Kind, describe(ref)))
		ok = false
	}
	return b, ok
}

func describe(ref policy.BackendRef) string {
	name := ref.Name
	if name == "" {
		name = "with the given labels"
	}
	if ref.Port != nil {
		return fmt.Sprintf("%s port %d", name, *ref.Port)
	}
	return name
}

func (r *Rule) redirect() *Redirect {
	for i := range r.Default.Filters {
		if f := &r.Default.Filters[i]; f.Type == filterRedirect {
			return f.RequestRedirect
		}
	}
	return nil
}

// filter applies what does not depend on how the path was matched.
func (s *shaper) filter(r *ir.Route, rule *Rule) {
	for i := range rule.Default.Filters {
		switch f := &rule.Default.Filters[i]; f.Type {
		case filterRequestHeaders:
			addHeaders(&r.RequestHeaders, f.RequestHeaderModifier)
		case filterResponseHeaders:
			addHeaders(&r.ResponseHeaders, f.ResponseHeaderModifier)
		case filterMirror:
			if f.RequestMirror == nil {
				continue
			}
			if b, ok := s.resolve(f.RequestMirror.BackendRef, rule.filters); ok {
				r.Mirrors = append(r.Mirrors, ir.Mirror{
					Cluster: s.x.Env.Backends.Use(b), Percent: policy.Percent(f.RequestMirror.Percentage),
				})
			}
		}
	}
}

func addHeaders(to *ir.HeaderChange, m *HeaderModifier) {
	if m == nil {
		return
	}
	to.Set = append(to.Set, policy.Headers(m.Set)...)
	to.Add = append(to.Add, policy.Headers(m.Add)...)
	to.Remove = append(to.Remove, m.Remove...)
}

// path applies redirects and rewrites to a route that has its match.
func (r *Rule) path(to *ir.Route) {
	for i := range r.Default.Filters {
		f := &r.Default.Filters[i]
		switch {
		case f.Type == filterRedirect && f.RequestRedirect != nil:
			d := f.RequestRedirect
			to.Redirect = &ir.Redirect{Scheme: d.Scheme, Host: d.Hostname, StatusCode: cmp.Or(d.StatusCode, 302)}
			if d.Port != nil {
				to.Redirect.Port = uint32(*d.Port)
			}
			to.Redirect.Path, to.Redirect.Prefix = d.Path.replacement(to.Match)
		case f.Type == filterRewrite && f.URLRewrite != nil:
			w := f.URLRewrite
			to.Rewrite = &ir.Rewrite{Host: w.Hostname, HostToBackend: w.HostToBackendHostname}
			to.Rewrite.Path, to.Rewrite.Prefix = w.Path.replacement(to.Match)
		}
	}
}

// replacement returns the new path or the new prefix. A prefix that was matched
// together with the slash after it is replaced together with it, so that
// /old/x becomes /new/x, and /x becomes /new/x where the prefix is /.
func (p *PathRewrite) replacement(m ir.Match) (path, prefix *string) {
	switch {
	case p == nil:
	case p.Type == replaceFull:
		path = p.ReplaceFullPath
	case p.ReplacePrefixMatch != nil:
		to := *p.ReplacePrefixMatch
		switch {
		case m.Path != "" && to == "":
			to = "/"
		case m.Path == "" && strings.HasSuffix(m.Prefix, "/") && !strings.HasSuffix(to, "/"):
			to += "/"
		}
		prefix = &to
	}
	return path, prefix
}

// ir returns the match as the IR wants it; two for a path prefix.
func (m *Match) ir() []ir.Match {
	base := ir.Match{Method: m.Method}
	seen := map[string]bool{}
	for _, h := range m.Headers {
		if !seen[h.Name] { // the first condition on a name counts
			seen[h.Name] = true
			base.Headers = append(base.Headers, h.Match())
		}
	}
	clear(seen)
	for _, q := range m.QueryParams {
		if !seen[q.Name] {
			seen[q.Name] = true
			base.Query = append(base.Query, ir.ValueMatch{Type: ir.MatchType(q.Type), Name: q.Name, Value: q.Value})
		}
	}
	switch {
	case m.Path == nil:
		base.Prefix = "/"
	case m.Path.Type == pathExact:
		base.Path = m.Path.Value
	case m.Path.Type == pathRegex:
		base.Regex = m.Path.Value
	case m.Path.Value == "/":
		base.Prefix = "/"
	default:
		below := base
		base.Path, below.Prefix = m.Path.Value, m.Path.Value+"/"
		return []ir.Match{base, below}
	}
	return []ir.Match{base}
}
