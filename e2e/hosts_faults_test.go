package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// address asks for the address behind a name of the mesh.
func (m *meshOfHosts) address(t testing.TB, name string) string {
	t.Helper()
	out := m.client.must(t, appUser, "getent", "ahostsv4", name)
	return strings.Fields(out)[0]
}

// A proxy of which Envoy or kuma-dp is killed ends as a whole. Clients turn to the
// other instance; when it is started again (as systemd does), it serves again
// without anybody doing anything else.
func testHostKilled(t *testing.T, m *meshOfHosts) {
	url := "http://" + m.address(t, "backend.mesh") + "/"
	fresh := m.client.client(appUser)
	fresh.Transport.(*http.Transport).DisableKeepAlives = true
	from := func(name string, n int) func() error {
		seen := 0
		return func() error {
			text, err := m.client.fetch(appUser, url)
			if err == nil && strings.HasPrefix(text, name+" called") {
				seen++
			}
			if seen < n {
				return fmt.Errorf("%q, %s", text, fmt.Sprint(err))
			}
			return nil
		}
	}
	eventually(t, 20*time.Second, "both answer", from("one", 2))
	l := startLoadWith(t, url, 2, fresh)
	killed := time.Now()
	if err := syscall.Kill(childNamed(t, m.oneDP.cmd.Process.Pid, "envoy"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = m.oneDP.wait(20 * time.Second)
	ended := time.Since(killed)
	eventually(t, 30*time.Second, "the other instance gets all requests", func() error {
		return between("instances", m.clientDP.endpoints(t, "backend"), 1, 1)
	})
	left, failed, ok := time.Since(killed), l.failed.Load(), l.ok.Load()
	restarted := time.Now()
	m.oneDP.start(t, m.cp)
	m.oneDP.awaitReady(t)
	ready := time.Since(restarted)
	eventually(t, 30*time.Second, "the instance answers again", from("one", 1))
	t.Logf("Envoy of an instance killed: kuma-dp ended after %s, no endpoint any more after %s, %d of %d requests failed until then; started again: ready after %s, called after %s",
		ended.Round(time.Millisecond), left.Round(time.Millisecond), failed, ok+failed, ready.Round(time.Millisecond), time.Since(restarted).Round(time.Millisecond))
	l.stop()
	if n := l.failed.Load() - failed; n > 0 {
		t.Errorf("%d requests failed although the dead instance was known: %s", n, strings.Join(l.errs, "; "))
	}
	// The client's own proxy, of which kuma-dp is killed: Envoy does not outlive it.
	// Nothing goes out until both are back, past policies least of all.
	envoy := childNamed(t, m.clientDP.cmd.Process.Pid, "envoy")
	if err := syscall.Kill(m.clientDP.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = m.clientDP.wait(20 * time.Second)
	eventually(t, 10*time.Second, "Envoy ends with kuma-dp", func() error {
		if err := syscall.Kill(envoy, 0); err == nil {
			return fmt.Errorf("it still runs")
		}
		return nil
	})
	for _, address := range []string{url, "http://" + m.outside.ip4 + "/"} {
		if text, err := m.client.fetch(appUser, address); err == nil {
			t.Errorf("without a proxy %s is answered %q", address, text)
		}
	}
	restarted = time.Now()
	m.clientDP.start(t, m.cp)
	eventually(t, 30*time.Second, "the client calls again", func() error { _, err := m.client.fetch(appUser, url); return err })
	t.Logf("kuma-dp of the client killed: calls go out again %s after its start", time.Since(restarted).Round(time.Millisecond))
	m.clientDP.awaitReady(t)
	if _, err := m.client.curl("http://backend.mesh/"); err != nil {
		t.Errorf("the name when the proxy is ready: %v", err)
	}
}
