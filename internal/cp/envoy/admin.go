package envoy

import (
	"fmt"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

const (
	adminName     = "kuma:envoy:admin"
	readinessName = "kuma:readiness"
	readyPath     = "/ready"
	// adminClient is the name in the certificate of those who may administer.
	adminClient = "kuma-cp"
)

// addAdmin makes the proxy's administration reachable: /ready for everybody, the
// rest for the control plane with its certificate.
func addAdmin(l *list, p *ir.Proxy) error {
	a := p.Admin
	if a == nil {
		return nil
	}
	to := func(name string, port uint32) error {
		return l.share(originAdmin, xds.Cluster, name,
			func() (message, error) { return utilityCluster(name, socketAddress(a.Address, port)), nil }, name, a.Address, port)
	}
	if err := to(adminName, a.Port); err != nil {
		return err
	}
	if a.ReadinessPort != 0 {
		if err := to(readinessName, a.ReadinessPort); err != nil {
			return err
		}
	}
	if a.ListenAddress == "" {
		return nil
	}
	if err := l.share(originAdmin, xds.Listener, adminName, func() (message, error) { return adminListener(a, p.IPv6) }, a, p.IPv6); err != nil {
		return fmt.Errorf("admin listener: %w", err)
	}
	return nil
}

func adminListener(a *ir.Admin, ipv6 bool) (*listener.Listener, error) {
	ready := adminName
	if a.ReadinessPort != 0 {
		ready = readinessName
	}
	out := newListener(adminName, a.ListenAddress, a.Port, core.TrafficDirection_INBOUND)
	toReady := prefixRoute(readyPath, ready, readyPath)
	plain, err := utilityChain(adminName, ipv6, toReady)
	if err != nil {
		return nil, err
	}
	out.FilterChains = []*listener.FilterChain{plain}
	inspector, err := listenerFilter(filterTLSInspector, &tlsinspector.TlsInspector{})
	if err != nil {
		return nil, err
	}
	out.ListenerFilters = []*listener.ListenerFilter{inspector}
	if len(a.CertPEM) == 0 || len(a.KeyPEM) == 0 || len(a.CAPEM) == 0 {
		return out, nil // without certificates nobody gets further than /ready
	}
	full, err := utilityChain(adminName, ipv6, toReady, prefixRoute("/", adminName, "/"))
	if err != nil {
		return nil, err
	}
	full.FilterChainMatch = &listener.FilterChainMatch{TransportProtocol: "tls"}
	full.TransportSocket, err = adminTLS(a)
	out.FilterChains = append(out.FilterChains, full)
	return out, err
}

func adminTLS(a *ir.Admin) (*core.TransportSocket, error) {
	return socketOf(&tls.DownstreamTlsContext{
		RequireClientCertificate: wrapperspb.Bool(true),
		CommonTlsContext: &tls.CommonTlsContext{
			TlsCertificates: []*tls.TlsCertificate{{CertificateChain: inlineBytes(a.CertPEM), PrivateKey: inlineBytes(a.KeyPEM)}},
			ValidationContextType: &tls.CommonTlsContext_ValidationContext{ValidationContext: &tls.CertificateValidationContext{
				TrustedCa: inlineBytes(a.CAPEM),
				MatchTypedSubjectAltNames: []*tls.SubjectAltNameMatcher{{
					SanType: tls.SubjectAltNameMatcher_DNS, Matcher: exact(adminClient),
				}},
			}},
		},
	})
}

// prefixRoute sends a path prefix to a cluster under another prefix.
func prefixRoute(prefix, cluster, rewrite string) *route.Route {
	return &route.Route{
		Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: prefix}},
		Action: &route.Route_Route{Route: &route.RouteAction{
			ClusterSpecifier: &route.RouteAction_Cluster{Cluster: cluster},
			PrefixRewrite:    rewrite,
		}},
	}
}
