// Package e2e runs whole meshes: real kuma-cp, kuma-dp and Envoy processes on
// this host, with real traffic between real applications. Each test opens with a
// sentence of what it is to show.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weft/internal/testkit/envoytest"
	"weft/internal/testkit/freeport"
)

// binaries is the folder with what is tested; built once.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "weft-e2e-bin-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // other users run them, too
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir, "./cmd/...")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := binaries(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

func binary(t testing.TB, name string) string {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// process is a running child; its output is in the file log.
type process struct {
	t     testing.TB
	label string
	cmd   *exec.Cmd
	log   string
	done  chan struct{}
	err   error
}

func start(t testing.TB, name string, env []string, program string, args ...string) *process {
	t.Helper()
	log := filepath.Join(t.TempDir(), name+".log")
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(withoutKuma(os.Environ()), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = filepath.Dir(log)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, label: name, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		_ = out.Close()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("end of the log of %s:\n%s", name, p.tail(25))
		}
	})
	return p
}

func withoutKuma(env []string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, "KUMA_") {
			out = append(out, e)
		}
	}
	return out
}

func (p *process) tail(n int) string {
	b, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (p *process) output() string {
	b, _ := os.ReadFile(p.log)
	return string(b)
}

func (p *process) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// wait waits until the process has ended.
func (p *process) wait(limit time.Duration) error {
	p.t.Helper()
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		p.t.Fatalf("%s has not ended after %s:\n%s", p.label, limit, p.tail(20))
		return nil
	}
}

func (p *process) kill() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// ports returns free TCP ports.
func ports(t testing.TB, n int) []int {
	t.Helper()
	return freeport.Take(t, n)
}

// controlPlane is a kuma-cp.
type controlPlane struct {
	*process
	dir   string
	env   []string
	api   string
	xds   int
	diag  string
	token string
}

// startCP starts a control plane and waits until it is ready. dir keeps its data.
func startCP(t testing.TB, dir string, env ...string) *controlPlane {
	t.Helper()
	p := ports(t, 7)
	cp := &controlPlane{dir: dir, api: fmt.Sprintf("http://127.0.0.1:%d", p[0]), xds: p[2], diag: fmt.Sprintf("http://127.0.0.1:%d", p[3])}
	cp.env = append([]string{
		"KUMA_GENERAL_WORK_DIR=" + dir,
		"KUMA_API_SERVER_HTTP_PORT=" + strconv.Itoa(p[0]), "KUMA_API_SERVER_HTTPS_PORT=" + strconv.Itoa(p[1]),
		"KUMA_DP_SERVER_PORT=" + strconv.Itoa(p[2]), "KUMA_DIAGNOSTICS_SERVER_PORT=" + strconv.Itoa(p[3]),
		"KUMA_MONITORING_ASSIGNMENT_SERVER_PORT=" + strconv.Itoa(p[4]), "KUMA_INTER_CP_SERVER_PORT=" + strconv.Itoa(p[5]),
		"KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT=" + strconv.Itoa(p[6]),
	}, env...)
	cp.run(t)
	return cp
}

// run starts the process (again) on the same ports and data.
func (cp *controlPlane) run(t testing.TB) {
	t.Helper()
	cp.process = start(t, "kuma-cp", cp.env, binary(t, "kuma-cp"), "run")
	eventually(t, 20*time.Second, "the control plane is ready", func() error {
		select {
		case <-cp.done:
			t.Fatalf("kuma-cp ended:\n%s", cp.tail(20))
		default:
		}
		if err := get(cp.diag+"/ready", nil); err != nil {
			return err
		}
		b, err := os.ReadFile(filepath.Join(cp.dir, "admin-token"))
		cp.token = strings.TrimSpace(string(b))
		return err
	})
}

// request sends a request to the API and returns status and body.
func (cp *controlPlane) request(method, path string, body any) (int, string) {
	cp.t.Helper()
	var b []byte
	switch body := body.(type) {
	case nil:
	case string:
		b = []byte(body)
	default:
		b, _ = json.Marshal(body)
	}
	req, err := http.NewRequest(method, cp.api+path, bytes.NewReader(b))
	if err != nil {
		cp.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+cp.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// must is request for what has to succeed.
func (cp *controlPlane) must(method, path string, body any) string {
	cp.t.Helper()
	status, text := cp.request(method, path, body)
	if status/100 != 2 {
		cp.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	return text
}

// sidecar describes a proxy with the application beside it.
type sidecar struct {
	name, service, protocol string
	address                 string // 127.0.0.1 if empty
	app                     int    // port of the application; 0 = none
	inbound                 int    // port of the proxy; 0 = a free one
	tags                    map[string]string
	outbounds               map[int]map[string]string // port → tags
	token                   string                    // "" = a fresh one
	mesh                    string                    // default if empty
	env                     []string
	args                    []string
	cpPort                  int    // 0 = the control plane's
	inbounds                string // YAML instead of the one inbound
}

// dataplane is a running kuma-dp.
type dataplane struct {
	*process
	sidecar
	admin int
	ready int
}

// startDP starts a proxy and waits until it serves.
func (cp *controlPlane) startDP(t testing.TB, s sidecar) *dataplane {
	t.Helper()
	d := cp.launchDP(t, s)
	d.awaitReady(t)
	return d
}

// launchDP starts a proxy.
func (cp *controlPlane) launchDP(t testing.TB, s sidecar) *dataplane {
	t.Helper()
	p := ports(t, 6)
	if s.inbound == 0 {
		s.inbound = p[1]
	}
	if s.address == "" {
		s.address = "127.0.0.1"
	}
	if s.mesh == "" {
		s.mesh = "default"
	}
	if s.cpPort == 0 {
		s.cpPort = cp.xds
	}
	if s.token == "" {
		s.token = cp.must(http.MethodPost, "/tokens/dataplane", map[string]any{"mesh": s.mesh, "name": s.name, "validFor": "1h"})
	}
	s.args = append([]string{
		"--dns-coredns-port=" + strconv.Itoa(p[3]), "--dns-envoy-port=" + strconv.Itoa(p[4]), "--dns-prometheus-port=" + strconv.Itoa(p[5]),
	}, s.args...)
	return cp.kumaDP(t, s, s.yaml(p[0]), p[0], p[2])
}

// kumaDP runs kuma-dp with a definition.
func (cp *controlPlane) kumaDP(t testing.TB, s sidecar, definition string, admin, ready int) *dataplane {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "dp.yaml")
	write(t, file, definition)
	write(t, filepath.Join(dir, "token"), s.token)
	env := append([]string{"KUMA_READINESS_PORT=" + strconv.Itoa(ready)}, s.env...)
	args := append([]string{
		"run", fmt.Sprintf("--cp-address=https://localhost:%d", s.cpPort), "--ca-cert-file=" + filepath.Join(cp.dir, "kuma-cp.crt"),
		"--dataplane-file=" + file, "--dataplane-token-file=" + filepath.Join(dir, "token"), "--binary-path=" + envoytest.Binary(t),
		"--concurrency=1", "--drain-time=3s",
	}, s.args...)
	return &dataplane{process: start(t, "kuma-dp-"+s.name, env, binary(t, "kuma-dp"), args...), sidecar: s, admin: admin, ready: ready}
}

func (s *sidecar) yaml(admin int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "type: Dataplane\nmesh: %s\nname: %s\nnetworking:\n  address: %q\n  admin: {port: %d}\n  inbound:\n", s.mesh, s.name, s.address, admin)
	if s.inbounds != "" {
		b.WriteString(s.inbounds)
	} else {
		fmt.Fprintf(&b, "  - port: %d\n    tags: {kuma.io/service: %s, kuma.io/protocol: %s", s.inbound, s.service, s.protocol)
		for k, v := range s.tags {
			fmt.Fprintf(&b, ", %s: %q", k, v)
		}
		b.WriteString("}\n")
		if s.app != 0 {
			fmt.Fprintf(&b, "    servicePort: %d\n", s.app)
		}
	}
	if len(s.outbounds) > 0 {
		b.WriteString("  outbound:\n")
	}
	for port, tags := range s.outbounds {
		fmt.Fprintf(&b, "  - port: %d\n    tags: {", port)
		sep := ""
		for k, v := range tags {
			fmt.Fprintf(&b, "%s%s: %q", sep, k, v)
			sep = ", "
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// awaitReady waits until Envoy is live and listens on everything.
func (d *dataplane) awaitReady(t testing.TB) {
	t.Helper()
	eventually(t, 20*time.Second, d.name+" is ready", func() error {
		select {
		case <-d.done:
			t.Fatalf("kuma-dp %s ended:\n%s", d.name, d.tail(20))
		default:
		}
		if err := get(fmt.Sprintf("http://127.0.0.1:%d/ready", d.admin), nil); err != nil {
			return err
		}
		text, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/listeners", d.admin))
		if err != nil {
			return err
		}
		want := []string{}
		if d.inbounds == "" {
			want = append(want, fmt.Sprintf("inbound:%s", net.JoinHostPort(d.address, strconv.Itoa(d.inbound))))
		}
		for port := range d.outbounds {
			want = append(want, fmt.Sprintf("outbound:127.0.0.1:%d", port))
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				return fmt.Errorf("no listener %s", w)
			}
		}
		return nil
	})
}

// stat returns the value of one of Envoy's statistics.
func (d *dataplane) stat(t testing.TB, name string) int {
	t.Helper()
	text, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/stats?filter=^%s$", d.admin, strings.NewReplacer(".", "%5C.", ":", "%3A").Replace(name)))
	if err != nil {
		t.Fatal(err)
	}
	_, v, _ := strings.Cut(strings.TrimSpace(text), ": ")
	n, _ := strconv.Atoi(v)
	return n
}

// app is an application: an HTTP server that says its name.
func app(t testing.TB, name string) int {
	t.Helper()
	return serve(t, "127.0.0.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Path", r.URL.Path)
		fmt.Fprint(w, name)
	}))
}

func serve(t testing.TB, address string, h http.Handler) int {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

// load calls a URL from several workers until stop; it counts answers by body.
type load struct {
	ok, failed atomic.Int64
	mu         sync.Mutex
	bodies     map[string]int
	errs       []string
	stop       func()
}

func startLoad(t testing.TB, url string, workers int) *load {
	t.Helper()
	return startLoadWith(t, url, workers, &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: workers}})
}

func startLoadWith(t testing.TB, url string, workers int, client *http.Client) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{bodies: map[string]int{}}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				l.once(client, url)
				time.Sleep(time.Millisecond)
			}
		})
	}
	l.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(l.stop)
	return l
}

func (l *load) once(client *http.Client, url string) {
	resp, err := client.Get(url)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && resp.StatusCode == http.StatusOK {
		l.ok.Add(1)
		l.bodies[string(body)]++
		return
	}
	l.failed.Add(1)
	if len(l.errs) < 5 {
		if err == nil {
			err = fmt.Errorf("%s: %.80s", resp.Status, body)
		}
		l.errs = append(l.errs, time.Now().Format("15:04:05.000 ")+err.Error())
	}
}

// verdict ends the load and fails the test if any request failed.
func (l *load) verdict(t testing.TB) {
	t.Helper()
	l.stop()
	if l.failed.Load() > 0 || l.ok.Load() == 0 {
		t.Errorf("%d requests succeeded, %d failed: %s", l.ok.Load(), l.failed.Load(), strings.Join(l.errs, "; "))
	}
}

func get(url string, v any) error {
	text, err := fetch(url)
	if err != nil || v == nil {
		return err
	}
	return json.Unmarshal([]byte(text), v)
}

func fetch(url string) (string, error) { return fetchBy(&http.Client{Timeout: 5 * time.Second}, url) }

// fetchBy returns the body of a page; a status other than 200 is an error.
func fetchBy(client *http.Client, url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", resp.Status, b)
	}
	return string(b), err
}

// eventually repeats f until it returns nil.
func eventually(t testing.TB, limit time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain until %s: %v", limit, what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
