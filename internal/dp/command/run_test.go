package command

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weft/internal/testkit/freeport"
)

const webDefinition = `
type: Dataplane
mesh: default
name: web-1
networking:
  address: {{ address }}
  inbound:
  - port: 8080
    tags: {kuma.io/service: "{{service}}"}
`

func TestRunServesAndStops(t *testing.T) {
	envoy := realEnvoy(t)
	cp := newControlPlane(t, application(t))
	file := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(file, []byte(webDefinition), 0o600); err != nil {
		t.Fatal(err)
	}
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(goodToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startDP(t, cp.env(envoy), "--dataplane-file", file, "--dataplane-token-file", tokenFile, "-v", "address=10.0.0.7", "-v", "service=web")
	d.waitReady(t, cp)

	if got := get(fmt.Sprintf("http://127.0.0.1:%d/", cp.listener)); got != "200 hello" {
		t.Errorf("traffic: %q", got)
	}
	for _, network := range []string{"udp", "tcp"} {
		q := new(dns.Msg)
		q.SetQuestion("backend.mesh.", dns.TypeA)
		m, _, err := (&dns.Client{Net: network, Timeout: 5 * time.Second}).Exchange(q, fmt.Sprintf("127.0.0.1:%d", cp.coreDNS))
		if err != nil || len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "240.0.0.1" {
			t.Errorf("DNS over %s: %v, %v", network, m, err)
		}
	}
	checkRequest(t, cp.lastRequest(t), cp)
	checkFiles(t, d)
	if strings.Contains(d.out.String(), goodToken) {
		t.Error("the token is in the log")
	}

	d.signal(t, syscall.SIGTERM)
	if code := d.wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left, _ := filepath.Glob(filepath.Join(d.tmp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if get(fmt.Sprintf("http://127.0.0.1:%d/ready", cp.admin)) != "" {
		t.Error("Envoy still runs")
	}
}

func checkRequest(t *testing.T, r map[string]any, cp *controlPlane) {
	t.Helper()
	for field, want := range map[string]any{
		"mesh": "default", "name": "web-1", "proxyType": "dataplane", "dataplaneToken": goodToken,
		"dnsPort": float64(cp.envoyDNS), "readinessPort": float64(cp.readiness), "operatingSystem": "linux",
		"dataplaneResource": `{"type":"Dataplane","mesh":"default","name":"web-1","creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z",` +
			`"networking":{"address":"10.0.0.7","inbound":[{"port":8080,"tags":{"kuma.io/service":"web"}}]}}`,
	} {
		if r[field] != want {
			t.Errorf("request %s: %v, want %v", field, r[field], want)
		}
	}
	if features := fmt.Sprint(r["features"]); features != "[feature-tcp-accesslog-via-named-pipe feature-delta-grpc feature-reconnect-backoff feature-token-secret feature-admin-paths]" {
		t.Errorf("features: %s", features)
	}
	if meta, _ := r["dynamicMetadata"].(map[string]any); meta["version.dependencies.coredns"] == nil {
		t.Errorf("dynamicMetadata: %v", r["dynamicMetadata"])
	}
	if _, ok := r["appProbeProxyDisabled"]; ok {
		t.Error("appProbeProxyDisabled is set although the probe proxy is off")
	}
}

func checkFiles(t *testing.T, d *dataplane) {
	t.Helper()
	dirs, _ := filepath.Glob(filepath.Join(d.tmp, "kuma-dp-*"))
	if len(dirs) != 1 {
		t.Fatalf("temporary directories: %v", dirs)
	}
	info, err := os.Stat(filepath.Join(dirs[0], "bootstrap.yaml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("bootstrap.yaml: %v, %v", info, err)
	}
	info, err = os.Stat(filepath.Join(dirs[0], "kuma-al-web-1-default.sock"))
	if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("access log pipe: %v, %v", info, err)
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", d.envoyPID(t)))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	want := []string{"--config-path", filepath.Join(dirs[0], "bootstrap.yaml"), "--drain-time-s", "1", "--drain-strategy", "immediate", "--disable-hot-restart", "--log-level", "info", "--cpuset-threads"}
	if strings.Join(args[1:], " ") != strings.Join(want, " ") {
		t.Errorf("Envoy's arguments: %q, want %q", args[1:], want)
	}
}

// load sends requests one after the other over kept and fresh connections, as
// clients do that learn late that the proxy leaves, until stop is closed.
func load(t *testing.T, url string, stop <-chan struct{}) (sent *atomic.Int64, wait func()) {
	t.Helper()
	sent = &atomic.Int64{}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			c := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := c.Get(url)
				if err != nil {
					t.Errorf("request failed: %v", err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("status %d", resp.StatusCode)
					return
				}
				sent.Add(1)
			}
		})
	}
	return sent, group.Wait
}

func TestDrainLosesNoRequest(t *testing.T) {
	envoy := realEnvoy(t)
	cp := newControlPlane(t, application(t))
	d := startDP(t, append(cp.env(envoy), "KUMA_DATAPLANE_DRAIN_TIME=4s", "KUMA_DATAPLANE_DRAIN_IDLE_TIME=300ms"), "--name=web-1", "--mesh=default")
	d.waitReady(t, cp)
	stop := make(chan struct{})
	sent, wait := load(t, fmt.Sprintf("http://127.0.0.1:%d/", cp.listener), stop)
	eventually(t, 10*time.Second, "under load", func() bool { return sent.Load() > 100 })

	began := time.Now()
	d.signal(t, syscall.SIGTERM)
	eventually(t, 5*time.Second, "terminating", func() bool {
		return get(fmt.Sprintf("http://127.0.0.1:%d/ready", cp.readiness)) == "503 TERMINATING"
	})
	eventually(t, 5*time.Second, "failing Envoy's health check", func() bool {
		return strings.HasPrefix(get(fmt.Sprintf("http://127.0.0.1:%d/ready", cp.admin)), "503")
	})
	// Clients go on for a second: the news did not reach them yet.
	before := sent.Load()
	eventually(t, 5*time.Second, "served while draining", func() bool {
		return sent.Load() > before+100 && time.Since(began) > time.Second
	})
	close(stop)
	wait()
	if code := d.wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	took := time.Since(began)
	if took < 2*time.Second {
		t.Errorf("stopped after %s, before half of the drain time", took)
	}
	if took > 3800*time.Millisecond {
		t.Errorf("stopped after %s although no client was left", took)
	}
}

func TestDrainTakesItsTimeAndSignalsCutItShort(t *testing.T) {
	envoy := realEnvoy(t)
	t.Run("whole time", func(t *testing.T) {
		cp := newControlPlane(t, application(t))
		d := startDP(t, append(cp.env(envoy), "KUMA_DATAPLANE_DRAIN_TIME=1s"), "--name=web-1", "--mesh=default")
		d.waitReady(t, cp)
		began := time.Now()
		d.signal(t, syscall.SIGINT)
		if code := d.wait(t, 20*time.Second); code != 0 || time.Since(began) < time.Second {
			t.Errorf("exit code %d after %s", code, time.Since(began))
		}
	})
	t.Run("second signal", func(t *testing.T) {
		cp := newControlPlane(t, application(t))
		d := startDP(t, append(cp.env(envoy), "KUMA_DATAPLANE_DRAIN_TIME=1h"), "--name=web-1", "--mesh=default")
		d.waitReady(t, cp)
		d.signal(t, syscall.SIGTERM)
		eventually(t, 5*time.Second, "draining", func() bool { return strings.Contains(d.out.String(), "draining: clients") })
		d.signal(t, syscall.SIGTERM)
		if code := d.wait(t, 20*time.Second); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("SIGUSR2 drains, then SIGTERM stops at once", func(t *testing.T) {
		cp := newControlPlane(t, application(t))
		d := startDP(t, append(cp.env(envoy), "KUMA_DATAPLANE_DRAIN_TIME=1h"), "--name=web-1", "--mesh=default")
		d.waitReady(t, cp)
		d.signal(t, syscall.SIGUSR2)
		eventually(t, 5*time.Second, "drained", func() bool { return strings.Contains(d.out.String(), "inbound listeners are draining") })
		if !d.running() {
			t.Fatal("ended")
		}
		d.signal(t, syscall.SIGTERM)
		if code := d.wait(t, 20*time.Second); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("while waiting for the control plane", func(t *testing.T) {
		cp := newControlPlane(t, application(t))
		cp.refuse.Store(&refusal{status: 404})
		d := startDP(t, append(cp.env(envoy), "KUMA_CONTROL_PLANE_RETRY_BACKOFF=1h", "KUMA_CONTROL_PLANE_RETRY_MAX_DURATION=9h"), "--name=web-1", "--mesh=default")
		eventually(t, 10*time.Second, "waiting", func() bool { return strings.Contains(d.out.String(), "trying again") })
		d.signal(t, syscall.SIGTERM)
		if code := d.wait(t, 10*time.Second); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestEndOfEnvoyEndsKumaDP(t *testing.T) {
	envoy := realEnvoy(t)
	t.Run("killed", func(t *testing.T) {
		cp := newControlPlane(t, application(t))
		d := startDP(t, cp.env(envoy), "--name=web-1", "--mesh=default")
		d.waitReady(t, cp)
		if err := syscall.Kill(d.envoyPID(t), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if code := d.wait(t, 20*time.Second); code != 137 {
			t.Errorf("exit code %d", code)
		}
		if !strings.Contains(d.out.String(), "Envoy ended unexpectedly (signal: killed)") {
			t.Error("the reason is not told")
		}
	})
	t.Run("asked to quit", func(t *testing.T) {
		cp := newControlPlane(t, application(t))
		d := startDP(t, cp.env(envoy), "--name=web-1", "--mesh=default")
		d.waitReady(t, cp)
		resp, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/quitquitquit", cp.admin), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if code := d.wait(t, 20*time.Second); code != 0 {
			t.Errorf("exit code %d: a finished job must count as a success", code)
		}
	})
	t.Run("with kuma-dp", func(t *testing.T) {
		cp := newControlPlane(t, application(t))
		d := startDP(t, cp.env(envoy), "--name=web-1", "--mesh=default")
		d.waitReady(t, cp)
		if err := d.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "gone", func() bool {
			return get(fmt.Sprintf("http://127.0.0.1:%d/ready", cp.admin)) == ""
		})
	})
	t.Run("bad document", func(t *testing.T) {
		cp := newControlPlane(t, "not-an-ip:80")
		d := startDP(t, cp.env(envoy), "--name=web-1", "--mesh=default")
		if code := d.wait(t, 20*time.Second); code != 1 {
			t.Errorf("exit code %d", code)
		}
		if !strings.Contains(d.out.String(), "malformed IP address") {
			t.Error("Envoy's own words are missing")
		}
	})
}

func TestPortsInUse(t *testing.T) {
	envoy := realEnvoy(t)
	for name, tc := range map[string]struct {
		port    func(*controlPlane) int
		network string
		want    string
	}{
		"readiness": {func(cp *controlPlane) int { return cp.readiness }, "tcp", "KUMA_READINESS_PORT"},
		"admin":     {func(cp *controlPlane) int { return cp.admin }, "tcp", "networking.admin.port"},
		"DNS TCP":   {func(cp *controlPlane) int { return cp.coreDNS }, "tcp", "--dns-coredns-port"},
		"DNS UDP":   {func(cp *controlPlane) int { return cp.coreDNS }, "udp", "--dns-coredns-port"},
		"Envoy DNS": {func(cp *controlPlane) int { return cp.envoyDNS }, "udp", "--dns-envoy-port"},
		"metrics":   {func(cp *controlPlane) int { return cp.metrics }, "tcp", "--dns-prometheus-port"},
	} {
		t.Run(name, func(t *testing.T) {
			cp := newControlPlane(t, application(t))
			addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(tc.port(cp)))
			if tc.network == "tcp" {
				l, err := net.Listen("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
			} else {
				p, err := net.ListenPacket("udp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
			}
			d := startDP(t, cp.env(envoy), "--name=web-1", "--mesh=default")
			if code := d.wait(t, 20*time.Second); code != 1 {
				t.Errorf("exit code %d", code)
			}
			for _, want := range []string{"address already in use", tc.want} {
				if !strings.Contains(d.out.String(), want) {
					t.Errorf("the output does not say %q", want)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(d.tmp, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestPinAtFirstContact(t *testing.T) {
	envoy := realEnvoy(t)
	pin := filepath.Join(t.TempDir(), "pin.pem")
	for i, want := range []int{0, 1} {
		// Each round is another control plane with another certificate.
		cp := newControlPlane(t, application(t))
		env := append(cp.env(envoy), "KUMA_CONTROL_PLANE_CA_CERT_FILE=", "KUMA_CONTROL_PLANE_CA_CERT_PIN_FILE="+pin)
		d := startDP(t, env, "--name=web-1", "--mesh=default")
		if i == 0 {
			d.waitReady(t, cp)
			d.signal(t, syscall.SIGTERM)
		}
		if code := d.wait(t, 20*time.Second); code != want {
			t.Errorf("round %d: exit code %d", i, code)
		}
		if i == 1 && !strings.Contains(d.out.String(), "another certificate") {
			t.Error("the change is not told")
		}
	}
}

func TestRefusedStart(t *testing.T) {
	envoy := realEnvoy(t)
	for name, tc := range map[string]struct {
		env    []string
		args   []string
		refuse *refusal
		want   string
	}{
		"no Envoy":         {env: []string{"KUMA_DATAPLANE_RUNTIME_BINARY_PATH=no-such-envoy", "PATH=/nowhere"}, args: []string{"--name=a", "--mesh=b"}, want: "make envoy"},
		"not an Envoy":     {env: []string{"KUMA_DATAPLANE_RUNTIME_BINARY_PATH=/bin/echo"}, args: []string{"--name=a", "--mesh=b"}, want: "is it one?"},
		"no CA":            {env: []string{"KUMA_CONTROL_PLANE_CA_CERT_FILE="}, args: []string{"--name=a", "--mesh=b"}, want: "--ca-cert-pin-file"},
		"missing CA":       {env: []string{"KUMA_CONTROL_PLANE_CA_CERT_FILE=/no/such"}, args: []string{"--name=a", "--mesh=b"}, want: "/no/such"},
		"name and file":    {args: []string{"--name=a", "--dataplane={}"}, want: "must be empty"},
		"empty definition": {args: []string{"--dataplane= "}, want: "empty"},
		"bad token":        {args: []string{"--name=a", "--mesh=b", "--dataplane-token=abc"}, want: "no JWT"},
		"missing token":    {args: []string{"--name=a", "--mesh=b", "--dataplane-token-file=/no/such"}, want: "/no/such"},
		"wrong type":       {args: []string{"--proxy-type=ingress", "--dataplane={type: Dataplane, mesh: a, name: b}"}, want: "ZoneIngress"},
		"refused":          {args: []string{"--name=a", "--mesh=b"}, refuse: &refusal{422, "mesh: no such mesh"}, want: "no such mesh"},
		"not found":        {env: []string{"KUMA_CONTROL_PLANE_RETRY_MAX_DURATION=30ms"}, args: []string{"--name=a", "--mesh=b"}, refuse: &refusal{404, ""}, want: "--dataplane-file"},
		"bad Corefile":     {env: []string{"KUMA_DNS_CORE_DNS_CONFIG_TEMPLATE_PATH=/no/such"}, args: []string{"--name=a", "--mesh=b"}, want: "Corefile template"},
		"missing CoreDNS":  {env: []string{"KUMA_DNS_CORE_DNS_BINARY_PATH=/no/such"}, args: []string{"--name=a", "--mesh=b"}, want: "--dns-coredns-path"},
		"bad number":       {env: []string{"KUMA_READINESS_PORT=70000"}, args: []string{"--name=a", "--mesh=b"}, want: "KUMA_READINESS_PORT"},
		"gateway":          {args: []string{"--proxy-type=gateway", "--name=a", "--mesh=b"}, want: "networking.gateway"},
		"unknown flag":     {args: []string{"--nmae=a"}, want: "--nmae"},
		"log level":        {args: []string{"--log-level=loud", "--name=a", "--mesh=b"}, want: "off, info or debug"},
	} {
		t.Run(name, func(t *testing.T) {
			cp := newControlPlane(t, application(t))
			cp.refuse.Store(tc.refuse)
			d := startDP(t, append(cp.env(envoy), tc.env...), tc.args...)
			if code := d.wait(t, 20*time.Second); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(d.out.String(), tc.want) {
				t.Errorf("the output does not say %q", tc.want)
			}
			if left, _ := filepath.Glob(filepath.Join(d.tmp, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// goodToken looks like a token; nobody checks its signature here.
const goodToken = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEiLCJ0eXAiOiJKV1QifQ.eyJOYW1lIjoid2ViLTEifQ.c2lnbmF0dXJl"

func TestHelpers(t *testing.T) {
	envoy := realEnvoy(t)
	app := application(t)
	cp := newControlPlane(t, app)
	probePort := freeport.Take(t, 1)[0]
	logs := filepath.Join(t.TempDir(), "kuma-dp.log")
	d := startDP(t, append(cp.env(envoy), fmt.Sprintf("KUMA_APPLICATION_PROBE_PROXY_PORT=%d", probePort), "KUMA_DATAPLAN_MESH=x"),
		"--name=web-1", "--mesh=default", "--log-output-path="+logs, "--log-level=debug", "--envoy-log-level=warning")
	d.waitReady(t, cp)
	if r := cp.lastRequest(t); r["appProbeProxyDisabled"] != true {
		t.Errorf("appProbeProxyDisabled is %v although the probe proxy runs", r["appProbeProxyDisabled"])
	}
	_, port, err := net.SplitHostPort(app)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(fmt.Sprintf("http://127.0.0.1:%d/%s/x", probePort, port)); got != "200 HEALTHY\n" {
		t.Errorf("probe: %q", got)
	}
	sockets, _ := filepath.Glob(filepath.Join(d.tmp, "kuma-dp-*", "kuma-mh-web-1-default.sock"))
	if len(sockets) != 1 {
		t.Fatalf("metrics sockets: %v", sockets)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", sockets[0])
	}}}
	resp, err := client.Get("http://localhost/")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if !strings.Contains(string(body), `envoy_cluster_name="app",kuma_io_mesh_traffic="true"`) {
		t.Errorf("metrics of Envoy are missing: %.300s", body)
	}
	d.signal(t, syscall.SIGTERM)
	if code := d.wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	text, err := os.ReadFile(logs)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"proxy is ready", "KUMA_DATAPLANE_MESH"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the log file does not say %q", want)
		}
	}
	if !strings.Contains(d.out.String(), "logs will be stored in") {
		t.Error("it is not told where the log is")
	}
}

// fakeCoreDNS is a program that behaves like an external CoreDNS as far as
// kuma-dp can see.
const fakeCoreDNS = `#!/bin/sh
if [ "$1" = --version ]; then echo CoreDNS-1.14.1; exit 0; fi
echo "external CoreDNS $*"
exec sleep 1000
`

func TestExternalCoreDNS(t *testing.T) {
	envoy := realEnvoy(t)
	cp := newControlPlane(t, application(t))
	binary := filepath.Join(t.TempDir(), "my-coredns")
	if err := os.WriteFile(binary, []byte(fakeCoreDNS), 0o700); err != nil {
		t.Fatal(err)
	}
	d := startDP(t, append(cp.env(envoy), "KUMA_DNS_CORE_DNS_BINARY_PATH="+binary), "--name=web-1", "--mesh=default")
	d.waitReady(t, cp)
	if meta, _ := cp.lastRequest(t)["dynamicMetadata"].(map[string]any); meta["version.dependencies.coredns"] != "1.14.1" {
		t.Errorf("dynamicMetadata: %v", meta)
	}
	eventually(t, 5*time.Second, "started", func() bool { return strings.Contains(d.out.String(), "external CoreDNS -conf ") })
	d.signal(t, syscall.SIGTERM)
	if code := d.wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestZoneProxyHasNoDNS(t *testing.T) {
	envoy := realEnvoy(t)
	cp := newControlPlane(t, application(t))
	d := startDP(t, cp.env(envoy), "--name=in", "--proxy-type=ingress")
	d.waitReady(t, cp)
	r := cp.lastRequest(t)
	if r["proxyType"] != "ingress" || r["mesh"] != "" || r["dynamicMetadata"] != nil {
		t.Errorf("request: %v", r)
	}
	if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", cp.coreDNS)); err != nil {
		t.Error("a zone proxy serves DNS")
	} else {
		l.Close()
	}
}

func TestThirdSignalEndsAtOnce(t *testing.T) {
	cp := newControlPlane(t, application(t))
	// An Envoy that ignores SIGTERM keeps kuma-dp stopping for five seconds.
	stubborn := filepath.Join(t.TempDir(), "envoy")
	script := `#!/bin/sh
if [ "$1" = --version ]; then echo "version: a/1.40.0/Clean/RELEASE/BoringSSL"; exit 0; fi
trap '' TERM
echo stubborn
while :; do sleep 0.05; done
`
	if err := os.WriteFile(stubborn, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	d := startDP(t, cp.env(stubborn), "--name=web-1", "--mesh=default")
	eventually(t, 10*time.Second, "started", func() bool { return strings.Contains(d.out.String(), "stubborn") })
	began := time.Now()
	d.signal(t, syscall.SIGTERM) // never ready, so no draining
	eventually(t, 5*time.Second, "stopping", func() bool { return strings.Contains(d.out.String(), "never ready") })
	d.signal(t, syscall.SIGTERM)
	d.signal(t, syscall.SIGINT) // another one, as equal pending signals count once
	if code := d.wait(t, 10*time.Second); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %s", took)
	}
}
