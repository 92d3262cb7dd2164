package envoy

import (
	"fmt"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreams "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

// httpOptionsKey is where a cluster carries its HTTP options.
const httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

func addClusters(l *list, p *ir.Proxy) error {
	for _, c := range p.Clusters {
		err := l.share(originOutbound, xds.Cluster, c.Name, func() (message, error) { return clusterOf(c) }, c)
		if err != nil {
			return err
		}
	}
	return nil
}

// clusterOf converts a cluster with everything that policies put on it.
func clusterOf(c *ir.Cluster) (*cluster.Cluster, error) {
	out := &cluster.Cluster{
		Name:             c.Name,
		AltStatName:      altStatName(c.Name),
		ConnectTimeout:   duration(c.ConnectTimeout),
		CircuitBreakers:  circuitBreakers(c.Limits),
		OutlierDetection: outlierDetection(c.Outlier),
	}
	discover(out, c)
	if c.SourceAddress != "" {
		out.UpstreamBindConfig = &core.BindConfig{SourceAddress: socket(c.SourceAddress, 0)}
	}
	if err := setHTTPOptions(out, c); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", c.Name, err)
	}
	if err := setUpstreamTLS(out, c.TLS); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", c.Name, err)
	}
	if err := setBalancer(out, c); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", c.Name, err)
	}
	return out, setHealthChecks(out, c)
}

// discover says where the endpoints come from.
func discover(out *cluster.Cluster, c *ir.Cluster) {
	typ := cluster.Cluster_STATIC
	switch {
	case c.OriginalDestination:
		typ = cluster.Cluster_ORIGINAL_DST
		out.LbPolicy = cluster.Cluster_CLUSTER_PROVIDED
	case c.Endpoints != nil:
		typ = cluster.Cluster_EDS
		out.EdsClusterConfig = &cluster.Cluster_EdsClusterConfig{EdsConfig: adsSource()}
	default:
		if c.DNS {
			typ = cluster.Cluster_STRICT_DNS
			if !c.DNSIPv6 {
				out.DnsLookupFamily = cluster.Cluster_V4_ONLY
			}
		}
		out.LoadAssignment = loadAssignment(c.Name, c.Static)
		if c.Locality != nil {
			out.LoadAssignment = placedAssignment(c.Name, c.Static, c.Locality)
		}
	}
	out.ClusterDiscoveryType = &cluster.Cluster_Type{Type: typ}
}

func setHTTPOptions(out *cluster.Cluster, c *ir.Cluster) error {
	common := c.IdleTimeout != nil || c.MaxStreamDuration != nil || c.MaxConnectionDuration != nil
	if !c.HTTP1 && !c.HTTP2 {
		return nil // neither version: timeouts of HTTP mean nothing
	}
	o := &upstreams.HttpProtocolOptions{}
	explicit := &upstreams.HttpProtocolOptions_ExplicitHttpConfig{}
	if c.HTTP2 {
		explicit.ProtocolConfig = &upstreams.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
			Http2ProtocolOptions: &core.Http2ProtocolOptions{},
		}
	} else {
		explicit.ProtocolConfig = &upstreams.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
			HttpProtocolOptions: &core.Http1ProtocolOptions{},
		}
	}
	o.UpstreamProtocolOptions = &upstreams.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit}
	if common {
		o.CommonHttpProtocolOptions = &core.HttpProtocolOptions{
			IdleTimeout:           duration(c.IdleTimeout),
			MaxStreamDuration:     duration(c.MaxStreamDuration),
			MaxConnectionDuration: duration(c.MaxConnectionDuration),
		}
	}
	packed, err := pack(o)
	if err != nil {
		return err
	}
	out.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptionsKey: packed}
	return nil
}

func circuitBreakers(l *ir.ConnectionLimits) *cluster.CircuitBreakers {
	if l == nil {
		return nil
	}
	return &cluster.CircuitBreakers{Thresholds: []*cluster.CircuitBreakers_Thresholds{{
		Priority:           core.RoutingPriority_DEFAULT,
		MaxConnections:     uint32Value(l.MaxConnections),
		MaxConnectionPools: uint32Value(l.MaxConnectionPools),
		MaxPendingRequests: uint32Value(l.MaxPendingRequests),
		MaxRequests:        uint32Value(l.MaxRequests),
		MaxRetries:         uint32Value(l.MaxRetries),
		TrackRemaining:     true,
	}}}
}

// enforce is the percentage at which a detector acts: always, or never.
func enforce(on bool) *wrapperspb.UInt32Value {
	if on {
		return wrapperspb.UInt32(100)
	}
	return wrapperspb.UInt32(0)
}

func outlierDetection(o *ir.Outlier) *cluster.OutlierDetection {
	if o == nil {
		return nil
	}
	out := &cluster.OutlierDetection{
		Interval:           duration(o.Interval),
		BaseEjectionTime:   duration(o.BaseEjection),
		MaxEjectionPercent: uint32Value(o.MaxEjectionPercent),

		Consecutive_5Xx:                        uint32Value(o.TotalFailures),
		EnforcingConsecutive_5Xx:               enforce(o.TotalFailures != nil),
		ConsecutiveGatewayFailure:              uint32Value(o.GatewayFailures),
		EnforcingConsecutiveGatewayFailure:     enforce(o.GatewayFailures != nil),
		ConsecutiveLocalOriginFailure:          uint32Value(o.LocalFailures),
		EnforcingConsecutiveLocalOriginFailure: enforce(o.LocalFailures != nil),

		EnforcingSuccessRate:                  enforce(o.SuccessRate != nil),
		EnforcingLocalOriginSuccessRate:       enforce(o.SuccessRate != nil),
		EnforcingFailurePercentage:            enforce(o.FailurePercentage != nil),
		EnforcingFailurePercentageLocalOrigin: enforce(o.FailurePercentage != nil),
	}
	if o.SplitLocalErrors != nil {
		out.SplitExternalLocalOriginErrors = *o.SplitLocalErrors
	}
	if s := o.SuccessRate; s != nil {
		out.SuccessRateMinimumHosts = uint32Value(s.MinimumHosts)
		out.SuccessRateRequestVolume = uint32Value(s.RequestVolume)
		if s.StdevFactor != nil {
			out.SuccessRateStdevFactor = wrapperspb.UInt32(uint32(*s.StdevFactor * 1000))
		}
	}
	if f := o.FailurePercentage; f != nil {
		out.FailurePercentageMinimumHosts = uint32Value(f.MinimumHosts)
		out.FailurePercentageRequestVolume = uint32Value(f.RequestVolume)
		out.FailurePercentageThreshold = uint32Value(f.Threshold)
	}
	return out
}

// commonLB returns the cluster's common balancing block, made when needed.
func commonLB(out *cluster.Cluster) *cluster.Cluster_CommonLbConfig {
	if out.CommonLbConfig == nil {
		out.CommonLbConfig = &cluster.Cluster_CommonLbConfig{}
	}
	return out.CommonLbConfig
}

func setBalancer(out *cluster.Cluster, c *ir.Cluster) error {
	if c.PanicThreshold != nil {
		commonLB(out).HealthyPanicThreshold = &typev3.Percent{Value: float64(*c.PanicThreshold)}
	}
	switch {
	case c.LocalityWeighted:
		commonLB(out).LocalityConfigSpecifier = &cluster.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &cluster.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	case c.FailTrafficOnPanic:
		commonLB(out).LocalityConfigSpecifier = &cluster.Cluster_CommonLbConfig_ZoneAwareLbConfig_{
			ZoneAwareLbConfig: &cluster.Cluster_CommonLbConfig_ZoneAwareLbConfig{FailTrafficOnPanic: true},
		}
	}
	if c.Balancer == nil || c.OriginalDestination {
		return nil
	}
	return setLbPolicy(out, c.Balancer)
}
