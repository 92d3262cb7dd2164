package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// exclusive starts a server for each application, and a client that reaches them
// as MeshServices.
func (m *policyMesh) exclusive(list ...*upstream) (*policyClient, map[string]*dataplane) {
	t := m.t
	t.Helper()
	var outbounds strings.Builder
	c := &policyClient{t: t, ports: map[string]int{}, http: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	servers, listen := map[string]*dataplane{}, ports(t, len(list))
	for i, u := range list {
		servers[u.name] = m.server(u.name+"-1", u.name, "http", u.port, nil)
		c.ports[u.name] = listen[i]
		fmt.Fprintf(&outbounds, "  - {port: %d, backendRef: {kind: MeshService, name: %s, port: %d}}\n", c.ports[u.name], u.name, servers[u.name].inbound)
	}
	m.await("the services are there", func() error {
		for name := range servers {
			if status, text := m.cp.request(http.MethodGet, "/meshes/"+m.name+"/meshservices/"+name, nil); status != http.StatusOK {
				return fmt.Errorf("%s: %d %s", name, status, text)
			}
		}
		return nil
	})
	own := ports(t, 1)[0]
	c.dataplane = m.cp.startDP(t, sidecar{
		mesh: m.name, name: "client", service: "client", protocol: "http",
		inbounds: fmt.Sprintf("  - {port: %d, tags: {kuma.io/service: client, kuma.io/protocol: http}}\n  outbound:\n%s", own, outbounds.String()),
	})
	for name := range servers {
		m.await(name+" answers", func() error {
			if a, err := c.try(http.MethodGet, name, "/"); err != nil || a.body != name {
				return fmt.Errorf("%d %q, %w", a.status, a.body, err)
			}
			return nil
		})
	}
	return c, servers
}

// Policies find real MeshServices by their names, their ports and their labels,
// and routes send requests from one to another.
func testRealServices(t *testing.T, m *policyMesh) {
	m.apply("{type: Mesh, name: " + m.name + ", skipCreatingInitialPolicies: ['*'], meshServices: {mode: Exclusive}}")
	web, other, flaky, slow := startUpstream(t, "web"), startUpstream(t, "other"), startUpstream(t, "flaky"), startUpstream(t, "slow")
	c, servers := m.exclusive(web, other, flaky, slow)
	var calls atomic.Int64
	flaky.answers(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	slow.answers(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) })
	m.apply(fmt.Sprintf(`
type: MeshHTTPRoute
name: elsewhere
spec:
  targetRef: {kind: Dataplane, name: client}
  to:
  - targetRef: {kind: MeshService, name: web}
    rules:
    - matches: [{path: {type: PathPrefix, value: /elsewhere}}]
      default: {backendRefs: [{kind: MeshService, name: other, port: %d}]}
---
type: MeshRetry
name: flaky
spec:
  targetRef: {kind: Mesh}
  to: [{targetRef: {kind: MeshService, name: flaky, sectionName: '%d'}, default: {http: {numRetries: 1, retryOn: [5xx], backOff: {baseInterval: 1ms}}}}]
---
type: MeshTimeout
name: all
spec:
  targetRef: {kind: Mesh}
  to:
  - {targetRef: {kind: Mesh}, default: {http: {requestTimeout: 20s}}}
  - {targetRef: {kind: MeshService, labels: {kuma.io/display-name: slow}}, default: {http: {requestTimeout: 300ms}}}
`, servers["other"].inbound, servers["flaky"].inbound))
	m.await("a route sends requests to the other service", func() error {
		if a := c.get("web", "/elsewhere"); a.body != "other" {
			return fmt.Errorf("%d %q", a.status, a.body)
		}
		return nil
	})
	if a := c.get("web", "/"); a.body != "web" {
		t.Errorf("what no rule names gets %d %q", a.status, a.body)
	}
	m.await("a failure is tried again", func() error {
		calls.Store(0)
		if a := c.get("flaky", "/"); a.status != http.StatusOK {
			return fmt.Errorf("status %d", a.status)
		}
		return between("calls", int(calls.Load()), 2, 2)
	})
	m.await("slow requests end", func() error { return between("status", c.get("slow", "/").status, 504, 504) })
	web.answers(failing(http.StatusServiceUnavailable))
	before := len(web.seen("/"))
	if a := c.get("web", "/"); a.status != http.StatusServiceUnavailable || len(web.seen("/")) != before+1 {
		t.Errorf("another service: status %d after %d calls", a.status, len(web.seen("/"))-before)
	}
	c.rejectsNothing(t)
}
