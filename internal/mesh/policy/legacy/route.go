package legacy

import (
	"maps"
	"slices"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Env is what the older policies need to know beside the proxy itself.
type Env struct {
	*policy.Env
	// Logging and Tracing are the backends of the mesh.
	Logging *kinds.MeshLogging
	Tracing *kinds.MeshTracing
}

// defaultConnect is how long to wait for a connection without a Timeout.
const defaultConnect = 5 * time.Second

// Shape makes the outbounds of services known by their tags that nothing else
// has made yet. It does so only in a mesh with a TrafficRoute.
func Shape(p *ir.Proxy, m *Matched, env *Env) {
	if !m.Routes() {
		return
	}
	s := &shaper{p: p, m: m, env: env, clusters: map[string]*ir.Cluster{}}
	for _, o := range p.Outbounds {
		if o.HTTP == nil && o.TCP == nil && !policy.Resource(o.Destination) {
			s.outbound(o)
		}
	}
}

// shaper makes the outbounds of one proxy.
type shaper struct {
	p        *ir.Proxy
	m        *Matched
	env      *Env
	clusters map[string]*ir.Cluster // that it made, by name
}

func (s *shaper) outbound(o *ir.Outbound) {
	service := o.Destination.Name
	object := s.m.outbound(TrafficRoute, service)
	if object == nil {
		// Traffic is not routed: the port is there, and connections are closed.
		o.TCP = &ir.TCP{}
		return
	}
	conf := model.Spec[TrafficRouteSpec](object).Conf
	r := &router{shaper: s, o: o, conf: conf, timeout: s.timeout(service), tags: o.Tags}
	main, protocol := r.targets(conf.Targets())
	exceptions := make([][]policy.Backend, len(conf.HTTP))
	for i := range conf.HTTP {
		var p ir.Protocol
		exceptions[i], p = r.targets(conf.HTTP[i].Targets())
		if len(exceptions[i]) > 0 {
			protocol = ir.CommonProtocol(protocol, p)
		}
	}
	if len(conf.HTTP) > 0 && !protocol.HTTPLike() {
		s.p.Warnings = append(s.p.Warnings, ir.Warning{
			Kind: TrafficRoute.Name, Name: object.Meta.Name,
			Message: "the destinations for service " + service + " do not all speak HTTP; its exceptions under conf.http have no effect",
		})
	}
	o.Protocol = protocol
	o.Origins = ir.Origins{TrafficRoute.Name: {{Kind: TrafficRoute.Name, Mesh: object.Meta.Mesh, Name: object.Meta.Name}}}
	if protocol.HTTPLike() {
		r.http(main, exceptions)
	} else {
		r.tcp(main)
	}
	s.log(o)
	s.trace(o)
}

// router makes one outbound.
type router struct {
	*shaper
	o       *ir.Outbound
	conf    *TrafficRouteConf
	timeout *TimeoutConf
	tags    map[string]string
}

// targets resolves destinations, with the protocol that all of them speak.
func (r *router) targets(list []Target) ([]policy.Backend, ir.Protocol) {
	var out []policy.Backend
	var protocol ir.Protocol
	for i, t := range list {
		tags := Resolve(t.Destination, r.tags)
		service := tags[model.TagService]
		delete(tags, model.TagService)
		delete(tags, model.TagMesh)
		ref := policy.BackendRef{TargetRef: policy.TargetRef{Kind: policy.RefMeshServiceSubset, Name: service, Tags: tags}}
		b, ok := r.env.Backends.Resolve(ref, policy.Source{})
		if !ok {
			continue
		}
		if i == 0 {
			protocol = b.Protocol
		}
		protocol = ir.CommonProtocol(protocol, b.Protocol)
		out = append(out, b)
	}
	return out, protocol
}

// splits shares traffic among clusters.
func (r *router) splits(list []Target, backends []policy.Backend) []ir.Split {
	var shares []policy.Share
	for i, b := range backends {
		shares = append(shares, policy.Share{Cluster: r.use(b), Weight: uint64(list[i].Weight)})
	}
	return policy.Splits(shares)
}

func (r *router) http(main []policy.Backend, exceptions [][]policy.Backend) {
	h := &ir.HTTP{
		GRPCStats: r.o.Protocol == ir.ProtocolGRPC, RawPath: true,
		IdleTimeout: r.timeout.idle(), StreamIdleTimeout: r.timeout.streamIdle(r.o.Protocol),
	}
	if r.o.Protocol != ir.ProtocolGRPC {
		h.AddClientTags = r.p.Tags
	}
	for i := range r.conf.HTTP {
		e := &r.conf.HTTP[i]
		match, ok := e.Match.ir()
		if !ok {
			continue
		}
		if route := r.route(match, e.Targets(), exceptions[i]); route != nil {
			e.Modify.apply(route)
			h.Routes = append(h.Routes, route)
		}
	}
	if route := r.route(ir.Match{Prefix: "/"}, r.conf.Targets(), main); route != nil {
		h.Routes = append(h.Routes, route)
	}
	h.Retry = r.retry(r.o)
	r.o.HTTP = h
}

// route sends requests to destinations, nil if there are none.
func (r *router) route(match ir.Match, list []Target, backends []policy.Backend) *ir.Route {
	splits := r.splits(list, backends)
	if len(splits) == 0 {
		return nil
	}
	out := &ir.Route{Match: match, Splits: splits, Timeout: r.timeout.request()}
	for _, s := range splits {
		c := r.clusters[s.Cluster]
		out.AutoHostRewrite = out.AutoHostRewrite || (c.Destination.External && c.Endpoints == nil)
	}
	out.RateLimit = r.limit(backends)
	if out.RateLimit != nil && r.o.HTTP != nil {
		r.o.HTTP.LocalRateLimit = true
	}
	return out
}

func (r *router) tcp(main []policy.Backend) {
	r.o.Kafka = r.o.Protocol == ir.ProtocolKafka
	r.o.TCP = &ir.TCP{Splits: r.splits(r.conf.Targets(), main), IdleTimeout: r.timeout.tcpIdle()}
	if c := r.m.retryOf(r.o.Destination.Name); c != nil && c.TCP != nil &&
		(r.o.Protocol == ir.ProtocolTCP || r.o.Protocol == ir.ProtocolKafka) {
		r.o.TCP.MaxConnectAttempts = c.TCP.MaxConnectAttempts
	}
}

// use makes sure that the proxy has the cluster of a backend, and says how it is
// talked to.
func (r *router) use(b policy.Backend) string {
	name := r.env.Backends.Use(b)
	c := r.clusters[name]
	if c == nil {
		i := slices.IndexFunc(r.p.Clusters, func(c *ir.Cluster) bool { return c.Name == name })
		c = r.p.Clusters[i]
		r.clusters[name] = c
		r.m.dress(c)
	}
	r.timeout.cluster(c)
	if l := r.conf.LoadBalancer; l != nil {
		c.Balancer = l.balancer()
	}
	return name
}

func (l *LoadBalancer) balancer() *ir.Balancer {
	switch {
	case l.LeastRequest != nil:
		n := l.LeastRequest.ChoiceCount
		if n == 0 {
			n = 2
		}
		return &ir.Balancer{Type: "LeastRequest", ChoiceCount: &n}
	case l.RingHash != nil:
		b := &ir.Balancer{Type: "RingHash", HashFunction: "XXHash"}
		if l.RingHash.HashFunction == hashMurmur {
			b.HashFunction = "MurmurHash2"
		}
		if n := clamp(l.RingHash.MinRingSize); n != 0 {
			b.MinRing = &n
		}
		if n := clamp(l.RingHash.MaxRingSize); n != 0 {
			b.MaxRing = &n
			if b.MinRing == nil && n < defaultRing || b.MinRing != nil && *b.MinRing > n {
				b.MinRing = &n // proxies refuse a least size above the greatest one
			}
		}
		return b
	case l.Random != nil:
		return &ir.Balancer{Type: "Random"}
	case l.Maglev != nil:
		return &ir.Balancer{Type: "Maglev"}
	}
	return &ir.Balancer{Type: "RoundRobin"}
}

// hashMurmur is the hash function beside the default one.
const hashMurmur = "MURMUR_HASH_2"

// defaultRing is the least size of rings where none is given.
const defaultRing = 1024

// maxRing is the largest ring that proxies accept.
const maxRing = 8 << 20

func clamp(n uint64) uint32 { return uint32(min(n, maxRing)) }

// ir returns the match as the IR wants it, false if no request can match; m may
// be nil.
func (m *HTTPMatch) ir() (ir.Match, bool) {
	out := ir.Match{Prefix: "/"}
	if m == nil {
		return out, true
	}
	if p := m.Path; p != nil {
		switch {
		case p.Exact != nil:
			out.Path, out.Prefix = *p.Exact, ""
		case p.Regex != nil:
			out.Regex, out.Prefix = *p.Regex, ""
		case p.Prefix != nil:
			out.Prefix = *p.Prefix
		}
	}
	names := slices.Sorted(maps.Keys(m.Headers))
	for _, n := range names {
		h := m.Headers[n]
		if !printable(n) {
			return ir.Match{}, false // no request has such a header
		}
		out.Headers = append(out.Headers, h.ir(n))
	}
	if m.Method != nil {
		out.Headers = append([]ir.ValueMatch{m.Method.ir(":method")}, out.Headers...)
	}
	return out, true
}

func (m *StringMatcher) ir(name string) ir.ValueMatch {
	switch {
	case m.Exact != nil:
		return ir.ValueMatch{Type: ir.MatchExact, Name: name, Value: *m.Exact}
	case m.Regex != nil:
		return ir.ValueMatch{Type: ir.MatchRegex, Name: name, Value: *m.Regex}
	case m.Prefix != nil:
		return ir.ValueMatch{Type: ir.MatchPrefix, Name: name, Value: *m.Prefix}
	}
	return ir.ValueMatch{Type: ir.MatchPresent, Name: name}
}

// apply changes what a route sends on and back; m may be nil.
func (m *HTTPModify) apply(r *ir.Route) {
	if m == nil {
		return
	}
	w := &ir.Rewrite{}
	if p := m.Path; p != nil {
		w.Prefix = p.RewritePrefix
		w.PathRegex = p.Regex.ir()
	}
	if h := m.Host; h != nil {
		if h.Value != nil && printable(*h.Value) {
			w.Host = *h.Value
		}
		w.HostFromPath = h.FromPath.ir()
	}
	if *w != (ir.Rewrite{}) {
		r.Rewrite = w
	}
	m.RequestHeaders.apply(&r.RequestHeaders)
	m.ResponseHeaders.apply(&r.ResponseHeaders)
}

func (r *RegexReplace) ir() *ir.RegexReplace {
	if r == nil {
		return nil
	}
	return &ir.RegexReplace{Pattern: r.Pattern, Substitution: r.Substitution}
}

func (h *HeadersModify) apply(to *ir.HeaderChange) {
	if h == nil {
		return
	}
	for _, a := range h.Add {
		switch header := (ir.Header{Name: a.Name, Value: a.Value}); {
		case !sendable(header):
		case a.Append:
			to.Add = append(to.Add, header)
		default:
			to.Set = append(to.Set, header)
		}
	}
	for _, r := range h.Remove {
		if sendable(ir.Header{Name: r.Name}) {
			to.Remove = append(to.Remove, r.Name)
		}
	}
}
