package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// buildWebapp builds the application of testdata.
func buildWebapp(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "webapp")
	if out, err := exec.Command("go", "build", "-o", path, "./testdata/webapp").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// withApplication is a proxy that kuma-dp runs together with its application,
// which calls the service store at the start and at the end.
func withApplication(t testing.TB, name, webapp string) (s sidecar, url string) {
	t.Helper()
	p := ports(t, 2)
	s = sidecar{
		name: name, service: "web", protocol: "http", app: p[0],
		outbounds: map[int]map[string]string{p[1]: to("store")},
		args:      []string{"--", webapp, "127.0.0.1:" + strconv.Itoa(p[0]), fmt.Sprintf("http://127.0.0.1:%d/", p[1])},
	}
	return s, fmt.Sprintf("http://127.0.0.1:%d/", p[0])
}

// kuma-dp runs the application: it starts when its calls can go out, and a
// rolling restart fails no request although application and proxy stop together.
func TestApplicationRunByKumaDP(t *testing.T) {
	t.Parallel()
	webapp := buildWebapp(t)
	cp := startCP(t, t.TempDir())
	p := ports(t, 1)
	cp.startDP(t, sidecar{name: "store", service: "store", protocol: "http", app: app(t, "store")})
	cp.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("web")}})
	launch := func(n int) *dataplane {
		s, _ := withApplication(t, fmt.Sprintf("web-%d", n), webapp)
		d := cp.startDP(t, s)
		eventually(t, 20*time.Second, "the application is announced", func() error {
			// systemd is told at this moment, so `systemctl restart` returns.
			if !strings.Contains(d.output(), "application listens") {
				return errors.New("not yet")
			}
			return nil
		})
		return d
	}
	running := []*dataplane{launch(0), launch(1)}
	url := fmt.Sprintf("http://127.0.0.1:%d/", p[0])
	eventually(t, 20*time.Second, "traffic flows", func() error { _, err := fetch(url); return err })
	calls := startCallers(t, httpCaller("HTTP/1.1 kept", url, true), httpCaller("HTTP/1.1 fresh", url, false))
	for n, d := range running {
		d.signal(syscall.SIGTERM)
		if err := d.wait(20 * time.Second); err != nil {
			t.Errorf("%s ended with %v", d.name, err)
		}
		for _, want := range []string{"webapp: first call went well", "webapp: last call went well", "webapp: goodbye"} {
			if !strings.Contains(d.output(), want) {
				t.Errorf("%s does not say %q", d.name, want)
			}
		}
		launch(n)
	}
	calls.verdict(t)
}

// When the application dies, its proxy leaves the mesh, and its exit code tells.
func TestApplicationDies(t *testing.T) {
	t.Parallel()
	webapp := buildWebapp(t)
	cp := startCP(t, t.TempDir())
	p := ports(t, 1)
	cp.startDP(t, sidecar{name: "store", service: "store", protocol: "http", app: app(t, "store")})
	cp.startDP(t, sidecar{name: "stays", service: "web", protocol: "http", app: app(t, "stays")})
	cp.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("web")}})
	s, direct := withApplication(t, "dies", webapp)
	d := cp.startDP(t, s)
	eventually(t, 20*time.Second, "the application is up", func() error { _, err := fetch(direct); return err })
	url := fmt.Sprintf("http://127.0.0.1:%d/", p[0])
	seen := map[string]bool{}
	eventually(t, 20*time.Second, "both answer", func() error {
		text, err := fetch(url)
		seen[text] = true
		if err == nil && len(seen) < 2 {
			err = fmt.Errorf("so far %v", seen)
		}
		return err
	})
	if err := syscall.Kill(childNamed(t, d.cmd.Process.Pid, "webapp"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	good := 0
	eventually(t, 5*time.Second, "only the other one is called", func() error {
		text, err := fetch(url)
		if good++; err != nil || text != "stays" {
			good = 0
		}
		if good < 30 {
			return fmt.Errorf("%d good answers in a row; last: %q, %s", good, text, fmt.Sprint(err))
		}
		return nil
	})
	t.Logf("clients were rid of it after %s", time.Since(began))
	_ = d.wait(20 * time.Second)
	if code := d.cmd.ProcessState.ExitCode(); code != 137 {
		t.Errorf("exit code %d", code)
	}
}
