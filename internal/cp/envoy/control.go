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
	injector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	codec "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	credentials "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
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
	tokenSecret   = "dataplane_token"
	fileMetadata  = "envoy.grpc_credentials.file_based_metadata"
)

// A proxy whose stream broke tries again after a random time up to reconnectBase,
// and doubles it up to reconnectMax. Envoy's own limit of 30 s would leave proxies
// that long without changes after a control plane was away for a while.
const (
	reconnectBase = 500 * time.Millisecond
	reconnectMax  = 5 * time.Second
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
	// before each connection, so that it can be replaced; with TokenSecret once,
	// when it starts. Only Token stands in the document itself.
	Token, TokenFile, TokenSecret string
	// ReconnectSoon bounds the pauses between attempts to connect.
	ReconnectSoon bool
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
	if c.ReconnectSoon {
		g.GetEnvoyGrpc().RetryPolicy = &core.RetryPolicy{RetryBackOff: &core.BackoffStrategy{
			BaseInterval: durationpb.New(reconnectBase), MaxInterval: durationpb.New(reconnectMax),
		}}
	}
	if c.Token != "" && c.TokenSecret == "" {
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
	if f := p.Control.TokenSecret; f != "" {
		out.Secrets = append(out.Secrets, &tls.Secret{Name: tokenSecret, Type: &tls.Secret_GenericSecret{
			GenericSecret: &tls.GenericSecret{Secret: &core.DataSource{Specifier: &core.DataSource_Filename{Filename: f}}},
		}})
	}
	ads, err := p.Control.cluster()
	if err != nil {
		return nil, err
	}
	out.Clusters = append(out.Clusters, ads)
	return out, nil
}

// helperCluster speaks HTTP/2 to one place, through filters if there are any, and
// notices when it is gone.
func helperCluster(name string, timeout time.Duration, at *core.Address, filters ...*hcm.HttpFilter) (*cluster.Cluster, error) {
	packed, err := pack(&upstreams.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreams.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreams.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreams.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &core.Http2ProtocolOptions{},
				},
			},
		},
		HttpFilters: filters,
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

// tokenFilters put the token of the secret into the header authorization.
func tokenFilters() ([]*hcm.HttpFilter, error) {
	generic, err := pack(&credentials.Generic{Credential: &tls.SdsSecretConfig{Name: tokenSecret}})
	if err != nil {
		return nil, err
	}
	injector, err := pack(&injector.CredentialInjector{
		Overwrite:  true,
		Credential: &core.TypedExtensionConfig{Name: "envoy.http.injected_credentials.generic", TypedConfig: generic},
	})
	if err != nil {
		return nil, err
	}
	codec, err := pack(&codec.UpstreamCodec{})
	if err != nil {
		return nil, err
	}
	return []*hcm.HttpFilter{
		{Name: "envoy.filters.http.credential_injector", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: injector}},
		{Name: "envoy.filters.http.upstream_codec", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: codec}},
	}, nil
}

// cluster leads to the control plane.
func (c ControlPlane) cluster() (*cluster.Cluster, error) {
	var filters []*hcm.HttpFilter
	if c.TokenSecret != "" {
		var err error
		if filters, err = tokenFilters(); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
	}
	out, err := helperCluster(adsCluster, c.ConnectTimeout, socketAddress(c.Host, c.Port), filters...)
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
