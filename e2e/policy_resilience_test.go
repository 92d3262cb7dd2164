package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// MeshCircuitBreaker bounds requests under way: those beyond fail at once, and
// the overflow is counted.
func testCircuitBreakerLimits(t *testing.T, m *policyMesh) {
	web := startUpstream(t, "web")
	release := make(chan struct{})
	web.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			<-release
		}
		fmt.Fprint(w, "web")
	})
	m.server("web-1", "web", "http", web.port, nil)
	c := m.caller("client", "web")
	m.apply(`
type: MeshCircuitBreaker
name: limits
spec:
  targetRef: {kind: Mesh}
  to:
  - targetRef: {kind: MeshService, name: web}
    default: {connectionLimits: {maxConnections: 1, maxPendingRequests: 1, maxRequests: 2}}
`)
	m.await("the limits are there", func() error { return contains(c.config(t), `"max_requests": 2`) })
	var statuses sync.Map
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			a, err := c.try(http.MethodGet, "web", "/held")
			statuses.Store(fmt.Sprint(a.status, err), true)
		})
		m.await("the request is under way", func() error { return between("requests", len(web.seen("/held")), i+1, i+1) })
	}
	a := c.get("web", "/third")
	if a.status != http.StatusServiceUnavailable || a.header.Get("x-envoy-overloaded") != "true" {
		t.Errorf("a third request gets %d, headers %v", a.status, a.header)
	}
	if c.stat(t, "cluster.web.upstream_rq_pending_overflow")+c.stat(t, "cluster.web.upstream_rq_active_overflow") == 0 {
		t.Error("no overflow is counted")
	}
	close(release)
	wg.Wait()
	statuses.Range(func(k, _ any) bool {
		if k != "200 <nil>" {
			t.Errorf("a request under way got %v", k)
		}
		return true
	})
	if a := c.get("web", "/after"); a.status != http.StatusOK {
		t.Errorf("afterwards a request gets %d", a.status)
	}
}

// MeshCircuitBreaker ejects an instance that fails, so that callers see it no more.
func testCircuitBreakerOutlier(t *testing.T, m *policyMesh) {
	bad := startUpstream(t, "bad")
	bad.answers(failing(http.StatusInternalServerError))
	m.server("web-1", "web", "http", app(t, "good"), nil)
	m.server("web-2", "web", "http", bad.port, nil)
	c := m.caller("client", "web")
	m.apply(`
type: MeshCircuitBreaker
name: outliers
spec:
  targetRef: {kind: Mesh}
  to:
  - targetRef: {kind: Mesh}
    default:
      outlierDetection:
        interval: 1s
        baseEjectionTime: 10m
        maxEjectionPercent: 100
        healthyPanicThreshold: 0
        detectors: {totalFailures: {consecutive: 3}}
`)
	m.await("the instance is ejected", func() error {
		c.get("web", "/")
		return between("ejected", c.stat(t, "cluster.web.outlier_detection.ejections_active"), 1, 1)
	})
	before := len(bad.seen("/"))
	if got := c.bodies(20, "web", "/"); got["good"] != 20 {
		t.Errorf("answers: %v", got)
	}
	if after := len(bad.seen("/")); after != before {
		t.Errorf("the ejected instance got %d requests", after-before)
	}
}

// MeshFaultInjection aborts and delays the requests of the clients that it names,
// at the rate that it gives, and not those of others.
func testFaultInjection(t *testing.T, m *policyMesh) {
	m.server("web-1", "web", "http", app(t, "web"), nil)
	red := m.callerWith(sidecar{name: "red", service: "red", protocol: "http", tags: map[string]string{"team": "red"}}, "web")
	blue := m.callerWith(sidecar{name: "blue", service: "blue", protocol: "http", tags: map[string]string{"team": "blue"}}, "web")
	m.apply(`
type: MeshFaultInjection
name: faults
spec:
  targetRef: {kind: Mesh, proxyTypes: [Sidecar]}
  from:
  - targetRef: {kind: MeshSubset, tags: {team: red}}
    default: {http: [{abort: {httpStatus: 599, percentage: 40}}]}
  - targetRef: {kind: MeshSubset, tags: {team: blue}}
    default: {http: [{delay: {value: 400ms, percentage: 100}}]}
`)
	m.await("a request of red is aborted", func() error { return between("status", red.get("web", "/").status, 599, 599) })
	m.await("a request of blue is late", func() error {
		if a := blue.get("web", "/"); a.status != 200 || a.took < 400*time.Millisecond {
			return fmt.Errorf("status %d after %s", a.status, a.took)
		}
		return nil
	})
	aborted := 0
	for range 300 {
		if red.get("web", "/").status == 599 {
			aborted++
		}
	}
	if err := between("aborted of 300 at 40 %", aborted, 80, 160); err != nil {
		t.Error(err)
	}
	m.remove("MeshFaultInjection", "faults")
	m.await("the faults end", func() error {
		if got := red.bodies(30, "web", "/"); got["web"] != 30 {
			return fmt.Errorf("answers: %v", got)
		}
		return nil
	})
}

// MeshHealthCheck asks each instance, by HTTP with its headers, by gRPC's health
// service, or by bytes over TCP; who fails gets no calls until it is well again.
func testHealthCheck(t *testing.T, m *policyMesh) {
	sick := startUpstream(t, "two")
	m.server("web-1", "web", "http", app(t, "one"), nil)
	m.server("web-2", "web", "http", sick.port, nil)
	grpcHealth := health.NewServer()
	m.server("rpc-1", "rpc", "grpc", startGRPC(t, func(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, grpcHealth) }), nil)
	m.server("echo-1", "echo", "tcp", echo(t), nil)
	c := m.caller("client", "web", "rpc", "echo")
	check := func(receive string) string {
		return `
type: MeshHealthCheck
name: checks
spec:
  targetRef: {kind: Mesh}
  to:
  - targetRef: {kind: Mesh}
    default:
      interval: 200ms
      timeout: 5s
      unhealthyThreshold: 1
      healthyThreshold: 1
      noTrafficInterval: 200ms
      healthyPanicThreshold: 0
      reuseConnection: true
      http: {path: /health, expectedStatuses: [200, 204], requestHeadersToAdd: {set: [{name: x-check, value: "yes"}]}}
      grpc: {serviceName: shop}
      tcp: {send: cGluZw==, receive: [` + receive + `]}
`
	}
	healthy := func(service string, want int) {
		t.Helper()
		m.await(fmt.Sprintf("%d instances of %s are healthy", want, service), func() error {
			return between("healthy", c.stat(t, "cluster."+service+".membership_healthy"), want, want)
		})
	}
	sick.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, "two")
	})
	grpcHealth.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	m.apply(check("d3Jvbmc=")) // the echo does not say this
	healthy("web", 1)
	healthy("rpc", 0)
	healthy("echo", 0)
	if got := c.bodies(20, "web", "/"); got["one"] != 20 {
		t.Errorf("answers: %v", got)
	}
	// x-kuma-tags, which checks carry too, ends at the server's proxy.
	if r := sick.last(t, "/health"); r.Header.Get("x-check") != "yes" || r.Header.Get("x-kuma-tags") != "" {
		t.Errorf("the check has headers %v", r.Header)
	}
	sick.answers(nil)
	grpcHealth.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_SERVING)
	m.apply(check("cGluZw=="))
	healthy("web", 2)
	healthy("rpc", 1)
	healthy("echo", 1)
	m.await("both answer again", func() error { return between("instances", len(c.bodies(10, "web", "/")), 2, 2) })
}

// startGRPC starts a gRPC application.
func startGRPC(t testing.TB, register func(*grpc.Server)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().(*net.TCPAddr).Port
}

// MeshRateLimit answers requests beyond the rate as it says, and closes
// connections beyond the rate.
func testRateLimit(t *testing.T, m *policyMesh) {
	web := startUpstream(t, "web")
	m.server("web-1", "web", "http", web.port, nil)
	m.server("echo-1", "echo", "tcp", echo(t), nil)
	c := m.caller("client", "web", "echo")
	m.await("calls succeed", func() error { return say(c.ports["echo"], "hello") })
	m.apply(`
type: MeshRateLimit
name: rates
spec:
  targetRef: {kind: Mesh, proxyTypes: [Sidecar]}
  rules:
  - default:
      local:
        http:
          requestRate: {num: 3, interval: 1h}
          onRateLimit: {status: 423, headers: {set: [{name: x-why, value: slow-down}], add: [{name: x-more, value: a}]}}
        tcp:
          connectionRate: {num: 2, interval: 1h}
`)
	m.await("a request is refused", func() error {
		a := c.get("web", "/")
		if a.status != 423 || a.header.Get("x-why") != "slow-down" || a.header.Get("x-more") != "a" {
			return fmt.Errorf("status %d, headers %v", a.status, a.header)
		}
		return nil
	})
	m.await("a connection is closed", func() error {
		if say(c.ports["echo"], "hello") == nil {
			return fmt.Errorf("the echo came back")
		}
		return nil
	})
	m.apply(`
type: MeshRateLimit
name: rates
spec:
  targetRef: {kind: Mesh, proxyTypes: [Sidecar]}
  rules: [{default: {local: {http: {requestRate: {num: 5, interval: 1h}}, tcp: {disabled: true}}}}]
`)
	m.await("connections are free again", func() error { return say(c.ports["echo"], "hello") })
	m.await("the status is the usual one", func() error { return between("status", c.get("web", "/").status, 429, 429) })
	// The bucket was new with the policy, so that not more than 5 got through.
	if n := len(web.seen("/")); n > 5+3+1 {
		t.Logf("%d requests got through while policies changed", n)
	}
}

// MeshRetry tries again what it names, as often as it says; the upstream sees
// each try. Connections are tried again too.
func testRetry(t *testing.T, m *policyMesh) {
	web := startUpstream(t, "web")
	m.server("web-1", "web", "http", web.port, nil)
	// Nobody listens on the port of this one.
	m.apply(fmt.Sprintf(`
type: Dataplane
name: gone-1
networking:
  address: 127.0.0.1
  inbound: [{port: %d, tags: {kuma.io/service: gone, kuma.io/protocol: tcp}}]
`, ports(t, 1)[0]))
	c := m.caller("client", "web", "gone")
	var calls atomic.Int64
	web.answers(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1)%3 != 0 && r.URL.Path != "/never" || r.URL.Path == "/always" {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	if a := c.get("web", "/before"); a.status != http.StatusTeapot || len(web.seen("/before")) != 1 {
		t.Errorf("without the policy: %d after %d tries", a.status, len(web.seen("/before")))
	}
	m.apply(`
type: MeshRetry
name: retries
spec:
  targetRef: {kind: Mesh}
  to:
  - targetRef: {kind: Mesh}
    default:
      http: {numRetries: 3, retryOn: ["418", HttpMethodGet], backOff: {baseInterval: 1ms, maxInterval: 2ms}}
      tcp: {maxConnectAttempt: 4}
`)
	m.await("requests are tried again", func() error {
		before := len(web.seen("/always"))
		c.get("web", "/always")
		return between("tries", len(web.seen("/always"))-before, 4, 4)
	})
	calls.Store(0)
	if a := c.get("web", "/twice"); a.status != http.StatusOK || len(web.seen("/twice")) != 3 {
		t.Errorf("status %d after %d tries", a.status, len(web.seen("/twice")))
	}
	calls.Store(0)
	if a, err := c.try(http.MethodPost, "web", "/post"); err != nil || a.status != http.StatusTeapot || len(web.seen("/post")) != 1 {
		t.Errorf("another method: %d, %v after %d tries", a.status, err, len(web.seen("/post")))
	}
	if err := say(c.ports["gone"], "hello"); err == nil {
		t.Error("an answer from nobody")
	}
	m.await("connections are tried again", func() error {
		return between("failed connections", c.stat(t, "cluster.gone.upstream_cx_connect_fail"), 4, 4)
	})
}

// MeshRetry tries gRPC calls again by their status.
func testRetryGRPC(t *testing.T, m *policyMesh) {
	var calls atomic.Int64
	port := startGRPC(t, func(s *grpc.Server) {
		grpc_health_v1.RegisterHealthServer(s, &flakyHealth{calls: &calls})
	})
	m.server("rpc-1", "rpc", "grpc", port, nil)
	c := m.caller("client", "rpc")
	call := func() error {
		conn, err := grpc.NewClient(hostport(c.ports["rpc"]), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		return err
	}
	if err := call(); status.Code(err) != codes.ResourceExhausted || calls.Load() != 1 {
		t.Errorf("without the policy: %v after %d calls", err, calls.Load())
	}
	m.apply(`
type: MeshRetry
name: retries
spec:
  targetRef: {kind: Mesh}
  to: [{targetRef: {kind: MeshService, name: rpc}, default: {grpc: {numRetries: 2, retryOn: [ResourceExhausted], backOff: {baseInterval: 1ms}}}}]
`)
	m.await("calls are tried again", func() error {
		calls.Store(0)
		if err := call(); err != nil {
			return err
		}
		return between("calls", int(calls.Load()), 3, 3)
	})
}

// flakyHealth succeeds at each third call only.
type flakyHealth struct {
	grpc_health_v1.UnimplementedHealthServer
	calls *atomic.Int64
}

func (f *flakyHealth) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if f.calls.Add(1)%3 != 0 {
		return nil, status.Error(codes.ResourceExhausted, "not now")
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

// MeshTimeout ends requests that take too long, streams and connections that are
// idle, for the routes that it names otherwise than for others.
func testTimeout(t *testing.T, m *policyMesh) {
	web := startUpstream(t, "web")
	web.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stalls" {
			fmt.Fprint(w, "begun")
			w.(http.Flusher).Flush()
		}
		select {
		case <-r.Context().Done():
		case <-time.After(time.Second):
		}
		fmt.Fprint(w, "done")
	})
	m.server("web-1", "web", "http", web.port, nil)
	m.server("echo-1", "echo", "tcp", echo(t), nil)
	c := m.caller("client", "web", "echo")
	if a := c.get("web", "/slow"); a.status != http.StatusOK {
		t.Errorf("without the policy: %d", a.status)
	}
	m.apply(`
type: MeshHTTPRoute
name: patient
spec:
  targetRef: {kind: Mesh}
  to: [{targetRef: {kind: MeshService, name: web}, rules: [{matches: [{path: {type: PathPrefix, value: /patient}}], default: {}}]}]
---
type: MeshTimeout
name: timeouts
spec:
  targetRef: {kind: MeshSubset, tags: {kuma.io/service: client}}
  to:
  - targetRef: {kind: Mesh}
    default: {idleTimeout: 500ms, http: {requestTimeout: 300ms}}
---
type: MeshTimeout
name: for-the-route
spec:
  targetRef: {kind: MeshHTTPRoute, name: patient}
  to: [{targetRef: {kind: Mesh}, default: {http: {requestTimeout: 30s, streamIdleTimeout: 30s}}}]
`)
	m.await("a slow request ends", func() error { return between("status", c.get("web", "/slow").status, 504, 504) })
	m.await("requests of the route have time", func() error { return between("status", c.get("web", "/patient").status, 200, 200) })
	m.await("an idle connection is closed", func() error { return closedWhenIdle(c.ports["echo"], 5*time.Second) })
	m.apply(`
type: MeshTimeout
name: timeouts
spec:
  targetRef: {kind: MeshSubset, tags: {kuma.io/service: client}}
  to:
  - targetRef: {kind: Mesh}
    default: {idleTimeout: 1h, http: {requestTimeout: 0s, streamIdleTimeout: 300ms}}
`)
	m.await("a stream that stalls is ended", func() error {
		if a, err := c.try(http.MethodGet, "web", "/stalls"); err == nil {
			return fmt.Errorf("%d %q", a.status, a.body)
		}
		return nil
	})
}

// closedWhenIdle speaks once with an echo and then waits until the connection ends.
func closedWhenIdle(port int, limit time.Duration) error {
	conn, err := net.DialTimeout("tcp", hostport(port), 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(limit))
	fmt.Fprintln(conn, "hello")
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil {
		return err
	}
	if _, err := r.ReadByte(); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("open after %s", limit)
		}
		return nil
	}
	return fmt.Errorf("the echo says more")
}
