package kinds

import (
	"fmt"
	"slices"
	"strings"

	"weft/internal/mesh/model"
)

// MeshGatewayRoute says where builtin gateways send requests. MeshHTTPRoute and
// MeshTCPRoute supersede it.
var MeshGatewayRoute = &model.Kind{
	Name: "MeshGatewayRoute", Plural: "meshgatewayroutes", One: "meshgatewayroute", Many: "meshgatewayroutes",
	Display: "Mesh Gateway Route", DisplayPlural: "Mesh Gateway Routes",
	Scope: model.InMesh, Shape: model.Flat,
	Flow:     model.GlobalToZone | model.GlobalWrites,
	Feeds:    model.FeedsSpec,
	Policy:   &model.PolicyInfo{},
	New:      func() any { return new(MeshGatewayRouteSpec) },
	Validate: validateMeshGatewayRoute,
	Warn:     warnMeshGatewayRoute,
}

// MeshGatewayRouteSpec says on which listeners routes exist and which.
type MeshGatewayRouteSpec struct {
	// Selectors of gateway listeners by their tags; kuma.io/service is needed.
	Selectors []Selector `json:"selectors,omitempty"`
	// Conf holds the routes.
	Conf *GatewayRouteConf `json:"conf,omitempty"`
}

// GatewayRouteConf holds routes; exactly one field is set.
type GatewayRouteConf struct {
	// TCP routes connections.
	TCP *GatewayTCPRoute `json:"tcp,omitempty"`
	// HTTP routes requests.
	HTTP *GatewayHTTPRoute `json:"http,omitempty"`
}

// GatewayTCPRoute routes connections.
type GatewayTCPRoute struct {
	// Rules of the route.
	Rules []GatewayTCPRule `json:"rules,omitempty"`
}

// GatewayTCPRule sends connections to backends.
type GatewayTCPRule struct {
	// Backends that share the connections by weight.
	Backends []GatewayBackend `json:"backends,omitempty"`
}

// GatewayHTTPRoute routes requests.
type GatewayHTTPRoute struct {
	// Hostnames that the rules are for; empty = those of the listener.
	Hostnames []string `json:"hostnames,omitempty"`
	// Rules of the route. The most specific match wins, whatever the order.
	Rules []GatewayHTTPRule `json:"rules,omitempty"`
}

// GatewayHTTPRule sends matching requests to backends.
type GatewayHTTPRule struct {
	// Matches of which one must hold.
	Matches []GatewayHTTPMatch `json:"matches,omitempty"`
	// Filters change requests and responses.
	Filters []GatewayHTTPFilter `json:"filters,omitempty"`
	// Backends that share the requests by weight.
	Backends []GatewayBackend `json:"backends,omitempty"`
}

// GatewayHTTPMatch matches requests; all its parts must hold.
type GatewayHTTPMatch struct {
	// Path to be matched.
	Path *GatewayPathMatch `json:"path,omitempty"`
	// Method to be matched; absent = all.
	Method string `json:"method,omitempty" schema:"enum=NONE|CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE"`
	// Headers to be matched.
	Headers []GatewayHeaderMatch `json:"headers,omitempty"`
	// QueryParameters to be matched.
	QueryParameters []GatewayQueryMatch `json:"queryParameters,omitempty"`
}

// Ways to match. The first one is meant where none is written.
const (
	MatchExact   = "EXACT"
	MatchPrefix  = "PREFIX"
	MatchRegex   = "REGEX"
	MatchAbsent  = "ABSENT"
	MatchPresent = "PRESENT"
)

// GatewayPathMatch matches the path of a request.
type GatewayPathMatch struct {
	// Match is the way to match; absent = EXACT.
	Match string `json:"match,omitempty" schema:"enum=EXACT|PREFIX|REGEX"`
	// Value to match: an absolute path, or a regular expression in RE2 syntax.
	Value string `json:"value,omitempty"`
}

// GatewayHeaderMatch matches a header of a request.
type GatewayHeaderMatch struct {
	// Match is the way to match; absent = EXACT.
	Match string `json:"match,omitempty" schema:"enum=EXACT|REGEX|ABSENT|PRESENT"`
	// Name of the header.
	Name string `json:"name,omitempty"`
	// Value to match; not with ABSENT and PRESENT.
	Value string `json:"value,omitempty"`
}

// GatewayQueryMatch matches a query parameter of a request.
type GatewayQueryMatch struct {
	// Match is the way to match; absent = EXACT.
	Match string `json:"match,omitempty" schema:"enum=EXACT|REGEX"`
	// Name of the parameter.
	Name string `json:"name,omitempty"`
	// Value to match.
	Value string `json:"value,omitempty"`
}

// GatewayHTTPFilter changes requests or responses; exactly one field is set.
type GatewayHTTPFilter struct {
	// RequestHeader changes headers of requests.
	RequestHeader *GatewayHeaderFilter `json:"requestHeader,omitempty"`
	// Mirror sends a copy of requests to another backend.
	Mirror *GatewayMirror `json:"mirror,omitempty"`
	// Redirect answers requests with a redirection.
	Redirect *GatewayRedirect `json:"redirect,omitempty"`
	// Rewrite changes path or host of requests.
	Rewrite *GatewayRewrite `json:"rewrite,omitempty"`
	// ResponseHeader changes headers of responses.
	ResponseHeader *GatewayHeaderFilter `json:"responseHeader,omitempty"`
}

// GatewayHeaderFilter changes headers.
type GatewayHeaderFilter struct {
	// Set headers to values.
	Set []GatewayHeader `json:"set,omitempty"`
	// Add values to headers.
	Add []GatewayHeader `json:"add,omitempty"`
	// Remove headers.
	Remove []string `json:"remove,omitempty"`
}

// GatewayHeader is a header with its value.
type GatewayHeader struct {
	// Name of the header.
	Name string `json:"name,omitempty"`
	// Value of the header.
	Value string `json:"value,omitempty"`
}

// GatewayMirror sends a copy of requests to another backend.
type GatewayMirror struct {
	// Backend that gets the copies.
	Backend *GatewayBackend `json:"backend,omitempty"`
	// Percentage of requests to copy, 0 to 100.
	Percentage *float64 `json:"percentage,omitempty"`
}

// GatewayRedirect answers requests with a redirection.
type GatewayRedirect struct {
	// Scheme of the new location; empty = as requested.
	Scheme string `json:"scheme,omitempty"`
	// Hostname of the new location; empty = as requested.
	Hostname string `json:"hostname,omitempty"`
	// Port of the new location; 0 = that of the scheme.
	Port uint32 `json:"port,omitempty"`
	// StatusCode of the answer, 300 to 308.
	StatusCode uint32 `json:"statusCode,omitempty"`
	// Path says how the path is changed.
	Path *GatewayRewrite `json:"path,omitempty"`
}

// GatewayRewrite changes path or host of requests.
type GatewayRewrite struct {
	// ReplaceFull replaces the whole path.
	ReplaceFull *string `json:"replaceFull,omitempty"`
	// ReplacePrefixMatch replaces the prefix that the path match found.
	ReplacePrefixMatch *string `json:"replacePrefixMatch,omitempty"`
	// HostToBackendHostname replaces the host by that of the chosen endpoint.
	HostToBackendHostname bool `json:"hostToBackendHostname,omitempty"`
}

// GatewayBackend is a service that gets a share of the traffic.
type GatewayBackend struct {
	// Weight is the share of the traffic, relative to the other backends.
	Weight uint32 `json:"weight,omitempty"`
	// Destination are the tags of the service; kuma.io/service is needed.
	Destination map[string]string `json:"destination,omitempty"`
}

// How returns the way to match.
func (m *GatewayPathMatch) How() string { return matchOr(m.Match) }

// How returns the way to match.
func (m *GatewayHeaderMatch) How() string { return matchOr(m.Match) }

// How returns the way to match.
func (m *GatewayQueryMatch) How() string { return matchOr(m.Match) }

func matchOr(match string) string {
	if match == "" {
		return MatchExact
	}
	return match
}

func validateMeshGatewayRoute(o *model.Object, v *model.Violations) {
	s, at := model.Spec[MeshGatewayRouteSpec](o), v.At("conf")
	MatchRules(true).CheckSelectors(s.Selectors, v.At("selectors"))
	switch {
	case s.Conf == nil || (s.Conf.TCP == nil && s.Conf.HTTP == nil):
		at.Add("must not be empty: give routes with http or tcp")
	case s.Conf.TCP != nil && s.Conf.HTTP != nil:
		at.Add("must have one of http and tcp, not both")
	case s.Conf.HTTP != nil:
		s.Conf.HTTP.validate(at.At("http"))
	default:
		s.Conf.TCP.validate(at.At("tcp"))
	}
}

func (r *GatewayTCPRoute) validate(v *model.Violations) {
	if len(r.Rules) == 0 {
		v.At("rules").Add("must have at least one rule")
	}
	for i := range r.Rules {
		checkGatewayBackends(r.Rules[i].Backends, v.At("rules", i, "backends"))
	}
}

func (r *GatewayHTTPRoute) validate(v *model.Violations) {
	for i, h := range r.Hostnames {
		if p := gatewayHostProblem(h); p != "" || h == "" {
			v.At("hostnames", i).Add("%s", strings.TrimPrefix(p+"; write a hostname, *.domain or *", "; "))
		}
	}
	if len(r.Rules) == 0 {
		v.At("rules").Add("must have at least one rule")
	}
	for i := range r.Rules {
		r.Rules[i].validate(v.At("rules", i))
	}
}

func (r *GatewayHTTPRule) validate(v *model.Violations) {
	if len(r.Matches) == 0 {
		v.At("matches").Add("must have at least one match")
	}
	prefix := len(r.Matches) > 0
	for i := range r.Matches {
		m := &r.Matches[i]
		m.validate(v.At("matches", i))
		prefix = prefix && m.Path != nil && m.Path.How() == MatchPrefix
	}
	redirects, toBackendHost := 0, false
	for i := range r.Filters {
		if f := &r.Filters[i]; f.Redirect != nil {
			redirects++
		} else if f.Rewrite != nil && f.Rewrite.HostToBackendHostname {
			toBackendHost = true
		}
	}
	if redirects > 0 && len(r.Filters) > 1 {
		v.At("filters").Add("a redirect must be the only filter, since nothing else happens to the request")
	}
	for i := range r.Filters {
		r.Filters[i].validate(v.At("filters", i), prefix, toBackendHost)
	}
	if redirects == 0 {
		checkGatewayBackends(r.Backends, v.At("backends"))
	} else if len(r.Backends) > 0 {
		v.At("backends").Add("must be empty with a redirect")
	}
}

func (m *GatewayHTTPMatch) validate(v *model.Violations) {
	if m.Path == nil && m.Method == "" && len(m.Headers) == 0 && len(m.QueryParameters) == 0 {
		v.Add("must match something: path, method, headers or queryParameters")
	}
	if m.Path != nil {
		switch {
		case m.Path.How() == MatchRegex:
			CheckRegex(m.Path.Value, v.At("value"))
		case !strings.HasPrefix(m.Path.Value, "/"):
			v.At("value").Add("%q must be an absolute path, beginning with /", m.Path.Value)
		}
	}
	for i := range m.Headers {
		m.Headers[i].validate(v.At("headers", i))
	}
	for i := range m.QueryParameters {
		q, at := &m.QueryParameters[i], v.At("query_parameters", i)
		if q.Name == "" {
			at.At("name").Add("must not be empty")
		}
		if q.How() == MatchRegex {
			CheckRegex(q.Value, at.At("value"))
		} else if q.Value == "" {
			at.At("value").Add("must not be empty")
		}
	}
}

func (m *GatewayHeaderMatch) validate(v *model.Violations) {
	if m.Name == "" {
		v.At("name").Add("must not be empty")
	}
	switch m.How() {
	case MatchAbsent, MatchPresent:
		if m.Value != "" {
			v.At("value").Add("is not possible with %s; remove it", m.Match)
		}
	case MatchRegex:
		CheckRegex(m.Value, v.At("value"))
	default:
		if m.Value == "" {
			v.At("value").Add("must not be empty")
		}
	}
}

func (f *GatewayHTTPFilter) validate(v *model.Violations, prefix, toBackendHost bool) {
	n := 0
	for _, given := range []bool{f.RequestHeader != nil, f.Mirror != nil, f.Redirect != nil, f.Rewrite != nil, f.ResponseHeader != nil} {
		if given {
			n++
		}
	}
	if n != 1 {
		v.Add("must have exactly one of requestHeader, mirror, redirect, rewrite and responseHeader; %d are given", n)
	}
	if f.RequestHeader != nil {
		f.RequestHeader.validate(v.At("request_header"), toBackendHost)
	}
	if f.ResponseHeader != nil {
		f.ResponseHeader.validate(v.At("response_header"), false)
	}
	if f.Mirror != nil {
		f.Mirror.validate(v.At("mirror"))
	}
	if f.Redirect != nil {
		f.Redirect.validate(v.At("redirect"), prefix)
	}
	if f.Rewrite != nil {
		f.Rewrite.validate(v.At("rewrite"), prefix)
	}
}

func (f *GatewayHeaderFilter) validate(v *model.Violations, toBackendHost bool) {
	if len(f.Set)+len(f.Add)+len(f.Remove) == 0 {
		v.Add("must change something: set, add or remove headers")
	}
	for _, list := range []struct {
		name    string
		headers []GatewayHeader
	}{{"set", f.Set}, {"add", f.Add}} {
		for i, h := range list.headers {
			at := v.At(list.name, i)
			if h.Name == "" {
				at.At("name").Add("must not be empty")
			}
			if n := strings.ToLower(h.Name); toBackendHost && (n == "host" || n == ":authority") {
				at.At("name").Add("%q cannot be changed together with rewrite.hostToBackendHostname, which changes it, too", h.Name)
			}
			if h.Value == "" {
				at.At("value").Add("must not be empty")
			}
		}
	}
	for i, h := range f.Remove {
		if h == "" {
			v.At("remove", i).Add("must not be empty")
		}
	}
}

func (m *GatewayMirror) validate(v *model.Violations) {
	if m.Percentage != nil && (*m.Percentage < 0 || *m.Percentage > 100) {
		v.At("percentage").Add("must be between 0 and 100")
	}
	if m.Backend == nil {
		v.At("backend").Add("must name the service that gets the copies")
		return
	}
	checkDestination(m.Backend.Destination, v.At("backend", "destination"))
}

func (r *GatewayRedirect) validate(v *model.Violations, prefix bool) {
	if r.Port != 0 {
		checkPort(int64(r.Port), v.At("port"))
	}
	if r.StatusCode < 300 || r.StatusCode > 308 {
		v.At("status_code").Add("must be between 300 and 308")
	}
	if r.Path != nil {
		r.Path.validate(v.At("path"), prefix)
	}
}

func (r *GatewayRewrite) validate(v *model.Violations, prefix bool) {
	if r.ReplacePrefixMatch != nil && !prefix {
		v.At("replacePrefixMatch").Add("needs a path match of the kind PREFIX in every match of the rule")
	}
	if r.ReplacePrefixMatch != nil && r.ReplaceFull != nil {
		v.Add("must have one of replaceFull and replacePrefixMatch, not both")
	}
}

func checkGatewayBackends(backends []GatewayBackend, v *model.Violations) {
	if len(backends) == 0 {
		v.Add("must have at least one backend")
	}
	for i := range backends {
		checkDestination(backends[i].Destination, v.At(i, "destination"))
	}
}

// warnMeshGatewayRoute warns about rules that lead nowhere.
func warnMeshGatewayRoute(o *model.Object) []string {
	var warnings []string
	check := func(path string, i int, backends []GatewayBackend) {
		weighted := func(b GatewayBackend) bool { return b.Weight > 0 }
		if len(backends) > 0 && !slices.ContainsFunc(backends, weighted) {
			warnings = append(warnings, fmt.Sprintf("%s[%d].backends: no backend has a weight above 0, so the rule leads nowhere", path, i))
		}
	}
	c := model.Spec[MeshGatewayRouteSpec](o).Conf
	if c != nil && c.HTTP != nil {
		for i := range c.HTTP.Rules {
			check("conf.http.rules", i, c.HTTP.Rules[i].Backends)
		}
	}
	if c != nil && c.TCP != nil {
		for i := range c.TCP.Rules {
			check("conf.tcp.rules", i, c.TCP.Rules[i].Backends)
		}
	}
	return warnings
}

// checkDestination checks the tags that name a service.
func checkDestination(tags map[string]string, v *model.Violations) {
	TagRules{NotEmpty: true, Service: true}.Check(tags, v)
}
