package envoy

import (
	"fmt"
	"path"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	grpcstats "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

const (
	originOTel    = "open-telemetry"
	originDynamic = "dynamic-config"

	observedHijacker = "_kuma:metrics:hijacker"
	observedPrefix   = "_kuma:metrics:prometheus:"
	observedConfig   = "_kuma:dynamicconfig:observability"
	observedSocket   = "kuma-mesh-metric-config.sock"
	// observedTarget is the path at kuma-dp that knows what to collect.
	observedTarget = "/meshmetric"
)

// addObservability adds what MeshMetric asks for: ports to be scraped, pipes to
// collectors, and the document by which kuma-dp knows of them.
func addObservability(l *list, p *ir.Proxy) error {
	o := p.Observability
	if o == nil {
		return nil
	}
	if len(o.Prometheus) > 0 {
		l.add(originPrometheus, xds.Cluster, observedHijacker, utilityCluster(observedHijacker, pipe(socketPath(p, "kuma-mh"))))
	}
	for _, e := range o.Prometheus {
		if err := addPrometheus(l, p, e); err != nil {
			return fmt.Errorf("prometheus backend %q: %w", e.Client, err)
		}
	}
	for _, m := range o.OTel {
		if err := addOTelPipe(l, p, m); err != nil {
			return fmt.Errorf("openTelemetry backend %q: %w", m.Name, err)
		}
	}
	return addObservedConfig(l, p)
}

func addPrometheus(l *list, p *ir.Proxy, e ir.PrometheusEndpoint) error {
	name := observedPrefix + e.Client
	plain, err := utilityChain(name, p.IPv6, prefixRoute(e.Path, observedHijacker, observedTarget))
	if err != nil {
		return err
	}
	out := newListener(name, p.Address, e.Port, core.TrafficDirection_INBOUND)
	out.FilterChains = []*listener.FilterChain{plain}
	if e.CertPath != "" && e.KeyPath != "" {
		secured, err := utilityChain(name, p.IPv6, prefixRoute(e.Path, observedHijacker, observedTarget))
		if err != nil {
			return err
		}
		plain.FilterChainMatch = &listener.FilterChainMatch{TransportProtocol: "tls"}
		file := func(path string) *core.DataSource {
			return &core.DataSource{Specifier: &core.DataSource_Filename{Filename: path}}
		}
		secured.TransportSocket, err = socketOf(&tls.DownstreamTlsContext{CommonTlsContext: &tls.CommonTlsContext{
			TlsCertificates: []*tls.TlsCertificate{{CertificateChain: file(e.CertPath), PrivateKey: file(e.KeyPath)}},
		}})
		if err != nil {
			return err
		}
		out.FilterChains = append(out.FilterChains, secured)
	}
	l.add(originPrometheus, xds.Listener, name, out)
	return nil
}

// addOTelPipe adds the pipe through which kuma-dp reaches a collector, whose
// cluster is among the proxy's backends.
func addOTelPipe(l *list, p *ir.Proxy, m ir.OTelMetrics) error {
	stats, err := httpFilter(filterGRPCStats, &grpcstats.FilterConfig{EmitFilterState: true})
	if err != nil {
		return err
	}
	chain, err := utilityManager(statName(m.Backend), &route.RouteConfiguration{
		ValidateClusters: wrapperspb.Bool(false),
		VirtualHosts: []*route.VirtualHost{{Name: m.Backend, Domains: []string{"*"}, Routes: []*route.Route{{
			Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
			Action: &route.Route_Route{Route: &route.RouteAction{
				ClusterSpecifier: &route.RouteAction_Cluster{Cluster: m.Backend},
			}},
		}}}},
	}, p.IPv6, stats)
	if err != nil {
		return err
	}
	l.add(originOTel, xds.Listener, m.Backend, &listener.Listener{
		Name: m.Backend, Address: pipe(m.Socket), FilterChains: []*listener.FilterChain{chain},
	})
	return nil
}

func addObservedConfig(l *list, p *ir.Proxy) error {
	chain, err := utilityManager(statName(observedConfig), &route.RouteConfiguration{
		VirtualHosts: []*route.VirtualHost{{Name: observedConfig, Domains: []string{"*"}, Routes: []*route.Route{{
			Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
			Action: &route.Route_DirectResponse{DirectResponse: responseOf(&ir.Response{
				StatusCode: 200, Body: string(p.Observability.Document),
			})},
		}}}},
	}, p.IPv6)
	if err != nil {
		return err
	}
	l.add(originDynamic, xds.Listener, observedConfig, &listener.Listener{
		Name: observedConfig, Address: pipe(path.Join(p.WorkDir, observedSocket)),
		FilterChains: []*listener.FilterChain{chain},
	})
	return nil
}
