package envoy

import (
	"fmt"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	dnstable "github.com/envoyproxy/go-control-plane/envoy/data/dns/v3"
	dnsfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/dns_filter/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

// DNSListener is the listener that answers names of the mesh.
const DNSListener = "kuma:dns"

const (
	dnsTTL          = 30 * time.Second
	probeName       = "probe:listener"
	metricsName     = "kuma:metrics:prometheus"
	metricsHijacker = "kuma:metrics:hijacker"
)

// addDNS adds the listener that answers names of the mesh.
func addDNS(l *list, p *ir.Proxy) error {
	if p.DNS == nil {
		return nil
	}
	table := &dnstable.DnsTable{}
	for _, d := range p.DNS.Domains {
		v := &dnstable.DnsTable_DnsVirtualDomain{
			Name:      d.Name,
			AnswerTtl: durationpb.New(dnsTTL),
			Endpoint: &dnstable.DnsTable_DnsEndpoint{EndpointConfig: &dnstable.DnsTable_DnsEndpoint_AddressList{
				AddressList: &dnstable.DnsTable_AddressList{Address: d.Addresses},
			}},
		}
		// A service may be called "a:b", which Envoy takes for no name; one proxy
		// must not cost all others their configuration by what it calls itself.
		if v.Validate() == nil {
			table.VirtualDomains = append(table.VirtualDomains, v)
		}
	}
	f, err := listenerFilter("envoy.filters.udp.dns_filter", &dnsfilter.DnsFilterConfig{
		StatPrefix: statName(DNSListener),
		ServerConfig: &dnsfilter.DnsFilterConfig_ServerContextConfig{
			ConfigSource: &dnsfilter.DnsFilterConfig_ServerContextConfig_InlineDnsTable{InlineDnsTable: table},
		},
	})
	if err != nil {
		return fmt.Errorf("DNS listener: %w", err)
	}
	at := socket("127.0.0.1", p.DNS.Port)
	at.Protocol = core.SocketAddress_UDP
	l.add(originDNS, xds.Listener, DNSListener, &listener.Listener{
		Name:             DNSListener,
		Address:          &core.Address{Address: &core.Address_SocketAddress{SocketAddress: at}},
		TrafficDirection: core.TrafficDirection_INBOUND,
		EnableReusePort:  wrapperspb.Bool(true), // of UDP each worker has its own socket
		ListenerFilters:  []*listener.ListenerFilter{f},
	})
	return nil
}

// addProbes adds the listener of virtual probes: a path per inbound port.
func addProbes(l *list, p *ir.Proxy) error {
	if p.Probes == nil {
		return nil
	}
	vh := &route.VirtualHost{Name: "probe", Domains: []string{"*"}}
	for _, e := range p.Probes.Endpoints {
		r, err := probeRoute(e)
		if err != nil {
			return fmt.Errorf("probe %q: %w", e.Path, err)
		}
		vh.Routes = append(vh.Routes, r)
	}
	chain, err := utilityManager(statName(probeName), &route.RouteConfiguration{
		Name: "probe:route_configuration", VirtualHosts: []*route.VirtualHost{vh},
		ValidateClusters: wrapperspb.Bool(false), // no listener is refused because a cluster comes later
	}, p.IPv6)
	if err != nil {
		return fmt.Errorf("probes: %w", err)
	}
	out := newListener(probeName, p.Address, p.Probes.Port, core.TrafficDirection_INBOUND)
	if !p.Probes.Bind {
		out.BindToPort = wrapperspb.Bool(false)
	}
	out.FilterChains = []*listener.FilterChain{chain}
	l.add(originProbe, xds.Listener, probeName, out)
	return nil
}

func probeRoute(e ir.ProbeEndpoint) (*route.Route, error) {
	method, err := headerMatch(ir.ValueMatch{Type: ir.MatchExact, Name: ":method", Value: "GET"})
	if err != nil {
		return nil, err
	}
	r := &route.Route{Match: &route.RouteMatch{
		PathSpecifier: &route.RouteMatch_Path{Path: e.Path},
		Headers:       []*route.HeaderMatcher{method},
	}}
	if e.Cluster == "" { // no inbound has the port: let the prober go there itself
		r.Action = &route.Route_Redirect{Redirect: &route.RedirectAction{
			PortRedirect:         e.InboundPort,
			PathRewriteSpecifier: &route.RedirectAction_PathRedirect{PathRedirect: e.InboundPath},
		}}
		return r, nil
	}
	r.Action = &route.Route_Route{Route: &route.RouteAction{
		ClusterSpecifier: &route.RouteAction_Cluster{Cluster: e.Cluster},
		RegexRewrite:     replaceAll(e.InboundPath),
	}}
	return r, nil
}

// addMetrics adds the older Prometheus listener of a mesh.
func addMetrics(l *list, p *ir.Proxy) error {
	m := p.Metrics
	if m == nil {
		return nil
	}
	l.add(originPrometheus, xds.Cluster, metricsHijacker, utilityCluster(metricsHijacker, pipe(socketPath(p, "kuma-mh"))))
	chain := func() (*listener.FilterChain, error) {
		return utilityChain(metricsName, p.IPv6, prefixRoute(m.Path, metricsHijacker, metricsTarget(m)))
	}
	out := newListener(metricsName, p.Address, m.Port, core.TrafficDirection_INBOUND)
	plain, err := chain()
	if err != nil {
		return fmt.Errorf("metrics listener: %w", err)
	}
	out.FilterChains = []*listener.FilterChain{plain}
	if m.TLS != "" {
		secured, err := chain()
		if err != nil {
			return fmt.Errorf("metrics listener: %w", err)
		}
		if err := secureMetrics(p, m, plain, secured); err != nil {
			return fmt.Errorf("metrics listener: %w", err)
		}
		out.FilterChains = append(out.FilterChains, secured)
	}
	l.add(originPrometheus, xds.Listener, metricsName, out)
	return nil
}

// metricsTarget is the path at kuma-dp, with the filter for Envoy's part.
func metricsTarget(m *ir.MetricsListener) string {
	path, sep := "/", "?"
	if m.FilterRegex != "" {
		path += sep + "filter=" + queryText(m.FilterRegex)
		sep = "&"
	}
	if m.UsedOnly {
		path += sep + "usedonly"
	}
	return path
}

// queryText escapes what would end or change a value in a query, and leaves the
// rest of a regular expression readable.
func queryText(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("%&#+", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// secureMetrics protects the second chain and leaves the first to those who need
// no protection: the proxy's own host with the mesh's TLS, and whoever speaks
// TLS by the application's own means with certificate files.
func secureMetrics(p *ir.Proxy, m *ir.MetricsListener, plain, secured *listener.FilterChain) error {
	var err error
	if m.TLS == "mesh" {
		own, rangeErr := cidrRanges([]string{hostPrefix(p.Address)}, false)
		if rangeErr != nil {
			return rangeErr
		}
		plain.FilterChainMatch = &listener.FilterChainMatch{SourcePrefixRanges: own}
		secured.TransportSocket, err = downstreamTLS(m.ServerTLS)
		return err
	}
	plain.FilterChainMatch = &listener.FilterChainMatch{TransportProtocol: "tls"}
	file := func(path string) *core.DataSource {
		return &core.DataSource{Specifier: &core.DataSource_Filename{Filename: path}}
	}
	secured.TransportSocket, err = socketOf(&tls.DownstreamTlsContext{CommonTlsContext: &tls.CommonTlsContext{
		TlsCertificates: []*tls.TlsCertificate{{CertificateChain: file(m.CertPath), PrivateKey: file(m.KeyPath)}},
	}})
	return err
}

// hostPrefix is the range that holds one address.
func hostPrefix(address string) string {
	for _, c := range address {
		if c == ':' {
			return address + "/128"
		}
	}
	return address + "/32"
}
