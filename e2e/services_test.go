package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// redirecting is a Dataplane's inbound with a transparent proxy, as `inbounds` of
// a sidecar.
func redirecting(t *testing.T, service string, app int) string {
	p := ports(t, 3)
	return fmt.Sprintf("  - port: %d\n    servicePort: %d\n    tags: {kuma.io/service: %s, kuma.io/protocol: http}\n"+
		"  transparentProxying: {redirectPortInbound: %d, redirectPortOutbound: %d}\n", p[0], app, service, p[1], p[2])
}

// resolver asks a proxy's DNS.
func resolver(port int) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", port))
	}}
}

// A service can be called by its names as soon as its first proxy is there: the
// proxy of a client that runs already answers them with the address that the
// MeshService has.
func TestServiceNames(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.must(http.MethodPut, "/meshes/default", map[string]any{"type": "Mesh", "name": "default", "meshServices": map[string]any{"mode": "Everywhere"}})
	dns := ports(t, 1)[0]
	cp.startDP(t, sidecar{
		name: "client", service: "client", protocol: "http", inbounds: redirecting(t, "client", app(t, "client")),
		args: []string{fmt.Sprintf("--dns-coredns-port=%d", dns)},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r := resolver(dns)
	soon, stop := context.WithTimeout(ctx, time.Second)
	if got, err := r.LookupHost(soon, "web.svc.mesh.local."); err == nil {
		t.Fatalf("a service that does not exist is at %v", got)
	}
	stop()
	start := time.Now()
	cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", app: app(t, "one")})
	var service struct {
		Status struct {
			VIPs      []struct{ IP string }
			Addresses []struct{ Hostname string }
		}
	}
	if err := json.Unmarshal([]byte(cp.must(http.MethodGet, "/meshes/default/meshservices/web", nil)), &service); err != nil {
		t.Fatal(err)
	}
	if len(service.Status.VIPs) != 1 || len(service.Status.Addresses) != 1 || service.Status.Addresses[0].Hostname != "web.svc.mesh.local" {
		t.Fatalf("the service is %+v", service)
	}
	eventually(t, 5*time.Second, "the names are known", func() error {
		for _, name := range []string{"web.svc.mesh.local.", "web.mesh."} {
			got, err := r.LookupNetIP(ctx, "ip4", name)
			if err != nil {
				return err
			}
			if name == "web.svc.mesh.local." && got[0].String() != service.Status.VIPs[0].IP {
				return fmt.Errorf("%s is at %v, want %s", name, got, service.Status.VIPs[0].IP)
			}
			if name == "web.mesh." && !strings.HasPrefix(got[0].String(), "240.") {
				return fmt.Errorf("%s is at %v", name, got)
			}
		}
		return nil
	})
	t.Logf("known %s after the start of the first proxy", time.Since(start).Round(time.Millisecond))
}

// A proxy that is killed leaves the endpoints of its clients within seconds, and
// its service stays available by the other one.
func TestKilledProxyLeavesEndpoints(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.must(http.MethodPut, "/meshes/default", map[string]any{"type": "Mesh", "name": "default", "meshServices": map[string]any{"mode": "Everywhere"}})
	p := ports(t, 1)
	one := cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", inbound: ports(t, 1)[0], app: app(t, "one")})
	// Another port for the second, as both are on one host: the services differ
	// in nothing that counts here.
	cp.startDP(t, sidecar{name: "web-2", service: "web", protocol: "http", app: app(t, "two")})
	client := cp.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("web")}})
	members := func(want int) func() error {
		return func() error {
			if n := client.stat(t, "cluster.web.membership_total"); n != want {
				return fmt.Errorf("%d endpoints", n)
			}
			return nil
		}
	}
	eventually(t, 10*time.Second, "both are endpoints", members(2))
	start := time.Now()
	one.kill() // with its Envoy
	eventually(t, 9*time.Second, "the dead one is no endpoint any more", members(1))
	t.Logf("gone after %s", time.Since(start).Round(time.Millisecond))
	var bodies []string
	for range 20 {
		text, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", p[0]))
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, text)
	}
	if slices.Contains(bodies, "one") {
		t.Errorf("the dead one answers: %v", bodies)
	}
}

// While the control plane is down nobody's endpoints vanish, and none vanish when
// it comes back.
func TestRestartKeepsEndpoints(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	p := ports(t, 1)
	cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", app: app(t, "one")})
	client := cp.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("web")}})
	url := fmt.Sprintf("http://127.0.0.1:%d/", p[0])
	eventually(t, 10*time.Second, "traffic flows", func() error { _, err := fetch(url); return err })
	l := startLoad(t, url, 2)
	cp.signal(syscall.SIGTERM)
	_ = cp.wait(20 * time.Second)
	time.Sleep(7 * time.Second) // longer than a proxy may be away while the control plane lives
	cp.run(t)
	// Envoy pauses up to 30 s between tries.
	eventually(t, 45*time.Second, "the client is back", func() error {
		if client.stat(t, "control_plane.connected_state") != 1 {
			return fmt.Errorf("not connected")
		}
		return nil
	})
	time.Sleep(2 * time.Second)
	l.verdict(t)
}
