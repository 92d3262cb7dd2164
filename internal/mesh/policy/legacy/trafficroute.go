package legacy

import (
	"maps"
	"slices"
	"strings"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// TrafficRoute says to which endpoints clients of a service are sent.
var TrafficRoute = define(names{
	"TrafficRoute", "traffic-routes", "traffic-route", "traffic-routes", "Traffic Route", "Traffic Routes",
}, func() any { return new(TrafficRouteSpec) }, validateTrafficRoute)

// TrafficRouteSpec says for which clients and services the route is, and where it leads.
type TrafficRouteSpec struct {
	Connections
	// Conf says where the route leads.
	Conf *TrafficRouteConf `json:"conf,omitempty"`
}

// TrafficRouteConf says where a route leads: destination or split.
type TrafficRouteConf struct {
	// Split shares the traffic between destinations.
	Split []TrafficSplit `json:"split,omitempty"`
	// LoadBalancer chooses an endpoint of the destination.
	LoadBalancer *LoadBalancer `json:"loadBalancer,omitempty"`
	// Destination are tags of the endpoints, kuma.io/service among them. The
	// value * is replaced by the one that the client asked for.
	Destination map[string]string `json:"destination,omitempty"`
	// HTTP are exceptions for requests that match, in this order.
	HTTP []TrafficRouteHTTP `json:"http,omitempty"`
}

// TrafficSplit is a destination with its share of the traffic.
type TrafficSplit struct {
	// Weight is the share, relative to the others; 0 = none.
	Weight *uint32 `json:"weight,omitempty"`
	// Destination are tags of the endpoints, kuma.io/service among them.
	Destination map[string]string `json:"destination,omitempty"`
}

// LoadBalancer chooses an endpoint; exactly one field is set.
type LoadBalancer struct {
	// RoundRobin takes one after the other.
	RoundRobin *RoundRobin `json:"roundRobin,omitempty"`
	// LeastRequest takes the one with the fewest requests of a random choice.
	LeastRequest *LeastRequest `json:"leastRequest,omitempty"`
	// RingHash takes the one that the hash of the request stands for on a ring.
	RingHash *RingHash `json:"ringHash,omitempty"`
	// Random takes any.
	Random *Random `json:"random,omitempty"`
	// Maglev takes the one that the hash of the request stands for in a table.
	Maglev *Maglev `json:"maglev,omitempty"`
}

// RoundRobin has no settings.
type RoundRobin struct{}

// Random has no settings.
type Random struct{}

// Maglev has no settings.
type Maglev struct{}

// LeastRequest has the settings of the load balancer of that name.
type LeastRequest struct {
	// ChoiceCount is the number of endpoints to choose from; 0 = 2.
	ChoiceCount uint32 `json:"choiceCount,omitempty"`
}

// RingHash has the settings of the load balancer of that name.
type RingHash struct {
	// HashFunction is XX_HASH or MURMUR_HASH_2.
	HashFunction string `json:"hashFunction,omitempty"`
	// MinRingSize is the least number of places on the ring.
	MinRingSize uint64 `json:"minRingSize,omitempty,string"`
	// MaxRingSize is the greatest number of places on the ring.
	MaxRingSize uint64 `json:"maxRingSize,omitempty,string"`
}

// TrafficRouteHTTP sends requests that match elsewhere.
type TrafficRouteHTTP struct {
	// Match says which requests.
	Match *HTTPMatch `json:"match,omitempty"`
	// Modify changes the requests and their responses.
	Modify *HTTPModify `json:"modify,omitempty"`
	// Split shares the requests between destinations.
	Split []TrafficSplit `json:"split,omitempty"`
	// Destination are tags of the endpoints, kuma.io/service among them.
	Destination map[string]string `json:"destination,omitempty"`
}

// HTTPMatch matches requests; all its parts must hold.
type HTTPMatch struct {
	// Method of the request.
	Method *StringMatcher `json:"method,omitempty"`
	// Path of the request.
	Path *StringMatcher `json:"path,omitempty"`
	// Headers of the request by their names.
	Headers map[string]StringMatcher `json:"headers,omitempty"`
}

// StringMatcher matches a text; exactly one field is set.
type StringMatcher struct {
	// Prefix is the beginning of the text.
	Prefix *string `json:"prefix,omitempty"`
	// Exact is the whole text.
	Exact *string `json:"exact,omitempty"`
	// Regex is a regular expression in RE2 syntax for the whole text.
	Regex *string `json:"regex,omitempty"`
}

// HTTPModify changes requests and responses.
type HTTPModify struct {
	// Path changes the path of the request.
	Path *PathModify `json:"path,omitempty"`
	// Host changes the host of the request.
	Host *HostModify `json:"host,omitempty"`
	// RequestHeaders changes headers of the request.
	RequestHeaders *HeadersModify `json:"requestHeaders,omitempty"`
	// ResponseHeaders changes headers of the response.
	ResponseHeaders *HeadersModify `json:"responseHeaders,omitempty"`
}

// PathModify changes the path of a request; exactly one field is set.
type PathModify struct {
	// RewritePrefix replaces the prefix that the match found.
	RewritePrefix *string `json:"rewritePrefix,omitempty"`
	// Regex replaces what a regular expression finds.
	Regex *RegexReplace `json:"regex,omitempty"`
}

// HostModify changes the host of a request; exactly one field is set.
type HostModify struct {
	// Value is the new host.
	Value *string `json:"value,omitempty"`
	// FromPath makes the host from the path.
	FromPath *RegexReplace `json:"fromPath,omitempty"`
}

// RegexReplace replaces what a regular expression finds.
type RegexReplace struct {
	// Pattern is the regular expression in RE2 syntax.
	Pattern string `json:"pattern,omitempty"`
	// Substitution is the replacement; \1 is what the first group found.
	Substitution string `json:"substitution,omitempty"`
}

// HeadersModify changes headers.
type HeadersModify struct {
	// Add headers.
	Add []HeaderAdd `json:"add,omitempty"`
	// Remove headers.
	Remove []HeaderRemove `json:"remove,omitempty"`
}

// HeaderAdd adds a header.
type HeaderAdd struct {
	// Name of the header.
	Name string `json:"name,omitempty"`
	// Value of the header.
	Value string `json:"value,omitempty"`
	// Append keeps values that are there; otherwise they are replaced.
	Append bool `json:"append,omitempty"`
}

// HeaderRemove removes a header.
type HeaderRemove struct {
	// Name of the header.
	Name string `json:"name,omitempty"`
}

// Target is a destination with its share.
type Target struct {
	Weight      uint32
	Destination map[string]string
}

// Targets returns where the conf leads beside its HTTP exceptions.
func (c *TrafficRouteConf) Targets() []Target { return targets(c.Split, c.Destination) }

// Targets returns where the exception leads.
func (h *TrafficRouteHTTP) Targets() []Target { return targets(h.Split, h.Destination) }

func targets(split []TrafficSplit, destination map[string]string) []Target {
	if len(destination) > 0 {
		return []Target{{Weight: 1, Destination: destination}}
	}
	out := make([]Target, 0, len(split))
	for _, s := range split {
		if s.Weight != nil && *s.Weight > 0 {
			out = append(out, Target{Weight: *s.Weight, Destination: s.Destination})
		}
	}
	return out
}

// Resolve returns the tags of a destination for an outbound: * takes the value
// of the outbound's tag, and is dropped without one; tags of the outbound that
// the destination does not mention are added.
func Resolve(destination, outbound map[string]string) map[string]string {
	out := maps.Clone(outbound)
	if out == nil {
		out = map[string]string{}
	}
	for k, v := range destination {
		if v != kinds.MatchAll {
			out[k] = v
		}
	}
	return out
}

func validateTrafficRoute(o *model.Object, v *model.Violations) {
	s := model.Spec[TrafficRouteSpec](o)
	s.check(v, true)
	at := v.At("conf")
	if s.Conf == nil {
		at.Add("must not be empty: give the destination")
		return
	}
	checkTargets(s.Conf.Split, s.Conf.Destination, at)
	for i := range s.Conf.HTTP {
		s.Conf.HTTP[i].validate(at.At("http", i))
	}
	if s.Conf.LoadBalancer != nil {
		s.Conf.LoadBalancer.validate(at.At("loadBalancer"))
	}
}

func checkTargets(split []TrafficSplit, destination map[string]string, v *model.Violations) {
	switch {
	case len(split) == 0 && len(destination) == 0:
		v.Add("must have destination or split")
	case len(split) > 0 && len(destination) > 0:
		v.Add("must have one of destination and split, not both")
	case len(destination) > 0:
		kinds.MatchRules(true).Check(destination, v.At("destination"))
	default:
		checkSplit(split, v.At("split"))
	}
}

func checkSplit(split []TrafficSplit, v *model.Violations) {
	total := uint64(0)
	for i, s := range split {
		if s.Weight == nil {
			v.At(i, "weight").Add("must be given; 0 sends nothing there")
		} else {
			total += uint64(*s.Weight)
		}
		kinds.MatchRules(true).Check(s.Destination, v.At(i, "destination"))
	}
	if total == 0 {
		v.Add("at least one destination must have a weight above 0")
	}
}

func (l *LoadBalancer) validate(v *model.Violations) {
	n := 0
	for _, given := range []bool{l.RoundRobin != nil, l.LeastRequest != nil, l.RingHash != nil, l.Random != nil, l.Maglev != nil} {
		if given {
			n++
		}
	}
	if n > 1 {
		v.Add("must have only one of roundRobin, leastRequest, ringHash, random and maglev")
	}
	if l.LeastRequest != nil && l.LeastRequest.ChoiceCount == 1 {
		v.At("leastRequest", "choiceCount").Add("must be at least 2, since one is no choice; leave it out for 2")
	}
	if r := l.RingHash; r != nil && r.HashFunction != "XX_HASH" && r.HashFunction != "MURMUR_HASH_2" {
		v.At("ringHash", "hashFunction").Add("%q is no hash function here; use XX_HASH or MURMUR_HASH_2", r.HashFunction)
	}
}

func (h *TrafficRouteHTTP) validate(v *model.Violations) {
	if m := h.Match; m == nil || (m.Method == nil && m.Path == nil && len(m.Headers) == 0) {
		v.At("match").Add("must match something: method, path or headers")
	} else {
		m.validate(v.At("match"))
	}
	if h.Modify != nil {
		hasPrefix := h.Match != nil && h.Match.Path != nil && h.Match.Path.Prefix != nil && *h.Match.Path.Prefix != ""
		h.Modify.validate(v.At("modify"), hasPrefix)
	}
	checkTargets(h.Split, h.Destination, v)
}

func (m *HTTPMatch) validate(v *model.Violations) {
	if m.Method != nil {
		m.Method.validate(v.At("method"))
	}
	if m.Path != nil {
		m.Path.validate(v.At("path"))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		matcher, at := m.Headers[name], v.At("headers", model.Q(name))
		if name == "" {
			at.Add("the name of a header must not be empty")
		}
		matcher.validate(at)
	}
}

func (m *StringMatcher) validate(v *model.Violations) {
	n := 0
	for _, f := range []struct {
		name  string
		value *string
	}{{"prefix", m.Prefix}, {"exact", m.Exact}, {"regex", m.Regex}} {
		if f.value == nil {
			continue
		}
		n++
		if *f.value == "" {
			v.At(f.name).Add("must not be empty")
		} else if f.name == "regex" {
			kinds.CheckRegex(*f.value, v.At(f.name))
		}
	}
	switch {
	case n == 0:
		v.Add("must say what to match with exact, prefix or regex")
	case n > 1:
		v.Add("must have only one of exact, prefix and regex")
	}
}

func (m *HTTPModify) validate(v *model.Violations, hasPrefix bool) {
	if m.Path != nil {
		m.Path.validate(v.At("path"), hasPrefix)
	}
	if m.Host != nil {
		m.Host.validate(v.At("host"))
	}
	if m.RequestHeaders != nil {
		m.RequestHeaders.validate(v.At("requestHeaders"))
	}
	if m.ResponseHeaders != nil {
		m.ResponseHeaders.validate(v.At("responseHeaders"))
	}
}

func (p *PathModify) validate(v *model.Violations, hasPrefix bool) {
	switch {
	case p.RewritePrefix == nil && p.Regex == nil:
		v.Add("must have rewritePrefix or regex")
	case p.RewritePrefix != nil && p.Regex != nil:
		v.Add("must have one of rewritePrefix and regex, not both")
	}
	if p.RewritePrefix != nil {
		if *p.RewritePrefix == "" {
			v.At("rewritePrefix").Add("must not be empty")
		}
		if !hasPrefix {
			v.At("rewritePrefix").Add("needs a prefix in match.path, since that is what it replaces")
		}
	}
	if p.Regex != nil {
		p.Regex.validate(v.At("regex"))
	}
}

func (h *HostModify) validate(v *model.Violations) {
	switch {
	case h.Value == nil && h.FromPath == nil:
		v.Add("must have value or fromPath")
	case h.Value != nil && h.FromPath != nil:
		v.Add("must have one of value and fromPath, not both")
	}
	if h.Value != nil && *h.Value == "" {
		v.At("value").Add("must not be empty")
	}
	if h.FromPath != nil {
		h.FromPath.validate(v.At("fromPath"))
	}
}

func (r *RegexReplace) validate(v *model.Violations) {
	kinds.CheckRegex(r.Pattern, v.At("pattern"))
	if r.Substitution == "" {
		v.At("substitution").Add("must not be empty")
	}
}

func (h *HeadersModify) validate(v *model.Violations) {
	if len(h.Add)+len(h.Remove) == 0 {
		v.Add("must change something: add or remove headers")
	}
	for i, a := range h.Add {
		checkHeaderName(a.Name, v.At("add", i, "name"))
		if a.Value == "" {
			v.At("add", i, "value").Add("must not be empty")
		}
	}
	for i, r := range h.Remove {
		checkHeaderName(r.Name, v.At("remove", i, "name"))
	}
}

func checkHeaderName(name string, v *model.Violations) {
	switch {
	case name == "":
		v.Add("must not be empty")
	case strings.EqualFold(name, "host"), strings.HasPrefix(name, ":"):
		v.Add("%q cannot be changed here: neither host nor the pseudo-headers of HTTP/2; see modify.host and modify.path", name)
	}
}
