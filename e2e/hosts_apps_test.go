package e2e

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"weft/internal/testkit/netns"
	"weft/internal/testkit/pgtest"
)

// Applications of several makes call a web server, a gRPC server and a PostgreSQL
// by name, through the redirection and mutual TLS.
func testHostApplications(t *testing.T, m *meshOfHosts) {
	db := pgtest.Start(t)
	server := m.host("server")
	rpc := grpc.NewServer()
	state := health.NewServer()
	state.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(rpc, state)
	go func() { _ = rpc.Serve(netns.Listen(t, server.ns, "tcp", ":9000")) }()
	t.Cleanup(rpc.Stop)
	relay(t, netns.Listen(t, server.ns, "tcp", ":5432"), fmt.Sprintf("%s:%d", db.Host, db.Port))
	server.install(t)
	dp := server.join(t, m.cp, inbound(9000, "shop", "grpc")+"  - {port: 5432, tags: {kuma.io/service: db, kuma.io/protocol: tcp}}\n")

	hostapp := filepath.Join(m.client.dir, "hostapp")
	build := exec.Command("go", "build", "-o", hostapp, "./testdata/hostapp")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	login := func(host string) string {
		return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", db.User, db.Password, host, db.Name)
	}
	for _, c := range []struct {
		name, want string
		words      []string
	}{
		{"Go", "called as backend.mesh by", []string{hostapp, "http", "http://backend.mesh/"}},
		{"Go, hostname", "called as backend.svc.mesh.local by", []string{hostapp, "http", "http://backend.svc.mesh.local/"}},
		{"gRPC", "SERVING", []string{hostapp, "grpc", "shop.svc.mesh.local:9000"}},
		{"gRPC, by tag", "SERVING", []string{hostapp, "grpc", "shop.mesh:80"}},
		{"PostgreSQL", "rows: 10000", []string{hostapp, "postgres", login("db.svc.mesh.local")}},
		{"PostgreSQL, by tag", "rows: 10000", []string{hostapp, "postgres", login("db.mesh:80")}},
		{"Python", "called as backend.mesh by", []string{"/usr/bin/python3", "-c", `import urllib.request; print(urllib.request.urlopen("http://backend.mesh/", timeout=10).read().decode())`}},
		{"Node", "called as backend.mesh by", []string{"node", "-e", `fetch("http://backend.mesh/").then(r => r.text()).then(console.log)`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !m.client.has(c.words[0]) {
				t.Skipf("SKIPPED: there is no %s on this host that every user can run", c.words[0])
			}
			eventually(t, 20*time.Second, "it is answered", func() error {
				out, err := m.client.run(appUser, c.words[0], c.words[1:]...)
				if err != nil {
					return err
				}
				if strings.Contains(c.want, "called") {
					return contains(out, c.want, "spiffe://default/client")
				}
				return contains(out, c.want)
			})
		})
	}
	for _, port := range []int{9000, 5432} {
		if n := dp.stat(t, fmt.Sprintf("cluster.localhost_%d.upstream_cx_total", port)); n == 0 {
			t.Errorf("nothing came to port %d through the proxy", port)
		}
	}
}

// has tells whether an application can run a program.
func (h *host) has(program string) bool {
	_, err := h.run(appUser, "sh", "-c", `command -v "$0" && ! "$0" --version 2>&1 | grep -i denied`, program)
	return err == nil
}

// relay passes connections on to an address outside of the namespace.
func relay(t testing.TB, l net.Listener, to string) {
	t.Helper()
	go accept(l, func(c net.Conn) {
		up, err := net.DialTimeout("tcp", to, 5*time.Second)
		if err != nil {
			return
		}
		defer up.Close()
		go func() { _, _ = io.Copy(up, c); _ = up.(*net.TCPConn).CloseWrite() }()
		_, _ = io.Copy(c, up)
	})
}
