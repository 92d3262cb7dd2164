package envoy

import (
	"fmt"

	kafka "github.com/envoyproxy/go-control-plane/contrib/envoy/extensions/filters/network/kafka_broker/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	locallimit "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/local_ratelimit/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/mesh/ir"
)

const (
	filterTCPProxy = "envoy.filters.network.tcp_proxy"
	filterKafka    = "envoy.filters.network.kafka_broker"
	// filterTCPLimit is named by its type, as clients of 2.10's patches expect.
	filterTCPLimit = "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit"
)

// side is what inbound and outbound listeners differ in.
type side struct {
	inbound bool
	// stat prefixes statistics; route and host name the route configuration and
	// its virtual host.
	stat, route, host string
	cidrs             []string
	// logs is the socket for access logs over TCP.
	logs string
	// access is decided per request, and denied is the log of those denied.
	access *ir.Access
	denied *accesslog.AccessLog
}

// networkFilters returns the filters of a chain, apart from access control of
// connections.
func networkFilters(l *ir.Listener, s side) ([]*listener.Filter, error) {
	var out []*listener.Filter
	if l.ConnectionRate != nil {
		f, err := connectionLimit(l.ConnectionRate)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	if l.HTTP != nil {
		f, err := httpManager(l, s)
		if err != nil {
			return nil, err
		}
		return append(out, f), nil
	}
	if l.Kafka {
		f, err := networkFilter(filterKafka, &kafka.KafkaBroker{StatPrefix: s.stat})
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	if l.TCP == nil {
		return nil, fmt.Errorf("port %d has neither HTTP nor TCP handling", l.Port)
	}
	if len(l.TCP.Splits) == 0 {
		return out, nil // nobody may connect: without a last filter connections are closed
	}
	f, err := tcpProxy(l, s)
	if err != nil {
		return nil, err
	}
	return append(out, f), nil
}

func tcpProxy(l *ir.Listener, s side) (*listener.Filter, error) {
	t := &tcpproxy.TcpProxy{StatPrefix: s.stat, IdleTimeout: duration(l.TCP.IdleTimeout)}
	if n := l.TCP.MaxConnectAttempts; n > 0 {
		t.MaxConnectAttempts = wrapperspb.UInt32(n)
	}
	setTCPTarget(t, l.TCP.Splits)
	if len(l.TCP.Subset) > 0 {
		t.MetadataMatch = &core.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.lb": tagStruct(l.TCP.Subset)}}
	}
	logs, err := accessLogs(s.logs, l.AccessLogs)
	if err != nil {
		return nil, err
	}
	t.AccessLog = logs
	return networkFilter(filterTCPProxy, t)
}

func setTCPTarget(t *tcpproxy.TcpProxy, splits []ir.Split) {
	if len(splits) == 1 {
		t.ClusterSpecifier = &tcpproxy.TcpProxy_Cluster{Cluster: splits[0].Cluster}
		return
	}
	w := &tcpproxy.TcpProxy_WeightedCluster{}
	for _, s := range splits {
		w.Clusters = append(w.Clusters, &tcpproxy.TcpProxy_WeightedCluster_ClusterWeight{Name: s.Cluster, Weight: s.Weight})
	}
	t.ClusterSpecifier = &tcpproxy.TcpProxy_WeightedClusters{WeightedClusters: w}
}

// plainTCP is a proxy to one cluster without anything around it.
func plainTCP(stat, cluster string) (*listener.Filter, error) {
	return networkFilter(filterTCPProxy, &tcpproxy.TcpProxy{
		StatPrefix:       stat,
		ClusterSpecifier: &tcpproxy.TcpProxy_Cluster{Cluster: cluster},
	})
}

func connectionLimit(r *ir.Rate) (*listener.Filter, error) {
	return networkFilter(filterTCPLimit, &locallimit.LocalRateLimit{
		StatPrefix:  "tcp_rate_limit",
		TokenBucket: tokenBucket(*r),
	})
}

// LacksKafka tells whether a node lists its extensions and the Kafka filter is
// not among them, as with released Envoys. It would refuse listeners that have it.
func LacksKafka(n *core.Node) bool {
	for _, e := range n.GetExtensions() {
		if e.GetName() == filterKafka {
			return false
		}
	}
	return len(n.GetExtensions()) > 0
}
