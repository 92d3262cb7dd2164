package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TrafficRoute shares requests, finds routes by path, method and headers, and
// changes what it routes; Timeout ends what is slow.
func testOlderRouting(t *testing.T, m *policyMesh) {
	v1, v2 := startUpstream(t, "v1"), startUpstream(t, "v2")
	m.server("web-1", "web", "http", v1.port, map[string]string{"version": "1"})
	m.server("web-2", "web", "http", v2.port, map[string]string{"version": "2"})
	m.server("other-1", "other", "http", app(t, "other"), nil)
	m.server("echo-1", "echo", "tcp", echo(t), nil)
	c := m.caller("client", "web", "other", "echo")
	m.apply(`
type: TrafficRoute
name: all
sources: [{match: {kuma.io/service: '*'}}]
destinations: [{match: {kuma.io/service: '*'}}]
conf: {destination: {kuma.io/service: '*'}}
---
type: TrafficRoute
name: web
sources: [{match: {kuma.io/service: client}}]
destinations: [{match: {kuma.io/service: web}}]
conf:
  http:
  - match: {path: {prefix: /elsewhere}, headers: {x-go: {exact: "yes"}}}
    destination: {kuma.io/service: other}
  - match: {path: {prefix: /old}, method: {exact: GET}}
    modify:
      path: {rewritePrefix: /new}
      host: {value: web.internal}
      requestHeaders: {add: [{name: x-added, value: "1"}], remove: [{name: x-gone}]}
      responseHeaders: {add: [{name: x-answer, value: "2"}]}
    destination: {kuma.io/service: web, version: "1"}
  split:
  - {weight: 75, destination: {kuma.io/service: web, version: "1"}}
  - {weight: 25, destination: {kuma.io/service: web, version: "2"}}
  loadBalancer: {leastRequest: {choiceCount: 3}}
`)
	m.await("the route is there", func() error {
		if a := c.get("web", "/elsewhere", "x-go", "yes"); a.body != "other" {
			return fmt.Errorf("%d %q", a.status, a.body)
		}
		return nil
	})
	m.await("both versions have endpoints", func() error { return between("versions", len(c.bodies(20, "web", "/")), 2, 2) })
	got := c.bodies(300, "web", "/")
	if err := between("v2 of 300 at 25 %", got["v2"], 40, 115); err != nil || got["v1"]+got["v2"] != 300 {
		t.Errorf("answers: %v, %v", got, err)
	}
	a := c.get("web", "/old/x", "x-gone", "1")
	if r := v1.last(t, "/new/x"); r.Host != "web.internal" || r.Header.Get("x-added") != "1" || r.Header.Get("x-gone") != "" || a.header.Get("x-answer") != "2" {
		t.Errorf("the application sees %s %v, the client %v", r.Host, r.Header, a.header)
	}
	if err := contains(c.config(t), `"choice_count": 3`); err != nil {
		t.Error(err)
	}
	for _, u := range []*upstream{v1, v2} {
		u.answers(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) })
	}
	testOlderTimeout(m, c)
	c.rejectsNothing(t)
}

// testOlderTimeout calls a service that takes a second.
func testOlderTimeout(m *policyMesh, c *policyClient) {
	m.apply(`
type: Timeout
name: short
sources: [{match: {kuma.io/service: client}}]
destinations: [{match: {kuma.io/service: '*'}}]
conf: {connectTimeout: 3s, tcp: {idleTimeout: 0.5s}, http: {requestTimeout: 0.3s}}
`)
	m.await("a slow request ends", func() error { return between("status", c.get("web", "/slow").status, 504, 504) })
	m.await("an idle connection is closed", func() error { return closedWhenIdle(c.ports["echo"], 5*time.Second) })
}

// route gives a mesh the older routing, on which the older policies of clients depend.
func (m *policyMesh) route() {
	m.t.Helper()
	m.apply(`
type: TrafficRoute
name: all
sources: [{match: {kuma.io/service: '*'}}]
destinations: [{match: {kuma.io/service: '*'}}]
conf: {destination: {kuma.io/service: '*'}}
`)
}

// The older Retry tries again, CircuitBreaker ejects and bounds, HealthCheck asks.
func testOlderResilience(t *testing.T, m *policyMesh) {
	good, bad := startUpstream(t, "good"), startUpstream(t, "bad")
	m.server("web-1", "web", "http", good.port, nil)
	m.server("web-2", "web", "http", bad.port, nil)
	flaky := startUpstream(t, "flaky")
	m.server("flaky-1", "flaky", "http", flaky.port, nil)
	m.route()
	c := m.caller("client", "web", "flaky")
	var calls atomic.Int64
	flaky.answers(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1)%3 != 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	m.apply(`
type: Retry
name: retries
sources: [{match: {kuma.io/service: '*'}}]
destinations: [{match: {kuma.io/service: flaky}}]
conf: {http: {numRetries: 2, retryOn: [all_5xx], backOff: {baseInterval: 0.001s, maxInterval: 0.002s}}}
`)
	m.await("requests are tried again", func() error {
		calls.Store(0)
		if a := c.get("flaky", "/"); a.status != http.StatusOK {
			return fmt.Errorf("status %d", a.status)
		}
		return between("calls", int(calls.Load()), 3, 3)
	})
	m.apply(`
type: HealthCheck
name: checks
sources: [{match: {kuma.io/service: '*'}}]
destinations: [{match: {kuma.io/service: web}}]
conf: {interval: 0.2s, timeout: 5s, unhealthyThreshold: 1, healthyThreshold: 1, noTrafficInterval: 0.2s, healthyPanicThreshold: 0, http: {path: /health, expectedStatuses: [200], requestHeadersToAdd: [{header: {key: x-check, value: "1"}}]}}
`)
	bad.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	healthy := func(n int) {
		t.Helper()
		m.await("healthy instances", func() error { return between("healthy", c.stat(t, "cluster.web.membership_healthy"), n, n) })
	}
	healthy(1)
	if got := c.bodies(10, "web", "/"); got["good"] != 10 {
		t.Errorf("answers: %v", got)
	}
	if got := bad.last(t, "/health").Header.Get("x-check"); got != "1" {
		t.Errorf("the check has x-check %q", got)
	}
	m.remove("HealthCheck", "checks")
	testOlderBreaker(m, c, good, bad)
	c.rejectsNothing(t)
}

// testOlderBreaker has one of two instances ejected, and the other one too busy.
func testOlderBreaker(m *policyMesh, c *policyClient, good, bad *upstream) {
	t := m.t
	bad.answers(failing(http.StatusInternalServerError))
	m.apply(`
type: CircuitBreaker
name: breaker
sources: [{match: {kuma.io/service: '*'}}]
destinations: [{match: {kuma.io/service: web}}]
conf: {interval: 1s, baseEjectionTime: 600s, maxEjectionPercent: 100, detectors: {totalErrors: {consecutive: 3}}, thresholds: {maxRequests: 1, maxPendingRequests: 1}}
`)
	m.await("the bad instance is ejected", func() error {
		c.get("web", "/")
		return between("ejected", c.stat(t, "cluster.web.outlier_detection.ejections_active"), 1, 1)
	})
	if got := c.bodies(10, "web", "/"); got["good"] != 10 {
		t.Errorf("answers: %v", got)
	}
	release := make(chan struct{})
	held := make(chan answer, 1)
	good.answers(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			<-release
		}
	})
	go func() { a, _ := c.try(http.MethodGet, "web", "/held"); held <- a }()
	m.await("one request is under way", func() error { return between("requests", len(good.seen("/held")), 1, 1) })
	if a := c.get("web", "/second"); a.status != http.StatusServiceUnavailable {
		t.Errorf("a second request gets %d", a.status)
	}
	close(release)
	if a := <-held; a.status != http.StatusOK {
		t.Errorf("the first request got %d", a.status)
	}
}

// The older FaultInjection and RateLimit act on the clients that they name.
func testOlderInbound(t *testing.T, m *policyMesh) {
	m.server("web-1", "web", "http", app(t, "web"), nil)
	m.server("api-1", "api", "http", app(t, "api"), nil)
	red := m.callerWith(sidecar{name: "red", service: "red", protocol: "http", tags: map[string]string{"team": "red"}}, "web", "api")
	blue := m.callerWith(sidecar{name: "blue", service: "blue", protocol: "http", tags: map[string]string{"team": "blue"}}, "web", "api")
	m.apply(`
type: FaultInjection
name: aborts
sources: [{match: {team: red}}]
destinations: [{match: {kuma.io/service: web, kuma.io/protocol: http}}]
conf: {abort: {percentage: 100, httpStatus: 507}}
---
type: RateLimit
name: limits
sources: [{match: {team: red}}]
destinations: [{match: {kuma.io/service: api}}]
conf: {http: {requests: 2, interval: 3600s, onRateLimit: {status: 423, headers: [{key: x-why, value: slow-down}]}}}
`)
	m.await("requests of red are aborted", func() error { return between("status", red.get("web", "/").status, 507, 507) })
	m.await("requests of red are limited", func() error {
		if a := red.get("api", "/"); a.status != 423 || a.header.Get("x-why") != "slow-down" {
			return fmt.Errorf("status %d, headers %v", a.status, a.header)
		}
		return nil
	})
	for _, service := range []string{"web", "api"} {
		if got := blue.bodies(10, service, "/"); got[service] != 10 {
			t.Errorf("blue gets %v of %s", got, service)
		}
	}
}

// TrafficLog writes to the backends of the Mesh, TrafficTrace sends spans to them.
func testOlderObservability(t *testing.T, m *policyMesh) {
	file, sink, spans := filepath.Join(t.TempDir(), "access.log"), startLines(t), startSpanServer(t)
	m.server("web-1", "web", "http", app(t, "web"), nil)
	m.server("api-1", "api", "http", app(t, "api"), nil)
	m.route()
	c := m.caller("client", "web", "api")
	m.apply(fmt.Sprintf(`
type: Mesh
name: %s
logging:
  defaultBackend: in-file
  backends:
  - {name: in-file, type: file, format: 'older %%KUMA_SOURCE_SERVICE%%>%%KUMA_DESTINATION_SERVICE%% %%REQ(:PATH)%% %%RESPONSE_CODE%%', conf: {path: %s}}
  - {name: over-tcp, type: tcp, conf: {address: '%s'}}
tracing:
  defaultBackend: zipkin
  backends: [{name: zipkin, type: zipkin, sampling: 100, conf: {url: 'http://%s/older'}}]
---
type: TrafficLog
name: of-web
sources: [{match: {kuma.io/service: client}}]
destinations: [{match: {kuma.io/service: web}}]
---
type: TrafficLog
name: of-api
sources: [{match: {kuma.io/service: client}}]
destinations: [{match: {kuma.io/service: api}}]
conf: {backend: over-tcp}
---
type: TrafficTrace
name: all
selectors: [{match: {kuma.io/service: '*'}}]
`, m.name, file, hostport(sink.port), hostport(spans.port)))
	m.await("lines are written to the file", func() error {
		c.get("web", "/of-web")
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return contains(string(b), "older client>web /of-web 200\n")
	})
	m.await("lines arrive over TCP", func() error {
		c.get("api", "/of-api")
		return contains(sink.got(), `"GET /of-api HTTP/1.1" 200`, `"client" "api"`)
	})
	m.await("spans arrive", func() error {
		for range 5 {
			c.get("web", "/traced")
		}
		return contains(spans.at("/older"), "/traced", `"kind":"CLIENT"`, `"kind":"SERVER"`)
	})
	if strings.Contains(sink.got(), "of-web") {
		t.Errorf("one backend got the lines of the other: %q", sink.got())
	}
}

// VirtualOutbound gives names to services, which work; ProxyTemplate changes
// the configuration after everything else.
func testOlderTemplates(t *testing.T, m *policyMesh) {
	m.server("web-1", "web", "http", app(t, "web"), map[string]string{"version": "1"})
	dns, extra := ports(t, 1)[0], ports(t, 1)[0]
	c := m.caller("client", "web")
	m.cp.startDP(t, sidecar{
		mesh: m.name, name: "redirected", service: "redirected", protocol: "http", inbounds: redirecting(t, "redirected", app(t, "redirected")),
		args: []string{fmt.Sprintf("--dns-coredns-port=%d", dns)},
	})
	m.apply(fmt.Sprintf(`
type: VirtualOutbound
name: versions
selectors: [{match: {kuma.io/service: '*', version: '*'}}]
conf:
  host: 'v{{.version}}.{{.service}}.shop'
  port: "8081"
  parameters: [{name: service, tagKey: kuma.io/service}, {name: version}]
---
type: ProxyTemplate
name: client
selectors: [{match: {kuma.io/service: client}}]
conf:
  imports: [default-proxy]
  resources:
  - name: extra
    version: v1
    resource: |
      '@type': type.googleapis.com/envoy.config.listener.v3.Listener
      name: extra
      address: {socket_address: {address: 127.0.0.1, port_value: %d}}
      filter_chains: [{filters: [{name: envoy.filters.network.tcp_proxy, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: extra, cluster: web}}]}]
  modifications:
  - listener: {operation: patch, match: {origin: proxy-template-raw}, value: 'stat_prefix: raw'}
  - virtualHost: {operation: patch, match: {name: web}, value: 'response_headers_to_add: [{header: {key: x-template, value: "1"}}]'}
  - cluster: {operation: patch, match: {name: web}, value: 'connect_timeout: 13s'}
`, extra))
	m.await("the name is known", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		got, err := resolver(dns).LookupHost(ctx, "v1.web.shop.")
		if err == nil && !strings.HasPrefix(got[0], "240.") {
			err = fmt.Errorf("it is at %v", got)
		}
		return err
	})
	m.await("the template acts", func() error {
		if a := c.get("web", "/"); a.header.Get("x-template") != "1" {
			return fmt.Errorf("headers %v", a.header)
		}
		return contains(c.config(t), `"connect_timeout": "13s"`)
	})
	// The raw listener reaches the cluster, whose other end speaks HTTP.
	if text, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", extra)); err != nil || text != "web" {
		t.Errorf("the raw listener answers %q, %v", text, err)
	}
	if n := c.stat(t, "listener.raw.downstream_cx_total"); n == 0 {
		t.Error("the raw listener is not found by its origin")
	}
	c.rejectsNothing(t)
}
