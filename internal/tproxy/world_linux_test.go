package tproxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/testkit/netns"
	"weft/internal/tproxy/probe"
)

// world is a host with the transparent proxy and another machine, as network
// namespaces with a cable (veth) between them.
//
//	there  10.77.0.2, fd77::2 ── eth0 ── here 10.77.0.1, fd77::1
type world struct {
	here, there string
}

// Addresses of the world.
var (
	here4, here6   = netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("fd77::1")
	there4, there6 = netip.MustParseAddr("10.77.0.2"), netip.MustParseAddr("fd77::2")
	extra4         = netip.MustParseAddr("10.77.0.3") // second address of there
)

// Users of the world.
const (
	appUID   = 1000
	otherUID = 1001
	proxyUID = 5678
)

func newWorld(t testing.TB) *world {
	t.Helper()
	netns.Require(t, "nft", "iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy")
	name := fmt.Sprintf("weft-%d-%d", os.Getpid(), time.Now().UnixNano()%1_000_000_000)
	w := &world{name + "-h", name + "-t"}
	for _, ns := range []string{w.here, w.there} {
		netns.Add(t, ns)
	}
	netns.IP(t, "-n %s link add eth0 type veth peer name eth0 netns %s", w.here, w.there)
	for ns, addrs := range map[string][]string{w.here: {"10.77.0.1/24", "fd77::1/64"}, w.there: {"10.77.0.2/24", "10.77.0.3/24", "fd77::2/64"}} {
		for _, a := range addrs {
			nodad := ""
			if strings.Contains(a, ":") {
				nodad = "nodad"
			}
			netns.IP(t, "-n %s addr add %s dev eth0 %s", ns, a, nodad)
		}
		netns.IP(t, "-n %s link set eth0 up", ns)
	}
	// Whatever belongs to nobody is answered by the other machine's "no".
	netns.IP(t, "-n %s route add default via 10.77.0.2", w.here)
	netns.IP(t, "-n %s -6 route add default via fd77::2", w.here)
	// The kernel needs a while until IPv6 works on a new cable.
	deadline := time.Now().Add(patience)
	for _, d := range []dialed{{ns: w.there, to: at(here4, 1)}, {ns: w.there, to: at(here6, 1)}, {ns: w.here, to: at(there6, 1)}} {
		for {
			_, err := dial(t, d)
			if errors.Is(err, unix.ECONNREFUSED) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the cable does not work: %v", err)
			}
		}
	}
	return w
}

// run runs a command in the namespace of this host.
func (w *world) run(t testing.TB, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(netns.Find("ip"), append([]string{"netns", "exec", w.here}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w *world) must(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	out, err := w.run(t, stdin, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

var (
	buildOnce sync.Once
	binary    string
	errBuild  error
)

// kumactl builds the program once.
func kumactl(t testing.TB) string {
	t.Helper()
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "weft-kumactl")
		if err != nil {
			errBuild = err
			return
		}
		if errBuild = os.Chmod(dir, 0o755); errBuild != nil {
			return
		}
		binary = filepath.Join(dir, "kumactl")
		if out, err := exec.Command("go", "build", "-o", binary, "weft/cmd/kumactl").CombinedOutput(); err != nil {
			errBuild = fmt.Errorf("build kumactl: %w: %s", err, out)
		}
	})
	if errBuild != nil {
		t.Fatal(errBuild)
	}
	return binary
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binary != "" {
		os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// ctl runs kumactl on this host.
func (w *world) ctl(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return w.run(t, "", append([]string{kumactl(t)}, args...)...)
}

// install installs with a backend; the resolver of the world is the other machine.
func (w *world) install(t testing.TB, backend string, args ...string) string {
	t.Helper()
	out, err := w.ctl(t, w.installArgs(t, backend, args...)...)
	if err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
	return out
}

func (w *world) installArgs(t testing.TB, backend string, args ...string) []string {
	t.Helper()
	conf := w.resolv(t)
	return append([]string{
		"install", "transparent-proxy", "--kuma-dp-user", "5678", "--backend", backend, "--sleep-between-retries", "10ms",
		"--config", fmt.Sprintf(`{"redirect":{"dns":{"resolvConfigPath":%q}},"cniMode":true}`, conf),
	}, args...)
}

// resolv returns a resolv.conf that names the other machine.
func (w *world) resolv(t testing.TB) string {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 10.77.0.2\nnameserver fd77::2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return conf
}

func (w *world) uninstall(t testing.TB) string {
	t.Helper()
	out, err := w.ctl(t, "uninstall", "transparent-proxy")
	if err != nil {
		t.Fatalf("uninstall: %v\n%s", err, out)
	}
	return out
}

// ruleset lists all rules there are, of all kinds, and the addresses of loopback.
func (w *world) ruleset(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	// Tables of iptables are listed by its own program, in a fixed order.
	b.WriteString(tablesOfIptables.ReplaceAllString(w.must(t, "", "nft", "list", "ruleset"), ""))
	for _, save := range []string{"iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"} {
		b.WriteString("# " + save + "\n")
		for line := range strings.Lines(w.must(t, "", save)) {
			if !strings.HasPrefix(line, "#") { // the time
				b.WriteString(line)
			}
		}
	}
	b.WriteString(w.must(t, "", "ip", "-o", "addr", "show", "dev", "lo"))
	return counters.ReplaceAllString(b.String(), "$1")
}

var tablesOfIptables = regexp.MustCompile(`(?ms)^(# Warning: [^\n]*\n)?table ip6? (nat|raw|mangle|filter) \{\n.*?^\}\n`)

// counters are of packets, which go on while rules change.
var counters = regexp.MustCompile(`(counter) packets \d+ bytes \d+|\[\d+:\d+\]`)

// arrival is where a connection or question came out.
type arrival struct {
	at   string // name of the listener
	dest netip.AddrPort
}

// listener is a server that notes who comes.
type listener struct {
	arrivals chan arrival
}

// patience is how long something that is to come may take.
const patience = 5 * time.Second

// newListeners opens servers for TCP and UDP. They answer a line with their name.
func (w *world) newListeners(t testing.TB) *listener {
	return &listener{arrivals: make(chan arrival, 64)}
}

func (l *listener) tcp(t testing.TB, ns, name string, uid int, at string) {
	t.Helper()
	err := netns.Do(ns, uid, func() error {
		network := "tcp4"
		if strings.HasPrefix(at, "[") {
			network = "tcp6"
		}
		s, err := net.Listen(network, at)
		if err != nil {
			return err
		}
		t.Cleanup(func() { s.Close() })
		go l.serve(s.(*net.TCPListener), name)
		return nil
	})
	if err != nil {
		t.Fatalf("listen at %s: %v", at, err)
	}
}

func (l *listener) serve(s *net.TCPListener, name string) {
	for {
		c, err := s.AcceptTCP()
		if err != nil {
			return
		}
		dest, err := probe.OriginalDestination(c)
		if err != nil {
			dest = unmap(c.LocalAddr())
		}
		select {
		case l.arrivals <- arrival{name, dest}:
		default:
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 512)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				if _, err := c.Write(append([]byte(name+":"), buf[:n]...)); err != nil {
					return
				}
			}
		}()
	}
}

func (l *listener) udp(t testing.TB, ns, name string, uid int, at string) {
	t.Helper()
	err := netns.Do(ns, uid, func() error {
		s, err := net.ListenPacket("udp", at)
		if err != nil {
			return err
		}
		t.Cleanup(func() { s.Close() })
		go func() {
			buf := make([]byte, 512)
			for {
				n, from, err := s.ReadFrom(buf)
				if err != nil {
					return
				}
				select {
				case l.arrivals <- arrival{name, netip.AddrPort{}}:
				default:
				}
				if _, err := s.WriteTo(append([]byte(name+":"), buf[:n]...), from); err != nil && !errors.Is(err, net.ErrClosed) {
					continue
				}
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatalf("listen at %s: %v", at, err)
	}
}

func unmap(a net.Addr) netip.AddrPort {
	p, _ := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// proxy opens the ports of a sidecar on this host.
func (l *listener) proxy(t testing.TB, w *world) {
	t.Helper()
	for name, port := range map[string]string{"inbound": "15006", "outbound": "15001"} {
		l.tcp(t, w.here, name, proxyUID, "0.0.0.0:"+port)
		l.tcp(t, w.here, name, proxyUID, "[::]:"+port)
	}
	for _, addr := range []string{"127.0.0.1", "[::1]"} {
		l.udp(t, w.here, "resolver", proxyUID, addr+":15053")
		l.tcp(t, w.here, "resolver", proxyUID, addr+":15053")
	}
}

// dialed is an attempt of a client.
type dialed struct {
	ns    string
	uid   int
	to    netip.AddrPort
	from  netip.AddrPort // zero = any
	proto string
}

// exchange opens a connection (or asks a question) and returns who answers, or ""
// if nobody does.
func exchange(t testing.TB, d dialed) (who string, err error) {
	t.Helper()
	c, err := dial(t, d)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return say(c, "hello")
}

func dial(t testing.TB, d dialed) (c net.Conn, err error) {
	t.Helper()
	if d.proto == "" {
		d.proto = "tcp"
	}
	err = netns.Do(d.ns, d.uid, func() error {
		n := net.Dialer{Timeout: time.Second}
		if d.from.IsValid() && d.proto == "tcp" {
			n.LocalAddr = net.TCPAddrFromAddrPort(d.from)
		} else if d.from.IsValid() {
			n.LocalAddr = net.UDPAddrFromAddrPort(d.from)
		}
		var err error
		c, err = n.DialContext(context.Background(), d.proto, d.to.String())
		return err
	})
	return c, err
}

// say sends a word and returns the name in front of the echo.
func say(c net.Conn, word string) (string, error) {
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte(word)); err != nil {
		return "", err
	}
	buf := make([]byte, 512)
	n, err := c.Read(buf)
	if err != nil {
		return "", err
	}
	name, echo, _ := bytes.Cut(buf[:n], []byte(":"))
	if string(echo) != word {
		return "", fmt.Errorf("said %q, heard %q", word, echo)
	}
	return string(name), nil
}

// next returns the next arrival.
func (l *listener) next(t testing.TB) arrival {
	t.Helper()
	select {
	case a := <-l.arrivals:
		return a
	case <-time.After(patience):
		t.Fatal("nobody arrived")
		return arrival{}
	}
}

// drain forgets arrivals.
func (l *listener) drain() {
	for {
		select {
		case <-l.arrivals:
		default:
			return
		}
	}
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }
