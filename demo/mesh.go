package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"weft/internal/freeport"
)

// mesh is the running demo.
type mesh struct {
	dir, bin string
	procs    []*process
	api      int // HTTP port of the control plane
	apiTLS   int
	xds      int
	token    string
	webPort  int // where the client reaches web, through its sidecar
	admin    map[string]int
	started  time.Time
}

// process is a child with its log.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

func newMesh(dir, bin string) *mesh {
	return &mesh{dir: dir, bin: bin, admin: map[string]int{}}
}

// start brings up the control plane, then each service with its sidecar.
func (m *mesh) start(ctx context.Context) error {
	m.started = time.Now()
	if err := m.controlPlane(ctx); err != nil {
		return err
	}
	p, err := freeport.Pick(6)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find myself: %w", err)
	}
	counterVia, clientVia := p[4], p[5]
	m.webPort = clientVia
	apps := []struct {
		name string
		args []string
	}{
		{"counter-1", []string{"--role=counter", "--instance=counter-1", fmt.Sprintf("--listen=127.0.0.1:%d", p[0])}},
		{"counter-2", []string{"--role=counter", "--instance=counter-2", fmt.Sprintf("--listen=127.0.0.1:%d", p[1])}},
		{"web-1", []string{"--role=web", fmt.Sprintf("--listen=127.0.0.1:%d", p[2]), fmt.Sprintf("--upstream=http://127.0.0.1:%d", counterVia)}},
	}
	for _, a := range apps {
		if err := m.run(a.name, nil, self, a.args...); err != nil {
			return err
		}
	}
	sidecars := []sidecar{
		{name: "counter-1", service: "counter", app: p[0]},
		{name: "counter-2", service: "counter", app: p[1]},
		{name: "web-1", service: "web", app: p[2], outbounds: map[int]string{counterVia: "counter"}},
		{name: "client-1", service: "client", app: p[3], outbounds: map[int]string{clientVia: "web"}},
	}
	for _, s := range sidecars {
		if err := m.sidecar(ctx, s); err != nil {
			return err
		}
	}
	for name, port := range m.admin {
		if err := m.await(ctx, name+" is ready", fmt.Sprintf("http://127.0.0.1:%d/ready", port)); err != nil {
			return err
		}
	}
	return m.await(ctx, "the first request went through", fmt.Sprintf("http://127.0.0.1:%d/api", m.webPort))
}

func (m *mesh) controlPlane(ctx context.Context) error {
	p, err := freeport.Pick(7)
	if err != nil {
		return err
	}
	m.api, m.apiTLS, m.xds = p[0], p[1], p[2]
	env := []string{
		"KUMA_GENERAL_WORK_DIR=" + m.dir,
		"KUMA_STORE_SQLITE_PATH=" + filepath.Join(m.dir, "weft.db"),
		fmt.Sprintf("KUMA_API_SERVER_HTTP_PORT=%d", p[0]),
		fmt.Sprintf("KUMA_API_SERVER_HTTPS_PORT=%d", p[1]),
		fmt.Sprintf("KUMA_DP_SERVER_PORT=%d", p[2]),
		fmt.Sprintf("KUMA_DIAGNOSTICS_SERVER_PORT=%d", p[3]),
		fmt.Sprintf("KUMA_MONITORING_ASSIGNMENT_SERVER_PORT=%d", p[4]),
		fmt.Sprintf("KUMA_INTER_CP_SERVER_PORT=%d", p[5]),
		fmt.Sprintf("KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT=%d", p[6]),
	}
	if err := m.run("kuma-cp", env, filepath.Join(m.bin, "kuma-cp"), "run"); err != nil {
		return err
	}
	if err := m.await(ctx, "kuma-cp is ready", fmt.Sprintf("http://127.0.0.1:%d/ready", p[3])); err != nil {
		return err
	}
	token, err := os.ReadFile(filepath.Join(m.dir, adminTokenFile))
	if err != nil {
		return fmt.Errorf("read the admin token: %w", err)
	}
	m.token = strings.TrimSpace(string(token))
	return nil
}

// adminTokenFile is where kuma-cp leaves the first admin's token, below its working folder.
const adminTokenFile = "admin-token"

// sidecar is a proxy to start.
type sidecar struct {
	name, service string
	app           int
	outbounds     map[int]string
}

func (m *mesh) sidecar(ctx context.Context, s sidecar) error {
	p, err := freeport.Pick(6)
	if err != nil {
		return err
	}
	token, err := m.dataplaneToken(ctx, s)
	if err != nil {
		return err
	}
	tokenFile := filepath.Join(m.dir, s.name+".token")
	if err := os.WriteFile(tokenFile, token, 0o600); err != nil {
		return fmt.Errorf("keep the token of %s: %w", s.name, err)
	}
	m.admin[s.name] = p[0]
	var outs []map[string]any
	for port, service := range s.outbounds {
		outs = append(outs, map[string]any{"port": port, "tags": map[string]string{"kuma.io/service": service}})
	}
	dp := map[string]any{
		"type": "Dataplane", "mesh": "default", "name": s.name,
		"networking": map[string]any{
			"address": "127.0.0.1",
			"admin":   map[string]any{"port": p[0]},
			"inbound": []map[string]any{{
				"port": p[1], "servicePort": s.app,
				"tags": map[string]string{"kuma.io/service": s.service, "kuma.io/protocol": "http"},
			}},
			"outbound": outs,
		},
	}
	doc, err := json.Marshal(dp)
	if err != nil {
		return fmt.Errorf("describe %s: %w", s.name, err)
	}
	file := filepath.Join(m.dir, s.name+".json")
	if err := os.WriteFile(file, doc, 0o600); err != nil {
		return fmt.Errorf("describe %s: %w", s.name, err)
	}
	env := []string{fmt.Sprintf("KUMA_READINESS_PORT=%d", p[2])}
	return m.run("kuma-dp-"+s.name, env, filepath.Join(m.bin, "kuma-dp"), "run",
		fmt.Sprintf("--cp-address=https://localhost:%d", m.xds),
		"--ca-cert-file="+filepath.Join(m.dir, "kuma-cp.crt"),
		"--dataplane-file="+file, "--dataplane-token-file="+tokenFile, "--concurrency=1", "--drain-time=1s",
		fmt.Sprintf("--dns-coredns-port=%d", p[3]), fmt.Sprintf("--dns-envoy-port=%d", p[4]), fmt.Sprintf("--dns-prometheus-port=%d", p[5]))
}

func (m *mesh) dataplaneToken(ctx context.Context, s sidecar) ([]byte, error) {
	body, err := json.Marshal(map[string]any{"mesh": "default", "name": s.name, "validFor": "24h", "tags": map[string][]string{"kuma.io/service": {s.service}}})
	if err != nil {
		return nil, fmt.Errorf("ask for a token: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/tokens/dataplane", m.api), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask for a token: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+m.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for a token: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for a token of %s: %s: %s", s.name, resp.Status, text)
	}
	return text, nil
}

// run starts a child whose output goes to a log file.
func (m *mesh) run(name string, env []string, program string, args ...string) error {
	log := filepath.Join(m.dir, name+".log")
	out, err := os.Create(log)
	if err != nil {
		return fmt.Errorf("log of %s: %w", name, err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = m.dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us: we stop them in order
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	m.procs = append(m.procs, p)
	return nil
}

// stop ends the children, the last started first.
func (m *mesh) stop() {
	for i := len(m.procs) - 1; i >= 0; i-- {
		_ = m.procs[i].cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range m.procs {
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
}

// await asks a URL until it answers 200. It gives up when a child ends.
func (m *mesh) await(ctx context.Context, what, url string) error {
	deadline := time.Now().Add(30 * time.Second)
	var last error
	for time.Now().Before(deadline) {
		if last = get(ctx, url, nil); last == nil {
			return nil
		}
		for _, p := range m.procs {
			select {
			case <-p.done:
				tail, _ := os.ReadFile(p.log)
				return fmt.Errorf("%s ended early:\n%s", p.name, lastLines(tail, 12))
			default:
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("waited in vain until %s: %w", what, last)
}

func lastLines(b []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

var errStatus = errors.New("unexpected status")

// get fetches a URL, into v where given.
func get(ctx context.Context, url string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("get %s: %w", url, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("get %s: %w", url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return fmt.Errorf("get %s: %w %s: %s", url, errStatus, resp.Status, text)
	}
	if v == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(v)
	}
	if err != nil {
		return fmt.Errorf("get %s: read: %w", url, err)
	}
	return nil
}
