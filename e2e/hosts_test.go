package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weft/internal/testkit/netns"
)

// meshOfHosts is a client, two instances of a service (one has an IPv4 and one an
// IPv6 address) and a host that is in no mesh.
type meshOfHosts struct {
	*network
	cp                        *controlPlane
	names                     *nameServer
	before                    string // the rules of one, before anything
	client, one, two, outside *host
	clientDP, oneDP, twoDP    *hostProxy
}

// TestHosts shows that applications on hosts with the transparent proxy need not
// know of the mesh: they call services by name, and everything is redirected,
// encrypted, balanced and subject to policies.
func TestHosts(t *testing.T) {
	t.Parallel()
	m := startMeshOfHosts(t)
	for _, c := range []struct {
		name string
		run  func(t *testing.T, m *meshOfHosts)
	}{
		{"Names", testHostNames},
		{"Policies", testHostPolicies},
		{"DNS", testHostDNS},
		{"ProxyIsNotRedirected", testHostProxyIsNotRedirected},
		{"Inbound", testHostInbound},
		{"Exclusions", testHostExclusions},
		{"Passthrough", testHostPassthrough},
		{"Applications", testHostApplications},
		{"ExternalServices", testHostExternalServices},
		{"NamesByObjects", testHostNamesByObjects},
		{"Reachable", testHostReachable},
		{"ServiceProbe", testHostServiceProbe},
		{"Backends", testHostBackends},
		{"Killed", testHostKilled},
		{"Uninstall", testHostUninstall},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, m) })
	}
}

func startMeshOfHosts(t testing.TB) *meshOfHosts {
	t.Helper()
	w := newNetwork(t)
	m := &meshOfHosts{network: w, client: w.host("client"), one: w.host("one"), two: w.host("two"), outside: w.host("outside")}
	m.names = startNameServer(t, w, map[string]*host{"outside.test.": m.outside})
	m.cp = startCP(t, t.TempDir())
	m.cp.must(http.MethodPut, "/meshes/default", map[string]any{
		"type": "Mesh", "name": "default", "meshServices": map[string]any{"mode": "Everywhere"},
		"mtls": mtls{enabled: "ca", backends: []string{"ca"}}.block(),
	})
	m.cp.allow("default", "all", "Allow", nil)
	for _, h := range []*host{m.one, m.two, m.outside} {
		h.serve(t, 80, whoami(h.name))
	}
	m.outside.serve(t, 8081, whoami("outside"))
	m.before = m.one.ruleset(t)
	for _, h := range []*host{m.client, m.one, m.two} {
		h.install(t)
	}
	m.oneDP = m.one.join(t, m.cp, inbound(80, "backend", "http"))
	m.twoDP = m.two.joinAt(t, m.cp, m.two.ip6, "", inbound(80, "backend", "http"))
	m.clientDP = m.client.join(t, m.cp, inbound(8080, "client", "http"))
	return m
}

func inbound(port int, service, protocol string) string {
	return fmt.Sprintf("  inbound:\n  - {port: %d, tags: {kuma.io/service: %s, kuma.io/protocol: %s}}\n", port, service, protocol)
}

// whoami is an application that tells its name and who the mesh says is calling.
func whoami(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s called as %s by %s route %s", name, r.Host, r.Header.Get("X-Forwarded-Client-Cert"), r.Header.Get("X-Route"))
	})
}

// nameServer knows hosts that are in no mesh and notes what it is asked.
type nameServer struct {
	hosts map[string]*host
	mu    sync.Mutex
	asked map[string]int // network and name
}

func startNameServer(t testing.TB, w *network, hosts map[string]*host) *nameServer {
	t.Helper()
	s := &nameServer{hosts: hosts, asked: map[string]int{}}
	for _, gateway := range []string{w.gateway4, w.gateway6} {
		for _, network := range []string{"udp", "tcp"} {
			srv := &dns.Server{Addr: net.JoinHostPort(gateway, "53"), Net: network, Handler: s}
			up := make(chan error, 1)
			srv.NotifyStartedFunc = func() { up <- nil }
			go func() { up <- srv.ListenAndServe() }()
			if err := <-up; err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = srv.Shutdown() })
		}
	}
	return s
}

func (s *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	name := strings.ToLower(q.Question[0].Name)
	s.mu.Lock()
	s.asked[w.RemoteAddr().Network()+" "+name]++
	s.mu.Unlock()
	a := new(dns.Msg)
	a.SetReply(q)
	h := s.hosts[name]
	switch {
	case h == nil:
		a.Rcode = dns.RcodeNameError
	case q.Question[0].Qtype == dns.TypeA:
		a.Answer = append(a.Answer, &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.ParseIP(h.ip4)})
	case q.Question[0].Qtype == dns.TypeAAAA:
		a.Answer = append(a.Answer, &dns.AAAA{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: 1}, AAAA: net.ParseIP(h.ip6)})
	}
	_ = w.WriteMsg(a)
}

func (s *nameServer) total(name string) int { return s.count("udp", name) + s.count("tcp", name) }

func (s *nameServer) count(network, name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[network+" "+name]
}

// Both names of the service, over IPv4 and IPv6, lead to both instances, whose
// own addresses are of either family; and they see who calls by its certificate.
func testHostNames(t *testing.T, m *meshOfHosts) {
	for _, name := range []string{"backend.mesh", "backend.svc.mesh.local"} {
		for _, family := range []string{"-4", "-6"} {
			seen := map[string]bool{}
			eventually(t, 20*time.Second, "both instances answer for "+name+" "+family, func() error {
				text, err := m.client.curl(family, "http://"+name+"/")
				if err != nil {
					return err
				}
				who, _, _ := strings.Cut(text, " ")
				if seen[who] = true; len(seen) < 2 {
					return fmt.Errorf("so far %v", seen)
				}
				return contains(text, "called as "+name, "spiffe://default/client")
			})
		}
	}
}

// A route acts on what is redirected, and a permission on who calls.
func testHostPolicies(t *testing.T, m *meshOfHosts) {
	m.cp.must(http.MethodPut, "/meshes/default/meshhttproutes/mark", `{"type":"MeshHTTPRoute","mesh":"default","name":"mark","spec":{
		"targetRef":{"kind":"Mesh"},"to":[{"targetRef":{"kind":"MeshService","name":"backend","sectionName":"80"},"rules":[
			{"matches":[{"path":{"type":"PathPrefix","value":"/"}}],"default":{"filters":[
				{"type":"RequestHeaderModifier","requestHeaderModifier":{"set":[{"name":"x-route","value":"marked"}]}}]}}]}]}}`)
	eventually(t, 20*time.Second, "the route acts", func() error {
		text, err := m.client.curl("http://backend.svc.mesh.local/")
		if err != nil {
			return err
		}
		return contains(text, "route marked")
	})
	m.cp.must(http.MethodDelete, "/meshes/default/meshhttproutes/mark", nil)
	m.cp.allow("default", "all", "Deny", nil)
	eventually(t, 20*time.Second, "the client is refused", func() error {
		if text, err := m.client.curl("http://backend.mesh/"); err == nil || !strings.Contains(text, "RBAC: access denied") {
			return fmt.Errorf("%q, %s", text, fmt.Sprint(err))
		}
		return nil
	})
	m.cp.allow("default", "all", "Allow", nil)
	// Open connections between the proxies keep the old rules while these drain.
	good := 0
	eventually(t, 20*time.Second, "the client is let in again by both", func() error {
		if _, err := m.client.curl("http://backend.mesh/"); err != nil {
			good = 0
			return err
		}
		if good++; good < 10 {
			return fmt.Errorf("%d good answers in a row", good)
		}
		return nil
	})
}

// ask asks a name server as an application does.
func (h *host) ask(server, network, name string, kind uint16, edns bool) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	if edns {
		q.SetEdns0(1232, false)
	}
	var answer *dns.Msg
	err := netns.Do(h.ns, appUser, func() (err error) {
		answer, _, err = (&dns.Client{Net: network, Timeout: 5 * time.Second}).Exchange(q, net.JoinHostPort(server, "53"))
		return err
	})
	return answer, err
}

// Questions to either name server of the host, over UDP and TCP, with and without
// EDNS, are answered by the proxy if it knows the name, and by the server if not.
func testHostDNS(t *testing.T, m *meshOfHosts) {
	for _, server := range []string{m.gateway4, m.gateway6} {
		for _, network := range []string{"udp", "tcp"} {
			for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
				what := fmt.Sprintf("%s over %s of %s", dns.TypeToString[kind], network, server)
				for _, name := range []string{"backend.mesh.", "backend.svc.mesh.local."} {
					a, err := m.client.ask(server, network, name, kind, kind == dns.TypeA)
					if err != nil || len(a.Answer) != 1 || a.Answer[0].Header().Ttl > 30 {
						t.Errorf("%s for %s: %v, %v", what, name, a, err)
					}
					if n := m.names.count(network, name); n > 0 {
						t.Errorf("the name server was asked for %s", name)
					}
				}
				before := m.names.total("outside.test.")
				a, err := m.client.ask(server, network, "outside.test.", kind, kind == dns.TypeA)
				if err != nil || len(a.Answer) != 1 {
					t.Errorf("%s for a name outside: %v, %v", what, a, err)
				}
				if m.names.total("outside.test.") == before {
					t.Errorf("%s for a name outside: the name server was not asked", what)
				}
			}
		}
	}
	a, err := m.client.ask(m.gateway4, "udp", "nobody.test.", dns.TypeA, false)
	if err != nil || a.Rcode != dns.RcodeNameError {
		t.Errorf("a name that nobody knows: %v, %v", a, err)
	}
}

// through returns how many connections have left a proxy for hosts in no mesh.
func (p *hostProxy) through(t testing.TB) int {
	t.Helper()
	return p.stat(t, "cluster.outbound_passthrough_ipv4.upstream_cx_total") + p.stat(t, "cluster.outbound_passthrough_ipv6.upstream_cx_total")
}

// passes calls a URL and requires that the connection goes through the proxy, or
// that it does not.
func (m *meshOfHosts) passes(t *testing.T, user int, through bool, args ...string) {
	t.Helper()
	before := m.clientDP.through(t)
	text, err := m.client.run(user, "curl", append([]string{"-sS", "--max-time", "10"}, args...)...)
	if err != nil || !strings.HasPrefix(text, "outside called") {
		t.Errorf("user %d, %v: %q, %v", user, args, text, err)
	}
	if got := m.clientDP.through(t) > before; got != through {
		t.Errorf("user %d, %v: through the proxy: %v, want %v", user, args, got, through)
	}
}

// What the proxy's user sends is not redirected, so nothing goes round in circles;
// what applications and root send is. An instance that calls its own service
// by name comes to itself through its proxy, with a certificate.
func testHostProxyIsNotRedirected(t *testing.T, m *meshOfHosts) {
	for _, url := range []string{"http://" + m.outside.ip4 + "/", "http://[" + m.outside.ip6 + "]/"} {
		m.passes(t, proxyUser, false, url)
		m.passes(t, appUser, true, url)
		m.passes(t, 0, true, url)
	}
	eventually(t, 20*time.Second, "an instance calls itself", func() error {
		text, err := m.one.curl("http://backend.mesh/")
		if err != nil {
			return err
		}
		return contains(text, "one called", "spiffe://default/backend")
	})
}

// Who is in no mesh is refused at the service's port, and let through to ports
// that no Dataplane names.
func testHostInbound(t *testing.T, m *meshOfHosts) {
	m.one.serve(t, 8088, whoami("one"))
	through := func() int {
		return m.oneDP.stat(t, "cluster.inbound_passthrough_ipv4.upstream_cx_total") + m.oneDP.stat(t, "cluster.inbound_passthrough_ipv6.upstream_cx_total")
	}
	before := through()
	for _, ip := range []string{m.one.ip4, "[" + m.one.ip6 + "]"} {
		if text, err := m.outside.curl("http://" + m.one.ip4 + "/"); err == nil {
			t.Errorf("a stranger is answered %q", text)
		}
		if text, err := m.outside.curl("http://" + ip + ":8088/"); err != nil || !strings.HasPrefix(text, "one called") {
			t.Errorf("a port that is not in the mesh answers %q, %v", text, err)
		}
	}
	if n := through() - before; n != 2 {
		t.Errorf("%d connections went through the proxy, want 2", n)
	}
	m.one.install(t, "--exclude-inbound-ports", "8088") // its self-test goes through the proxy, too
	installed := through()
	if text, err := m.outside.curl("http://" + m.one.ip4 + ":8088/"); err != nil || !strings.HasPrefix(text, "one called") {
		t.Errorf("an excluded port answers %q, %v", text, err)
	}
	if n := through() - installed; n != 0 {
		t.Errorf("a connection to an excluded port went through the proxy")
	}
	m.one.install(t)
}

// Excluded ports, addresses and users pass the proxy by.
func testHostExclusions(t *testing.T, m *meshOfHosts) {
	m.passes(t, appUser, true, "http://outside.test:8081/")
	m.client.install(t, "--exclude-outbound-ports", "8081", "--exclude-outbound-ips", m.outside.ip6, "--exclude-outbound-ports-for-uids", "tcp:80:1001")
	m.passes(t, appUser, false, "http://outside.test:8081/")
	m.passes(t, appUser, true, "-4", "http://outside.test/")
	m.passes(t, appUser, false, "-6", "http://outside.test/")
	m.passes(t, 1001, false, "-4", "http://outside.test/")
	m.client.install(t)
	m.passes(t, appUser, true, "http://outside.test:8081/")
}

// Hosts in no mesh can be called unless the mesh forbids it; MeshPassthrough then
// opens the way to some.
func testHostPassthrough(t *testing.T, m *meshOfHosts) {
	for _, family := range []string{"-4", "-6"} {
		m.passes(t, appUser, true, family, "http://outside.test/")
	}
	setMesh := func(passthrough bool) {
		var mesh map[string]any
		if err := json.Unmarshal([]byte(m.cp.must(http.MethodGet, "/meshes/default", nil)), &mesh); err != nil {
			t.Fatal(err)
		}
		mesh["networking"] = map[string]any{"outbound": map[string]any{"passthrough": passthrough}}
		m.cp.must(http.MethodPut, "/meshes/default", mesh)
	}
	reaches := func(yes bool, args ...string) {
		t.Helper()
		eventually(t, 20*time.Second, fmt.Sprintf("%v is answered: %v", args, yes), func() error {
			text, err := m.client.curl(args...)
			if got := err == nil && strings.HasPrefix(text, "outside called"); got != yes {
				return fmt.Errorf("%q, %s", text, fmt.Sprint(err))
			}
			return nil
		})
	}
	setMesh(false)
	reaches(false, "-4", "http://outside.test/")
	reaches(false, "-6", "http://outside.test/")
	if _, err := m.client.curl("http://backend.mesh/"); err != nil {
		t.Errorf("the mesh itself: %v", err)
	}
	m.cp.must(http.MethodPut, "/meshes/default/meshpassthroughs/some", fmt.Sprintf(`{"type":"MeshPassthrough","mesh":"default","name":"some","spec":{
		"targetRef":{"kind":"Mesh"},"default":{"passthroughMode":"Matched","appendMatch":[
			{"type":"Domain","value":"outside.test","port":80,"protocol":"http"},{"type":"IP","value":"%s","port":8081}]}}}`, m.outside.ip4))
	reaches(true, "-4", "http://outside.test/")
	reaches(true, "-6", "http://outside.test/")
	reaches(true, "-4", "http://outside.test:8081/")
	reaches(false, "-4", "-H", "Host: other.test", "http://outside.test/")
	reaches(false, "-6", "http://outside.test:8081/")
	m.cp.must(http.MethodDelete, "/meshes/default/meshpassthroughs/some", nil)
	reaches(false, "-4", "http://outside.test/")
	setMesh(true)
	reaches(true, "-4", "http://outside.test/")
}

// The other ways to install rules do the same; changing from one to another while
// the proxy runs disturbs nothing.
func testHostBackends(t *testing.T, m *meshOfHosts) {
	for _, backend := range []string{"iptables-nft", "iptables-legacy", "nft"} {
		for _, h := range []*host{m.client, m.two} {
			h.install(t, "--backend", backend)
		}
		testHostNames(t, m)
		m.passes(t, proxyUser, false, "-4", "http://outside.test/")
		m.passes(t, appUser, true, "-6", "http://outside.test/")
		for _, network := range []string{"udp", "tcp"} {
			if a, err := m.client.ask(m.gateway6, network, "backend.mesh.", dns.TypeA, false); err != nil || len(a.Answer) != 1 {
				t.Errorf("%s: question over %s: %v, %v", backend, network, a, err)
			}
		}
	}
}

// After uninstalling, a host is as it was, and so are its connections.
func testHostUninstall(t *testing.T, m *meshOfHosts) {
	installed := m.one.ruleset(t)
	if out := m.one.install(t); !strings.Contains(out, "installed already") || m.one.ruleset(t) != installed {
		t.Errorf("installing again is not like installing once: %s", out)
	}
	m.one.uninstall(t)
	if got := m.one.ruleset(t); got != m.before {
		t.Errorf("the rules are not as before:\n%s\nbut\n%s", m.before, got)
	}
	if text, err := m.outside.curl("http://" + m.one.ip4 + "/"); err != nil || !strings.HasPrefix(text, "one called") {
		t.Errorf("the application answers %q, %v", text, err)
	}
}
