package meshmetric

import (
	"encoding/json"
	"strings"
	"testing"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/policy"
)

func apply(t *testing.T, doc string, env policy.Env) *ir.Proxy {
	t.Helper()
	c := &Conf{}
	if err := json.Unmarshal([]byte(doc), c); err != nil {
		t.Fatal(err)
	}
	p := &ir.Proxy{WorkDir: "/dp", Metrics: &ir.MetricsListener{}, Tags: map[string][]string{"kuma.io/service": {"a", "b"}}}
	proxy(c, &policy.Context{Proxy: p, Env: &env})
	return p
}

func TestDocument(t *testing.T) {
	p := apply(t, `{"applications":[{"port":1}],"backends":[{"type":"Prometheus","prometheus":{}},{"type":"OpenTelemetry","openTelemetry":{"endpoint":"c:1"}}]}`,
		policy.Env{KubeName: "pod", KubeNamespace: "ns", GatewayName: "gw"})
	want := `{"observability":{"metrics":{"applications":[{"path":"/metrics","port":1,"address":""}],"backends":[{"type":"Prometheus","name":null},` +
		`{"type":"OpenTelemetry","name":"c-1","openTelemetry":{"endpoint":"/dp/kuma-otel-c-1.sock","refreshInterval":"1m0s"}}],` +
		`"extraLabels":{"k8s_kuma_io_name":"pod","k8s_kuma_io_namespace":"ns","kuma_io_mesh_gateway":"gw","kuma_io_service":"a","kuma_io_services":",a,b,"}}}}`
	if got := string(p.Observability.Document); got != want {
		t.Errorf("document\n got %s\nwant %s", got, want)
	}
	if p.Metrics != nil {
		t.Error("the mesh's own listener is still there")
	}
}

func TestWithoutBackends(t *testing.T) {
	if p := apply(t, `{"applications":[{"port":1}]}`, policy.Env{}); p.Observability != nil || p.Metrics == nil {
		t.Errorf("without a backend something is exposed: %+v", p.Observability)
	}
}

func TestTLS(t *testing.T) {
	const doc = `{"backends":[{"type":"Prometheus","prometheus":{"tls":{"mode":"ProvidedTLS"}}}]}`
	p := apply(t, doc, policy.Env{MetricsCert: "c", MetricsKey: "k"})
	if e := p.Observability.Prometheus[0]; e.CertPath != "c" || e.KeyPath != "k" {
		t.Errorf("endpoint %+v", e)
	}
	p = apply(t, doc, policy.Env{})
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Message, "ProvidedTLS") {
		t.Errorf("warnings %+v", p.Warnings)
	}
}

// TestPortOfInbound: what others call the workload on is not taken away.
func TestPortOfInbound(t *testing.T) {
	p := &ir.Proxy{Address: "10.0.0.1", Inbounds: []*ir.Inbound{{Listener: ir.Listener{Address: "10.0.0.1", Port: 80}}}}
	port := uint32(80)
	proxy(&Conf{Backends: []Backend{{Type: prometheus, Prometheus: &Prometheus{Port: &port}}}}, &policy.Context{Proxy: p, Env: &policy.Env{}})
	if len(p.Observability.Prometheus) != 0 || len(p.Warnings) != 1 {
		t.Errorf("%+v, warnings %+v", p.Observability, p.Warnings)
	}
}

// TestSameLabel: tags whose labels have one name do not make the document change
// from one time to the next.
func TestSameLabel(t *testing.T) {
	for range 20 {
		p := &ir.Proxy{Tags: map[string][]string{"version": {"v1"}, "versions": {"all"}, "a.b": {"1"}, "a-b": {"2"}}}
		got := labels(&policy.Context{Proxy: p, Env: &policy.Env{}})
		if got["versions"] != "all" || got["a_b"] != "1" {
			t.Fatalf("labels %v", got)
		}
	}
}

// TestDuplicates: two backends that Envoy could not tell apart.
func TestDuplicates(t *testing.T) {
	p := apply(t, `{"backends":[{"type":"Prometheus","prometheus":{"clientId":"x","port":1}},{"type":"Prometheus","prometheus":{"clientId":"x","port":2}},
		{"type":"Prometheus","prometheus":{"clientId":"y","port":1}},{"type":"OpenTelemetry","openTelemetry":{"endpoint":"c"}},{"type":"OpenTelemetry","openTelemetry":{"endpoint":"c"}}]}`, policy.Env{})
	if len(p.Observability.Prometheus) != 1 || len(p.Observability.OTel) != 1 || len(p.Backends) != 1 || len(p.Warnings) != 2 {
		t.Errorf("%+v, backends %+v, warnings %+v", p.Observability, p.Backends, p.Warnings)
	}
}

// TestSockets: what does not fit into the address of a socket is cut, and
// collectors whose names differ in what was cut have sockets of their own.
func TestSockets(t *testing.T) {
	long := "collector." + strings.Repeat("a", 90) + ".example"
	one := socket("/dp", long, nil)
	if want := ("/dp/kuma-otel-" + long)[:98] + ".sock"; one != want {
		t.Errorf("got %s, want %s", one, want)
	}
	two := socket("/dp", long+"-4318", []ir.OTelMetrics{{Socket: one}})
	if two == one || len(two) != len(one) || !strings.HasPrefix(two, "/dp/kuma-otel-collector.") {
		t.Errorf("sockets %s and %s", one, two)
	}
	if got := socket(strings.Repeat("/d", 60), "c", nil); len(got) != 98+len(".sock") {
		t.Errorf("a long directory gives %s", got)
	}
}

func TestLabelName(t *testing.T) {
	if got := labelName("kuma.io/a-b_C9"); got != "kuma_io_a_b_C9" {
		t.Error(got)
	}
}
