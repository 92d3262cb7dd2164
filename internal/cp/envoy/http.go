package envoy

import (
	"fmt"
	"slices"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	grpcstats "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/mesh/ir"
)

const (
	filterHTTP      = "envoy.filters.network.http_connection_manager"
	filterRouter    = "envoy.filters.http.router"
	filterGRPCStats = "envoy.filters.http.grpc_stats"

	// tagsHeader carries the tags of a client to the destination.
	tagsHeader = "x-kuma-tags"
)

// helperCIDRs count as internal on listeners of helpers.
var helperCIDRs = []string{"127.0.0.1/32", "::1/128"}

// httpManager returns the filter that handles requests of a listener.
func httpManager(l *ir.Listener, s side) (*listener.Filter, error) {
	h := l.HTTP
	// Routes made for destinations never counted ranges of IPv6 as internal.
	cidrs, err := cidrRanges(s.cidrs, !s.inbound)
	if err != nil {
		return nil, err
	}
	m := &hcm.HttpConnectionManager{
		StatPrefix:            s.stat,
		RequestHeadersTimeout: duration(h.RequestHeadersTimeout),
		RequestTimeout:        duration(h.RequestTimeout),
		StreamIdleTimeout:     duration(h.StreamIdleTimeout),
		InternalAddressConfig: &hcm.HttpConnectionManager_InternalAddressConfig{CidrRanges: cidrs},
	}
	if h.IdleTimeout != nil {
		m.CommonHttpProtocolOptions = &core.HttpProtocolOptions{IdleTimeout: duration(h.IdleTimeout)}
	}
	if s.inbound {
		m.ForwardClientCertDetails = hcm.HttpConnectionManager_SANITIZE_SET
		m.SetCurrentClientCertDetails = &hcm.HttpConnectionManager_SetCurrentClientCertDetails{Uri: true}
	} else {
		if !h.RawPath {
			m.NormalizePath = wrapperspb.Bool(true)
		}
	}
	if m.HttpFilters, err = httpFilters(h, s); err != nil {
		return nil, err
	}
	if m.AccessLog, err = accessLogs(s.logs, l.AccessLogs); err != nil {
		return nil, err
	}
	if s.denied != nil {
		m.AccessLog = append(m.AccessLog, s.denied)
	}
	if m.Tracing, err = tracing(l.Tracing); err != nil {
		return nil, err
	}
	rc, err := routeConfig(h, s)
	if err != nil {
		return nil, err
	}
	m.RouteSpecifier = &hcm.HttpConnectionManager_RouteConfig{RouteConfig: rc}
	return networkFilter(filterHTTP, m)
}

// httpFilters returns the filters in their order: who may call comes first, the
// router last.
func httpFilters(h *ir.HTTP, s side) ([]*hcm.HttpFilter, error) {
	var out []*hcm.HttpFilter
	add := func(name string, m message) error {
		f, err := httpFilter(name, m)
		out = append(out, f)
		return err
	}
	if s.access != nil {
		if err := add(filterHTTPRBAC, httpRBAC(s.access)); err != nil {
			return nil, err
		}
	}
	if h.GRPCStats {
		if err := add(filterGRPCStats, &grpcstats.FilterConfig{EmitFilterState: true}); err != nil {
			return nil, err
		}
	}
	for _, f := range h.Faults {
		if err := add(filterFault, faultOf(f)); err != nil {
			return nil, err
		}
	}
	if h.LocalRateLimit {
		if err := add(filterLocalLimit, localLimitFilter()); err != nil {
			return nil, err
		}
	}
	if err := add(filterRouter, &router.Router{}); err != nil {
		return nil, err
	}
	return out, nil
}

func httpFilter(name string, m message) (*hcm.HttpFilter, error) {
	packed, err := pack(m)
	if err != nil {
		return nil, fmt.Errorf("filter %s: %w", name, err)
	}
	return &hcm.HttpFilter{Name: name, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: packed}}, nil
}

func routeConfig(h *ir.HTTP, s side) (*route.RouteConfiguration, error) {
	vh := &route.VirtualHost{Name: s.host, Domains: []string{"*"}}
	for _, r := range h.Routes {
		out, err := routeOf(r)
		if err != nil {
			return nil, err
		}
		vh.Routes = append(vh.Routes, out)
	}
	rc := &route.RouteConfiguration{
		Name:             s.route,
		VirtualHosts:     []*route.VirtualHost{vh},
		ValidateClusters: wrapperspb.Bool(false),
	}
	var err error
	if vh.RetryPolicy, err = retryPolicy(h.Retry); err != nil {
		return nil, err
	}
	if s.inbound || h.DropClientTags {
		rc.RequestHeadersToRemove = []string{tagsHeader}
	}
	if h.AddClientTags != nil {
		rc.RequestHeadersToAdd = []*core.HeaderValueOption{{
			Header: &core.HeaderValue{Key: tagsHeader, Value: tagsHeaderValue(h.AddClientTags)},
		}}
	}
	return rc, nil
}

// tagsHeaderValue writes tags as &k=v1,v2&&k2=v3&, keys sorted.
func tagsHeaderValue(tags map[string][]string) string {
	keys := make([]string, 0, len(tags))
	for k := range tags {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, k := range keys {
		b.WriteString("&" + k + "=" + strings.Join(tags[k], ",") + "&")
	}
	return b.String()
}
