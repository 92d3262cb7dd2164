package diagnostics

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func options(t *testing.T, change ...func(*Options)) Options {
	t.Helper()
	registry, reg, err := NewRegistry("east")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Address: "127.0.0.1:0", Readiness: &Readiness{}, Registry: registry, Registerer: reg, Log: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&o)
	}
	return o
}

// serve runs a server until the test ends and returns its address.
func serve(t *testing.T, o Options) string {
	t.Helper()
	s, err := Listen(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("the server does not stop")
		}
	})
	return s.Addr().String()
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestReady(t *testing.T) {
	o := options(t)
	url := "http://" + serve(t, o)
	expect := func(path string, status int, body string) {
		t.Helper()
		if s, b := get(t, http.DefaultClient, url+path); s != status || b != body {
			t.Errorf("%s: %d %q, want %d %q", path, s, b, status, body)
		}
	}
	expect("/ready", 503, "") // nobody has registered yet
	xds, store := o.Readiness.Register("xds-server"), o.Readiness.Register("store")
	expect("/ready", 503, "")
	store.Set(true)
	expect("/ready?verbose", 503, "not ready: xds-server\n")
	xds.Set(true)
	expect("/ready", 200, "")
	expect("/ready?verbose", 200, "ready\n")
	store.Set(false)
	expect("/ready", 503, "")
	expect("/healthy", 200, "")
}

func TestPathsAndMethods(t *testing.T) {
	for _, debug := range []bool{false, true} {
		h := handler(options(t, func(o *Options) { o.DebugEndpoints = debug }))
		for path, status := range map[string]int{"/": 404, "/nothing": 404, "/debug/pprof/": 404, "/debug/pprof/cmdline": 404, "/debug/pprof/heap": 404} {
			if debug && strings.HasPrefix(path, "/debug") {
				status = 200
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != status {
				t.Errorf("debug %v: GET %s: %d, want %d", debug, path, w.Code, status)
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/ready", strings.NewReader("x")))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST: %d", w.Code)
		}
	}
}

func TestMetrics(t *testing.T) {
	o := options(t)
	cluster := ""
	if err := RegisterInfo(o.Registerer, Info{Product: "Weft", Version: "1", BuildDate: "d", GitCommit: "0123456789", GitTag: "t", InstanceID: "h-1", ClusterID: func() string { return cluster }}); err != nil {
		t.Fatal(err)
	}
	leading := false
	if err := RegisterLeader(o.Registerer, func() bool { return leading }); err != nil {
		t.Fatal(err)
	}
	api, err := NewHTTP(o.Registerer, APIServer)
	if err != nil {
		t.Fatal(err)
	}
	api.Begin("/meshes/{mesh}")
	api.Observe("/meshes/{mesh}", "GET", 200, 1000, 30*time.Millisecond)
	api.Observe("/meshes/{mesh}", "BREW", 405, 10, time.Second)
	url := "http://" + serve(t, o) + "/metrics"
	cluster, leading = "c-1", true
	status, body := get(t, http.DefaultClient, url)
	if status != 200 {
		t.Fatalf("status %d", status)
	}
	for _, line := range []string{
		`cp_info{build_date="d",cluster_id="c-1",git_commit="0123456",git_tag="t",instance_id="h-1",product="Weft",version="1",zone="east"} 1`,
		`leader{zone="east"} 1`,
		`api_server_http_request_duration_seconds_bucket{code="200",handler="/meshes/{mesh}",method="GET",service="",zone="east",le="0.05"} 1`,
		`api_server_http_response_size_bytes_bucket{code="200",handler="/meshes/{mesh}",method="GET",service="",zone="east",le="1e+09"} 1`,
		`api_server_http_request_duration_seconds_count{code="405",handler="/meshes/{mesh}",method="other",service="",zone="east"} 1`,
		`api_server_http_requests_inflight{handler="/meshes/{mesh}",service="",zone="east"} 1`,
		`promhttp_metric_handler_requests_in_flight{zone="east"} 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("%s is missing", line)
		}
	}
	for _, name := range []string{"go_goroutines{", "process_open_fds{", "promhttp_metric_handler_requests_total{"} {
		if !strings.Contains(body, name) {
			t.Errorf("%s is missing", name)
		}
	}
	sc := bufio.NewScanner(strings.NewReader(body))
	for sc.Scan() {
		if l := sc.Text(); !strings.HasPrefix(l, "#") && !strings.Contains(l, `zone="east"`) {
			t.Errorf("no label zone: %s", l)
		}
	}
	if err := RegisterLeader(o.Registerer, nil); err == nil {
		t.Error("the same metric was registered twice")
	}
}

// One metric that cannot be collected must not take the others away.
func TestBrokenMetric(t *testing.T) {
	o := options(t)
	o.Registerer.MustRegister(broken{prometheus.NewDesc("broken", "x", nil, nil)})
	if status, body := get(t, http.DefaultClient, "http://"+serve(t, o)+"/metrics"); status != 200 || !strings.Contains(body, "go_goroutines") {
		t.Errorf("%d %q", status, body)
	}
}

type broken struct{ desc *prometheus.Desc }

func (b broken) Describe(ch chan<- *prometheus.Desc) { ch <- b.desc }
func (b broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(b.desc, errors.New("no"))
}

func TestTLS(t *testing.T) {
	ts := httptest.NewUnstartedServer(nil)
	ts.StartTLS()
	defer ts.Close()
	o := options(t, func(o *Options) { o.TLS = &tls.Config{Certificates: ts.TLS.Certificates, MinVersion: tls.VersionTLS12} })
	addr := serve(t, o)
	if status, _ := get(t, ts.Client(), "https://"+addr+"/healthy"); status != 200 {
		t.Errorf("status %d", status)
	}
	if res, err := http.Get("http://" + addr + "/healthy"); err == nil && res.StatusCode == 200 {
		t.Error("plain HTTP was answered")
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Listen(t.Context(), options(t, func(o *Options) { o.Address = l.Addr().String() }))
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "KUMA_DIAGNOSTICS_SERVER_PORT") {
		t.Errorf("got %v", err)
	}
}

// Who does not finish a header is disconnected, and headers are bounded.
func TestBadClients(t *testing.T) {
	addr := serve(t, options(t))
	slow, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := io.WriteString(slow, "GET /ready HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := slow.SetReadDeadline(time.Now().Add(4 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(slow); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a client that sends half a header keeps its connection")
	}
	large, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	go func() { // the server may close before everything is sent
		_, _ = io.WriteString(large, "GET /ready HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
	}()
	res, err := http.ReadResponse(bufio.NewReader(large), nil)
	if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %v, %v", res, err)
	}
}

func TestZoneOf(t *testing.T) {
	for want, got := range map[string]string{"Global": ZoneOf(true, "z"), "Zone": ZoneOf(false, ""), "z": ZoneOf(false, "z")} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
