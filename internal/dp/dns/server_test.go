package dns

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weft/internal/testkit/freeport"
)

// settings are those that a Corefile template sees.
type settings struct {
	CoreDNSPort, EnvoyDNSPort, PrometheusPort uint16
	CoreDNSLogging                            bool
}

// freePort returns a port that is free for UDP and TCP.
func freePort(t testing.TB) uint16 {
	t.Helper()
	return uint16(freeport.Take(t, 1)[0])
}

// upstream is a DNS server for tests; it listens on the networks given.
func upstream(t testing.TB, h dns.HandlerFunc, networks ...string) string {
	t.Helper()
	port := freePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	for _, network := range networks {
		ready := make(chan struct{})
		s := &dns.Server{Addr: addr, Net: network, Handler: h, NotifyStartedFunc: func() { close(ready) }}
		var done sync.WaitGroup
		done.Go(func() { _ = s.ListenAndServe() })
		select {
		case <-ready:
		case <-time.After(10 * time.Second):
			t.Fatal("upstream does not start")
		}
		t.Cleanup(func() { _ = s.Shutdown(); done.Wait() })
	}
	return addr
}

// envoyLike answers as Envoy's filter does: A of one name, which it compares
// letter by letter, and A and AAAA of another, NXDOMAIN for what else is asked for
// an address, NOTIMP for other types.
func envoyLike(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg)
	q := r.Question[0]
	switch {
	case q.Qtype != dns.TypeA && q.Qtype != dns.TypeAAAA:
		m.SetRcode(r, dns.RcodeNotImplemented)
	case q.Qtype == dns.TypeA && (q.Name == "backend.mesh." || q.Name == "both.mesh."):
		m.SetReply(r)
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 30}, A: net.IPv4(240, 0, 0, 1)}}
	case q.Name == "both.mesh.":
		m.SetReply(r)
		m.Answer = []dns.RR{&dns.AAAA{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: 30}, AAAA: net.ParseIP("::ffff:f000:1")}}
	default:
		m.SetRcode(r, dns.RcodeNameError)
	}
	_ = w.WriteMsg(m)
}

// resolverLike answers every A with 192.0.2.7 and every TXT, except names
// that end in "gone." or in "mesh.".
func resolverLike(count *atomic.Int32) dns.HandlerFunc {
	return func(w dns.ResponseWriter, r *dns.Msg) {
		count.Add(1)
		m := new(dns.Msg)
		m.SetReply(r)
		q := r.Question[0]
		hdr := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 60}
		switch {
		case strings.HasSuffix(q.Name, "gone."), strings.HasSuffix(strings.ToLower(q.Name), "mesh."):
			m.SetRcode(r, dns.RcodeNameError)
		case q.Qtype == dns.TypeA:
			m.Answer = []dns.RR{&dns.A{Hdr: hdr, A: net.IPv4(192, 0, 2, 7)}}
		case q.Qtype == dns.TypeTXT:
			m.Answer = []dns.RR{&dns.TXT{Hdr: hdr, Txt: []string{strings.Repeat("x", 200)}}}
			if strings.HasPrefix(q.Name, "big.") {
				for range 20 {
					m.Answer = append(m.Answer, m.Answer[0])
				}
				if w.RemoteAddr().Network() == "udp" {
					m.Answer, m.Truncated = nil, true
				}
			}
		}
		_ = w.WriteMsg(m)
	}
}

func resolvConf(t testing.TB, addresses ...string) string {
	t.Helper()
	// A resolv.conf knows no ports, so tests name addresses in the Corefile;
	// this writes the file for tests of files.
	path := filepath.Join(t.TempDir(), "resolv.conf")
	var text strings.Builder
	for _, a := range addresses {
		fmt.Fprintf(&text, "nameserver %s\n", a)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs a server with the built-in Corefile, whose resolvers are replaced.
func start(t testing.TB, s settings, resolvers string) string {
	t.Helper()
	return startWith(t, s, resolvers, true)
}

// startWith says whether the server relies on Envoy.
func startWith(t testing.TB, s settings, resolvers string, envoyAnswers bool) string {
	t.Helper()
	text, _, err := Template("", nil, envoyAnswers)
	if err != nil {
		t.Fatal(err)
	}
	text = strings.Replace(text, "/etc/resolv.conf", resolvers, 1)
	corefile, _, err := Corefile(text, s, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server, err := Start(corefile)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("127.0.0.1:%d", s.CoreDNSPort)
}

func portOf(t testing.TB, addr string) uint16 {
	t.Helper()
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(a.Port)
}

func ask(t testing.TB, network, server, name string, kind uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	c := &dns.Client{Net: network, Timeout: 8 * time.Second}
	m, _, err := c.Exchange(q, server)
	if err != nil {
		t.Fatalf("ask %s over %s: %v", name, network, err)
	}
	return m
}

func text(m *dns.Msg) string {
	var parts []string
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			parts = append(parts, a.A.String())
		} else {
			parts = append(parts, dns.TypeToString[rr.Header().Rrtype])
		}
	}
	return strings.TrimSpace(dns.RcodeToString[m.Rcode] + " " + strings.Join(parts, " "))
}

func TestServer(t *testing.T) {
	var count atomic.Int32
	envoy := upstream(t, envoyLike, "udp") // Envoy's listener is UDP only
	resolver := upstream(t, resolverLike(&count), "udp", "tcp")
	addr := start(t, settings{CoreDNSPort: freePort(t), EnvoyDNSPort: portOf(t, envoy), PrometheusPort: freePort(t)}, resolver)
	for name, tc := range map[string]struct {
		name     string
		kind     uint16
		want     string
		fallback bool
	}{
		"mesh":         {"backend.mesh.", dns.TypeA, "NOERROR 240.0.0.1", false},
		"mesh AAAA":    {"both.mesh.", dns.TypeAAAA, "NOERROR AAAA", false},
		"no AAAA":      {"backend.mesh.", dns.TypeAAAA, "NOERROR", false},
		"mesh TXT":     {"backend.mesh.", dns.TypeTXT, "NOERROR", true},
		"not in mesh":  {"nothing.mesh.", dns.TypeAAAA, "NXDOMAIN", true},
		"no TXT":       {"nothing.mesh.", dns.TypeTXT, "NXDOMAIN", true},
		"shouted":      {"Both.MESH.", dns.TypeA, "NOERROR 240.0.0.1", false},
		"shouted AAAA": {"Both.MESH.", dns.TypeAAAA, "NOERROR AAAA", false},
		"shouted none": {"Backend.MESH.", dns.TypeAAAA, "NOERROR", false},
		"shouted TXT":  {"Backend.MESH.", dns.TypeTXT, "NOERROR", true},
		"other":        {"example.org.", dns.TypeA, "NOERROR 192.0.2.7", true},
		"other type":   {"example.org.", dns.TypeTXT, "NOERROR TXT", true},
		"unknown":      {"x.gone.", dns.TypeA, "NXDOMAIN", true},
		"capital mesh": {"example.ORG.", dns.TypeA, "NOERROR 192.0.2.7", true},
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+"/"+network, func(t *testing.T) {
				count.Store(0)
				m := ask(t, network, addr, tc.name, tc.kind)
				if got := text(m); got != tc.want || m.Question[0].Name != tc.name {
					t.Errorf("got %q about %s, want %q about %s", got, m.Question[0].Name, tc.want, tc.name)
				}
				if (count.Load() > 0) != tc.fallback {
					t.Errorf("resolver of the host was asked %d times", count.Load())
				}
			})
		}
	}
	t.Run("large answers go over TCP", func(t *testing.T) {
		if m := ask(t, "udp", addr, "big.example.org.", dns.TypeTXT); !m.Truncated {
			t.Error("not truncated over UDP")
		}
		if m := ask(t, "tcp", addr, "big.example.org.", dns.TypeTXT); len(m.Answer) != 21 {
			t.Errorf("%d records over TCP", len(m.Answer))
		}
	})
}

func TestServerWithoutEnvoy(t *testing.T) {
	var count atomic.Int32
	resolver := upstream(t, resolverLike(&count), "udp", "tcp")
	addr := startWith(t, settings{CoreDNSPort: freePort(t), EnvoyDNSPort: freePort(t)}, resolver, false)
	if got := text(ask(t, "udp", addr, "x.gone.", dns.TypeA)); got != "NXDOMAIN" {
		t.Errorf("got %q", got)
	}
	for i := range 20 {
		network := []string{"udp", "tcp"}[i%2]
		began := time.Now()
		if got := text(ask(t, network, addr, "example.org.", dns.TypeA)); got != "NOERROR 192.0.2.7" {
			t.Fatalf("got %q", got)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %s", took)
		}
	}
}

func TestServerWithDeadResolver(t *testing.T) {
	envoy := upstream(t, envoyLike, "udp")
	var count atomic.Int32
	alive := upstream(t, resolverLike(&count), "udp")
	dead := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	t.Run("next one answers", func(t *testing.T) {
		addr := start(t, settings{CoreDNSPort: freePort(t), EnvoyDNSPort: portOf(t, envoy)}, dead+" "+alive)
		if got := text(ask(t, "udp", addr, "example.org.", dns.TypeA)); got != "NOERROR 192.0.2.7" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("none left", func(t *testing.T) {
		addr := start(t, settings{CoreDNSPort: freePort(t), EnvoyDNSPort: portOf(t, envoy)}, dead)
		// Not NXDOMAIN: clients would remember that the name does not exist.
		if got := text(ask(t, "udp", addr, "example.org.", dns.TypeA)); got != "SERVFAIL" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("no nameserver in the file", func(t *testing.T) {
		addr := start(t, settings{CoreDNSPort: freePort(t), EnvoyDNSPort: portOf(t, envoy)}, resolvConf(t))
		if got := text(ask(t, "udp", addr, "example.org.", dns.TypeA)); got != "NXDOMAIN" {
			t.Errorf("got %q", got)
		}
		if got := text(ask(t, "udp", addr, "backend.mesh.", dns.TypeA)); got != "NOERROR 240.0.0.1" {
			t.Errorf("got %q", got)
		}
	})
}

func TestTwoServersStartAndStopCleanly(t *testing.T) {
	var count atomic.Int32
	resolver := upstream(t, resolverLike(&count), "udp")
	port := freePort(t)
	for range 3 {
		metrics := freePort(t) // CoreDNS serves each metrics address once in the life of a process
		t.Run("again", func(t *testing.T) {
			addr := start(t, settings{CoreDNSPort: port, EnvoyDNSPort: freePort(t), PrometheusPort: metrics}, resolver)
			ask(t, "udp", addr, "example.org.", dns.TypeA)
			resp, err := http.Get(fmt.Sprintf("http://localhost:%d/metrics", metrics))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("metrics: %s", resp.Status)
			}
			if _, err := Start(fmt.Sprintf(".:%d {\nwhoami\n}", port)); err == nil {
				t.Error("a second server shares the port")
			}
			// A second one at the same time, on other ports.
			other := start(t, settings{CoreDNSPort: freePort(t), EnvoyDNSPort: freePort(t)}, resolver)
			ask(t, "udp", other, "example.org.", dns.TypeA)
		})
	}
}

func TestStartRefuses(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	for name, tc := range map[string]struct{ corefile, want string }{
		"port in use":    {fmt.Sprintf(".:%d {\nwhoami\n}", taken), "--dns-coredns-port"},
		"metrics in use": {fmt.Sprintf(".:%d {\nprometheus :%d\n}", freePort(t), taken), "--dns-prometheus-port"},
		"unknown plugin": {".:0 {\nkubernetes\n}", "kubernetes"},
		"no code":        {".:0 {\nalternate FOO . 127.0.0.1\n}", "FOO"},
		"too few":        {".:0 {\nalternate NXDOMAIN .\n}", "alternate [original]"},
		"other zone":     {".:0 {\nalternate NXDOMAIN example. 127.0.0.1\n}", "example."},
		"block":          {".:0 {\nalternate NXDOMAIN . 127.0.0.1 {\npolicy x\n}\n}", "block"},
		"missing file":   {".:0 {\nalternate NXDOMAIN . /no/such/file\n}", "/no/such/file"},
		"twice":          {".:0 {\nalternate NXDOMAIN,NXDOMAIN . 127.0.0.1\n}", "twice"},
		"encrypted":      {".:0 {\nalternate NXDOMAIN . tls://127.0.0.1\n}", "plain DNS"},
		"syntax":         {".:0 {\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Start(tc.corefile)
			if err == nil {
				_ = s.Stop()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q does not say %q", err, tc.want)
			}
		})
	}
}

func TestResolverFileIsReadAgain(t *testing.T) {
	now := time.Now()
	path := resolvConf(t, "192.0.2.1")
	r, err := newResolvers([]string{path}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer r.stop()
	write := func(text string, stamp time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	addresses := func() string {
		var list []string
		for _, p := range r.current() {
			list = append(list, p.Addr())
		}
		return strings.Join(list, " ")
	}
	write("nameserver 192.0.2.2\nnameserver 192.0.2.3\n", now.Add(time.Second))
	if got := addresses(); got != "192.0.2.1:53" {
		t.Errorf("before the pause: %s", got)
	}
	now = now.Add(recheck)
	if got := addresses(); got != "192.0.2.2:53 192.0.2.3:53" {
		t.Errorf("after a change: %s", got)
	}
	write("", now.Add(5*time.Second))
	now = now.Add(recheck)
	if got := addresses(); got != "192.0.2.2:53 192.0.2.3:53" {
		t.Errorf("after the file was emptied: %s", got)
	}
}

func TestTemplate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "template")
	if err := os.WriteFile(path, []byte("file {{ .CoreDNSPort }}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		path, cp, want string
	}{
		"file wins":     {path, "cp", "file 7"},
		"control plane": {"", "cp {{ .EnvoyDNSPort }}", "cp 8"},
		"built in":      {"", "", "forward . 127.0.0.1:8 {"},
	} {
		t.Run(name, func(t *testing.T) {
			text, _, err := Template(tc.path, []byte(tc.cp), true)
			if err != nil {
				t.Fatal(err)
			}
			corefile, written, err := Corefile(text, settings{CoreDNSPort: 7, EnvoyDNSPort: 8, CoreDNSLogging: true}, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(corefile, tc.want) {
				t.Errorf("got %q", corefile)
			}
			if b, _ := os.ReadFile(written); string(b) != corefile {
				t.Error("the written file differs")
			}
		})
	}
	for _, bad := range []string{"{{", "{{ .Nothing }}"} {
		if _, _, err := Corefile(bad, settings{}, t.TempDir()); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	if _, _, err := Template("/no/such/file", nil, true); err == nil {
		t.Error("missing file accepted")
	}
}

// FuzzQuery sends arbitrary packets to a running server, which must survive.
func FuzzQuery(f *testing.F) {
	var count atomic.Int32
	envoy := upstream(f, envoyLike, "udp")
	resolver := upstream(f, resolverLike(&count), "udp")
	addr := start(f, settings{CoreDNSPort: freePort(f), EnvoyDNSPort: portOf(f, envoy)}, resolver)
	q := new(dns.Msg)
	q.SetQuestion("backend.mesh.", dns.TypeA)
	good, err := q.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:12])
	f.Fuzz(func(t *testing.T, packet []byte) {
		conn, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write(packet)
		if got := text(ask(t, "udp", addr, "backend.mesh.", dns.TypeA)); got != "NOERROR 240.0.0.1" {
			t.Errorf("after the packet: %q", got)
		}
	})
}

func BenchmarkMeshName(b *testing.B) {
	envoy := upstream(b, envoyLike, "udp")
	addr := start(b, settings{CoreDNSPort: freePort(b), EnvoyDNSPort: portOf(b, envoy)}, "127.0.0.1:1")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := dns.Dial("udp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		q := new(dns.Msg)
		q.SetQuestion("backend.mesh.", dns.TypeA)
		for pb.Next() {
			if err := conn.WriteMsg(q); err != nil {
				b.Error(err)
				return
			}
			if _, err := conn.ReadMsg(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func TestRememberedAnswers(t *testing.T) {
	var asked atomic.Int32
	var vip atomic.Int32
	envoy := upstream(t, func(w dns.ResponseWriter, r *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg)
		m.SetReply(r)
		if strings.HasPrefix(strings.ToLower(r.Question[0].Name), "backend.") {
			hdr := dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 30}
			m.Answer = []dns.RR{&dns.A{Hdr: hdr, A: net.IPv4(240, 0, 0, byte(vip.Load()))}}
		} else {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	}, "udp")
	addr := start(t, settings{CoreDNSPort: freePort(t), EnvoyDNSPort: portOf(t, envoy)}, resolvConf(t))
	for i := range 50 {
		name := []string{"backend.mesh.", "BACKEND.mesh."}[i%2]
		m := ask(t, "udp", addr, name, dns.TypeA)
		if text(m) != "NOERROR 240.0.0.0" || m.Answer[0].Header().Ttl != 30 || m.Question[0].Name != name {
			t.Fatalf("got %v", m)
		}
	}
	if n := asked.Load(); n > 3 {
		t.Errorf("Envoy was asked %d times for one name", n)
	}
	// What does not exist is asked each time, so that a new name works at once.
	asked.Store(0)
	for range 5 {
		ask(t, "udp", addr, "new.mesh.", dns.TypeA)
	}
	if n := asked.Load(); n != 5 {
		t.Errorf("Envoy was asked %d times for a name that does not exist", n)
	}
	vip.Store(9)
	deadline := time.Now().Add(10 * time.Second)
	for text(ask(t, "udp", addr, "backend.mesh.", dns.TypeA)) != "NOERROR 240.0.0.9" {
		if time.Now().After(deadline) {
			t.Fatal("the old address is never forgotten")
		}
	}
}

func TestRememberIsBounded(t *testing.T) {
	c := &remember{answers: map[question]remembered{}}
	for i := range 3 * maxRemembered {
		c.put(question{name: fmt.Sprint(i)}, remembered{})
	}
	if len(c.answers) > maxRemembered {
		t.Errorf("%d answers kept", len(c.answers))
	}
}
