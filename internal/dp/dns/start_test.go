package dns

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

// A query for a name of the mesh that comes before Envoy has its table waits
// and gets the right answer.
func TestQueryWaitsForTheFirstTable(t *testing.T) {
	var count atomic.Int32
	resolver := upstream(t, resolverLike(&count), "udp")
	envoyPort := freePort(t)
	addr := start(t, settings{CoreDNSPort: freePort(t), EnvoyDNSPort: envoyPort}, resolver)
	if HasTable(t.Context(), envoyPort) {
		t.Fatal("a table although nobody listens")
	}
	conn, err := dns.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(8 * time.Second))
	q := new(dns.Msg)
	q.SetQuestion("backend.mesh.", dns.TypeA)
	if err := conn.WriteMsg(q); err != nil {
		t.Fatal(err)
	}
	listenOn(t, envoyPort, envoyLike)
	m, err := conn.ReadMsg()
	if err != nil {
		t.Fatal(err)
	}
	if got := text(m); got != "NOERROR 240.0.0.1" {
		t.Errorf("got %q", got)
	}
	if !HasTable(t.Context(), envoyPort) {
		t.Error("no table although Envoy answers")
	}
	// From now on there is nothing to wait for.
	if got := text(ask(t, "udp", addr, "x.gone.", dns.TypeA)); got != "NXDOMAIN" {
		t.Errorf("got %q", got)
	}
}

// Where Envoy stays silent, nobody is told that a name does not exist, and
// names outside of the mesh still work.
func TestNoFalseNXDOMAIN(t *testing.T) {
	var count atomic.Int32
	resolver := upstream(t, resolverLike(&count), "udp", "tcp")
	addr := start(t, settings{CoreDNSPort: freePort(t), EnvoyDNSPort: freePort(t)}, resolver)
	q := new(dns.Msg)
	q.SetQuestion("backend.gone.", dns.TypeA)
	q.SetEdns0(1232, false)
	m, _, err := (&dns.Client{Timeout: 8 * time.Second}).Exchange(q, addr)
	if err != nil {
		t.Fatal(err)
	}
	if m.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %v", m)
	}
	if opt := m.IsEdns0(); opt == nil || len(opt.Option) != 1 || opt.Option[0].(*dns.EDNS0_EDE).InfoCode != dns.ExtendedErrorCodeNotReady {
		t.Errorf("the reason is not told: %v", m)
	}
	if got := text(ask(t, "tcp", addr, "example.org.", dns.TypeA)); got != "NOERROR 192.0.2.7" {
		t.Errorf("got %q", got)
	}
}

// clock moves with each look at it.
type clock struct {
	at   time.Time
	step time.Duration
}

func (c *clock) now() time.Time {
	c.at = c.at.Add(c.step)
	return c.at
}

func TestWaitingIsBounded(t *testing.T) {
	var asked atomic.Int32
	answers := func(m *dns.Msg) plugin.Handler {
		return plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, _ *dns.Msg) (int, error) {
			asked.Add(1)
			if m == nil {
				return dns.RcodeServerFailure, errors.New("refused")
			}
			return dns.RcodeSuccess, w.WriteMsg(m)
		})
	}
	var count atomic.Int32
	r, err := newResolvers([]string{upstream(t, resolverLike(&count), "udp")}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer r.stop()
	began := time.Now()
	c := &clock{at: began, step: time.Second / 2}
	a := &alternate{
		next: answers(nil), rules: map[int]*rule{dns.RcodeServerFailure: {resolvers: r}},
		patience: firstPatience, until: began.Add(patienceFor), now: c.now,
	}
	query := func() int {
		t.Helper()
		asked.Store(0)
		q := new(dns.Msg)
		q.SetQuestion("x.gone.", dns.TypeA)
		rec := dnstest.NewRecorder(&test.ResponseWriter{})
		if _, err := a.ServeDNS(t.Context(), rec, q); err != nil {
			t.Fatal(err)
		}
		return rec.Rcode
	}
	if code := query(); code != dns.RcodeServerFailure || asked.Load() < 2 || asked.Load() > 5 {
		t.Errorf("answer %d after %d tries", code, asked.Load())
	}
	c.at = began.Add(patienceFor)
	if code := query(); code != dns.RcodeServerFailure || asked.Load() != 1 {
		t.Errorf("long after the start: answer %d after %d tries", code, asked.Load())
	}
	c.at = began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	asked.Store(0)
	q := new(dns.Msg)
	q.SetQuestion("x.gone.", dns.TypeA)
	_, _ = a.ServeDNS(ctx, dnstest.NewRecorder(&test.ResponseWriter{}), q)
	if asked.Load() != 1 {
		t.Error("goes on after its context has ended")
	}
	found := new(dns.Msg)
	found.Rcode = dns.RcodeNameError
	a.next = answers(found)
	query()
	a.next = answers(nil)
	if query(); asked.Load() != 1 {
		t.Errorf("waits although Envoy had answered: %d tries", asked.Load())
	}
}

// listenOn answers on a port of loopback over UDP.
func listenOn(t *testing.T, port uint16, h dns.HandlerFunc) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	s := &dns.Server{PacketConn: conn, Handler: h, NotifyStartedFunc: func() { close(ready) }}
	done := make(chan struct{})
	go func() { _ = s.ActivateAndServe(); close(done) }()
	<-ready
	t.Cleanup(func() { _ = s.Shutdown(); <-done })
}
