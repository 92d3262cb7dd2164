package envoy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	httpinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldst "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	tlsinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

const (
	originPassthrough   = "meshpassthrough"
	filterOriginalDst   = "envoy.filters.listener.original_dst"
	filterHTTPInspector = "envoy.filters.listener.http_inspector"

	// noMatchBody is answered to requests for hosts that nobody allowed.
	noMatchBody = "This response comes from Kuma Sidecar. No routes matched this domain - check configuration of your MeshPassthrough policy.\n"
)

// exit is a way out of the mesh. Ways out are ordered as Envoy should try them.
type exit struct {
	protocol ir.Protocol
	sort     exitSort
	prefix   netip.Prefix // of addresses and ranges
	value    string
	port     uint32 // 0 = any
	// domains are those of an HTTP exit, which share a filter chain.
	domains []string
}

// exitSort ranks exits of one protocol.
type exitSort int

const (
	exitIPv6 exitSort = iota
	exitIPv4
	exitRange6
	exitRange4
	exitDomain
	exitWildcard
)

// exitsOf returns the exits for matches. Envoy looks at ports first, so a match
// of any port is repeated for each port that another match names.
func exitsOf(matches []ir.PassthroughMatch) []exit {
	ports := map[uint32]bool{0: true}
	spoken := map[uint32]ir.Protocol{} // HTTP protocols by port that matches name
	for _, m := range matches {
		ports[m.Port] = true
		if m.Protocol.HTTPLike() && m.Port != 0 {
			spoken[m.Port] = m.Protocol
		}
	}
	seen := map[ir.PassthroughMatch]bool{}
	var out []exit
	add := func(m ir.PassthroughMatch) {
		if e, ok := exitOf(m); ok && !seen[m] {
			seen[m] = true
			out = append(out, e)
		}
	}
	for _, m := range matches {
		add(m)
		if m.Port != 0 {
			continue
		}
		for p := range ports {
			if s, ok := spoken[p]; ok && m.Protocol.HTTPLike() && s != m.Protocol {
				continue // what a match says about its port wins
			}
			m.Port = p
			add(m)
		}
	}
	out = joinDomains(out)
	slices.SortFunc(out, compareExits)
	return out
}

func exitOf(m ir.PassthroughMatch) (exit, bool) {
	e := exit{protocol: m.Protocol, value: m.Value, port: m.Port}
	switch m.Type {
	case "Domain":
		e.sort = exitDomain
		if strings.HasPrefix(m.Value, "*") {
			e.sort = exitWildcard
		}
	case "IP":
		a, err := netip.ParseAddr(m.Value)
		if err != nil {
			return e, false
		}
		e.sort, e.prefix = exitIPv4, netip.PrefixFrom(a, a.BitLen())
		if a.Is6() {
			e.sort = exitIPv6
		}
	case "CIDR":
		p, err := netip.ParsePrefix(m.Value)
		if err != nil {
			return e, false
		}
		e.sort, e.prefix = exitRange4, p
		if p.Addr().Is6() {
			e.sort = exitRange6
		}
	}
	return e, true
}

// joinDomains puts HTTP exits for domains of one protocol and port together:
// only the request tells the domain.
func joinDomains(list []exit) []exit {
	type port struct {
		protocol ir.Protocol
		port     uint32
	}
	at := map[port]int{}
	var out []exit
	for _, e := range list {
		if !e.protocol.HTTPLike() || e.sort < exitDomain {
			out = append(out, e)
			continue
		}
		k := port{e.protocol, e.port}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, exit{protocol: e.protocol, sort: exitDomain, port: e.port})
		}
		out[i].domains = append(out[i].domains, e.value)
	}
	for i := range out {
		slices.SortFunc(out[i].domains, compareDomains)
		seen := map[string]bool{} // Envoy does not tell their case apart
		out[i].domains = slices.DeleteFunc(out[i].domains, func(d string) bool {
			d = strings.ToLower(d)
			known := seen[d]
			seen[d] = true
			return known
		})
	}
	return out
}

// compareDomains orders whole names before those with a star, and longer ones first.
func compareDomains(a, b string) int {
	wild := func(s string) int {
		if strings.HasPrefix(s, "*") {
			return 1
		}
		return 0
	}
	return cmp.Or(wild(a)-wild(b), strings.Count(b, ".")-strings.Count(a, "."), strings.Compare(a, b))
}

func compareExits(a, b exit) int {
	portOf := func(e exit) int64 { return int64(e.port) }
	return cmp.Or(
		protocolRank(a.protocol)-protocolRank(b.protocol),
		cmp.Compare(a.sort, b.sort),
		cmp.Compare(portOf(b), portOf(a)),
		b.prefix.Bits()-a.prefix.Bits(),
		b.prefix.Addr().Compare(a.prefix.Addr()),
		compareDomains(a.value, b.value),
		cmp.Compare(a.protocol, b.protocol),
	)
}

func protocolRank(p ir.Protocol) int {
	switch p {
	case ir.ProtocolTLS, ir.ProtocolMySQL:
		return 0
	case ir.ProtocolTCP:
		return 1
	case ir.ProtocolHTTP:
		return 2
	case ir.ProtocolHTTP2:
		return 3
	case ir.ProtocolGRPC, ir.ProtocolKafka, ir.ProtocolUnknown:
	}
	return 4
}

// name is what the exit's chain is called, without the prefix.
func (e *exit) name(value string) string {
	p := string(e.protocol)
	if e.protocol == ir.ProtocolMySQL {
		p = string(ir.ProtocolTCP) // no more is known of it than of TCP
	}
	port := "*"
	if e.port != 0 {
		port = strconv.FormatUint(uint64(e.port), 10)
	}
	if value == "" {
		return originPassthrough + "_" + p + "_" + port
	}
	return originPassthrough + "_" + p + "_" + value + "_" + port
}

// inFamily tells whether connections of an IP family can take the exit.
func (e *exit) inFamily(v6 bool) bool {
	switch e.sort {
	case exitIPv6, exitRange6:
		return v6
	case exitIPv4, exitRange4:
		return !v6
	case exitDomain, exitWildcard:
	}
	return true
}

// addExits restricts the listener of an IP family to the proxy's exits. A family
// without exits keeps its listener, whose cluster is not there.
func addExits(l *list, p *ir.Proxy, out *listener.Listener, v6 bool) error {
	var chains []*listener.FilterChain
	seen := map[string]bool{}
	exits := exitsOf(p.Transparent.Matches)
	for i := range exits {
		e := &exits[i]
		if !e.inFamily(v6) {
			continue
		}
		k := e.connections()
		if seen[k] {
			continue // Envoy refuses two chains for the same connections
		}
		seen[k] = true
		chain, err := e.chain(l, p)
		if err != nil {
			return fmt.Errorf("exit %s: %w", e.name(e.value), err)
		}
		chain.FilterChainMatch = e.match()
		chains = append(chains, chain)
	}
	if len(chains) == 0 {
		return nil
	}
	out.FilterChains = chains
	return addInspectors(out, exits)
}

// connections names the connections that take the exit. Exits that are written
// differently may have the same.
func (e *exit) connections() string {
	same := *e
	same.prefix = e.prefix.Masked()
	same.value = strings.ToLower(e.value)
	return same.match().String()
}

func (e *exit) match() *listener.FilterChainMatch {
	m := &listener.FilterChainMatch{TransportProtocol: "raw_buffer"}
	if e.port != 0 {
		m.DestinationPort = wrapperspb.UInt32(e.port)
	}
	if e.prefix.IsValid() {
		m.PrefixRanges = []*core.CidrRange{{
			AddressPrefix: e.prefix.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(e.prefix.Bits())),
		}}
	}
	switch {
	case e.protocol == ir.ProtocolTLS:
		m.TransportProtocol = "tls"
		if !e.prefix.IsValid() {
			m.ServerNames = []string{e.value}
		}
	case e.protocol.HTTPLike():
		m.ApplicationProtocols = []string{"http/1.1", "h2c"}
	}
	return m
}

// chain returns the exit's filter chain and adds its clusters.
func (e *exit) chain(l *list, p *ir.Proxy) (*listener.FilterChain, error) {
	name := e.name(e.value)
	var f *listener.Filter
	var err error
	if e.protocol.HTTPLike() {
		f, err = e.manager(l, p, name)
	} else {
		if err := e.cluster(l, name); err != nil {
			return nil, err
		}
		f, err = tcpProxy(&ir.Listener{
			TCP: &ir.TCP{Splits: []ir.Split{{Cluster: name}}}, AccessLogs: p.Transparent.AccessLogs,
		}, side{stat: statName(name), logs: logSocket(p)})
	}
	if err != nil {
		return nil, err
	}
	return &listener.FilterChain{Name: name, Filters: []*listener.Filter{f}}, nil
}

// cluster adds the cluster that connects to where a connection was meant to go.
func (e *exit) cluster(l *list, name string) error {
	timeout := utilityTimeout
	c, err := clusterOf(&ir.Cluster{
		Name: name, OriginalDestination: true, ConnectTimeout: &timeout,
		HTTP2: e.protocol == ir.ProtocolHTTP2 || e.protocol == ir.ProtocolGRPC,
	})
	if err != nil {
		return err
	}
	l.add(originPassthrough, xds.Cluster, name, c)
	return nil
}

// manager returns the filter of an HTTP exit: one virtual host for an address or
// a range, one for each domain otherwise.
func (e *exit) manager(l *list, p *ir.Proxy, name string) (*listener.Filter, error) {
	rc := &route.RouteConfiguration{Name: name}
	if len(e.domains) == 0 {
		if err := e.cluster(l, name); err != nil {
			return nil, err
		}
		rc.VirtualHosts = append(rc.VirtualHosts, exitHost(e.value, name, "*"))
	}
	port := "*"
	if e.port != 0 {
		port = strconv.FormatUint(uint64(e.port), 10)
	}
	for _, d := range e.domains {
		cluster := e.name(d)
		if err := e.cluster(l, cluster); err != nil {
			return nil, err
		}
		names := []string{d, d + ":" + port}
		if strings.HasPrefix(d, "*") && e.port == 0 {
			names = names[:1] // Envoy allows one star in a name
		}
		rc.VirtualHosts = append(rc.VirtualHosts, exitHost(d, cluster, names...))
	}
	if len(e.domains) > 0 {
		rc.VirtualHosts = append(rc.VirtualHosts, noMatchHost())
	}
	cidrs, err := cidrRanges(p.InternalCIDRs, true)
	if err != nil {
		return nil, err
	}
	end, err := httpFilter(filterRouter, &router.Router{})
	if err != nil {
		return nil, err
	}
	m := &hcm.HttpConnectionManager{
		StatPrefix:            statName(name),
		HttpFilters:           []*hcm.HttpFilter{end},
		InternalAddressConfig: &hcm.HttpConnectionManager_InternalAddressConfig{CidrRanges: cidrs},
		RouteSpecifier:        &hcm.HttpConnectionManager_RouteConfig{RouteConfig: rc},
	}
	if m.AccessLog, err = accessLogs(logSocket(p), p.Transparent.AccessLogs); err != nil {
		return nil, err
	}
	return networkFilter(filterHTTP, m)
}

func exitHost(name, cluster string, domains ...string) *route.VirtualHost {
	return &route.VirtualHost{Name: name, Domains: domains, Routes: []*route.Route{{
		Match:  &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
		Action: &route.Route_Route{Route: &route.RouteAction{ClusterSpecifier: &route.RouteAction_Cluster{Cluster: cluster}}},
	}}}
}

func noMatchHost() *route.VirtualHost {
	return &route.VirtualHost{Name: "no_match", Domains: []string{"*"}, Routes: []*route.Route{{
		Match:  &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
		Action: &route.Route_DirectResponse{DirectResponse: responseOf(&ir.Response{StatusCode: 503, Body: noMatchBody})},
	}}}
}

// addInspectors lets the listener look at the first bytes of connections, apart
// from those to servers that speak first.
func addInspectors(out *listener.Listener, exits []exit) error {
	original, err := listenerFilter(filterOriginalDst, &originaldst.OriginalDst{})
	if err != nil {
		return err
	}
	tls, err := listenerFilter(filterTLSInspector, &tlsinspector.TlsInspector{})
	if err != nil {
		return err
	}
	http, err := listenerFilter(filterHTTPInspector, &httpinspector.HttpInspector{})
	if err != nil {
		return err
	}
	tls.FilterDisabled, http.FilterDisabled = serverFirst(exits), serverFirst(exits)
	out.ListenerFilters = append(out.ListenerFilters, original, tls, http)
	return nil
}

// serverFirst is true for ports whose servers speak first.
func serverFirst(exits []exit) *listener.ListenerFilterChainMatchPredicate {
	var rules []*listener.ListenerFilterChainMatchPredicate
	for _, e := range exits {
		if e.protocol != ir.ProtocolMySQL {
			continue
		}
		rules = append(rules, &listener.ListenerFilterChainMatchPredicate{
			Rule: &listener.ListenerFilterChainMatchPredicate_DestinationPortRange{
				DestinationPortRange: &typev3.Int32Range{Start: int32(e.port), End: int32(e.port) + 1},
			},
		})
	}
	switch len(rules) {
	case 0:
		return nil
	case 1:
		return rules[0]
	}
	return &listener.ListenerFilterChainMatchPredicate{Rule: &listener.ListenerFilterChainMatchPredicate_OrMatch{
		OrMatch: &listener.ListenerFilterChainMatchPredicate_MatchSet{Rules: rules},
	}}
}
