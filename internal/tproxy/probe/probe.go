// Package probe opens connections as certain users and looks where they arrive:
// the self-test of the transparent proxy. What must come out is foretold from the
// rules as data (rules.TraceNFT, rules.Trace), so a probe also shows that the
// kernel does what the data says.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"weft/internal/tproxy/rules"
)

// Settings say what is tried.
type Settings struct {
	// Sets are the rules that are installed.
	Sets []*rules.Set
	// ProxyUID is the user of the proxy.
	ProxyUID uint32
	Loopback string
	// Resolvers are asked for names, if questions are redirected.
	Resolvers []netip.Addr
	// Timeout of one connection.
	Timeout time.Duration
	// Port returns a port on which nobody listens; another one each time, because
	// the kernel remembers for a while what became of a connection.
	Port func() uint16
	// Tell gets a sentence about each probe.
	Tell func(format string, args ...any)
}

// errCannot tells that a probe is not possible here, which is no failure.
var errCannot = errors.New("not possible here")

// Outside addresses belong to nobody (RFC 5737, RFC 3849), so that a connection
// that is not redirected reaches nobody.
var outside = map[rules.Family]netip.Addr{
	rules.IPv4: netip.MustParseAddr("198.51.100.1"),
	rules.IPv6: netip.MustParseAddr("2001:db8::1"),
}

var localhost = map[rules.Family]netip.Addr{
	rules.IPv4: netip.MustParseAddr("127.0.0.1"),
	rules.IPv6: netip.MustParseAddr("::1"),
}

var passthrough = map[rules.Family]netip.Addr{
	rules.IPv4: netip.MustParseAddr("127.0.0.6"),
	rules.IPv6: netip.MustParseAddr("::6"),
}

// nobody is a user that is not the proxy's.
const nobody = 65534

// Run tries all probes, and returns what did not go as foretold.
func Run(ctx context.Context, s *Settings) error {
	var errs []error
	for _, set := range s.Sets {
		for _, p := range s.probes(set) {
			err := s.try(ctx, set, p)
			if err != nil && !errors.Is(err, errCannot) {
				// A busy host, or a packet that got lost: what is wrong is wrong twice.
				s.Tell("self-test: %s: %s: once more: %v", set.Family, p.what, err)
				err = s.try(ctx, set, p)
			}
			switch {
			case errors.Is(err, errCannot):
				s.Tell("self-test: %s: %s: %v", set.Family, p.what, err)
			case err != nil:
				errs = append(errs, fmt.Errorf("%s: %s: %w", set.Family, p.what, err))
			default:
				s.Tell("self-test: %s: %s: good", set.Family, p.what)
			}
		}
	}
	return errors.Join(errs...)
}

// attempt is one connection or question.
type attempt struct {
	what   string
	packet rules.Packet
	// local tells that the other end is a listener of ours.
	local bool
	// from is the source address, if it matters.
	from netip.Addr
}

func (s *Settings) probes(set *rules.Set) []attempt {
	f := set.Family
	workload := s.workload()
	tcp := func(what string, uid uint32, to netip.Addr, iface string, local bool) attempt {
		return attempt{what, rules.Packet{Hook: rules.Output, Proto: rules.TCP, Dst: to, UID: uid, Interface: iface}, local, netip.Addr{}}
	}
	list := []attempt{
		tcp("application to another host", workload, outside[f], "", false),
		tcp("proxy to another host", s.ProxyUID, outside[f], "", false),
		tcp("proxy to an address of this host", s.ProxyUID, passthrough[f], s.Loopback, false),
		tcp("application to localhost", workload, localhost[f], s.Loopback, true),
		tcp("proxy to localhost", s.ProxyUID, localhost[f], s.Loopback, true),
	}
	// The kernel would prefer the passthrough address itself as source, which means
	// something else.
	list[2].from = localhost[f]
	for _, r := range s.Resolvers {
		if !f.Holds(r) {
			continue
		}
		p := rules.Packet{Hook: rules.Output, Proto: rules.UDP, Dst: r, DstPort: 53, UID: workload}
		if r.IsLoopback() {
			p.Interface = s.Loopback
		}
		list = append(list, attempt{what: "application asks for a name", packet: p})
		break
	}
	return list
}

// workload returns a user that is not the proxy's.
func (s *Settings) workload() uint32 {
	if s.ProxyUID == 0 {
		return nobody
	}
	return 0
}

// try makes one attempt and compares.
func (s *Settings) try(ctx context.Context, set *rules.Set, a attempt) error {
	p := &a.packet
	if a.local {
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.Dst, 0)))
		if err != nil {
			return fmt.Errorf("%w: %w", errCannot, err)
		}
		defer l.Close()
		p.DstPort = portOf(l.Addr())
		if to := rules.Trace(set, p).RedirectedTo; to == 0 {
			return s.arrives(ctx, a, l)
		}
		return fmt.Errorf("%w: redirected on purpose", errCannot)
	}
	p.Src = localhost[set.Family]
	if p.DstPort == 0 {
		p.DstPort = s.Port()
	}
	to := rules.Trace(set, p).RedirectedTo
	switch {
	case to == 0 && p.Proto == rules.TCP:
		return s.leaves(ctx, set, a)
	case to == 0:
		return fmt.Errorf("%w: it is not redirected, and nobody is there to answer", errCannot)
	case p.Proto == rules.UDP:
		return s.asks(ctx, a, netip.AddrPortFrom(localhost[set.Family], to))
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(localhost[set.Family], to)))
	if err != nil {
		// The proxy itself listens there already; that it takes the connection is enough.
		return s.connects(ctx, a)
	}
	defer l.Close()
	return s.arrives(ctx, a, l)
}

func portOf(a net.Addr) uint16 {
	_, port, _ := net.SplitHostPort(a.String())
	n, _ := strconv.ParseUint(port, 10, 16)
	return uint16(n)
}

// connects only opens the connection.
func (s *Settings) connects(ctx context.Context, a attempt) error {
	c, err := dialAs(ctx, a.packet.UID, a.packet.Proto, a.from, netip.AddrPortFrom(a.packet.Dst, a.packet.DstPort), s.Timeout)
	if err != nil {
		return err
	}
	return c.Close()
}

// arrives opens the connection and requires that it arrives at the listener with
// its original destination. That, on a port of our choice, is what tells the
// connection from those of others: the source port may be another one, as the
// kernel changes it when the redirected connection would look like an earlier one
// that it remembers.
func (s *Settings) arrives(ctx context.Context, a attempt, l *net.TCPListener) error {
	to := netip.AddrPortFrom(a.packet.Dst, a.packet.DstPort)
	c, err := dialAs(ctx, a.packet.UID, a.packet.Proto, a.from, to, s.Timeout)
	if err != nil {
		return err
	}
	defer c.Close()
	mine := c.LocalAddr()
	if err := l.SetDeadline(time.Now().Add(s.Timeout)); err != nil {
		return fmt.Errorf("set a deadline: %w", err)
	}
	for {
		got, err := l.AcceptTCP()
		if err != nil {
			return fmt.Errorf("the connection to %s did not arrive at port %d: %w", to, portOf(l.Addr()), err)
		}
		was, err := OriginalDestination(got)
		got.Close()
		switch {
		case a.local, err == nil && was == to:
			return nil
		case got.RemoteAddr().String() == mine.String():
			if err != nil {
				return err
			}
			return fmt.Errorf("the connection to %s arrived as one to %s", to, was)
		}
		// Somebody else's connection.
	}
}

// loopback is how long a redirected connection takes at most; it never leaves the
// host.
const loopback = 100 * time.Millisecond

// leaves requires that a connection that is not to be redirected does not arrive
// at the proxy's outbound port: the proxy would talk to itself for ever. What
// becomes of it outside does not matter.
func (s *Settings) leaves(ctx context.Context, set *rules.Set, a attempt) error {
	other := a.packet
	other.UID = s.workload()
	port := rules.Trace(set, &other).RedirectedTo
	if port == 0 {
		return fmt.Errorf("%w: nothing of the kind is redirected", errCannot)
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(localhost[set.Family], port)))
	if err != nil {
		return fmt.Errorf("%w: the proxy is running already", errCannot)
	}
	defer l.Close()
	to := netip.AddrPortFrom(a.packet.Dst, a.packet.DstPort)
	c, err := dialAs(ctx, a.packet.UID, a.packet.Proto, a.from, to, loopback)
	if errors.Is(err, errCannot) {
		return err
	}
	if err != nil {
		return nil // nobody answers, as it should be
	}
	defer c.Close()
	if err := l.SetDeadline(time.Now().Add(loopback)); err != nil {
		return fmt.Errorf("set a deadline: %w", err)
	}
	for {
		got, err := l.AcceptTCP()
		if err != nil {
			return nil // somebody outside answers
		}
		was, err := OriginalDestination(got)
		got.Close()
		if err == nil && was == to {
			return fmt.Errorf("the connection to %s is redirected to port %d, so the proxy would talk to itself", a.packet.Dst, port)
		}
	}
}

// asks sends a question and requires that it arrives at the proxy's resolver.
func (s *Settings) asks(ctx context.Context, a attempt, resolver netip.AddrPort) error {
	l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(resolver))
	if err != nil {
		return fmt.Errorf("%w: a resolver is running on port %d already", errCannot, resolver.Port())
	}
	defer l.Close()
	c, err := dialAs(ctx, a.packet.UID, rules.UDP, a.from, netip.AddrPortFrom(a.packet.Dst, a.packet.DstPort), s.Timeout)
	if err != nil {
		return err
	}
	defer c.Close()
	const word = "weft self-test"
	if _, err := c.Write([]byte(word)); err != nil {
		return fmt.Errorf("send a question: %w", err)
	}
	if err := l.SetDeadline(time.Now().Add(s.Timeout)); err != nil {
		return fmt.Errorf("set a deadline: %w", err)
	}
	buf := make([]byte, 512)
	for {
		n, _, err := l.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("a question to %s did not arrive at port %d: %w", a.packet.Dst, resolver.Port(), err)
		}
		if string(buf[:n]) == word {
			return nil
		}
	}
}
