package envoy

import (
	"encoding/hex"
	"fmt"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	eventsink "github.com/envoyproxy/go-control-plane/envoy/extensions/health_check/event_sinks/file/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/mesh/ir"
)

func setLbPolicy(out *cluster.Cluster, b *ir.Balancer) error {
	switch b.Type {
	case "", "RoundRobin":
	case "Random":
		out.LbPolicy = cluster.Cluster_RANDOM
	case "LeastRequest":
		out.LbPolicy = cluster.Cluster_LEAST_REQUEST
		c := &cluster.Cluster_LeastRequestLbConfig{ChoiceCount: uint32Value(b.ChoiceCount)}
		if b.ActiveRequestBias != nil {
			c.ActiveRequestBias = &core.RuntimeDouble{DefaultValue: *b.ActiveRequestBias}
		}
		out.LbConfig = &cluster.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: c}
	case "RingHash":
		out.LbPolicy = cluster.Cluster_RING_HASH
		c := &cluster.Cluster_RingHashLbConfig{MinimumRingSize: uint64Value(b.MinRing), MaximumRingSize: uint64Value(b.MaxRing)}
		if b.HashFunction == "MurmurHash2" {
			c.HashFunction = cluster.Cluster_RingHashLbConfig_MURMUR_HASH_2
		}
		out.LbConfig = &cluster.Cluster_RingHashLbConfig_{RingHashLbConfig: c}
	case "Maglev":
		out.LbPolicy = cluster.Cluster_MAGLEV
		out.LbConfig = &cluster.Cluster_MaglevLbConfig_{MaglevLbConfig: &cluster.Cluster_MaglevLbConfig{TableSize: uint64Value(b.TableSize)}}
	default:
		return fmt.Errorf("unknown load balancer %q", b.Type)
	}
	return nil
}

func uint64Value(n *uint32) *wrapperspb.UInt64Value {
	if n == nil {
		return nil
	}
	return wrapperspb.UInt64(uint64(*n))
}

// hashPolicy says what consistent hashing looks at.
func hashPolicy(h ir.HashPolicy) (*route.RouteAction_HashPolicy, error) {
	out := &route.RouteAction_HashPolicy{Terminal: h.Terminal}
	switch h.Type {
	case "Header":
		out.PolicySpecifier = &route.RouteAction_HashPolicy_Header_{Header: &route.RouteAction_HashPolicy_Header{HeaderName: h.Name}}
	case "Cookie":
		out.PolicySpecifier = &route.RouteAction_HashPolicy_Cookie_{
			Cookie: &route.RouteAction_HashPolicy_Cookie{Name: h.Name, Path: h.Path, Ttl: duration(h.TTL)},
		}
	case "Connection":
		out.PolicySpecifier = &route.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &route.RouteAction_HashPolicy_ConnectionProperties{SourceIp: h.SourceIP},
		}
	case "QueryParameter":
		out.PolicySpecifier = &route.RouteAction_HashPolicy_QueryParameter_{
			QueryParameter: &route.RouteAction_HashPolicy_QueryParameter{Name: h.Name},
		}
	case "FilterState":
		out.PolicySpecifier = &route.RouteAction_HashPolicy_FilterState_{FilterState: &route.RouteAction_HashPolicy_FilterState{Key: h.Name}}
	default:
		return nil, fmt.Errorf("unknown hash policy %q", h.Type)
	}
	return out, nil
}

func setHealthChecks(out *cluster.Cluster, c *ir.Cluster) error {
	for _, h := range c.HealthChecks {
		hc, err := healthCheck(h)
		if err != nil {
			return fmt.Errorf("cluster %q: health check: %w", c.Name, err)
		}
		out.HealthChecks = append(out.HealthChecks, hc)
	}
	return nil
}

func healthCheck(h ir.HealthCheck) (*core.HealthCheck, error) {
	out := &core.HealthCheck{
		Interval:           durationpb.New(h.Interval),
		Timeout:            durationpb.New(h.Timeout),
		HealthyThreshold:   wrapperspb.UInt32(h.HealthyThreshold),
		UnhealthyThreshold: wrapperspb.UInt32(h.UnhealthyThreshold),
		InitialJitter:      duration(h.InitialJitter),
		IntervalJitter:     duration(h.IntervalJitter),
		NoTrafficInterval:  duration(h.NoTraffic),
		ReuseConnection:    boolValue(h.ReuseConnection),
	}
	if h.IntervalJitterPercent != nil {
		out.IntervalJitterPercent = *h.IntervalJitterPercent
	}
	if h.AlwaysLogFailures != nil {
		out.AlwaysLogHealthCheckFailures = *h.AlwaysLogFailures
	}
	if h.EventLogPath != "" {
		packed, err := pack(&eventsink.HealthCheckEventFileSink{EventLogPath: h.EventLogPath})
		if err != nil {
			return nil, err
		}
		out.EventLogger = []*core.TypedExtensionConfig{{Name: "envoy.health_check.event_sinks.file", TypedConfig: packed}}
	}
	switch {
	case h.HTTP != nil:
		out.HealthChecker = &core.HealthCheck_HttpHealthCheck_{HttpHealthCheck: httpCheck(h.HTTP)}
	case h.GRPC != nil:
		out.HealthChecker = &core.HealthCheck_GrpcHealthCheck_{
			GrpcHealthCheck: &core.HealthCheck_GrpcHealthCheck{ServiceName: h.GRPC.Service, Authority: h.GRPC.Authority},
		}
	case h.TCP != nil:
		out.HealthChecker = &core.HealthCheck_TcpHealthCheck_{TcpHealthCheck: tcpCheck(h.TCP)}
	}
	return out, nil
}

func httpCheck(h *ir.HTTPCheck) *core.HealthCheck_HttpHealthCheck {
	out := &core.HealthCheck_HttpHealthCheck{Path: h.Path}
	if h.HTTP2 {
		out.CodecClientType = typev3.CodecClientType_HTTP2
	}
	if h.ClientTags != nil {
		out.RequestHeadersToAdd = append(out.RequestHeadersToAdd, headerOption(
			ir.Header{Name: tagsHeader, Value: tagsHeaderValue(h.ClientTags)}, core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD))
	}
	out.RequestHeadersToAdd = append(out.RequestHeadersToAdd, eachValue(h.Headers)...)
	for _, s := range h.Statuses {
		out.ExpectedStatuses = append(out.ExpectedStatuses, &typev3.Int64Range{Start: int64(s), End: int64(s) + 1})
	}
	return out
}

// tcpCheck leaves out payloads of no bytes, which Envoy does not take.
func tcpCheck(t *ir.TCPCheck) *core.HealthCheck_TcpHealthCheck {
	payload := func(s string) *core.HealthCheck_Payload {
		return &core.HealthCheck_Payload{Payload: &core.HealthCheck_Payload_Text{Text: hex.EncodeToString([]byte(s))}}
	}
	out := &core.HealthCheck_TcpHealthCheck{}
	if t.Send != "" {
		out.Send = payload(t.Send)
	}
	for _, r := range t.Receive {
		if r != "" {
			out.Receive = append(out.Receive, payload(r))
		}
	}
	return out
}
