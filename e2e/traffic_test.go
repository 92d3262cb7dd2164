package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func to(service string) map[string]string { return map[string]string{"kuma.io/service": service} }

// HTTP goes from one application to another through both sidecars, spread over
// all instances, and shows in the statistics under the names that dashboards know.
func TestHTTPThroughBothSidecars(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	p := ports(t, 1)
	one := cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", app: app(t, "one")})
	two := cp.startDP(t, sidecar{name: "web-2", service: "web", protocol: "http", app: app(t, "two")})
	client := cp.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("web")}})

	seen := map[string]int{}
	eventually(t, 10*time.Second, "both instances answered", func() error {
		text, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/some/path", p[0]))
		if err != nil {
			return err
		}
		seen[text]++
		if seen["one"] == 0 || seen["two"] == 0 {
			return fmt.Errorf("so far: %v", seen)
		}
		return nil
	})
	for range 50 {
		if _, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", p[0])); err != nil {
			t.Fatal(err)
		}
	}
	if n := client.stat(t, "http.web.downstream_rq_completed"); n < 50 {
		t.Errorf("the client's outbound counted %d requests", n)
	}
	for _, d := range []*dataplane{one, two} {
		if n := d.stat(t, fmt.Sprintf("http.localhost_%d.downstream_rq_completed", d.app)); n < 10 {
			t.Errorf("the inbound of %s counted %d requests", d.name, n)
		}
	}
}

// TCP, subsets by further tags, and a workload on another loopback address.
func TestTCPAndSubsets(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	p := ports(t, 3)
	cp.startDP(t, sidecar{name: "echo", service: "echo", protocol: "tcp", app: echo(t)})
	cp.startDP(t, sidecar{name: "v1", service: "api", protocol: "http", app: app(t, "v1"), tags: map[string]string{"version": "1"}})
	cp.startDP(t, sidecar{name: "v2", service: "api", protocol: "http", app: app(t, "v2"), tags: map[string]string{"version": "2"}})
	cp.startDP(t, sidecar{name: "client", service: "client", protocol: "tcp", outbounds: map[int]map[string]string{
		p[0]: to("echo"),
		p[1]: {"kuma.io/service": "api", "version": "1"},
		p[2]: {"kuma.io/service": "api", "version": "2"},
	}})
	eventually(t, 10*time.Second, "the echo comes back", func() error { return say(p[0], "hello") })
	for i, want := range map[int]string{p[1]: "v1", p[2]: "v2"} {
		eventually(t, 10*time.Second, "the subset answers", func() error {
			_, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", i))
			return err
		})
		for range 20 {
			if got, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", i)); err != nil || got != want {
				t.Fatalf("outbound to %s answered %q, %v", want, got, err)
			}
		}
	}
}

// IPv6 works like IPv4: inbound, endpoint and workload.
func TestIPv6(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("SKIPPED: this host has no IPv6 loopback: %v", err)
	}
	l.Close()
	cp := startCP(t, t.TempDir())
	p := ports(t, 2)
	web := serve(t, "::1", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "six") }))
	cp.startDP(t, sidecar{
		name: "six", service: "six", address: "::1", inbound: p[1], app: web, protocol: "http",
	})
	cp.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("six")}})
	eventually(t, 10*time.Second, "an answer over IPv6", func() error {
		got, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", p[0]))
		if err == nil && got != "six" {
			err = fmt.Errorf("got %q", got)
		}
		return err
	})
}

// echo is a TCP application that sends back lines.
func echo(t testing.TB) int {
	t.Helper()
	return serveTCP(t, "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(c, c) })
}

// serveTCP calls a function for each connection until the test ends, closes the
// connection afterwards, and returns the port.
func serveTCP(t testing.TB, address string, serve func(c net.Conn)) int {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go accept(l, serve)
	return l.Addr().(*net.TCPAddr).Port
}

// accept serves the connections of a listener until it is closed.
func accept(l net.Listener, serve func(c net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			serve(c)
		}()
	}
}

func say(port int, word string) error {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 2*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	fmt.Fprintln(c, word)
	back, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && strings.TrimSpace(back) != word {
		err = fmt.Errorf("sent %q, got %q", word, back)
	}
	return err
}

// An instance that is stopped under load leaves without a failed request.
func TestInstanceLeavesWithoutFailure(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	p := ports(t, 1)
	cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", app: app(t, "one")})
	two := cp.startDP(t, sidecar{name: "web-2", service: "web", protocol: "http", app: app(t, "two")})
	cp.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("web")}})
	url := fmt.Sprintf("http://127.0.0.1:%d/", p[0])
	eventually(t, 10*time.Second, "traffic flows", func() error { _, err := fetch(url); return err })

	l := startLoad(t, url, 8)
	time.Sleep(500 * time.Millisecond)
	two.signal(syscall.SIGTERM)
	if err := two.wait(20 * time.Second); err != nil {
		t.Errorf("kuma-dp ended with %v", err)
	}
	time.Sleep(time.Second)
	l.verdict(t)
	if l.bodies["two"] == 0 || l.bodies["one"] == 0 {
		t.Errorf("answers: %v", l.bodies)
	}
	eventually(t, 20*time.Second, "the instance's object is gone", func() error {
		if status, _ := cp.request(http.MethodGet, "/meshes/default/dataplanes/web-2", nil); status != http.StatusNotFound {
			return fmt.Errorf("status %d", status)
		}
		return nil
	})
}
