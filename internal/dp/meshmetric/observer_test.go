package meshmetric

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestScrape(t *testing.T) {
	w := newWorld(t)
	_, one := application(t, `# HELP app_rq Requests.
# TYPE app_rq counter
app_rq{service="mine",code="200"} 3
# TYPE app_scoped gauge
app_scoped{otel_scope_name="lib",otel_scope_version="9",otel_scope_color="red"} 1
# TYPE shared gauge
shared{app="one"} 1
same 1
`)
	_, two := application(t, "# TYPE shared gauge\nshared{app=\"two\"} 2\nsame 2\n")
	_, clash := application(t, "# TYPE shared counter\nshared{app=\"three\"} 3\n")
	broken := httptest.NewServer(http.NotFoundHandler())
	defer broken.Close()
	_, gone := hostPort(t, broken.URL)
	w.publish(t, documentOf(t, Document{
		Applications: []Application{
			{Name: "one", Path: "/metrics?x=1", Port: uint32(one)}, {Path: "/metrics", Port: uint32(two), Address: "127.0.0.1"},
			{Name: "gone", Path: "/metrics", Port: uint32(gone)}, {Name: "clash", Path: "/metrics", Port: uint32(clash)},
		},
		Backends:    []Backend{{Type: "Prometheus"}},
		ExtraLabels: map[string]string{"kuma_io_service": "web", "kuma_io_services": ",web,"},
	}))

	// The first scrape comes before the first look at the document.
	resp, body := w.scrape(t)
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("content type %q", got)
	}
	if got := w.asked(); got != "/stats?format=prometheus&text_readouts=&usedonly=" {
		t.Errorf("Envoy was asked for %q", got)
	}
	parsed := parseText(t, body)
	for _, name := range []string{"envoy_cluster_upstream_rq_time", "app_rq", "shared", "same", "go_goroutines", "process_start_time_seconds"} {
		if parsed[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if parsed["envoy_runtime_load_success"] != nil {
		t.Error("the filter has no effect")
	}
	rq := parsed["app_rq"].GetMetric()[0]
	for name, want := range map[string]string{
		"mesh": "default", "dataplane": "web-1", "service": "web", "exported_service": "mine", "code": "200",
		"kuma_io_service": "web", "kuma_io_services": ",web,", "otel_scope_name": "kuma", "otel_scope_version": "1.2.3",
	} {
		if got := valueOf(rq, name); got != want {
			t.Errorf("label %s is %q, want %q", name, got, want)
		}
	}
	if parsed["app_rq"].GetType() != dto.MetricType_COUNTER || parsed["app_rq"].GetHelp() != "Requests." || rq.GetCounter().GetValue() != 3 {
		t.Errorf("got %v", parsed["app_rq"])
	}
	if m := parsed["app_scoped"].GetMetric()[0]; valueOf(m, "otel_scope_name") != "lib" || valueOf(m, "otel_scope_version") != "9" {
		t.Errorf("own scope is lost: %v", m)
	}
	if n := len(parsed["shared"].GetMetric()); n != 2 {
		t.Errorf("%d series of a family of two applications", n)
	}
	if n := len(parsed["same"].GetMetric()); n != 1 {
		t.Errorf("%d equal series", n)
	}
	for _, want := range []string{"target=gone", "status 404", "tells the applications apart", "target=clash"} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, w.log)
		}
	}
	if m := parsed["envoy_cluster_upstream_cx_active"].GetMetric()[0]; valueOf(m, labelTraffic) != "true" {
		t.Errorf("traffic is not marked: %v", m)
	}
	if m := parsed["target_info"].GetMetric()[0]; valueOf(m, "service_name") != "web" || m.GetGauge().GetValue() != 1 {
		t.Errorf("target_info: %v", m)
	}
	if valueOf(parsed["go_goroutines"].GetMetric()[0], "mesh") != "" {
		t.Error("metrics of kuma-dp itself are labelled")
	}
}

func TestScrapeFormats(t *testing.T) {
	w := newWorld(t)
	w.publish(t, documentOf(t, Document{Backends: []Backend{{Type: "Prometheus"}}, Sidecar: Sidecar{IncludeUnused: true}}))
	resp, body := w.scrape(t, "Accept-Encoding", "gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatal("not compressed")
	}
	if parseText(t, gunzip(t, body))["envoy_server_live"] == nil {
		t.Error("metrics are missing")
	}
	if got := w.asked(); strings.Contains(got, "usedonly") {
		t.Errorf("Envoy was asked for %q", got)
	}
	resp, body = w.scrape(t, "Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;q=0.3")
	decoder := expfmt.NewDecoder(strings.NewReader(body), expfmt.ResponseFormat(resp.Header))
	seen := map[string]bool{}
	for {
		var f dto.MetricFamily
		if err := decoder.Decode(&f); err != nil {
			break
		}
		seen[f.GetName()] = true
	}
	if !seen["envoy_server_live"] || !seen["target_info"] {
		t.Errorf("got %v", seen)
	}
}

func TestScrapeWithoutPolicy(t *testing.T) {
	w := newWorld(t)
	resp, body := w.scrape(t)
	if resp.StatusCode != http.StatusOK || parseText(t, body)["go_goroutines"] == nil || strings.Contains(body, "envoy_") {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
}

func TestCollectorGetsMetrics(t *testing.T) {
	w := newWorld(t)
	socket := filepath.Join(w.dir, "otel.sock")
	c := startCollector(t, socket)
	_, port := application(t, sampleText+"untyped 4\n# TYPE scoped gauge\nscoped{otel_scope_name=\"lib\",otel_scope_version=\"9\",otel_scope_schema_url=\"s\",otel_scope_color=\"red\",a=\"b\"} 1\n")
	before := time.Now()
	w.publish(t, documentOf(t, Document{
		Applications: []Application{{Name: "app", Path: "/metrics", Port: uint32(port)}},
		Backends:     []Backend{{Type: "OpenTelemetry", Name: "col", OpenTelemetry: &OpenTelemetry{Endpoint: socket, RefreshInterval: "1s"}}},
		ExtraLabels:  map[string]string{"kuma_io_zone": "east"},
	}))
	w.run(t)
	eventually(t, "received", func() bool { return c.has("envoy_server_live") && c.has("rq") })

	rq, scope, resource := c.metric("rq")
	sum := rq.GetSum()
	if sum == nil || !sum.GetIsMonotonic() || sum.GetAggregationTemporality() != metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE {
		t.Fatalf("counter became %v", rq)
	}
	if rq.GetDescription() != "Requests." || scope.GetScope().GetName() != "kuma" || scope.GetScope().GetVersion() != "1.2.3" {
		t.Errorf("help %q, scope %v", rq.GetDescription(), scope.GetScope())
	}
	if len(sum.GetDataPoints()) != 2 || sum.GetDataPoints()[0].GetAsDouble() != 3 {
		t.Fatalf("points %v", sum.GetDataPoints())
	}
	got := map[string]string{}
	for _, a := range sum.GetDataPoints()[0].GetAttributes() {
		got[a.GetKey()] = a.GetValue().GetStringValue()
	}
	want := map[string]string{"code": "200", "mesh": "default", "dataplane": "web-1", "service": "web", "kuma_io_zone": "east"}
	if !maps.Equal(got, want) {
		t.Errorf("attributes %v", got)
	}
	if at := time.Unix(0, int64(sum.GetDataPoints()[0].GetTimeUnixNano())); at.Before(before) || at.After(time.Now()) {
		t.Errorf("time %s", at)
	}
	if at := sum.GetDataPoints()[1].GetTimeUnixNano(); at != 1700000000000*1e6 {
		t.Errorf("the sample's own time became %d", at)
	}
	if start := sum.GetDataPoints()[0].GetStartTimeUnixNano(); start != 0 {
		t.Errorf("start of an application's counter is not known, but %d is told", start)
	}
	if !strings.Contains(resource.GetResource().String(), "service.name") {
		t.Errorf("resource %v", resource.GetResource())
	}
	checkHistogram(t, c)
	if q, _, _ := c.metric("q"); q.GetSummary().GetDataPoints()[0].GetQuantileValues()[0].GetValue() != 7 || q.GetSummary().GetDataPoints()[0].GetSum() != 9 {
		t.Errorf("summary %v", q)
	}
	if u, _, _ := c.metric("untyped"); u.GetGauge().GetDataPoints()[0].GetAsDouble() != 4 {
		t.Errorf("untyped %v", u)
	}
	scoped, s, _ := c.metric("scoped")
	if s.GetScope().GetName() != "lib" || s.GetScope().GetVersion() != "9" || s.GetSchemaUrl() != "s" || s.GetScope().GetAttributes()[0].GetKey() != "color" {
		t.Errorf("scope %v", s)
	}
	for _, a := range scoped.GetGauge().GetDataPoints()[0].GetAttributes() {
		if strings.HasPrefix(a.GetKey(), "otel_scope_") {
			t.Errorf("attribute %s", a.GetKey())
		}
	}
	if total, _, _ := c.metric("envoy_http_downstream_rq_total"); total.GetSum().GetDataPoints()[0].GetStartTimeUnixNano() == 0 {
		t.Error("the start of Envoy's counters is not told")
	}
	if c.has("envoy_runtime_load_success") {
		t.Error("the filter has no effect")
	}
}

func checkHistogram(t *testing.T, c *otlpServer) {
	t.Helper()
	m, _, _ := c.metric("t")
	if m.GetHistogram().GetAggregationTemporality() != metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE {
		t.Fatalf("histogram became %v", m)
	}
	p := m.GetHistogram().GetDataPoints()[0]
	if !slices.Equal(p.GetExplicitBounds(), []float64{1}) || !slices.Equal(p.GetBucketCounts(), []uint64{1, 1}) || p.GetCount() != 2 || p.GetSum() != 5 {
		t.Errorf("histogram %v", p)
	}
}

func TestCollectorsComeAndGo(t *testing.T) {
	w := newWorld(t)
	a, b := startCollector(t, filepath.Join(w.dir, "a.sock")), startCollector(t, filepath.Join(w.dir, "b.sock"))
	backend := func(name, interval string) Backend {
		return Backend{Type: "OpenTelemetry", Name: name, OpenTelemetry: &OpenTelemetry{Endpoint: filepath.Join(w.dir, name+".sock"), RefreshInterval: interval}}
	}
	w.publish(t, documentOf(t, Document{Backends: []Backend{backend("a", "1s"), {Type: "Prometheus"}}}))
	w.run(t)
	eventually(t, "received by a", func() bool { return a.count() > 0 })

	w.publish(t, documentOf(t, Document{Backends: []Backend{backend("a", "1s"), backend("b", "1h")}}))
	eventually(t, "received by b", func() bool { return b.count() > 0 })
	if n := strings.Count(w.log.String(), "no longer sending"); n != 0 {
		t.Errorf("%d exporters were disturbed", n)
	}
	// Another interval restarts the one, the other is gone.
	w.publish(t, documentOf(t, Document{Backends: []Backend{backend("b", "2s")}}))
	eventually(t, "restarted", func() bool { return strings.Count(w.log.String(), "no longer sending") == 2 })
	n := b.count()
	eventually(t, "received at the new interval", func() bool { return b.count() > n })
	before := a.count()
	// The policy is taken away: Envoy's listener is gone, its socket stays.
	w.withdraw()
	eventually(t, "ended", func() bool { return strings.Count(w.log.String(), "no longer sending") == 3 })
	if a.count() != before {
		t.Error("a collector that is gone still gets metrics")
	}
	_, body := w.scrape(t)
	if strings.Contains(body, "envoy_") {
		t.Error("metrics of a policy that is gone")
	}
}

func TestLastSendingAtTheEnd(t *testing.T) {
	w := newWorld(t)
	socket := filepath.Join(w.dir, "col.sock")
	c := startCollector(t, socket)
	w.publish(t, documentOf(t, Document{Backends: []Backend{{Type: "OpenTelemetry", Name: "col", OpenTelemetry: &OpenTelemetry{Endpoint: socket, RefreshInterval: "1h"}}}}))
	stop := w.run(t)
	eventually(t, "received", func() bool { return c.count() > 0 })
	w.mu.Lock()
	w.stats = "# TYPE envoy_server_last gauge\nenvoy_server_last 1\n"
	w.mu.Unlock()
	stop()
	if !c.has("envoy_server_last") {
		t.Error("what happened since the last sending is lost")
	}
}

func TestCollectorInTrouble(t *testing.T) {
	w := newWorld(t)
	socket := filepath.Join(w.dir, "col.sock")
	c := startCollector(t, socket)
	c.fail = func(call int) error {
		switch call {
		case 1: // is repeated at once
			return status.Error(codes.Unavailable, "warming up")
		case 3, 4:
			return status.Error(codes.PermissionDenied, "no")
		}
		return nil
	}
	c.answer = []byte{0x0a, 0x06, 0x08, 0x05, 0x12, 0x02, 'n', 'o'} // five points rejected: "no"
	w.publish(t, documentOf(t, Document{Backends: []Backend{{Type: "OpenTelemetry", Name: "col", OpenTelemetry: &OpenTelemetry{Endpoint: socket, RefreshInterval: "1s"}}}}))
	w.run(t)
	eventually(t, "delivered again", func() bool { return strings.Contains(w.log.String(), "delivered again") })
	if n := strings.Count(w.log.String(), "cannot be delivered; trying again"); n != 1 {
		t.Errorf("the failure is told %d times", n)
	}
	if !strings.Contains(w.log.String(), "rejected=5") || !strings.Contains(w.log.String(), "reason=no") {
		t.Errorf("rejected points are not told:\n%s", w.log)
	}
}

func TestLargeAnswersAreSplit(t *testing.T) {
	var text strings.Builder
	text.WriteString("# TYPE envoy_cluster_upstream_rq counter\n")
	const series = 20000
	for i := range series {
		fmt.Fprintf(&text, "envoy_cluster_upstream_rq{envoy_cluster_name=\"service-%d\"} %d\n", i, i)
	}
	w := newWorld(t)
	w.stats = text.String()
	socket := filepath.Join(w.dir, "col.sock")
	c := startCollector(t, socket) // takes four megabytes, as collectors do
	w.publish(t, documentOf(t, Document{Backends: []Backend{{Type: "OpenTelemetry", Name: "col", OpenTelemetry: &OpenTelemetry{Endpoint: socket, RefreshInterval: "1h"}}}}))
	stop := w.run(t)
	points := func() (n int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, d := range c.received {
			for _, m := range d.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics() {
				n += len(m.GetSum().GetDataPoints())
			}
		}
		return n
	}
	eventually(t, "received", func() bool { return points() >= series })
	if c.count() < 2 {
		t.Errorf("%d messages", c.count())
	}
	stop()
	if n := points(); n != 2*series { // at the first turn and at the end
		t.Errorf("%d points", n)
	}
}

func TestDocumentsThatCannotBeUsed(t *testing.T) {
	w := newWorld(t)
	w.publish(t, documentOf(t, Document{Backends: []Backend{{Type: "Prometheus"}}}))
	w.run(t)
	eventually(t, "followed", func() bool { return w.current.Load() != nil })
	for _, bad := range []string{`[`, `{"backends":7}`, `"` + strings.Repeat("x", maxDocument) + `"`} {
		w.publish(t, bad)
		mark := len(w.log.String())
		eventually(t, "told", func() bool { return strings.Contains(w.log.String()[mark:], "what held so far goes on") })
		if _, body := w.scrape(t); !strings.Contains(body, "envoy_server_live") {
			t.Errorf("%.20s: what held is gone", bad)
		}
	}
	w.publish(t, `{"applications":null,"backends":[{"type":"Kafka"},{"type":"OpenTelemetry","name":"a"},{"type":"OpenTelemetry","name":"b","openTelemetry":{"endpoint":"relative.sock"}},{"type":"Prometheus","name":null}],"extraLabels":null}`)
	eventually(t, "told", func() bool { return strings.Count(w.log.String(), "a part of the metrics document is left out") == 3 })
	if _, body := w.scrape(t); !strings.Contains(body, "envoy_server_live") {
		t.Error("one bad backend costs the others")
	}
}

func TestCollectorsOfADocument(t *testing.T) {
	for text, want := range map[string]time.Duration{"": time.Minute, "1m0s": time.Minute, "15s": 15 * time.Second, "soon": time.Minute, "1ns": time.Minute, "-5s": time.Minute} {
		d := Document{Backends: []Backend{{Type: "OpenTelemetry", OpenTelemetry: &OpenTelemetry{Endpoint: "/a", RefreshInterval: text}}}}
		list, _ := d.collectors()
		if len(list) != 1 || list[0].interval != want {
			t.Errorf("%q: %v", text, list)
		}
	}
}
