package rest_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weft/internal/config"
	"weft/internal/cp"
	"weft/internal/testkit/corpus"
	"weft/internal/testkit/envoytest"
	"weft/internal/testkit/freeport"
	"weft/internal/testkit/restcorpus"
	"weft/internal/tlsutil"
)

// old are the switches that restore what 2.10 does by default and ours does not.
var old = map[string]string{
	"KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN":  "true",
	"KUMA_ACCESS_STATIC_WRITE_RESOURCES_GROUPS": "mesh-system:unauthenticated,mesh-system:authenticated",
	"KUMA_API_SERVER_CORS_ALLOWED_DOMAINS":      ".*",
	"KUMA_API_SERVER_HTTP_INTERFACE":            "0.0.0.0",
	"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE":        "none",
	"KUMA_STORE_TYPE":                           "memory",
	"KUMA_REPORTS_ENABLED":                      "false",
}

// TestCorpus plays the recorded scenarios against whole control planes.
func TestCorpus(t *testing.T) {
	root := corpus.Root(t, "rest")
	known := corpus.Known(t, "rest")
	dp := &proxies{}
	var played sync.Map
	t.Cleanup(func() {
		for _, d := range known.Unused() {
			stale := false
			played.Range(func(name, _ any) bool {
				if is, err := path.Match(d.Case, name.(string)); err == nil && is {
					stale = true
				}
				return !stale
			})
			if stale && !t.Failed() {
				t.Errorf("differences.yaml: nothing differs any more at %s %s", d.Case, d.Path)
			}
		}
	})
	for _, name := range corpus.Cases(t, root) {
		t.Run(name, func(t *testing.T) {
			if why := known.Skips(name); why != "" {
				t.Skip("SKIPPED: " + why)
			}
			played.Store(name, true)
			c := restcorpus.Load(t, root, name)
			if c.NeedsProxy() {
				dp.prepare(t) // they all use the same addresses: one after the other
			} else {
				t.Parallel()
			}
			c.Play(t, dp.instance(t, startCP(t, c.Env)), known)
		})
	}
}

// whole is a running control plane.
type whole struct {
	dir      string
	ports    []int
	hostname string
	ip       string // not loopback; "" if this machine has none
}

// The ports of a control plane, in the order of whole.ports.
const (
	portHTTP = iota
	portHTTPS
	portDP
)

var portVariables = []string{
	"KUMA_API_SERVER_HTTP_PORT", "KUMA_API_SERVER_HTTPS_PORT", "KUMA_DP_SERVER_PORT", "KUMA_DIAGNOSTICS_SERVER_PORT",
	"KUMA_MONITORING_ASSIGNMENT_SERVER_PORT", "KUMA_INTER_CP_SERVER_PORT", "KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT",
}

// startCP runs a control plane until the test ends, and waits until it has what
// the recorder waited for.
func startCP(t *testing.T, env map[string]string) *whole {
	t.Helper()
	w := &whole{dir: t.TempDir(), ports: freeport.Take(t, len(portVariables)), hostname: hostname, ip: ownIP()}
	all := map[string]string{"KUMA_GENERAL_WORK_DIR": w.dir}
	for i, name := range portVariables {
		all[name] = strconv.Itoa(w.ports[i])
	}
	for _, m := range []map[string]string{old, env} {
		for k, v := range m {
			all[k] = v
		}
	}
	var environ []string
	for k, v := range all {
		environ = append(environ, k+"="+v)
	}
	c, _, err := config.Load("", environ)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cp.Run(ctx, c, cp.Host{Name: hostname, Home: w.dir, Now: time.Now}, testLog()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("control plane: %v", err)
		}
	})
	w.awaitReady(t, c, done)
	return w
}

func testLog() *slog.Logger {
	if os.Getenv("WEFT_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

// awaitReady waits for what is made in the background, as the recorder did.
func (w *whole) awaitReady(t *testing.T, c *config.Config, done chan error) {
	t.Helper()
	want := []string{"/global-secrets/admin-user-token"}
	if !c.IsFederatedZone() && !c.Defaults.SkipMeshCreation {
		want = append(want, "/meshes/default/meshretries/mesh-retry-all-default", "/meshes/default/secrets/dataplane-token-signing-key-default-1")
	}
	end := time.Now().Add(60 * time.Second)
	for len(want) > 0 {
		select {
		case err := <-done:
			done <- err
			t.Fatalf("control plane ended: %v", err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("control plane does not get ready: no %s", want[0])
		}
		r, err := http.Get(fmt.Sprintf("http://localhost:%d%s%s", w.ports[portHTTP], strings.TrimRight(c.APIServer.BasePath, "/"), want[0]))
		if err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				want = want[1:]
				continue
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// ownIP returns an address of this machine that is not loopback.
func ownIP() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	return ""
}

// proxies knows how to run real proxies.
type proxies struct {
	once      sync.Once
	dp, envoy string
}

// prepare builds kuma-dp once; the test is skipped where there is no Envoy.
func (p *proxies) prepare(t *testing.T) {
	t.Helper()
	envoy := envoytest.Binary(t)
	p.once.Do(func() {
		dir, err := os.MkdirTemp("", "restcorpus")
		if err != nil {
			t.Fatal(err)
		}
		bin := filepath.Join(dir, "kuma-dp")
		if out, err := exec.Command("go", "build", "-o", bin, "weft/cmd/kuma-dp").CombinedOutput(); err != nil {
			t.Fatalf("build kuma-dp: %v\n%s", err, out)
		}
		p.dp, p.envoy = bin, envoy
	})
}

// instance returns a control plane for the player.
func (p *proxies) instance(t *testing.T, w *whole) *restcorpus.Instance {
	at := func(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(w.ports[port])) }
	i := &restcorpus.Instance{
		HTTP: at("127.0.0.1", portHTTP), HTTPS: at("127.0.0.1", portHTTPS),
		Ports: w.ports, Hostname: w.hostname, Dir: w.dir, IP: w.ip, Patience: 20 * time.Second,
	}
	if w.ip != "" {
		i.ExternalHTTP, i.ExternalHTTPS = at(w.ip, portHTTP), at(w.ip, portHTTPS)
	}
	if p.dp == "" {
		return i
	}
	running := map[string]*exec.Cmd{}
	stop := func(t *testing.T, name string) {
		cmd := running[name]
		delete(running, name)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	t.Cleanup(func() {
		for name := range running {
			stop(t, name)
		}
	})
	i.Stop = stop
	i.Start = func(t *testing.T, x restcorpus.Proxy) { running[x.Name] = p.start(t, w, x) }
	return i
}

func (p *proxies) start(t *testing.T, w *whole, x restcorpus.Proxy) *exec.Cmd {
	t.Helper()
	dir, err := os.MkdirTemp("", "dp") // short, for the paths of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	args := []string{
		"run", fmt.Sprintf("--cp-address=https://localhost:%d", w.ports[portDP]), "--ca-cert-file=" + filepath.Join(w.dir, tlsutil.OwnCertFile),
		"--binary-path=" + p.envoy, "--dns-enabled=false", "--config-dir=" + dir, "--concurrency=1",
	}
	if x.File != "" {
		args = append(args, "--dataplane-file="+x.File)
	} else {
		args = append(args, "--name="+x.Name, "--mesh="+x.Mesh)
	}
	if x.ProxyType != "" {
		args = append(args, "--proxy-type="+x.ProxyType)
	}
	cmd := exec.Command(p.dp, append(args, x.Args...)...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &log, &log, dir
	cmd.Env = append(os.Environ(), fmt.Sprintf("KUMA_READINESS_PORT=%d", freeport.Take(t, 1)[0]), "KUMA_DATAPLANE_RUNTIME_SOCKET_DIR="+dir,
		"KUMA_DATAPLANE_DRAIN_TIME=100ms")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kuma-dp %s:\n%.4000s", x.Name, log.String())
		}
	})
	return cmd
}
