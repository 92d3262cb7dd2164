package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// otlpReceiver is an OpenTelemetry collector of logs and spans.
type otlpReceiver struct {
	port  int
	mu    sync.Mutex
	logs  []*logspb.LogRecord
	spans []*tracepb.Span
}

func startOTLP(t testing.TB) *otlpReceiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &otlpReceiver{port: l.Addr().(*net.TCPAddr).Port}
	s := grpc.NewServer()
	for name, export := range map[string]func(func(any) error) error{
		"opentelemetry.proto.collector.logs.v1.LogsService":   c.exportLogs,
		"opentelemetry.proto.collector.trace.v1.TraceService": c.exportSpans,
	} {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: name, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
			MethodName: "Export",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				return &emptypb.Empty{}, export(decode)
			},
		}}}, c)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return c
}

func (c *otlpReceiver) exportLogs(decode func(any) error) error {
	m := &logspb.LogsData{} // the same on the wire as the request
	if err := decode(m); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range m.GetResourceLogs() {
		for _, s := range r.GetScopeLogs() {
			c.logs = append(c.logs, s.GetLogRecords()...)
		}
	}
	return nil
}

func (c *otlpReceiver) exportSpans(decode func(any) error) error {
	m := &tracepb.TracesData{}
	if err := decode(m); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range m.GetResourceSpans() {
		for _, s := range r.GetScopeSpans() {
			c.spans = append(c.spans, s.GetSpans()...)
		}
	}
	return nil
}

func attribute(list []*commonpb.KeyValue, key string) string {
	for _, a := range list {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// accessLogs wants a file, the address of a TCP server and that of a collector.
const accessLogs = `
type: MeshAccessLog
name: logs
spec:
  targetRef: {kind: MeshSubset, tags: {kuma.io/service: client}}
  to:
  - targetRef: {kind: Mesh}
    default:
      backends:
      - type: File
        file:
          path: %s
          format: {type: Plain, plain: 'plain %%KUMA_MESH%% %%KUMA_SOURCE_SERVICE%%>%%KUMA_DESTINATION_SERVICE%% %%KUMA_TRAFFIC_DIRECTION%% %%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%% %%REQ(:PATH)%% %%RESPONSE_CODE%%'}
      - type: Tcp
        tcp:
          address: %s
          format: {type: Json, json: [{key: path, value: '%%REQ(:PATH)%%'}, {key: none, value: '%%REQ(x-none)%%'}, {key: to, value: '%%KUMA_DESTINATION_SERVICE%%'}], omitEmptyValues: true}
  - targetRef: {kind: MeshService, name: quiet}
    default: {backends: []}
---
type: MeshAccessLog
name: received
spec:
  targetRef: {kind: MeshSubset, tags: {kuma.io/service: web}}
  rules:
  - default:
      backends:
      - type: OpenTelemetry
        openTelemetry:
          endpoint: %s
          body: {kvlistValue: {values: [{key: path, value: {stringValue: '%%REQ(:PATH)%%'}}]}}
          attributes: [{key: mesh, value: '%%KUMA_MESH%%'}, {key: direction, value: '%%KUMA_TRAFFIC_DIRECTION%%'}]
`

// MeshAccessLog writes lines to a file, to a TCP server by way of kuma-dp, and to
// an OpenTelemetry collector; an empty list ends it for one service.
func testAccessLog(t *testing.T, m *policyMesh) {
	file, sink, collector := filepath.Join(t.TempDir(), "access.log"), startLines(t), startOTLP(t)
	m.server("web-1", "web", "http", app(t, "web"), nil)
	m.server("quiet-1", "quiet", "http", app(t, "quiet"), nil)
	c := m.caller("client", "web", "quiet")
	m.apply(fmt.Sprintf(accessLogs, file, hostport(sink.port), hostport(collector.port)))
	m.await("lines are written to the file", func() error {
		c.get("web", "/in-file")
		c.get("quiet", "/not-in-file")
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return contains(string(b), "plain accesslog client>web OUTBOUND 127.0.0.1 /in-file 200\n")
	})
	m.await("lines arrive over TCP", func() error {
		for line := range strings.Lines(sink.got()) {
			var got map[string]any
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				return fmt.Errorf("%w in %q", err, line)
			}
			if len(got) == 2 && got["path"] == "/in-file" && got["to"] == "web" {
				return nil
			}
		}
		return fmt.Errorf("got %q", sink.got())
	})
	m.await("records arrive at the collector", func() error {
		c.get("web", "/in-file")
		collector.mu.Lock()
		defer collector.mu.Unlock()
		for _, r := range collector.logs {
			path := attribute(r.GetBody().GetKvlistValue().GetValues(), "path")
			if path == "/in-file" && attribute(r.GetAttributes(), "mesh") == "accesslog" && attribute(r.GetAttributes(), "direction") == "INBOUND" {
				return nil
			}
		}
		return fmt.Errorf("%d records", len(collector.logs))
	})
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if all := string(b) + sink.got(); strings.Contains(all, "not-in-file") {
		t.Errorf("calls of the service with an empty list are logged: %q", all)
	}
}

// spanServer takes what is posted by tracers of Zipkin and Datadog.
type spanServer struct {
	port int
	mu   sync.Mutex
	got  map[string][]string // path → bodies
}

func startSpanServer(t testing.TB) *spanServer {
	t.Helper()
	s := &spanServer{got: map[string][]string{}}
	s.port = serve(t, "127.0.0.1", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.got[r.URL.Path] = append(s.got[r.URL.Path], string(b))
	}))
	return s
}

func (s *spanServer) at(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.got[path], "\n")
}

// MeshTrace sends spans of both proxies to Zipkin, Datadog's agent, or an
// OpenTelemetry collector, with tags; nothing is sent where it samples nothing.
func testTrace(t *testing.T, m *policyMesh) {
	spans, collector := startSpanServer(t), startOTLP(t)
	m.server("web-1", "web", "http", app(t, "web"), nil)
	c := m.caller("client", "web")
	trace := func(conf string) {
		t.Helper()
		m.apply("{type: MeshTrace, name: spans, spec: {targetRef: {kind: Mesh}, default: {" + conf + "}}}")
	}
	call := func(path string) {
		for range 5 {
			c.get("web", path, "x-shop", "books")
		}
	}
	trace(fmt.Sprintf(`backends: [{type: Zipkin, zipkin: {url: 'http://%s/api/v2/spans', traceId128bit: true}}], tags: [{name: shop, header: {name: x-shop}}, {name: team, literal: red}]`, hostport(spans.port)))
	m.await("spans arrive at Zipkin's path", func() error {
		call("/zipkin")
		got := spans.at("/api/v2/spans")
		return contains(got, `"kind":"CLIENT"`, `"kind":"SERVER"`, "/zipkin", `"shop":"books"`, `"team":"red"`)
	})
	for line := range strings.Lines(spans.at("/api/v2/spans")) {
		var list []struct{ TraceID string }
		if err := json.Unmarshal([]byte(line), &list); err != nil || len(list) == 0 || len(list[0].TraceID) != 32 {
			t.Errorf("spans without a 128 bit trace id: %q, %v", line, err)
		}
	}
	trace(fmt.Sprintf(`backends: [{type: Zipkin, zipkin: {url: 'http://%s'}}]`, hostport(spans.port)))
	m.await("spans arrive at a URL without path", func() error {
		call("/rootless")
		return contains(spans.at("/"), "/rootless")
	})
	trace(fmt.Sprintf(`backends: [{type: Datadog, datadog: {url: 'http://%s', splitService: true}}]`, hostport(spans.port)))
	m.await("spans arrive at Datadog's agent", func() error {
		call("/datadog")
		return contains(spans.at("/v0.4/traces"), "client_OUTBOUND_web", "web_INBOUND", "/datadog")
	})
	trace(fmt.Sprintf(`backends: [{type: OpenTelemetry, openTelemetry: {endpoint: '%s'}}], tags: [{name: team, literal: red}]`, hostport(collector.port)))
	m.await("spans arrive at the collector", func() error {
		call("/otlp")
		collector.mu.Lock()
		defer collector.mu.Unlock()
		kinds := map[tracepb.Span_SpanKind]bool{}
		for _, s := range collector.spans {
			if attribute(s.GetAttributes(), "team") == "red" && strings.HasSuffix(attribute(s.GetAttributes(), "http.url"), "/otlp") {
				kinds[s.GetKind()] = true
			}
		}
		if !kinds[tracepb.Span_SPAN_KIND_CLIENT] || !kinds[tracepb.Span_SPAN_KIND_SERVER] {
			return fmt.Errorf("%d spans, of kinds %v", len(collector.spans), kinds)
		}
		return nil
	})
	trace(fmt.Sprintf(`sampling: {overall: 0}, backends: [{type: Zipkin, zipkin: {url: 'http://%s/none'}}]`, hostport(spans.port)))
	m.await("both proxies use the last policy", func() error { return contains(c.config(t), "/none") })
	call("/none")
	if got := spans.at("/none"); got != "" {
		t.Errorf("spans are sent, though none are sampled: %q", got)
	}
}

// MeshMetric chooses metrics by profiles, exclusions and inclusions; metrics of
// applications are not filtered.
func testMetricProfiles(t *testing.T, m *policyMesh) {
	exporter := serve(t, "127.0.0.1", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# TYPE shop_orders counter\nshop_orders 3\n")
	}))
	scrape := ports(t, 1)[0]
	d := m.cp.startDP(t, sidecar{
		mesh: m.name, name: "web-1", service: "web", protocol: "http", app: app(t, "web"),
		env: []string{"KUMA_DATAPLANE_RUNTIME_DYNAMIC_CONFIGURATION_REFRESH_INTERVAL=200ms"},
	})
	if _, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", d.inbound)); err != nil { // unused metrics are left out
		t.Fatal(err)
	}
	for _, c := range []struct {
		sidecar  string
		yes, not []string
	}{
		{"{}", []string{"envoy_server_uptime", "envoy_cluster_upstream_rq"}, []string{"envoy_listener_manager_listener_added", "envoy_cluster_upstream_rq_retry"}},
		{"{profiles: {appendProfiles: [{name: All}]}}", []string{"envoy_server_uptime", "envoy_listener_manager_listener_added"}, nil},
		{"{profiles: {appendProfiles: [{name: None}]}}", nil, []string{"envoy_server_uptime", "envoy_cluster_upstream_rq"}},
		{
			"{profiles: {appendProfiles: [{name: None}], include: [{type: Exact, match: envoy_server_uptime}]}}",
			[]string{"envoy_server_uptime"},
			[]string{"envoy_server_live", "envoy_cluster_upstream_rq"},
		},
		{
			"{profiles: {appendProfiles: [{name: Basic}], exclude: [{type: Regex, match: 'envoy_server_.*'}], include: [{type: Contains, match: server_live}]}}",
			[]string{"envoy_server_live", "envoy_cluster_upstream_rq"},
			[]string{"envoy_server_uptime"},
		},
		{"{includeUnused: true}", []string{"envoy_cluster_upstream_rq_retry"}, []string{"envoy_listener_manager_listener_added"}},
	} {
		m.apply(fmt.Sprintf(`{type: MeshMetric, name: all, spec: {targetRef: {kind: Mesh}, default: {sidecar: %s,
			applications: [{port: %d, address: 127.0.0.1}], backends: [{type: Prometheus, prometheus: {port: %d}}]}}}`, c.sidecar, exporter, scrape))
		m.await("the metrics of "+c.sidecar, func() error {
			families, err := scrapeText(fmt.Sprintf("http://127.0.0.1:%d/metrics", scrape))
			if err != nil {
				return err
			}
			for _, name := range append([]string{"shop_orders"}, c.yes...) {
				if families[name] == nil {
					return fmt.Errorf("%s is missing among %d", name, len(families))
				}
			}
			if i := slices.IndexFunc(c.not, func(name string) bool { return families[name] != nil }); i >= 0 {
				return fmt.Errorf("%s is there", c.not[i])
			}
			return nil
		})
	}
}
