package envoy

import (
	"fmt"
	"net"
	"strconv"
	"time"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	credential "github.com/envoyproxy/go-control-plane/envoy/config/grpc_credential/v3"
	overload "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connections "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heap "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreams "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/mesh/ir"
)

const (
	adsCluster    = "ads_cluster"
	logCluster    = "access_log_sink"
	controlSecret = "cp_validation_ctx"
	fileMetadata  = "envoy.grpc_credentials.file_based_metadata"
)

// ControlPlane is where a proxy gets its configuration from.
type ControlPlane struct {
	Host string
	Port uint32
	// IPv4Only: the control plane knows that the name has no address of IPv6.
	IPv4Only       bool
	ConnectTimeout time.Duration
	// CA are the authorities of the control plane's certificate, PEM.
	CA []byte
	// Token is sent as it is. With TokenFile the proxy reads it from there
	// before each connection, so that it can be replaced.
	Token, TokenFile string
}

// apiSource names the stream to the control plane.
func (c ControlPlane) apiSource() (*core.ApiConfigSource, error) {
	g, err := c.grpcService()
	if err != nil {
		return nil, err
	}
	return &core.ApiConfigSource{
		ApiType:                   core.ApiConfigSource_GRPC,
		TransportApiVersion:       core.ApiVersion_V3,
		SetNodeOnFirstMessageOnly: true,
		GrpcServices:              []*core.GrpcService{g},
	}, nil
}

func (c ControlPlane) grpcService() (*core.GrpcService, error) {
	if c.TokenFile != "" {
		return c.googleGRPC()
	}
	g := envoyGRPC(adsCluster)
	if c.Token != "" {
		g.InitialMetadata = []*core.HeaderValue{{Key: "authorization", Value: c.Token}}
	}
	return g, nil
}

// googleGRPC is the client that can read its token from a file.
func (c ControlPlane) googleGRPC() (*core.GrpcService, error) {
	packed, err := pack(&credential.FileBasedMetadataConfig{
		SecretData: &core.DataSource{Specifier: &core.DataSource_Filename{Filename: c.TokenFile}},
	})
	if err != nil {
		return nil, fmt.Errorf("token file: %w", err)
	}
	num := func(n int64) *core.GrpcService_GoogleGrpc_ChannelArgs_Value {
		return &core.GrpcService_GoogleGrpc_ChannelArgs_Value{
			ValueSpecifier: &core.GrpcService_GoogleGrpc_ChannelArgs_Value_IntValue{IntValue: n},
		}
	}
	return &core.GrpcService{TargetSpecifier: &core.GrpcService_GoogleGrpc_{GoogleGrpc: &core.GrpcService_GoogleGrpc{
		TargetUri:              net.JoinHostPort(c.Host, strconv.FormatUint(uint64(c.Port), 10)),
		StatPrefix:             "ads",
		CredentialsFactoryName: fileMetadata,
		ChannelCredentials: &core.GrpcService_GoogleGrpc_ChannelCredentials{
			CredentialSpecifier: &core.GrpcService_GoogleGrpc_ChannelCredentials_SslCredentials{
				SslCredentials: &core.GrpcService_GoogleGrpc_SslCredentials{RootCerts: inlineBytes(c.CA)},
			},
		},
		CallCredentials: []*core.GrpcService_GoogleGrpc_CallCredentials{{
			CredentialSpecifier: &core.GrpcService_GoogleGrpc_CallCredentials_FromPlugin{
				FromPlugin: &core.GrpcService_GoogleGrpc_CallCredentials_MetadataCredentialsFromPlugin{
					Name: fileMetadata,
					ConfigType: &core.GrpcService_GoogleGrpc_CallCredentials_MetadataCredentialsFromPlugin_TypedConfig{
						TypedConfig: packed,
					},
				},
			},
		}},
		ChannelArgs: &core.GrpcService_GoogleGrpc_ChannelArgs{Args: map[string]*core.GrpcService_GoogleGrpc_ChannelArgs_Value{
			"grpc.keepalive_time_ms":            num(keepaliveTime.Milliseconds()),
			"grpc.keepalive_timeout_ms":         num(30_000),
			"grpc.http2.max_pings_without_data": num(0),
		}},
	}}}, nil
}

// staticResources are what the proxy needs before it knows anything else.
func staticResources(p BootstrapParams) (*bootstrap.Bootstrap_StaticResources, error) {
	out := &bootstrap.Bootstrap_StaticResources{Secrets: []*tls.Secret{{
		Name: controlSecret,
		Type: &tls.Secret_ValidationContext{ValidationContext: &tls.CertificateValidationContext{
			TrustedCa:                 inlineBytes(p.Control.CA),
			MatchTypedSubjectAltNames: dnsOrIP(exact(p.Control.Host)),
		}},
	}}}
	proxy := &ir.Proxy{ID: ir.ProxyID{Mesh: p.Mesh, Name: p.Name}, WorkDir: p.WorkDir}
	sink, err := helperCluster(logCluster, p.Control.ConnectTimeout, pipe(socketPath(proxy, "kuma-al")))
	if err != nil {
		return nil, err
	}
	out.Clusters = append(out.Clusters, sink)
	if p.Control.TokenFile != "" {
		return out, nil // the other client makes its own connections
	}
	ads, err := p.Control.cluster()
	if err != nil {
		return nil, err
	}
	out.Clusters = append(out.Clusters, ads)
	return out, nil
}

// helperCluster speaks HTTP/2 to one place and notices when it is gone.
func helperCluster(name string, timeout time.Duration, at *core.Address) (*cluster.Cluster, error) {
	packed, err := pack(&upstreams.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreams.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreams.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreams.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &core.Http2ProtocolOptions{},
				},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	seconds := wrapperspb.UInt32(uint32(keepaliveTime.Seconds()))
	c := utilityCluster(name, at)
	c.ConnectTimeout = durationpb.New(timeout)
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptionsKey: packed}
	c.UpstreamConnectionOptions = &cluster.UpstreamConnectionOptions{TcpKeepalive: &core.TcpKeepalive{
		KeepaliveProbes: wrapperspb.UInt32(3), KeepaliveTime: seconds, KeepaliveInterval: seconds,
	}}
	return c, nil
}

// cluster leads to the control plane.
func (c ControlPlane) cluster() (*cluster.Cluster, error) {
	out, err := helperCluster(adsCluster, c.ConnectTimeout, socketAddress(c.Host, c.Port))
	if err != nil {
		return nil, err
	}
	if !isIP(c.Host) {
		out.ClusterDiscoveryType = &cluster.Cluster_Type{Type: cluster.Cluster_STRICT_DNS}
		if c.IPv4Only {
			out.DnsLookupFamily = cluster.Cluster_V4_ONLY
		}
	}
	out.TransportSocket, err = socketOf(&tls.UpstreamTlsContext{
		Sni: c.Host,
		CommonTlsContext: &tls.CommonTlsContext{
			TlsParams: &tls.TlsParameters{TlsMinimumProtocolVersion: tls.TlsParameters_TLSv1_2},
			ValidationContextType: &tls.CommonTlsContext_ValidationContextSdsSecretConfig{
				ValidationContextSdsSecretConfig: &tls.SdsSecretConfig{Name: controlSecret},
			},
		},
	})
	return out, err
}

// defaultMaxConnections bounds connections to builtin gateways.
const defaultMaxConnections = 50_000

const heapMonitor = "envoy.resource_monitors.fixed_heap"

// overloadManager keeps a gateway alive under more load than it can bear.
func overloadManager(p BootstrapParams) (*overload.OverloadManager, error) {
	out := &overload.OverloadManager{RefreshInterval: durationpb.New(250 * time.Millisecond)}
	monitor := func(name string, m message) error {
		packed, err := pack(m)
		if err != nil {
			return fmt.Errorf("overload monitor %s: %w", name, err)
		}
		out.ResourceMonitors = append(out.ResourceMonitors, &overload.ResourceMonitor{
			Name: name, ConfigType: &overload.ResourceMonitor_TypedConfig{TypedConfig: packed},
		})
		return nil
	}
	limit := p.MaxConnections
	if limit == 0 {
		limit = defaultMaxConnections
	}
	err := monitor("envoy.resource_monitors.global_downstream_max_connections",
		&connections.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: int64(limit)})
	if err != nil || p.MaxHeapBytes == 0 {
		return out, err
	}
	if err := monitor(heapMonitor, &heap.FixedHeapConfig{MaxHeapSizeBytes: p.MaxHeapBytes}); err != nil {
		return nil, err
	}
	for _, a := range []struct {
		name  string
		share float64
	}{{"envoy.overload_actions.shrink_heap", 0.95}, {"envoy.overload_actions.stop_accepting_requests", 0.98}} {
		out.Actions = append(out.Actions, &overload.OverloadAction{Name: a.name, Triggers: []*overload.Trigger{{
			Name:         heapMonitor,
			TriggerOneof: &overload.Trigger_Threshold{Threshold: &overload.ThresholdTrigger{Value: a.share}},
		}}})
	}
	return out, nil
}
