package envoy

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	trace "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	filelog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	grpclog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	otellog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tracingtag "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	otlp "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

// socketPathLimit is what fits into the address of a Unix socket, with ".sock".
const socketPathLimit = 98

// socketPath is where a helper of kuma-dp listens: purpose and proxy, cut to
// what fits.
func socketPath(p *ir.Proxy, purpose string) string {
	dir := p.WorkDir
	if dir != "" {
		dir += "/"
	}
	path := dir + purpose + "-" + p.ID.Name + "-" + p.ID.Mesh
	if len(path) > socketPathLimit {
		path = path[:socketPathLimit]
	}
	return path + ".sock"
}

// logSocket is where kuma-dp takes lines of access logs that go over TCP.
func logSocket(p *ir.Proxy) string { return socketPath(p, "kuma-al") }

// accessLogs returns loggers; socket is that of kuma-dp.
func accessLogs(socket string, logs []ir.AccessLog) ([]*accesslog.AccessLog, error) {
	var out []*accesslog.AccessLog
	for _, l := range logs {
		name, m := "envoy.access_loggers.file", message(nil)
		switch {
		case l.OTel != "":
			name, m = "envoy.access_loggers.open_telemetry", otelLog(l)
		case l.TCP != "":
			m = tcpLog(socket, l)
		default:
			m = fileLog(l)
		}
		packed, err := pack(m)
		if err != nil {
			return nil, fmt.Errorf("access log: %w", err)
		}
		out = append(out, &accesslog.AccessLog{Name: name, ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: packed}})
	}
	return out, nil
}

func jsonFields(kv []ir.KeyValue) *structpb.Struct {
	s := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(kv))}
	for _, e := range kv {
		s.Fields[e.Key] = structpb.NewStringValue(e.Value)
	}
	return s
}

func fileLog(l ir.AccessLog) message {
	format := &core.SubstitutionFormatString{OmitEmptyValues: l.OmitEmpty}
	if l.JSON != nil {
		format.Format = &core.SubstitutionFormatString_JsonFormat{JsonFormat: jsonFields(l.JSON)}
	} else {
		format.Format = &core.SubstitutionFormatString_TextFormatSource{TextFormatSource: inlineString(l.Format)}
	}
	return &filelog.FileAccessLog{Path: l.File, AccessLogFormat: &filelog.FileAccessLog_LogFormat{LogFormat: format}}
}

// tcpLog hands lines to kuma-dp, which sends them to the address.
func tcpLog(socket string, l ir.AccessLog) message {
	msg := structpb.NewStringValue(l.Format)
	if l.JSON != nil {
		msg = structpb.NewStructValue(jsonFields(l.JSON))
	}
	line := &structpb.Struct{Fields: map[string]*structpb.Value{"address": structpb.NewStringValue(l.TCP), "message": msg}}
	return &filelog.FileAccessLog{
		Path: socket,
		AccessLogFormat: &filelog.FileAccessLog_LogFormat{LogFormat: &core.SubstitutionFormatString{
			Format:          &core.SubstitutionFormatString_JsonFormat{JsonFormat: line},
			OmitEmptyValues: l.OmitEmpty,
		}},
	}
}

func inlineString(s string) *core.DataSource {
	return &core.DataSource{Specifier: &core.DataSource_InlineString{InlineString: s}}
}

func stringValue(s string) *otlp.AnyValue {
	return &otlp.AnyValue{Value: &otlp.AnyValue_StringValue{StringValue: s}}
}

func otelLog(l ir.AccessLog) message {
	out := &otellog.OpenTelemetryAccessLogConfig{
		CommonConfig: &grpclog.CommonGrpcAccessLogConfig{
			LogName:             "MeshAccessLog",
			TransportApiVersion: core.ApiVersion_V3,
			GrpcService:         envoyGRPC(l.OTel),
		},
		Body:       otelBody(l),
		Attributes: &otlp.KeyValueList{},
	}
	for _, a := range l.Attributes {
		out.Attributes.Values = append(out.Attributes.Values, &otlp.KeyValue{Key: a.Key, Value: stringValue(a.Value)})
	}
	return out
}

// otelBody is the user's body if it is a value of OpenTelemetry, else text.
func otelBody(l ir.AccessLog) *otlp.AnyValue {
	if len(l.Body) == 0 {
		return stringValue(l.Format)
	}
	body := &otlp.AnyValue{}
	if err := protojson.Unmarshal(l.Body, body); err == nil {
		if body.Value != nil {
			textsOnly(body)
		}
		return body
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(l.Body, &object) == nil {
		return stringValue(l.Format)
	}
	return stringValue(string(l.Body))
}

// textsOnly makes texts of numbers and the like, which Envoy does not take in
// log records.
func textsOnly(v *otlp.AnyValue) {
	text := func(s string) { v.Value = stringValue(s).Value }
	switch x := v.Value.(type) {
	case *otlp.AnyValue_BoolValue:
		text(strconv.FormatBool(x.BoolValue))
	case *otlp.AnyValue_IntValue:
		text(strconv.FormatInt(x.IntValue, 10))
	case *otlp.AnyValue_DoubleValue:
		text(strconv.FormatFloat(x.DoubleValue, 'g', -1, 64))
	case *otlp.AnyValue_BytesValue:
		text(base64.StdEncoding.EncodeToString(x.BytesValue))
	case *otlp.AnyValue_ArrayValue:
		for _, e := range x.ArrayValue.GetValues() {
			textsOnly(e)
		}
	case *otlp.AnyValue_KvlistValue:
		for _, kv := range x.KvlistValue.GetValues() {
			if kv.Value == nil {
				kv.Value = &otlp.AnyValue{}
			}
			textsOnly(kv.Value)
		}
	case nil:
		text("")
	}
}

func envoyGRPC(cluster string) *core.GrpcService {
	return &core.GrpcService{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{
		EnvoyGrpc: &core.GrpcService_EnvoyGrpc{ClusterName: cluster},
	}}
}

func percent(p *ir.Percent) *typev3.Percent {
	if p == nil {
		return nil
	}
	return &typev3.Percent{Value: float64(*p)}
}

func tracing(t *ir.Tracing) (*hcm.HttpConnectionManager_Tracing, error) {
	if t == nil {
		return nil, nil
	}
	name, m := tracer(t)
	if m == nil {
		return nil, fmt.Errorf("unknown tracing provider %q", t.Provider)
	}
	packed, err := pack(m)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	out := &hcm.HttpConnectionManager_Tracing{
		OverallSampling:   percent(t.Overall),
		ClientSampling:    percent(t.Client),
		RandomSampling:    percent(t.Random),
		SpawnUpstreamSpan: wrapperspb.Bool(t.SpawnUpstreamSpan),
		Provider:          &trace.Tracing_Http{Name: name, ConfigType: &trace.Tracing_Http_TypedConfig{TypedConfig: packed}},
	}
	for _, tag := range t.Tags {
		out.CustomTags = append(out.CustomTags, customTag(tag))
	}
	return out, nil
}

// tracer returns the provider's name and settings.
func tracer(t *ir.Tracing) (string, message) {
	switch t.Provider {
	case "Zipkin":
		z := &trace.ZipkinConfig{
			CollectorCluster:         t.Backend,
			CollectorEndpoint:        cmp.Or(t.Path, "/"), // Envoy wants one
			CollectorHostname:        t.Hostname,
			TraceId_128Bit:           t.TraceID128,
			SharedSpanContext:        wrapperspb.Bool(t.SharedSpanContext),
			SplitSpansForRequest:     t.SplitSpans,
			CollectorEndpointVersion: trace.ZipkinConfig_HTTP_JSON,
		}
		if t.APIVersion == "httpProto" {
			z.CollectorEndpointVersion = trace.ZipkinConfig_HTTP_PROTO
		}
		return "envoy.tracers.zipkin", z
	case "Datadog":
		return "envoy.tracers.datadog", &trace.DatadogConfig{CollectorCluster: t.Backend, ServiceName: t.Service}
	case "OpenTelemetry":
		return "envoy.tracers.opentelemetry", &trace.OpenTelemetryConfig{GrpcService: envoyGRPC(t.Backend), ServiceName: t.Service}
	}
	return "", nil
}

func customTag(t ir.TraceTag) *tracingtag.CustomTag {
	if t.Header != "" {
		return &tracingtag.CustomTag{Tag: t.Name, Type: &tracingtag.CustomTag_RequestHeader{
			RequestHeader: &tracingtag.CustomTag_Header{Name: t.Header, DefaultValue: t.Default},
		}}
	}
	return &tracingtag.CustomTag{Tag: t.Name, Type: &tracingtag.CustomTag_Literal_{
		Literal: &tracingtag.CustomTag_Literal{Value: t.Literal},
	}}
}

// addBackends adds the clusters of collectors.
func addBackends(l *list, p *ir.Proxy) error {
	for _, b := range p.Backends {
		c, err := backendCluster(p, b)
		if err != nil {
			return fmt.Errorf("collector %q: %w", b.Name, err)
		}
		l.add(b.Origin, xds.Cluster, b.Name, c)
	}
	return nil
}

func backendCluster(p *ir.Proxy, b ir.Backend) (*cluster.Cluster, error) {
	timeout := utilityTimeout
	c := &ir.Cluster{
		Name: b.Name, ConnectTimeout: &timeout, HTTP2: b.HTTP2,
		DNS: !isIP(b.Host), DNSIPv6: p.IPv6,
		Static: []ir.Endpoint{{Address: b.Host, Port: b.Port}},
	}
	if b.TLS {
		c.TLS = &ir.ClientTLS{External: &ir.ExternalTLS{SNI: b.Host, AllowRenegotiation: true}}
	}
	return clusterOf(c)
}
