package envoy

import (
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// utilityCluster leads to a helper on the proxy's own host.
func utilityCluster(name string, at *core.Address) *cluster.Cluster {
	return &cluster.Cluster{
		Name:                 name,
		AltStatName:          altStatName(name),
		ConnectTimeout:       durationpb.New(utilityTimeout),
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
		LoadAssignment: &endpoint.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{
				HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: at}},
			}}}},
		},
	}
}

// originalDst leads to wherever a redirected connection was meant to go.
func originalDst(name, source string) *cluster.Cluster {
	c := &cluster.Cluster{
		Name:                 name,
		AltStatName:          altStatName(name),
		ConnectTimeout:       durationpb.New(utilityTimeout),
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_ORIGINAL_DST},
		LbPolicy:             cluster.Cluster_CLUSTER_PROVIDED,
	}
	if source != "" {
		c.UpstreamBindConfig = &core.BindConfig{SourceAddress: socket(source, 0)}
	}
	return c
}

// utilityChain handles requests for helpers.
func utilityChain(name string, ipv6 bool, routes ...*route.Route) (*listener.FilterChain, error) {
	rc := &route.RouteConfiguration{
		VirtualHosts:     []*route.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: routes}},
		ValidateClusters: wrapperspb.Bool(false),
	}
	return utilityManager(statName(name), rc, ipv6)
}

// utilityManager handles requests with the filters given, and the router after them.
func utilityManager(stat string, rc *route.RouteConfiguration, ipv6 bool, filters ...*hcm.HttpFilter) (*listener.FilterChain, error) {
	cidrs, err := cidrRanges(helperCIDRs, !ipv6)
	if err != nil {
		return nil, err
	}
	last, err := httpFilter(filterRouter, &router.Router{})
	if err != nil {
		return nil, err
	}
	f, err := networkFilter(filterHTTP, &hcm.HttpConnectionManager{
		StatPrefix:            stat,
		HttpFilters:           append(filters, last),
		InternalAddressConfig: &hcm.HttpConnectionManager_InternalAddressConfig{CidrRanges: cidrs},
		RouteSpecifier:        &hcm.HttpConnectionManager_RouteConfig{RouteConfig: rc},
	})
	if err != nil {
		return nil, err
	}
	return &listener.FilterChain{Filters: []*listener.Filter{f}}, nil
}

// dnsOrIP matches names in a certificate whichever of both types they have.
func dnsOrIP(names ...*matcher.StringMatcher) []*tls.SubjectAltNameMatcher {
	var out []*tls.SubjectAltNameMatcher
	for _, typ := range []tls.SubjectAltNameMatcher_SanType{tls.SubjectAltNameMatcher_DNS, tls.SubjectAltNameMatcher_IP_ADDRESS} {
		for _, m := range names {
			out = append(out, &tls.SubjectAltNameMatcher{SanType: typ, Matcher: m})
		}
	}
	return out
}
