package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// metricsCollector is an OpenTelemetry collector on a TCP port.
type metricsCollector struct {
	port int
	mu   sync.Mutex
	seen map[string]map[string]string // metric → attributes of its last point
}

func startMetricsCollector(t testing.TB) *metricsCollector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &metricsCollector{port: l.Addr().(*net.TCPAddr).Port, seen: map[string]map[string]string{}}
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "opentelemetry.proto.collector.metrics.v1.MetricsService", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Export", Handler: c.export}},
	}, c)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return c
}

func (c *metricsCollector) export(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	m := &metricspb.MetricsData{} // the same on the wire as the request
	if err := decode(m); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range m.GetResourceMetrics() {
		for _, s := range r.GetScopeMetrics() {
			for _, metric := range s.GetMetrics() {
				attributes := map[string]string{}
				points := append(metric.GetSum().GetDataPoints(), metric.GetGauge().GetDataPoints()...)
				if len(points) > 0 {
					for _, a := range points[len(points)-1].GetAttributes() {
						attributes[a.GetKey()] = a.GetValue().GetStringValue()
					}
				}
				c.seen[metric.GetName()] = attributes
			}
		}
	}
	return &emptypb.Empty{}, nil
}

func (c *metricsCollector) attributes(metric string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[metric]
}

func scrapeText(url string) (map[string]*dto.MetricFamily, error) {
	text, err := fetch(url)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(strings.NewReader(text))
}

// A MeshMetric policy opens a scrape port and sends to a collector, with the
// metrics of proxy and application; without the policy both end.
func TestMetricsPolicy(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	p := ports(t, 2)
	collector := startMetricsCollector(t)
	ca, dir := newSigner(t), t.TempDir()
	cert, key := ca.leaf("web.metrics")
	write(t, filepath.Join(dir, "cert.pem"), cert)
	write(t, filepath.Join(dir, "key.pem"), key)
	web := serve(t, "127.0.0.1", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# TYPE shop_orders counter\nshop_orders{kind=\"book\"} 3\n")
	}))
	d := cp.startDP(t, sidecar{
		name: "web", service: "web", protocol: "http", app: web,
		env: []string{
			"KUMA_DATAPLANE_RUNTIME_DYNAMIC_CONFIGURATION_REFRESH_INTERVAL=200ms",
			"KUMA_DATAPLANE_RUNTIME_METRICS_CERT_PATH=" + filepath.Join(dir, "cert.pem"), "KUMA_DATAPLANE_RUNTIME_METRICS_KEY_PATH=" + filepath.Join(dir, "key.pem"),
		},
	})
	if _, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", d.inbound)); err != nil { // unused metrics are left out
		t.Fatal(err)
	}
	policy := fmt.Sprintf(`{"type":"MeshMetric","mesh":"default","name":"all","spec":{"targetRef":{"kind":"Mesh"},"default":{
		"applications":[{"name":"web","port":%d,"path":"/metrics","address":"127.0.0.1"}],
		"backends":[
			{"type":"Prometheus","prometheus":{"port":%d,"path":"/my-metrics"}},
			{"type":"Prometheus","prometheus":{"port":%d,"path":"/secure","clientId":"secure","tls":{"mode":"ProvidedTLS"}}},
			{"type":"OpenTelemetry","openTelemetry":{"endpoint":"127.0.0.1:%d","refreshInterval":"1s"}}]}}}`, web, p[0], p[1], collector.port)
	cp.must(http.MethodPut, "/meshes/default/meshmetrics/all", policy)
	url := fmt.Sprintf("http://127.0.0.1:%d/my-metrics", p[0])
	var families map[string]*dto.MetricFamily
	eventually(t, 20*time.Second, "the application is scraped", func() (err error) {
		if families, err = scrapeText(url); err == nil && families["shop_orders"] == nil {
			err = fmt.Errorf("%d families", len(families))
		}
		return err
	})
	for _, name := range []string{"envoy_server_live", "envoy_cluster_upstream_cx_active", "go_goroutines", "target_info"} {
		if families[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	secure := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "web.metrics"}}}
	if text, err := fetchBy(secure, fmt.Sprintf("https://127.0.0.1:%d/secure", p[1])); err != nil || !strings.Contains(text, "shop_orders") {
		t.Errorf("over TLS with the given certificate: %v, %.100s", err, text)
	}
	if _, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/secure", p[1])); err == nil {
		t.Error("metrics that need TLS are told in plain text")
	}
	labels := map[string]string{}
	for _, l := range families["shop_orders"].GetMetric()[0].GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	want := map[string]string{"kind": "book", "mesh": "default", "dataplane": "web", "service": "web", "kuma_io_service": "web", "kuma_io_services": ",web,"}
	for name, value := range want {
		if labels[name] != value {
			t.Errorf("label %s is %q, want %q", name, labels[name], value)
		}
	}
	eventually(t, 20*time.Second, "the collector has both", func() error {
		if collector.attributes("envoy_server_live") == nil || collector.attributes("shop_orders")["kuma_io_service"] != "web" {
			return fmt.Errorf("shop_orders has %v", collector.attributes("shop_orders"))
		}
		return nil
	})
	cp.must(http.MethodDelete, "/meshes/default/meshmetrics/all", nil)
	eventually(t, 20*time.Second, "the port is closed", func() error {
		if _, err := fetch(url); err == nil {
			return fmt.Errorf("still scraped")
		}
		return nil
	})
	eventually(t, 20*time.Second, "nothing more is sent", func() error {
		if !strings.Contains(d.output(), "no longer sending metrics") {
			return fmt.Errorf("kuma-dp did not stop")
		}
		return nil
	})
}

// From the moment when the proxy listens for names, nobody is told that a name
// of the mesh does not exist; and the proxy is ready only when it knows them.
func TestNamesAreNeverFalse(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	p := ports(t, 3)
	cp.startDP(t, sidecar{name: "web", service: "web", protocol: "http", app: app(t, "web")})
	d := cp.launchDP(t, sidecar{
		name: "client",
		inbounds: fmt.Sprintf("  - {port: %d, tags: {kuma.io/service: client, kuma.io/protocol: http}}\n"+
			"  transparentProxying: {redirectPortInbound: %d, redirectPortOutbound: %d}\n", p[0], p[1], p[2]),
	})
	port := 0
	for _, a := range d.cmd.Args {
		if text, ok := strings.CutPrefix(a, "--dns-coredns-port="); ok {
			_, _ = fmt.Sscan(text, &port)
		}
	}
	ask := func() (string, error) {
		q := new(dns.Msg)
		q.SetQuestion("web.mesh.", dns.TypeA)
		m, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(q, fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return "", err
		}
		if len(m.Answer) > 0 {
			return m.Answer[0].(*dns.A).A.String(), nil
		}
		return dns.RcodeToString[m.Rcode], nil
	}
	answers := map[string]int{}
	eventually(t, 30*time.Second, "the name is known", func() error {
		got, err := ask()
		if err != nil {
			return err // it does not listen yet
		}
		answers[got]++
		if got == "NXDOMAIN" {
			t.Fatalf("a name of the mesh is denied; so far %v", answers)
		}
		if !strings.HasPrefix(got, "240.") {
			return fmt.Errorf("so far %v", answers)
		}
		return nil
	})
	d.awaitReady(t)
	t.Logf("answers until then: %v", answers)
	if got, err := ask(); err != nil || !strings.HasPrefix(got, "240.") {
		t.Errorf("ready, but the name gives %q, %v", got, err)
	}
}
