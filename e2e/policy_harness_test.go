package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/catalog"
)

// TestPolicies shows each policy at work, by traffic through real proxies that
// could not look like this without it. All share one control plane; each has a
// mesh of its own, without the policies that a new mesh gets.
func TestPolicies(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	for _, c := range []struct {
		name string
		run  func(t *testing.T, m *policyMesh)
	}{
		{"AccessLog", testAccessLog},
		{"CircuitBreakerLimits", testCircuitBreakerLimits},
		{"CircuitBreakerOutlier", testCircuitBreakerOutlier},
		{"FaultInjection", testFaultInjection},
		{"HealthCheck", testHealthCheck},
		{"HTTPRouteMatches", testHTTPRouteMatches},
		{"HTTPRouteFilters", testHTTPRouteFilters},
		{"HTTPRouteBackends", testHTTPRouteBackends},
		{"LoadBalancers", testLoadBalancers},
		{"LoadBalancingHash", testLoadBalancingHash},
		{"LoadBalancingLocality", testLoadBalancingLocality},
		{"MetricProfiles", testMetricProfiles},
		{"Passthrough", testPassthrough},
		{"ProxyPatch", testProxyPatch},
		{"RateLimit", testRateLimit},
		{"RealServices", testRealServices},
		{"Retry", testRetry},
		{"RetryGRPC", testRetryGRPC},
		{"TCPRoute", testTCPRoute},
		{"Timeout", testTimeout},
		{"Trace", testTrace},
		{"TrafficPermission", testTrafficPermission},
		{"OlderRouting", testOlderRouting},
		{"OlderResilience", testOlderResilience},
		{"OlderInbound", testOlderInbound},
		{"OlderObservability", testOlderObservability},
		{"OlderTemplates", testOlderTemplates},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := &policyMesh{t: t, cp: cp.within(t), name: strings.ToLower(c.name)}
			m.apply("{type: Mesh, name: " + m.name + ", skipCreatingInitialPolicies: ['*']}")
			c.run(t, m)
		})
	}
}

// within returns the control plane for a subtest, which fails by itself.
func (cp *controlPlane) within(t testing.TB) *controlPlane {
	own, p := *cp, *cp.process
	p.t = t
	own.process = &p
	return &own
}

// policyMesh is the mesh of one test.
type policyMesh struct {
	t    *testing.T
	cp   *controlPlane
	name string
}

// apply writes objects in YAML; they belong to the mesh of the test.
func (m *policyMesh) apply(documents string) {
	m.t.Helper()
	d := yaml.NewDecoder(strings.NewReader(documents))
	for {
		var doc map[string]any
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			m.t.Fatalf("%v in\n%s", err, documents)
		}
		k := catalog.ByName(fmt.Sprint(doc["type"]))
		if k == nil {
			m.t.Fatalf("there is no type %v", doc["type"])
		}
		path := "/meshes/" + m.name
		if k.Name != "Mesh" {
			doc["mesh"] = m.name
			path += fmt.Sprintf("/%s/%s", k.Plural, doc["name"])
		}
		m.cp.must(http.MethodPut, path, doc)
	}
}

// remove deletes an object.
func (m *policyMesh) remove(kind, name string) {
	m.t.Helper()
	m.cp.must(http.MethodDelete, fmt.Sprintf("/meshes/%s/%s/%s", m.name, catalog.ByName(kind).Plural, name), nil)
}

// server starts an application's proxy.
func (m *policyMesh) server(name, service, protocol string, app int, tags map[string]string) *dataplane {
	m.t.Helper()
	return m.cp.startDP(m.t, sidecar{mesh: m.name, name: name, service: service, protocol: protocol, app: app, tags: tags})
}

// policyClient is a client's proxy with an outbound for each service that it calls.
type policyClient struct {
	*dataplane
	t     *testing.T
	ports map[string]int
	http  *http.Client
}

func (m *policyMesh) caller(name string, services ...string) *policyClient {
	m.t.Helper()
	return m.callerWith(sidecar{name: name, service: name, protocol: "http"}, services...)
}

func (m *policyMesh) callerWith(s sidecar, services ...string) *policyClient {
	m.t.Helper()
	c := &policyClient{t: m.t, ports: map[string]int{}, http: &http.Client{
		// A connection stays with the listener that it was made to, so that each
		// request has its own.
		Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	s.mesh, s.outbounds = m.name, map[int]map[string]string{}
	for i, p := range ports(m.t, len(services)) {
		c.ports[services[i]] = p
		s.outbounds[p] = to(services[i])
	}
	c.dataplane = m.cp.startDP(m.t, s)
	for _, service := range services {
		m.await(service+" has endpoints at "+s.name, func() error {
			if n := c.stat(m.t, "cluster."+service+".membership_total"); n == 0 {
				return fmt.Errorf("none")
			}
			return nil
		})
	}
	return c
}

// await waits for what a policy is to bring about.
func (m *policyMesh) await(what string, f func() error) {
	m.t.Helper()
	eventually(m.t, 30*time.Second, what, f)
}

// answer is what a call gave.
type answer struct {
	status int
	body   string
	header http.Header
	took   time.Duration
}

// url is where a service is for the applications beside the proxy.
func (c *policyClient) url(service, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", c.ports[service], path)
}

// try calls a service. headers are names and values in turn.
func (c *policyClient) try(method, service, path string, headers ...string) (answer, error) {
	req, err := http.NewRequest(method, c.url(service, path), nil)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	start := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(body), resp.Header, time.Since(start)}, err
}

// get is try for what has to be answered.
func (c *policyClient) get(service, path string, headers ...string) answer {
	c.t.Helper()
	a, err := c.try(http.MethodGet, service, path, headers...)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// bodies calls a service n times and counts the answers by their bodies.
func (c *policyClient) bodies(n int, service, path string, headers ...string) map[string]int {
	c.t.Helper()
	out := map[string]int{}
	for range n {
		out[c.get(service, path, headers...).body]++
	}
	return out
}

// config returns Envoy's configuration, as its admin endpoint prints it.
func (d *dataplane) config(t testing.TB) string {
	t.Helper()
	text, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/config_dump", d.admin))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// rejectsNothing checks that Envoy took everything that it got.
func (d *dataplane) rejectsNothing(t testing.TB) {
	t.Helper()
	for _, s := range []string{"cluster_manager.cds.update_rejected", "listener_manager.lds.update_rejected"} {
		if n := d.stat(t, s); n != 0 {
			t.Errorf("%s of %s is %d", s, d.name, n)
		}
	}
}

// upstream is an application that keeps what it was asked.
type upstream struct {
	name string
	port int

	mu       sync.Mutex
	requests []*http.Request
	answer   http.HandlerFunc
}

// startUpstream starts an application that answers with its name.
func startUpstream(t testing.TB, name string) *upstream {
	t.Helper()
	u := &upstream{name: name}
	u.port = serve(t, "127.0.0.1", u)
	return u
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.requests = append(u.requests, r.Clone(context.WithoutCancel(r.Context())))
	f := u.answer
	u.mu.Unlock()
	if f != nil {
		f(w, r)
		return
	}
	fmt.Fprint(w, u.name)
}

// answers sets how it answers from now on; nil = with its name.
func (u *upstream) answers(f http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = f
}

// seen returns the requests for a path.
func (u *upstream) seen(path string) []*http.Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(func(yield func(*http.Request) bool) {
		for _, r := range u.requests {
			if r.URL.Path == path && !yield(r) {
				return
			}
		}
	})
}

// last returns the latest request for a path.
func (u *upstream) last(t testing.TB, path string) *http.Request {
	t.Helper()
	list := u.seen(path)
	if len(list) == 0 {
		t.Fatalf("%s was not asked for %s", u.name, path)
	}
	return list[len(list)-1]
}

// failing answers with a status.
func failing(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// lines is a TCP server that keeps the lines that it gets.
type lines struct {
	port int
	mu   sync.Mutex
	text strings.Builder
}

func startLines(t testing.TB) *lines {
	t.Helper()
	s := new(lines)
	s.port = serveTCP(t, "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(s, c) })
	return s
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) got() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// contains is an error unless text has all parts.
func contains(text string, parts ...string) error {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return fmt.Errorf("no %q in %.2000q", p, text)
		}
	}
	return nil
}

// between is an error unless n is in the range.
func between(what string, n, least, most int) error {
	if n < least || n > most {
		return fmt.Errorf("%s: %d, want %d to %d", what, n, least, most)
	}
	return nil
}

func hostport(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
