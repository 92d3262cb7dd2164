package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weft/internal/testkit/pgtest"
)

// Traffic goes on while the control plane is killed and comes back; what it had
// acknowledged is still there; nothing is sent again that Envoy has.
func TestControlPlaneKilledUnderLoad(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	p := ports(t, 1)
	cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", app: app(t, "one")})
	client := cp.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("web")}})
	url := fmt.Sprintf("http://127.0.0.1:%d/", p[0])
	eventually(t, 10*time.Second, "traffic flows", func() error { _, err := fetch(url); return err })
	l := startLoad(t, url, 4)

	// Writers write until the kill; every acknowledged object must survive.
	var mu sync.Mutex
	acked := map[string]bool{}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 10_000 {
				name := fmt.Sprintf("m-%d-%d", w, i)
				status, _ := cp.request(http.MethodPut, "/zoneegresses/"+name, map[string]any{
					"type": "ZoneEgress", "name": name, "networking": map[string]any{"address": "10.0.0.1", "port": 10002},
				})
				if status != http.StatusCreated {
					return
				}
				mu.Lock()
				acked[name] = true
				mu.Unlock()
			}
		})
	}
	time.Sleep(400 * time.Millisecond)
	cp.kill()
	wg.Wait()
	if len(acked) == 0 {
		t.Fatal("nothing was written before the kill")
	}
	time.Sleep(time.Second)
	listeners := client.stat(t, "listener_manager.lds.update_success")
	cp.run(t)
	for name := range acked {
		if status, text := cp.request(http.MethodGet, "/zoneegresses/"+name, nil); status != http.StatusOK {
			t.Fatalf("%s was acknowledged and is gone: %d %s", name, status, text)
		}
	}
	eventually(t, 20*time.Second, "the proxy is back", func() error {
		if client.stat(t, "control_plane.connected_state") != 1 {
			return fmt.Errorf("not connected")
		}
		return nil
	})
	// It still follows.
	cp.startDP(t, sidecar{name: "web-2", service: "web", protocol: "http", app: app(t, "two")})
	eventually(t, 10*time.Second, "the new instance gets traffic", func() error {
		text, err := fetch(url)
		if err == nil && text != "two" {
			err = fmt.Errorf("got %q", text)
		}
		return err
	})
	l.verdict(t)
	t.Logf("%d writes were acknowledged; listeners were updated %d times before and %d times after the restart",
		len(acked), listeners, client.stat(t, "listener_manager.lds.update_success"))
}

// Two control planes share a PostgreSQL; when the one that a proxy is connected
// to is killed, the other takes over and nothing fails.
func TestTwoControlPlanesOnPostgres(t *testing.T) {
	t.Parallel()
	db := pgtest.Start(t)
	dir := t.TempDir()
	env := migrated(t, db, dir)
	var targets []int // of the balancer, which both control planes tell proxies to use
	gate := balancer(t, &targets)
	env = append(env, fmt.Sprintf("KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_PORT=%d", gate))
	a, b := startCP(t, dir, env...), startCP(t, dir, env...)
	targets = []int{a.xds, b.xds}
	p := ports(t, 1)
	a.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", app: app(t, "one"), cpPort: gate})
	client := a.startDP(t, sidecar{name: "client", service: "client", protocol: "http", cpPort: gate, outbounds: map[int]map[string]string{p[0]: to("web")}})
	url := fmt.Sprintf("http://127.0.0.1:%d/", p[0])
	eventually(t, 10*time.Second, "traffic flows", func() error { _, err := fetch(url); return err })

	l := startLoad(t, url, 4)
	a.kill()
	eventually(t, 20*time.Second, "the proxy is at the other control plane", func() error {
		if client.stat(t, "control_plane.connected_state") != 1 {
			return fmt.Errorf("not connected")
		}
		return nil
	})
	b.startDP(t, sidecar{name: "web-2", service: "web", protocol: "http", app: app(t, "two"), cpPort: gate})
	eventually(t, 15*time.Second, "the new instance gets traffic", func() error {
		text, err := fetch(url)
		if err == nil && text != "two" {
			err = fmt.Errorf("got %q", text)
		}
		return err
	})
	// Longer than the delay after which a proxy that left is deregistered.
	time.Sleep(12 * time.Second)
	for _, name := range []string{"web-1", "client"} {
		b.must(http.MethodGet, "/meshes/default/dataplanes/"+name, nil)
	}
	l.verdict(t)
}

// migrated makes an empty database ready for control planes, and returns the
// variables that lead them to it.
func migrated(t *testing.T, db pgtest.DB, dir string) []string {
	t.Helper()
	env := []string{
		"KUMA_STORE_TYPE=postgres", "KUMA_STORE_POSTGRES_HOST=" + db.Host, fmt.Sprintf("KUMA_STORE_POSTGRES_PORT=%d", db.Port),
		"KUMA_STORE_POSTGRES_USER=" + db.User, "KUMA_STORE_POSTGRES_PASSWORD=" + db.Password, "KUMA_STORE_POSTGRES_DB_NAME=" + db.Name,
	}
	migrate := start(t, "migrate", append(env, "KUMA_GENERAL_WORK_DIR="+dir), binary(t, "kuma-cp"), "migrate", "up")
	if err := migrate.wait(20 * time.Second); err != nil {
		t.Fatalf("migrate: %v\n%s", err, migrate.tail(10))
	}
	return env
}

// balancer forwards connections to the first of the ports that answers.
func balancer(t testing.TB, targets *[]int) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0") // both families, as localhost may be either
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go forward(c, *targets)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func forward(c net.Conn, targets []int) {
	defer c.Close()
	for _, p := range targets {
		up, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", p), time.Second)
		if err != nil {
			continue
		}
		defer up.Close()
		go func() { _, _ = io.Copy(up, c); _ = up.(*net.TCPConn).CloseWrite() }()
		_, _ = io.Copy(c, up)
		return
	}
}

// A proxy with a wrong, foreign or missing token gets no configuration, and its
// log says why; the others are not disturbed.
func TestTokensThatAreNotValid(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	other := cp.must(http.MethodPost, "/tokens/dataplane", map[string]any{"mesh": "default", "name": "somebody-else", "validFor": "1h"})
	cp.must(http.MethodPut, "/meshes/second", map[string]any{"type": "Mesh", "name": "second"})
	foreign := cp.must(http.MethodPost, "/tokens/dataplane", map[string]any{"mesh": "second", "name": "thief", "validFor": "1h"})
	for name, token := range map[string]string{"another proxy's": other, "another mesh's": foreign} {
		d := cp.launchDP(t, sidecar{name: "thief", service: "web", protocol: "http", token: token})
		eventually(t, 15*time.Second, "the refusal is logged", func() error {
			if !strings.Contains(d.output(), "gRPC config stream") && !strings.Contains(d.output(), "closed") {
				return fmt.Errorf("nothing about it in the log")
			}
			return nil
		})
		if status, _ := cp.request(http.MethodGet, "/meshes/default/dataplanes/thief", nil); status != http.StatusNotFound {
			t.Errorf("a proxy with %s token was registered: %d", name, status)
		}
		d.kill()
	}
	good := cp.startDP(t, sidecar{name: "good", service: "web", protocol: "http", app: app(t, "fine")})
	if got, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", good.inbound)); err != nil || got != "fine" {
		t.Errorf("the good proxy answers %q, %v", got, err)
	}
}

// When Envoy dies, kuma-dp ends and says so; started again it serves again.
func TestEnvoyDies(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	s := sidecar{name: "web-1", service: "web", protocol: "http", app: app(t, "one"), inbound: ports(t, 1)[0]}
	d := cp.startDP(t, s)
	pid := d.envoyPID(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := d.wait(15 * time.Second); err == nil {
		t.Error("kuma-dp ended without an error")
	}
	again := cp.startDP(t, s)
	if got, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", again.inbound)); err != nil || got != "one" {
		t.Errorf("after the restart: %q, %v", got, err)
	}
}

// envoyPID asks Envoy's admin endpoint which process it is.
func (d *dataplane) envoyPID(t testing.TB) int {
	t.Helper()
	return childNamed(t, d.cmd.Process.Pid, "envoy")
}

// The database goes away and comes back: traffic goes on, nothing that was
// acknowledged is lost, who writes meanwhile is told so, and afterwards proxies
// follow again, without a restart of anything.
func TestStoreGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t, "fsync=off")
	db := server.Database(t)
	dir := t.TempDir()
	env := migrated(t, db, dir)
	cp := startCP(t, dir, env...)
	p := ports(t, 1)
	cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", app: app(t, "one")})
	client := cp.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("web")}})
	url := fmt.Sprintf("http://127.0.0.1:%d/", p[0])
	eventually(t, 10*time.Second, "traffic flows", func() error { _, err := fetch(url); return err })
	egress := func(name string) (int, string) {
		return cp.request(http.MethodPut, "/zoneegresses/"+name, map[string]any{
			"type": "ZoneEgress", "name": name, "networking": map[string]any{"address": "10.0.0.1", "port": 10002},
		})
	}
	if status, text := egress("before"); status != http.StatusCreated {
		t.Fatalf("%d %s", status, text)
	}

	l := startLoad(t, url, 2)
	server.Stop(t)
	if status, text := egress("meanwhile"); status != http.StatusServiceUnavailable || !strings.Contains(text, "store") {
		t.Errorf("a write without a database is answered %d %s", status, text)
	}
	if client.stat(t, "control_plane.connected_state") != 1 {
		t.Error("a proxy loses its control plane because that lost its database")
	}
	server.Start(t)
	eventually(t, 30*time.Second, "writes work again", func() error {
		if status, text := egress("after"); status != http.StatusCreated && status != http.StatusOK {
			return fmt.Errorf("%d %s", status, text)
		}
		return nil
	})
	for name, want := range map[string]int{"before": http.StatusOK, "meanwhile": http.StatusNotFound, "after": http.StatusOK} {
		if status, text := cp.request(http.MethodGet, "/zoneegresses/"+name, nil); status != want {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	cp.startDP(t, sidecar{name: "web-2", service: "web", protocol: "http", app: app(t, "two")})
	eventually(t, 20*time.Second, "the new instance gets traffic", func() error {
		text, err := fetch(url)
		if err == nil && text != "two" {
			err = fmt.Errorf("got %q", text)
		}
		return err
	})
	l.verdict(t)
}
