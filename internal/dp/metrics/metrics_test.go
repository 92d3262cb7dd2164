package metrics

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const envoyText = `# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="backend-c72efb5be46fae6b"} 3

envoy_cluster_upstream_rq{envoy_cluster_name="backend-0123456789abcdef",envoy_response_code="200"} 4
envoy_cluster_upstream_rq{envoy_cluster_name="backend",envoy_response_code="500"} 1
envoy_cluster_upstream_rq{envoy_cluster_name="ads_cluster",envoy_response_code="200"} 9
# TYPE envoy_http_downstream_cx_active gauge
envoy_http_downstream_cx_active{envoy_http_conn_manager_prefix="admin"} 1
envoy_http_downstream_cx_active{envoy_http_conn_manager_prefix="localhost_80"} 2
# TYPE envoy_cluster_rq_time histogram
envoy_cluster_rq_time_bucket{envoy_cluster_name="a-c72efb5be46fae6b",le="1"} 1
envoy_cluster_rq_time_bucket{envoy_cluster_name="a-c72efb5be46fae6b",le="+Inf"} 2
envoy_cluster_rq_time_sum{envoy_cluster_name="a-c72efb5be46fae6b"} 5
envoy_cluster_rq_time_count{envoy_cluster_name="a-c72efb5be46fae6b"} 2
envoy_cluster_rq_time_bucket{envoy_cluster_name="a-0000000000000000",le="1"} 2
envoy_cluster_rq_time_bucket{envoy_cluster_name="a-0000000000000000",le="+Inf"} 4
envoy_cluster_rq_time_sum{envoy_cluster_name="a-0000000000000000"} 7.5
envoy_cluster_rq_time_count{envoy_cluster_name="a-0000000000000000"} 4
`

const merged = `# TYPE envoy_cluster_rq_time histogram
envoy_cluster_rq_time_bucket{envoy_cluster_name="a",kuma_io_mesh_traffic="true",le="1"} 3
envoy_cluster_rq_time_bucket{envoy_cluster_name="a",kuma_io_mesh_traffic="true",le="+Inf"} 6
envoy_cluster_rq_time_sum{envoy_cluster_name="a",kuma_io_mesh_traffic="true"} 12.5
envoy_cluster_rq_time_count{envoy_cluster_name="a",kuma_io_mesh_traffic="true"} 6
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="backend",kuma_io_mesh_traffic="true"} 7
envoy_cluster_upstream_rq{envoy_cluster_name="backend",envoy_response_code="500",kuma_io_mesh_traffic="true"} 1
envoy_cluster_upstream_rq{envoy_cluster_name="ads_cluster",envoy_response_code="200"} 9
# TYPE envoy_http_downstream_cx_active gauge
envoy_http_downstream_cx_active{envoy_http_conn_manager_prefix="admin"} 1
envoy_http_downstream_cx_active{envoy_http_conn_manager_prefix="localhost_80",kuma_io_mesh_traffic="true"} 2
`

func TestMergeEnvoy(t *testing.T) {
	got, err := MergeEnvoy(strings.NewReader(envoyText))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(merged, string(got)); diff != "" {
		t.Error(diff)
	}
	if _, err := MergeEnvoy(strings.NewReader("{{{")); err == nil {
		t.Error("garbage accepted")
	}
}

func FuzzMergeEnvoy(f *testing.F) {
	f.Add(envoyText)
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = MergeEnvoy(strings.NewReader(text)) // must not panic
	})
}

func answer(contentType, body string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func scrape(t *testing.T, targets []Target, query string) (status int, contentType, body string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mh.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // left over
		t.Fatal(err)
	}
	s, err := Listen(path, targets, (&net.Dialer{}).DialContext, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	req, err := http.NewRequest(http.MethodGet, "http://localhost/"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "0.5")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

func TestAggregate(t *testing.T) {
	var query string
	envoy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.RawQuery
		answer("text/plain", "# TYPE e counter\ne 1\n", 200)(w, r)
	}))
	defer envoy.Close()
	open := httptest.NewServer(answer("application/openmetrics-text; version=1.0.0; charset=utf-8", "# TYPE a counter\n\n\na_total 2\n# EOF\n", 200))
	defer open.Close()
	broken := httptest.NewServer(answer("text/plain", "b 3\n", 500))
	defer broken.Close()
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(20 * time.Second):
		}
	}))
	defer slow.Close()
	target := Target{Name: "envoy", URL: envoy.URL + "/stats", Envoy: true}
	status, kind, body := scrape(t, []Target{target, {Name: "open", URL: open.URL}, {Name: "broken", URL: broken.URL}, {Name: "slow", URL: slow.URL}}, "?usedonly&filter=x")
	if want := "# TYPE e counter\ne 1\n# TYPE a counter\na_total 2\n# EOF\n"; status != 200 || body != want {
		t.Errorf("got %d %q, want %q", status, body, want)
	}
	if kind != string(formatOpenMetrics100) {
		t.Errorf("content type %q", kind)
	}
	if query != "filter=x&format=prometheus&text_readouts=&usedonly=" {
		t.Errorf("Envoy was asked with %q", query)
	}
	if status, kind, body = scrape(t, []Target{target}, ""); status != 200 || kind != string(formatText) || body != "# TYPE e counter\ne 1\n" {
		t.Errorf("Envoy alone: %d %q %q", status, kind, body)
	}
	if status, _, _ = scrape(t, []Target{{Name: "broken", URL: broken.URL}}, ""); status != 503 {
		t.Errorf("nothing to show: %d", status)
	}
}

func TestApplicationTarget(t *testing.T) {
	for path, want := range map[string]string{
		"/metrics": "http://10.0.0.1:80/metrics", "/m?x=y": "http://10.0.0.1:80/m", "": "http://10.0.0.1:80", "%zz": "http://10.0.0.1:80",
	} {
		if got := ApplicationTarget("a", "10.0.0.1", 80, path).URL; got != want {
			t.Errorf("%q: %s, want %s", path, got, want)
		}
	}
	if got := EnvoyTarget("::1", 9901).URL; got != "http://[::1]:9901/stats" {
		t.Error(got)
	}
}
