package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// greeter is a TCP application that says its name.
func greeter(t testing.TB, name string) int {
	t.Helper()
	return serveTCP(t, "127.0.0.1:0", func(c net.Conn) { fmt.Fprintln(c, name) })
}

func greeting(port int) (string, error) {
	c, err := net.DialTimeout("tcp", hostport(port), 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// strategy applies a MeshLoadBalancingStrategy for a service.
func (m *policyMesh) strategy(service, conf string) {
	m.t.Helper()
	m.apply(fmt.Sprintf(`{type: MeshLoadBalancingStrategy, name: of-%[1]s, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: %[1]s}, default: %[2]s}]}}`, service, conf))
}

// Envoy takes each algorithm of MeshLoadBalancingStrategy with its settings, and
// calls go on.
func testLoadBalancers(t *testing.T, m *policyMesh) {
	m.server("web-1", "web", "http", app(t, "one"), nil)
	m.server("web-2", "web", "http", app(t, "two"), nil)
	c := m.caller("client", "web")
	for _, x := range []struct{ conf, want string }{
		{"{type: LeastRequest, leastRequest: {choiceCount: 7, activeRequestBias: '1.3'}}", `"choice_count": 7`},
		{"{type: RingHash, ringHash: {hashFunction: MurmurHash2, minRingSize: 64, maxRingSize: 1024}}", `"hash_function": "MURMUR_HASH_2"`},
		{"{type: Random}", `"lb_policy": "RANDOM"`},
		{"{type: Maglev, maglev: {tableSize: 251}}", `"table_size": "251"`},
		{"{type: RoundRobin}", ""},
	} {
		m.strategy("web", "{loadBalancer: "+x.conf+"}")
		m.await("Envoy uses "+x.conf, func() error {
			config := c.config(t)
			for _, other := range []string{"LEAST_REQUEST", "RING_HASH", "RANDOM", "MAGLEV"} {
				if x.want == "" && strings.Contains(config, `"lb_policy": "`+other) {
					return fmt.Errorf("it uses %s", other)
				}
			}
			return contains(config, x.want)
		})
		if got := c.bodies(10, "web", "/"); got["one"]+got["two"] != 10 {
			t.Errorf("%s: answers %v", x.conf, got)
		}
		c.rejectsNothing(t)
	}
	// The last one takes turns.
	m.await("both get the same", func() error {
		if got := c.bodies(10, "web", "/"); got["one"] != 5 {
			return fmt.Errorf("answers %v", got)
		}
		return nil
	})
}

// Hash policies keep equal requests at one instance, and different ones apart.
func testLoadBalancingHash(t *testing.T, m *policyMesh) {
	for i := range 3 {
		m.server(fmt.Sprintf("web-%d", i), "web", "http", app(t, fmt.Sprint("web-", i)), nil)
	}
	c := m.caller("client", "web")
	m.await("all instances answer", func() error { return between("instances", len(c.bodies(9, "web", "/")), 3, 3) })
	for _, x := range []struct {
		policy string
		path   func(i int) string
		header func(i int) []string
	}{
		{"{type: Header, header: {name: x-user}}", func(int) string { return "/" }, func(i int) []string { return []string{"x-user", fmt.Sprint("user-", i)} }},
		{"{type: QueryParameter, queryParameter: {name: user}}", func(i int) string { return fmt.Sprint("/?user=user-", i) }, nil},
		{"{type: Cookie, cookie: {name: session}}", func(int) string { return "/" }, func(i int) []string { return []string{"Cookie", fmt.Sprint("session=s-", i)} }},
	} {
		headers := func(i int) []string {
			if x.header == nil {
				return nil
			}
			return x.header(i)
		}
		for _, lb := range []string{"{type: RingHash, ringHash: {hashPolicies: [%s]}}", "{type: Maglev, maglev: {tableSize: 1021, hashPolicies: [%s]}}"} {
			m.strategy("web", "{loadBalancer: "+fmt.Sprintf(lb, x.policy)+"}")
			m.await("equal requests stay: "+fmt.Sprintf(lb, x.policy), func() error {
				instances := map[string]bool{}
				for i := range 12 {
					got := c.bodies(4, "web", x.path(i), headers(i)...)
					if len(got) != 1 {
						return fmt.Errorf("equal requests get %v", got)
					}
					for name := range got {
						instances[name] = true
					}
				}
				return between("instances in use", len(instances), 2, 3)
			})
		}
	}
	m.strategy("web", "{loadBalancer: {type: RingHash, ringHash: {hashPolicies: [{type: Cookie, cookie: {name: made, ttl: 1h, path: /}}]}}}")
	m.await("Envoy sets the cookie", func() error {
		return contains(c.get("web", "/").header.Get("Set-Cookie"), "made=", "Max-Age=3600", "Path=/")
	})
	m.strategy("web", "{loadBalancer: {type: RingHash, ringHash: {hashPolicies: [{type: Connection, connection: {sourceIP: true}}]}}}")
	m.await("one address stays at one instance", func() error { return between("instances", len(c.bodies(12, "web", "/")), 1, 1) })
}

// Locality awareness prefers instances with the client's tags by weight, and
// other zones come only when the own one has nobody.
func testLoadBalancingLocality(t *testing.T, m *policyMesh) {
	tags := func(node string) map[string]string { return map[string]string{"node": node} }
	m.server("web-near", "web", "http", app(t, "near"), tags("n1"))
	m.server("web-far", "web", "http", app(t, "far"), tags("n2"))
	c := m.callerWith(sidecar{name: "client", service: "client", protocol: "http", tags: tags("n1")}, "web")
	m.strategy("web", "{localityAwareness: {localZone: {affinityTags: [{key: node}]}}}")
	m.await("9 of 10 go to the near one", func() error {
		got := c.bodies(200, "web", "/")
		if got["far"] == 0 {
			return fmt.Errorf("answers %v", got)
		}
		return between("near of 200", got["near"], 160, 198)
	})
	m.strategy("web", "{localityAwareness: {localZone: {affinityTags: [{key: node, weight: 50}]}}}")
	m.await("the weight counts", func() error {
		if text, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/clusters?format=json", c.admin)); err != nil {
			return err
		} else if err := contains(text, "node=n1"); err != nil {
			return err
		}
		return between("near of 200 at 50:1", c.bodies(200, "web", "/")["near"], 188, 200)
	})
	testFailover(t, m)
}

// testFailover has a service outside of the mesh in this zone and in two others.
func testFailover(t *testing.T, m *policyMesh) {
	local := startUpstream(t, "local")
	for _, x := range []struct {
		zone string
		port int
	}{{"default", local.port}, {"east", startUpstream(t, "east").port}, {"west", startUpstream(t, "west").port}} {
		m.apply(fmt.Sprintf(`
type: ExternalService
name: store-%[1]s
tags: {kuma.io/service: store, kuma.io/protocol: http, kuma.io/zone: %[1]s}
networking: {address: '127.0.0.1:%[2]d'}
`, x.zone, x.port))
	}
	c := m.caller("shopper", "store")
	expect := func(what string, names ...string) {
		t.Helper()
		m.await(what, func() error {
			got := c.bodies(12, "store", "/")
			n := 0
			for _, name := range names {
				n += got[name]
			}
			if n != 12 || len(got) != len(names) {
				return fmt.Errorf("answers %v", got)
			}
			return nil
		})
	}
	expect("all zones answer", "local", "east", "west")
	m.strategy("store", "{localityAwareness: {disabled: true}}")
	expect("all zones answer", "local", "east", "west")
	m.strategy("store", "{localityAwareness: {crossZone: {failover: [{to: {type: Any}}]}}}")
	expect("the own zone answers", "local")
	m.apply(`
type: MeshCircuitBreaker
name: store
spec:
  targetRef: {kind: Mesh}
  to: [{targetRef: {kind: MeshService, name: store}, default: {outlierDetection: {interval: 1s, baseEjectionTime: 10m, maxEjectionPercent: 100, detectors: {totalFailures: {consecutive: 2}}}}}]
`)
	local.answers(failing(http.StatusInternalServerError))
	m.strategy("store", "{localityAwareness: {crossZone: {failover: [{from: {zones: [elsewhere]}, to: {type: Only, zones: [west]}}, {from: {zones: [default]}, to: {type: Only, zones: [east]}}]}}}")
	expect("the zone that is named answers when the own one fails", "east")
	m.strategy("store", "{localityAwareness: {crossZone: {failover: [{to: {type: AnyExcept, zones: [east]}}]}}}")
	expect("every zone but one answers when the own one fails", "west")
}
