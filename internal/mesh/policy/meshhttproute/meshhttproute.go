// Package meshhttproute decides where HTTP requests go: by path, method, headers
// and query, to one or several destinations, changed, mirrored or redirected.
// Without any policy it makes the route that sends everything to the destination
// that was called.
package meshhttproute

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says how requests to which destinations are routed.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// To holds for requests from the selected proxies to destinations.
	To []To `json:"to,omitempty"`
}

// To are the routes for requests to what TargetRef selects.
type To struct {
	// TargetRef selects destinations; with a MeshGateway at the top it is Mesh.
	TargetRef policy.TargetRef `json:"targetRef" schema:"required"`
	// Hostnames restrict the routes to these hosts; only for gateways.
	Hostnames []string `json:"hostnames,omitempty"`
	// Rules are looked at from the more to the less specific matches.
	Rules []Rule `json:"rules" schema:"required"`
}

// Conf are the routes of a destination.
type Conf struct {
	Hostnames []string `json:"hostnames,omitempty"`
	Rules     []Rule   `json:"rules"`
}

// Rule says what happens to requests that one of the matches fits.
type Rule struct {
	// Matches are alternatives.
	Matches []Match `json:"matches" schema:"required,minItems=1"`
	// Default says what happens.
	Default RuleConf `json:"default" schema:"required"`

	// backends and filters are the policies that these parts come from.
	backends, filters policy.Source
}

// Match is a conjunction of conditions on a request. The order of its fields is
// part of the contract: the name of a route is a hash of its matches.
type Match struct {
	// Path of the request, without the query.
	Path *PathMatch `json:"path,omitempty"`
	// Method of the request.
	Method string `json:"method,omitempty" schema:"enum=CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE"`
	// QueryParams that the request has.
	QueryParams []QueryMatch `json:"queryParams,omitempty"`
	// Headers that the request has.
	Headers []policy.HeaderMatch `json:"headers,omitempty"`
}

// PathMatch compares the path.
type PathMatch struct {
	// Value to compare with.
	Value string `json:"value" schema:"required,minLength=1"`
	// Type of the comparison. PathPrefix compares whole path elements.
	Type string `json:"type" schema:"required,enum=Exact|PathPrefix|RegularExpression"`
}

// Types of a PathMatch.
const (
	pathExact  = "Exact"
	pathPrefix = "PathPrefix"
	pathRegex  = "RegularExpression"
)

// QueryMatch compares a query parameter.
type QueryMatch struct {
	// Type of the comparison.
	Type string `json:"type" schema:"required,enum=Exact|RegularExpression"`
	// Name of the parameter.
	Name string `json:"name" schema:"required,minLength=1"`
	// Value to compare with.
	Value string `json:"value" schema:"required"`
}

// RuleConf says what happens to requests.
type RuleConf struct {
	// Filters change requests and responses.
	Filters []Filter `json:"filters,omitzero"`
	// BackendRefs share the requests by weight. Absent means the destination
	// that was called.
	BackendRefs []policy.BackendRef `json:"backendRefs,omitzero"`
}

// Filter changes a request or its response. The field of the type's name says how.
type Filter struct {
	// Type of the filter.
	Type string `json:"type" schema:"required,enum=RequestHeaderModifier|ResponseHeaderModifier|RequestRedirect|URLRewrite|RequestMirror"`
	// RequestHeaderModifier changes headers of the request.
	RequestHeaderModifier *HeaderModifier `json:"requestHeaderModifier,omitempty"`
	// ResponseHeaderModifier changes headers of the response.
	ResponseHeaderModifier *HeaderModifier `json:"responseHeaderModifier,omitempty"`
	// RequestRedirect answers with another address.
	RequestRedirect *Redirect `json:"requestRedirect,omitempty"`
	// URLRewrite changes host and path.
	URLRewrite *Rewrite `json:"urlRewrite,omitempty"`
	// RequestMirror sends a copy to another destination and ignores its answer.
	RequestMirror *Mirror `json:"requestMirror,omitempty"`
}

// Types of a Filter.
const (
	filterRequestHeaders  = "RequestHeaderModifier"
	filterResponseHeaders = "ResponseHeaderModifier"
	filterRedirect        = "RequestRedirect"
	filterRewrite         = "URLRewrite"
	filterMirror          = "RequestMirror"
)

// HeaderModifier changes headers.
type HeaderModifier struct {
	// Set replaces the values of these headers.
	Set []policy.HeaderValue `json:"set,omitempty" schema:"maxItems=16,listMapKeys=name"`
	// Add appends to the values of these headers.
	Add []policy.HeaderValue `json:"add,omitempty" schema:"maxItems=16,listMapKeys=name"`
	// Remove deletes these headers.
	Remove []string `json:"remove,omitempty" schema:"maxItems=16"`
}

// Redirect answers with another address. Absent parts stay as they are.
type Redirect struct {
	// Scheme of the new address.
	Scheme string `json:"scheme,omitempty" schema:"enum=http|https"`
	// Hostname of the new address.
	Hostname string `json:"hostname,omitempty" schema:"minLength=1,maxLength=253,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"`
	// Path of the new address.
	Path *PathRewrite `json:"path,omitempty"`
	// Port of the new address.
	Port *int32 `json:"port,omitempty" schema:"min=1,max=65535"`
	// StatusCode of the answer.
	StatusCode int `json:"statusCode,omitempty" schema:"enum=301|302|303|307|308,default=302"`
}

// Rewrite changes host and path before the request is sent on.
type Rewrite struct {
	// Hostname is sent instead of the one that was called.
	Hostname string `json:"hostname,omitempty" schema:"minLength=1,maxLength=253,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"`
	// Path is sent instead of the one that was called.
	Path *PathRewrite `json:"path,omitempty"`
	// HostToBackendHostname sends the host name of the backend; only for gateways.
	HostToBackendHostname bool `json:"hostToBackendHostname,omitempty"`
}

// PathRewrite changes the whole path or the prefix that was matched.
type PathRewrite struct {
	// Type of the change.
	Type string `json:"type" schema:"required,enum=ReplaceFullPath|ReplacePrefixMatch"`
	// ReplaceFullPath is the new path.
	ReplaceFullPath *string `json:"replaceFullPath,omitempty"`
	// ReplacePrefixMatch is the new prefix.
	ReplacePrefixMatch *string `json:"replacePrefixMatch,omitempty"`
}

// Types of a PathRewrite.
const (
	replaceFull   = "ReplaceFullPath"
	replacePrefix = "ReplacePrefixMatch"
)

// Mirror copies requests.
type Mirror struct {
	// Percentage of requests to copy; absent means all.
	Percentage *policy.Number `json:"percentage,omitempty"`
	// BackendRef is where copies go.
	BackendRef policy.BackendRef `json:"backendRef" schema:"required"`
}

// Policy is the kind MeshHTTPRoute.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshHTTPRoute", Plural: "meshhttproutes", Short: "mhttpr", One: "meshhttproute", Many: "meshhttproutes",
		Display: "Mesh HTTP Route", DisplayPlural: "Mesh HTTP Routes",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{
		Top: policy.Sidecars, TopSystem: policy.MeshGateway, GatewayTags: true,
		To:        policy.MeshService | policy.MeshExternalService | policy.MeshMultiZoneService,
		ToGateway: policy.Mesh,
	},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		p := policy.Parts[Conf]{Target: s.TargetRef}
		for _, t := range s.To {
			p.To = append(p.To, policy.Item[Conf]{TargetRef: t.TargetRef, Default: Conf{Hostnames: t.Hostnames, Rules: t.Rules}})
		}
		return p
	},
	Lists:     []policy.List{policy.ListTo},
	Inline:    true,
	Validate:  validate,
	Merge:     merge,
	Absent:    true,
	Shape:     shape,
	Backends:  backendsOf,
	Protocols: ir.HTTPProtocols(),
})

// backendsOf returns where the rules send requests and copies.
func backendsOf(c *Conf) []policy.PlacedBackend {
	var out []policy.PlacedBackend
	for i := range c.Rules {
		d := &c.Rules[i].Default
		for j, ref := range d.BackendRefs {
			out = append(out, policy.PlacedBackend{Path: []any{"rules", i, "default", "backendRefs", j}, Ref: ref})
		}
		for j := range d.Filters {
			if m := d.Filters[j].RequestMirror; m != nil {
				at := []any{"rules", i, "default", "filters", j, "requestMirror", "backendRef"}
				out = append(out, policy.PlacedBackend{Path: at, Ref: m.BackendRef, Copy: true})
			}
		}
	}
	return out
}

// Target returns the top level, for policies that name the route.
func (s *Spec) Target() *policy.TargetRef { return s.TargetRef }

// RouteRules returns the rules with the names of the routes made from them.
func (s *Spec) RouteRules() []policy.RouteRule {
	var out []policy.RouteRule
	for _, t := range s.To {
		for i := range t.Rules {
			out = append(out, policy.RouteRule{Target: t.TargetRef, Hash: HashMatches(t.Rules[i].Matches)})
		}
	}
	return out
}

// HTTPMatches returns the matches of the rules with their hashes.
func (c *Conf) HTTPMatches() []policy.HTTPMatch {
	var out []policy.HTTPMatch
	for i := range c.Rules {
		b := encode(c.Rules[i].Matches)
		out = append(out, policy.HTTPMatch{Hash: hash(b), Match: b})
	}
	return out
}

// Keyed returns the rules by their matches, by which they merge.
func (c *Conf) Keyed() (field string, elements []policy.KeyedElement) {
	for i := range c.Rules {
		r := &c.Rules[i]
		elements = append(elements, policy.KeyedElement{Key: HashMatches(r.Matches), Path: "rules[" + textOf(r.Matches) + "]", Value: &r.Default})
	}
	return "rules", elements
}

// textOf writes matches for people: "GET, PathPrefix /v1 or Exact /health".
func textOf(ms []Match) string {
	var all []string
	for i := range ms {
		m := &ms[i]
		var parts []string
		if m.Method != "" {
			parts = append(parts, m.Method)
		}
		if m.Path != nil {
			parts = append(parts, m.Path.Type+" "+m.Path.Value)
		}
		for _, h := range m.Headers {
			parts = append(parts, strings.TrimSpace("header "+h.Name+" "+cmp.Or(h.Type, "Exact")+" "+h.Value))
		}
		for _, q := range m.QueryParams {
			parts = append(parts, "query "+q.Name+" "+q.Type+" "+q.Value)
		}
		if len(parts) == 0 {
			parts = []string{"all requests"}
		}
		all = append(all, strings.Join(parts, ", "))
	}
	return strings.Join(all, " or ")
}

// HashMatches returns the name of routes made from a rule with these matches.
func HashMatches(ms []Match) string { return hash(encode(ms)) }

func encode(ms []Match) []byte {
	b, err := json.Marshal(ms)
	if err != nil { // strings and structs only: cannot fail
		panic(fmt.Sprintf("meshhttproute: encode matches: %v", err))
	}
	return b
}

func hash(b []byte) string {
	h := sha256.Sum256(b)
	return base64.StdEncoding.EncodeToString(h[:])
}
