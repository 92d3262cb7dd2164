package command

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weft/internal/testkit/freeport"
	"weft/internal/testkit/lockedbuf"
)

// TestMain lets the test binary be kuma-dp itself, so that tests run real
// processes with real signals and no separate build.
func TestMain(m *testing.M) {
	if os.Getenv("WEFT_TEST_IS_APPLICATION") != "" {
		isApplication()
	}
	if os.Getenv("WEFT_TEST_IS_KUMA_DP") == "" {
		os.Exit(m.Run())
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR2)
	os.Exit(Main(context.Background(), Environment{
		Args: os.Args[1:], Env: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Signals: signals, Notify: func(s ...os.Signal) { signal.Notify(signals, s...) }, Exit: os.Exit,
	}))
}

// realEnvoy finds the Envoy for tests, or skips loudly.
func realEnvoy(t testing.TB) string {
	t.Helper()
	candidates := []string{os.Getenv("WEFT_ENVOY"), "../../../bin/envoy", "envoy"}
	for _, c := range candidates {
		if c == "" {
			continue
		}
		if path, err := exec.LookPath(c); err == nil {
			abs, err := filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			return abs
		}
	}
	if strings.Contains(os.Getenv("REQUIRE"), "envoy") {
		t.Fatal("no Envoy, but REQUIRE asks for one: `make envoy`, or set WEFT_ENVOY")
	}
	t.Skip("SKIPPED: no Envoy: `make envoy`, or set WEFT_ENVOY")
	return ""
}

// controlPlane answers /bootstrap with a document for one static proxy: a
// listener that leads to an application, and Envoy's DNS filter.
type controlPlane struct {
	url       string
	ca        string // file
	admin     int
	listener  int
	envoyDNS  int
	readiness int
	coreDNS   int
	metrics   int
	clusters  atomic.Int32 // further ones, without traffic
	hds       atomic.Bool  // health discovery
	// refuse makes it answer with a status and a text.
	refuse atomic.Pointer[refusal]

	mu       sync.Mutex
	requests []map[string]any
	words    []string // other paths, such as /leave
}

type refusal struct {
	status int
	text   string
}

func newControlPlane(t testing.TB, backend string) *controlPlane {
	t.Helper()
	cert, caPEM := selfSigned(t)
	cp := &controlPlane{
		admin: freeport.Take(t, 1)[0], listener: freeport.Take(t, 1)[0], envoyDNS: freeport.Take(t, 1)[0],
		readiness: freeport.Take(t, 1)[0], coreDNS: freeport.Take(t, 1)[0], metrics: freeport.Take(t, 1)[0],
		ca: filepath.Join(t.TempDir(), "ca.pem"),
	}
	if err := os.WriteFile(cp.ca, []byte(caPEM), 0o600); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req map[string]any
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
		}
		cp.mu.Lock()
		if r.URL.Path == "/bootstrap" {
			cp.requests = append(cp.requests, req)
		} else {
			cp.words = append(cp.words, r.URL.Path)
		}
		cp.mu.Unlock()
		if no := cp.refuse.Load(); no != nil {
			w.WriteHeader(no.status)
			_, _ = io.WriteString(w, no.text)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"bootstrap": []byte(cp.document(backend)),
			"kumaSidecarConfiguration": map[string]any{
				"networking": map[string]any{"isUsingTransparentProxy": true, "address": "127.0.0.1"},
				"metrics":    map[string]any{"aggregate": []any{}},
			},
		})
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	cp.url = s.URL
	return cp
}

func (cp *controlPlane) lastRequest(t testing.TB) map[string]any {
	t.Helper()
	cp.mu.Lock()
	defer cp.mu.Unlock()
	if len(cp.requests) == 0 {
		t.Fatal("the control plane was not asked")
	}
	return cp.requests[len(cp.requests)-1]
}

func (cp *controlPlane) document(backend string) string {
	host, port, _ := net.SplitHostPort(backend)
	return fmt.Sprintf(`
node: {id: default.web-1, cluster: web}
admin: {address: {socketAddress: {address: 127.0.0.1, portValue: %d}}}
staticResources:
  listeners:
  - name: inbound:127.0.0.1:%d
    address: {socketAddress: {address: 127.0.0.1, portValue: %d}}
    trafficDirection: INBOUND
    filterChains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typedConfig:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          statPrefix: web
          httpFilters:
          - name: envoy.filters.http.router
            typedConfig: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          routeConfig:
            virtualHosts:
            - {name: web, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: app}}]}
  - name: kuma:dns
    address: {socketAddress: {protocol: UDP, address: 127.0.0.1, portValue: %d}}
    listenerFilters:
    - name: envoy.filters.udp.dns_filter
      typedConfig:
        '@type': type.googleapis.com/envoy.extensions.filters.udp.dns_filter.v3.DnsFilterConfig
        statPrefix: kuma_dns
        serverConfig:
          inlineDnsTable:
            virtualDomains:
            - name: backend.mesh
              endpoint: {addressList: {address: ['240.0.0.1', '::ffff:f000:1']}}
              answerTtl: 30s
  clusters:
  - name: app
    type: STATIC
    connectTimeout: 5s
    loadAssignment:
      clusterName: app
      endpoints: [{lbEndpoints: [{endpoint: {address: {socketAddress: {address: %s, portValue: %s}}}}]}]
`, cp.admin, cp.listener, cp.listener, cp.envoyDNS, host, port) + manyClusters(int(cp.clusters.Load())) + cp.healthDiscovery()
}

// healthDiscovery asks Envoy to look after workloads, for somebody who is not
// there.
func (cp *controlPlane) healthDiscovery() string {
	if !cp.hds.Load() {
		return ""
	}
	return "hdsConfig: {apiType: GRPC, transportApiVersion: V3, grpcServices: [{envoyGrpc: {clusterName: app}}]}\n"
}

// heard returns the words of the proxy so far, and how often it asked for its
// document.
func (cp *controlPlane) heard() (words []string, asked int) {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	return slices.Clone(cp.words), len(cp.requests)
}

// env are the settings that a proxy of this control plane needs.
func (cp *controlPlane) env(envoy string) []string {
	return []string{
		"KUMA_CONTROL_PLANE_URL=" + cp.url,
		"KUMA_CONTROL_PLANE_CA_CERT_FILE=" + cp.ca,
		"KUMA_CONTROL_PLANE_RETRY_BACKOFF=20ms",
		"KUMA_CONTROL_PLANE_RETRY_MAX_DURATION=5s",
		"KUMA_DATAPLANE_RUNTIME_BINARY_PATH=" + envoy,
		"KUMA_DATAPLANE_DRAIN_TIME=1s",
		fmt.Sprintf("KUMA_READINESS_PORT=%d", cp.readiness),
		fmt.Sprintf("KUMA_DNS_CORE_DNS_PORT=%d", cp.coreDNS),
		fmt.Sprintf("KUMA_DNS_ENVOY_DNS_PORT=%d", cp.envoyDNS),
		fmt.Sprintf("KUMA_DNS_PROMETHEUS_PORT=%d", cp.metrics),
	}
}

// dataplane is a kuma-dp process under test.
type dataplane struct {
	cmd  *exec.Cmd
	out  *lockedbuf.Buffer
	done chan struct{}
	err  error
	tmp  string
}

// startDP runs kuma-dp with the given variables (later ones win) and arguments.
func startDP(t testing.TB, env []string, args ...string) *dataplane {
	t.Helper()
	return startDPWithInput(t, env, "", args...)
}

// startDPWithInput also gives it standard input, from a file as a shell does.
func startDPWithInput(t testing.TB, env []string, input string, args ...string) *dataplane {
	t.Helper()
	d := &dataplane{out: &lockedbuf.Buffer{}, done: make(chan struct{}), tmp: t.TempDir()}
	d.cmd = exec.Command(os.Args[0], append([]string{"run"}, args...)...)
	d.cmd.Env = append([]string{"WEFT_TEST_IS_KUMA_DP=1", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + d.tmp}, env...)
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	if input != "" {
		file := filepath.Join(t.TempDir(), "input")
		if err := os.WriteFile(file, []byte(input), 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		d.cmd.Stdin = in
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.done)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output of kuma-dp:\n%s", d.out)
		}
		if d.running() {
			_ = d.cmd.Process.Kill()
		}
		<-d.done
	})
	return d
}

func (d *dataplane) running() bool {
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

// wait returns the exit code.
func (d *dataplane) wait(t testing.TB, limit time.Duration) int {
	t.Helper()
	select {
	case <-d.done:
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		t.Fatalf("still running after %s", limit)
		return -1
	}
}

func (d *dataplane) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// waitReady polls the readiness port.
func (d *dataplane) waitReady(t testing.TB, cp *controlPlane) {
	t.Helper()
	eventually(t, 20*time.Second, "ready", func() bool {
		if !d.running() {
			t.Fatalf("kuma-dp ended: %v", d.err)
		}
		return get(fmt.Sprintf("http://127.0.0.1:%d/ready", cp.readiness)) == "200 READY"
	})
}

// envoyPID finds the child process.
func (d *dataplane) envoyPID(t testing.TB) int {
	t.Helper()
	return d.childNamed(t, "envoy")
}

// childNamed finds the child process that runs a program of that name.
func (d *dataplane) childNamed(t testing.TB, name string) int {
	t.Helper()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		before, after, _ := strings.Cut(string(text), ") ")
		number, program, _ := strings.Cut(before, " (")
		var state string
		var parent, pid int
		if _, err := fmt.Sscan(after, &state, &parent); err != nil || parent != d.cmd.Process.Pid || program != name {
			continue
		}
		if _, err := fmt.Sscan(number, &pid); err == nil {
			return pid
		}
	}
	t.Fatalf("kuma-dp has no child %q", name)
	return 0
}

func eventually(t testing.TB, limit time.Duration, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("not %s within %s", what, limit)
		}
		time.Sleep(5 * time.Millisecond) // the pause of a poll with a deadline
	}
}

// get returns "status body", or "" without an answer.
func get(url string) string {
	resp, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

func selfSigned(t testing.TB) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "control plane"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// application is a small HTTP server.
func application(t testing.TB) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}
