package probes

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func start(t *testing.T, bypass bool) string {
	t.Helper()
	p, err := Listen(0, "127.0.0.1", bypass, "2.10.11")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("http://127.0.0.1:%d", p.Addr().(*net.TCPAddr).Port)
}

func get(t *testing.T, url string, header http.Header) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if ct := resp.Header.Get("Content-Type"); ct != "text/plain; charset=utf-8" {
		t.Errorf("content type %q", ct)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

func port(t *testing.T, url string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(url[strings.Index(url, "//")+2:])
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestHTTP(t *testing.T) {
	var seen *http.Request
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Clone(context.Background())
		switch r.URL.Path {
		case "/teapot":
			w.WriteHeader(http.StatusTeapot)
		case "/moved":
			http.Redirect(w, r, "/teapot", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		case "/slow":
			select {
			case <-r.Context().Done():
			case <-time.After(20 * time.Second):
			}
		}
	})
	app := httptest.NewServer(handler)
	defer app.Close()
	secure := httptest.NewTLSServer(handler)
	defer secure.Close()
	proxy := start(t, true)
	n, s := port(t, app.URL), port(t, secure.URL)
	for name, tc := range map[string]struct {
		path   string
		header http.Header
		want   string
	}{
		"healthy":       {"/" + n + "/ok?a=b", http.Header{"X-Kuma-Probes-Host": {"app.example"}, "X-Own": {"1"}}, "200 HEALTHY\n"},
		"no path":       {"/" + n, nil, "200 HEALTHY\n"},
		"unhealthy":     {"/" + n + "/teapot", nil, "418 UNHEALTHY\n"},
		"redirect":      {"/" + n + "/moved", nil, "418 UNHEALTHY\n"},
		"redirect away": {"/" + n + "/away", nil, "200 HEALTHY\n"},
		"timeout":       {"/" + n + "/slow", nil, "503 UNHEALTHY\n"},
		"refused":       {"/1/ok", nil, "503 UNHEALTHY\n"},
		"https":         {"/" + s + "/ok", http.Header{"X-Kuma-Probes-Scheme": {"HTTPS"}}, "200 HEALTHY\n"},
		"http to https": {"/" + s + "/ok", nil, "400 UNHEALTHY\n"},
		"port 0":        {"/0/ok", nil, "503 UNKNOWN\n"},
		"large port":    {"/70000/ok", nil, "503 UNKNOWN\n"},
		"huge port":     {"/99999999999999999999/ok", nil, "503 UNKNOWN\n"},
		"no port":       {"/ok", nil, "503 UNKNOWN\n"},
		"root":          {"/", nil, "503 UNKNOWN\n"},
		"bad timeout":   {"/" + n + "/ok", http.Header{"X-Kuma-Probes-Timeout": {"soon"}}, "200 HEALTHY\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := get(t, proxy+tc.path, tc.header); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if name == "healthy" && (seen.Host != "app.example" || seen.URL.RawQuery != "a=b" || seen.URL.Path != "/ok" ||
				seen.Header.Get("X-Own") != "1" || seen.Header.Get("X-Kuma-Probes-Host") != "" || !strings.HasPrefix(seen.RemoteAddr, "127.0.0.6:")) {
				t.Errorf("the application saw %s %s %v from %s", seen.Host, seen.URL, seen.Header, seen.RemoteAddr)
			}
		})
	}
	resp, err := http.Post(proxy+"/"+n+"/ok", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", resp.Status)
	}
}

func TestTCPAndGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, checks := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(server, checks)
	checks.SetServingStatus("down", healthpb.HealthCheckResponse_NOT_SERVING)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	proxy := start(t, false)
	n := port(t, "http://"+l.Addr().String())
	for name, tc := range map[string]struct{ path, service, want string }{
		"TCP":             {"/tcp/" + n, "", "200 HEALTHY\n"},
		"TCP with path":   {"/tcp/" + n + "/x", "", "200 HEALTHY\n"},
		"TCP refused":     {"/tcp/1", "", "503 UNHEALTHY\n"},
		"TCP bad port":    {"/tcp/99999", "", "503 UNKNOWN\n"},
		"gRPC":            {"/grpc/" + n, "", "200 HEALTHY\n"},
		"gRPC down":       {"/grpc/" + n, "down", "503 UNHEALTHY\n"},
		"gRPC no service": {"/grpc/" + n, "other", "503 UNHEALTHY\n"},
		"gRPC refused":    {"/grpc/1", "", "503 UNHEALTHY\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := get(t, proxy+tc.path, http.Header{"X-Kuma-Probes-Grpc-Service": {tc.service}}); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen(uint16(l.Addr().(*net.TCPAddr).Port), "127.0.0.1", false, ""); err == nil || !strings.Contains(err.Error(), "KUMA_APPLICATION_PROBE_PROXY_PORT") {
		t.Errorf("got %v", err)
	}
}

func TestBypassSource(t *testing.T) {
	for address, want := range map[string]string{"10.0.0.1": "127.0.0.6:0", "fd00::1": "[::6]:0", "host": "127.0.0.6:0"} {
		if got := BypassSource(address).String(); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
