package command

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkScrape measures a scrape that a MeshMetric policy asked for, of an
// Envoy with 1,000 clusters and all its metrics, and the memory that kuma-dp
// then holds (of this test binary, which is a bit larger).
func BenchmarkScrape(b *testing.B) {
	envoy := realEnvoy(b)
	cp := newControlPlane(b, "127.0.0.1:1")
	cp.clusters.Store(1000)
	dir := b.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "kuma-mesh-metric-config.sock"))
	if err != nil {
		b.Fatal(err)
	}
	policy := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"observability":{"metrics":{"backends":[{"type":"Prometheus"}],"sidecar":{"includeUnused":true,"profiles":{"appendProfiles":[{"name":"All"}]}},"extraLabels":{"kuma_io_service":"web","kuma_io_services":",web,","kuma_io_zone":"east"}}}}`)
	})}
	go func() { _ = policy.Serve(l) }()
	defer policy.Close()
	d := startDP(b, append(cp.env(envoy), "KUMA_DATAPLANE_RUNTIME_SOCKET_DIR="+dir), "--name=web-1", "--mesh=default")
	d.waitReady(b, cp)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "kuma-mh-web-1-default.sock"))
	}}}
	var size int64
	for b.Loop() {
		resp, err := client.Get("http://localhost/meshmetric")
		if err != nil {
			b.Fatal(err)
		}
		size, err = io.Copy(io.Discard, resp.Body)
		if err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
	b.ReportMetric(float64(size)/(1<<20), "MB-answer")
	b.ReportMetric(resident(b, d.cmd.Process.Pid), "MB-resident")
	d.signal(b, syscall.SIGTERM)
	d.signal(b, syscall.SIGTERM)
	d.wait(b, 20*time.Second)
}

// manyClusters are clusters without traffic.
func manyClusters(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - {name: service-%d, type: STATIC, loadAssignment: {clusterName: service-%d}}\n", i, i)
	}
	return b.String()
}
