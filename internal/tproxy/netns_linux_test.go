package tproxy_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/testkit/netns"
)

var backends = []string{"nft", "iptables-nft", "iptables-legacy"}

// each runs a test with every backend.
func each(t *testing.T, f func(t *testing.T, w *world, backend string)) {
	for _, b := range backends {
		t.Run(b, func(t *testing.T) { f(t, newWorld(t), b) })
	}
}

// TestRedirection looks where connections of all kinds arrive.
func TestRedirection(t *testing.T) {
	each(t, func(t *testing.T, w *world, backend string) {
		w.install(t, backend,
			"--redirect-dns", "--exclude-inbound-ports", "8081", "--exclude-outbound-ports", "5432", "--exclude-outbound-ips", "10.77.0.3",
			"--exclude-outbound-ports-for-uids", "tcp:80:1001", "--exclude-inbound-ips", "fd77::2", "--drop-invalid-packets", "--iptables-logs")
		l := w.newListeners(t)
		l.proxy(t, w)
		for _, any := range []string{"0.0.0.0", "[::]"} {
			for _, port := range []string{"22", "80", "5432", "5678"} {
				l.tcp(t, w.there, "there", 0, any+":"+port)
			}
			for _, port := range []string{"22", "8080", "8081", "5681"} {
				l.tcp(t, w.here, "here", 0, any+":"+port)
			}
		}
		for _, a := range []string{"10.77.0.2", "[fd77::2]"} {
			l.udp(t, w.there, "there", 0, a+":53")
			l.tcp(t, w.there, "there", 0, a+":53")
			l.udp(t, w.there, "there", 0, a+":123")
		}
		lo4, lo6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
		pass4, pass6 := netip.MustParseAddr("127.0.0.6"), netip.MustParseAddr("::6")
		for _, c := range []struct {
			what string
			d    dialed
			want string
		}{
			{"from outside", dialed{ns: w.there, to: at(here4, 8080)}, "inbound"},
			{"from outside, port without server", dialed{ns: w.there, to: at(here4, 9999)}, "inbound"},
			{"from outside, excluded port", dialed{ns: w.there, to: at(here4, 8081)}, "here"},
			{"from outside, SSH", dialed{ns: w.there, to: at(here4, 22)}, "here"},
			{"from outside, control plane", dialed{ns: w.there, to: at(here4, 5681)}, "here"},
			{"from an excluded address", dialed{ns: w.there, to: at(here6, 8080)}, "here"},
			{"application to elsewhere", dialed{ns: w.here, uid: appUID, to: at(there4, 80)}, "outbound"},
			{"application to elsewhere over IPv6", dialed{ns: w.here, uid: appUID, to: at(there6, 80)}, "outbound"},
			{"root to elsewhere", dialed{ns: w.here, uid: 0, to: at(there4, 80)}, "outbound"},
			{"application to nowhere", dialed{ns: w.here, uid: appUID, to: at(netip.MustParseAddr("240.0.0.7"), 80)}, "outbound"},
			{"application, excluded port", dialed{ns: w.here, uid: appUID, to: at(there4, 5432)}, "there"},
			{"application, excluded address", dialed{ns: w.here, uid: appUID, to: at(extra4, 80)}, "there"},
			{"application to the control plane", dialed{ns: w.here, uid: appUID, to: at(there4, 5678)}, "there"},
			{"excluded user", dialed{ns: w.here, uid: otherUID, to: at(there4, 80)}, "there"},
			{"excluded user, port that is not", dialed{ns: w.here, uid: otherUID, to: at(there4, 22)}, "outbound"},
			{"proxy to elsewhere", dialed{ns: w.here, uid: proxyUID, to: at(there4, 80)}, "there"},
			{"proxy to elsewhere over IPv6", dialed{ns: w.here, uid: proxyUID, to: at(there6, 80)}, "there"},
			{"application to its own address", dialed{ns: w.here, uid: appUID, to: at(here4, 8080)}, "here"},
			{"proxy to its own address", dialed{ns: w.here, uid: proxyUID, to: at(here4, 8080)}, "inbound"},
			{"proxy to its own address over IPv6", dialed{ns: w.here, uid: proxyUID, to: at(here6, 8080)}, "inbound"},
			{"proxy to the application", dialed{ns: w.here, uid: proxyUID, from: at(pass4, 0), to: at(here4, 8080)}, "here"},
			{"proxy to the application over IPv6", dialed{ns: w.here, uid: proxyUID, from: at(pass6, 0), to: at(here6, 8080)}, "here"},
			{"application to localhost", dialed{ns: w.here, uid: appUID, to: at(lo4, 8080)}, "here"},
			{"application to localhost over IPv6", dialed{ns: w.here, uid: appUID, to: at(lo6, 8080)}, "here"},
			{"proxy to localhost", dialed{ns: w.here, uid: proxyUID, to: at(lo4, 8080)}, "here"},
			{"name", dialed{ns: w.here, uid: appUID, to: at(there4, 53), proto: "udp"}, "resolver"},
			{"name over IPv6", dialed{ns: w.here, uid: appUID, to: at(there6, 53), proto: "udp"}, "resolver"},
			{"name over TCP", dialed{ns: w.here, uid: appUID, to: at(there4, 53)}, "resolver"},
			{"name over TCP and IPv6", dialed{ns: w.here, uid: appUID, to: at(there6, 53)}, "resolver"},
			{"name asked by the proxy", dialed{ns: w.here, uid: proxyUID, to: at(there4, 53), proto: "udp"}, "there"},
			{"name asked by the proxy over IPv6", dialed{ns: w.here, uid: proxyUID, to: at(there6, 53), proto: "udp"}, "there"},
			{"name asked by the proxy over TCP", dialed{ns: w.here, uid: proxyUID, to: at(there4, 53)}, "there"},
			{"other datagram", dialed{ns: w.here, uid: appUID, to: at(there4, 123), proto: "udp"}, "there"},
		} {
			l.drain()
			who, err := exchange(t, c.d)
			if err != nil || who != c.want {
				t.Errorf("%s: %q answers (%v), want %q", c.what, who, err, c.want)
				continue
			}
			if a := l.next(t); c.d.proto == "" && a.dest != c.d.to {
				t.Errorf("%s: arrived as a connection to %s, want %s", c.what, a.dest, c.d.to)
			}
		}
	})
}

// TestSameSourcePort asks from the application and from the proxy with the same
// source port: their answers must not be exchanged.
func TestSameSourcePort(t *testing.T) {
	each(t, func(t *testing.T, w *world, backend string) {
		flag := "--redirect-dns"
		if backend == "iptables-legacy" { // one is enough for each way
			flag = "--redirect-all-dns-traffic"
		}
		w.install(t, backend, flag)
		l := w.newListeners(t)
		l.udp(t, w.here, "resolver", proxyUID, "127.0.0.1:15053")
		l.udp(t, w.there, "there", 0, "10.77.0.2:53")
		app, err := dial(t, dialed{ns: w.here, uid: appUID, from: at(here4, 33333), to: at(there4, 53), proto: "udp"})
		if err != nil {
			t.Fatal(err)
		}
		if who, err := say(app, "one"); who != "resolver" {
			t.Errorf("the application is answered by %q (%v)", who, err)
		}
		app.Close()
		proxy, err := dial(t, dialed{ns: w.here, uid: proxyUID, from: at(here4, 33333), to: at(there4, 53), proto: "udp"})
		if err != nil {
			t.Fatal(err)
		}
		defer proxy.Close()
		if who, err := say(proxy, "two"); who != "there" {
			t.Errorf("the proxy is answered by %q (%v)", who, err)
		}
	})
}

// TestVirtualNetwork redirects a container behind an interface of this host.
func TestVirtualNetwork(t *testing.T) {
	each(t, func(t *testing.T, w *world, backend string) {
		box := w.here + "-c"
		netns.Add(t, box)
		netns.IP(t, "-n %s link add docker7 type veth peer name eth0 netns %s", w.here, box)
		netns.IP(t, "-n %s addr add 172.31.0.1/24 dev docker7", w.here)
		netns.IP(t, "-n %s link set docker7 up", w.here)
		netns.IP(t, "-n %s addr add 172.31.0.9/24 dev eth0", box)
		netns.IP(t, "-n %s link set eth0 up", box)
		netns.IP(t, "-n %s route add default via 172.31.0.1", box)
		w.install(t, backend, "--redirect-all-dns-traffic", "--vnet", "docker+:172.31.0.0/24", "--exclude-inbound-interfaces", "docker7")
		l := w.newListeners(t)
		l.tcp(t, w.here, "outbound", proxyUID, "0.0.0.0:15001")
		l.tcp(t, w.here, "inbound", proxyUID, "0.0.0.0:15006")
		l.tcp(t, w.here, "here", 0, "0.0.0.0:8080")
		l.udp(t, w.here, "resolver", proxyUID, "172.31.0.1:15053")
		for _, c := range []struct {
			what string
			d    dialed
			want string
		}{
			{"container to elsewhere", dialed{ns: box, to: at(there4, 80)}, "outbound"},
			{"container to its own network", dialed{ns: box, to: at(netip.MustParseAddr("172.31.0.1"), 8080)}, "here"},
			{"container asks for a name", dialed{ns: box, to: at(there4, 53), proto: "udp"}, "resolver"},
			{"others still arrive at the proxy", dialed{ns: w.there, to: at(here4, 8080)}, "inbound"},
		} {
			if who, err := exchange(t, c.d); err != nil || who != c.want {
				t.Errorf("%s: %q answers (%v), want %q", c.what, who, err, c.want)
			}
		}
	})
}

// foreign puts rules of others into all places.
func (w *world) foreign(t *testing.T) {
	t.Helper()
	w.must(t, "table inet others {\n chain c {\n  type filter hook input priority 0; policy accept;\n  tcp dport 7777 counter drop comment \"kuma/mesh/transparent/proxy is mentioned\"\n }\n}\n", "nft", "-f", "-")
	for _, tool := range []string{"iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"} {
		w.must(t, "*nat\n-N DOCKER\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A OUTPUT -p tcp --dport 7777 -m comment --comment \"a KUMA_MESH of others\" -j RETURN\n-A POSTROUTING -p udp --dport 7777 -j MASQUERADE\nCOMMIT\n"+
			"*mangle\n-A PREROUTING -p tcp --dport 7777 -j MARK --set-mark 0x7\n-A OUTPUT -p tcp --dport 7777 -j ACCEPT\nCOMMIT\n*raw\n-A OUTPUT -p udp --dport 7777 -j ACCEPT\n-A PREROUTING -p udp --dport 7777 -j ACCEPT\nCOMMIT\n", tool+"-restore")
	}
}

// Settings that use all kinds of rules.
var manySettings = [][]string{
	{},
	{"--redirect-dns", "--drop-invalid-packets", "--iptables-logs", "--exclude-outbound-ips", "10.0.0.0/8", "--exclude-outbound-ports-for-uids", "*:80-90,443:1000-1010", "--vnet", "br+:172.18.0.0/16"},
	{"--redirect-all-dns-traffic", "--redirect-inbound-insert-instead-of-append", "--redirect-outbound-insert-instead-of-append", "--exclude-inbound-interfaces", "wg+"},
	{"--redirect-all-dns-traffic", "--disable-comments", "--drop-invalid-packets", "--exclude-outbound-ips", "fd00::/8"},
}

// TestUninstallLeavesNoTrace requires that the rules of others, and of everybody,
// are byte for byte as before; and that installing twice is like once.
func TestUninstallLeavesNoTrace(t *testing.T) {
	each(t, func(t *testing.T, w *world, backend string) {
		w.foreign(t)
		before := w.ruleset(t)
		for _, args := range manySettings {
			w.install(t, backend, args...)
			once := w.ruleset(t)
			if once == before {
				t.Fatalf("%v: nothing was installed", args)
			}
			out := w.install(t, backend, args...)
			if !strings.Contains(out, "installed already") {
				t.Errorf("%v: the second time changed something:\n%s", args, out)
			}
			if d := cmp.Diff(once, w.ruleset(t)); d != "" {
				t.Errorf("%v: twice is not like once:\n%s", args, d)
			}
			w.uninstall(t)
			if d := cmp.Diff(before, w.ruleset(t)); d != "" {
				t.Errorf("%v: not as before:\n%s", args, d)
			}
		}
		// One after the other, without uninstalling: the last one counts.
		for _, args := range manySettings {
			w.install(t, backend, args...)
		}
		last := w.ruleset(t)
		w.uninstall(t)
		w.install(t, backend, manySettings[len(manySettings)-1]...)
		if d := cmp.Diff(w.ruleset(t), last); d != "" {
			t.Errorf("replacing is not like installing:\n%s", d)
		}
		w.uninstall(t)
		if d := cmp.Diff(before, w.ruleset(t)); d != "" {
			t.Errorf("not as before:\n%s", d)
		}
		if out := w.uninstall(t); !strings.Contains(out, "nothing to do") {
			t.Errorf("a second uninstall:\n%s", out)
		}
	})
}

// TestNFTLeavesNothingAtAll starts without any rules.
func TestNFTLeavesNothingAtAll(t *testing.T) {
	w := newWorld(t)
	w.install(t, "auto", "--redirect-dns")
	if out := w.must(t, "", "nft", "list", "tables"); out != "table inet weft_transparent_proxy\n" {
		t.Errorf("tables: %s", out)
	}
	w.uninstall(t)
	if out := w.must(t, "", "nft", "list", "ruleset"); out != "" {
		t.Errorf("left:\n%s", out)
	}
	if out := w.must(t, "", "ip", "-o", "addr", "show", "dev", "lo"); strings.Contains(out, "::6") {
		t.Errorf("left:\n%s", out)
	}
}

// TestOtherBackendIsReplaced requires that rules of an earlier installation with
// another backend do not stay beside the new ones.
func TestOtherBackendIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.foreign(t)
	before := w.ruleset(t)
	order := append(slices.Clone(backends), backends...)
	for i, b := range order {
		w.install(t, b, "--redirect-dns")
		got := w.ruleset(t)
		if n := strings.Contains(got, "weft_transparent_proxy"); n != (b == "nft") {
			t.Errorf("after %v: table of nft there: %v", order[:i+1], n)
		}
		if n := strings.Contains(got, "KUMA_MESH_INBOUND"); n != (b != "nft") {
			t.Errorf("after %v: chains of iptables there: %v", order[:i+1], n)
		}
	}
	w.uninstall(t)
	if d := cmp.Diff(before, w.ruleset(t)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}

// TestDryRun requires that nothing changes and that differences are told.
func TestDryRun(t *testing.T) {
	each(t, func(t *testing.T, w *world, backend string) {
		w.foreign(t)
		before := w.ruleset(t)
		out := w.install(t, backend, "--dry-run", "--redirect-dns")
		if !strings.Contains(out, "nothing is installed yet") {
			t.Errorf("%s", out)
		}
		if d := cmp.Diff(before, w.ruleset(t)); d != "" {
			t.Errorf("a dry run changed something:\n%s", d)
		}
		w.install(t, backend, "--redirect-dns")
		installed := w.ruleset(t)
		if out := w.install(t, backend, "--dry-run", "--redirect-dns"); !strings.Contains(out, "nothing would change") {
			t.Errorf("%s", out)
		}
		out = w.install(t, backend, "--dry-run", "--redirect-dns", "--redirect-inbound-port", "17006")
		var changes []string
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "# - ") || strings.HasPrefix(line, "# + ") {
				changes = append(changes, line)
			}
		}
		if n := len(changes); n != 4 || !strings.Contains(strings.Join(changes, ""), "17006") { // one rule of each family
			t.Errorf("%d changed lines, want 4: %q\n%s", n, changes, out)
		}
		if out, err := w.ctl(t, "uninstall", "transparent-proxy", "--dry-run"); err != nil || !strings.Contains(out, "would be removed") {
			t.Errorf("%v\n%s", err, out)
		}
		if d := cmp.Diff(installed, w.ruleset(t)); d != "" {
			t.Errorf("a dry run changed something:\n%s", d)
		}
	})
}

// TestPrintedRulesCanBeInstalled gives the output of a dry run to the tool.
func TestPrintedRulesCanBeInstalled(t *testing.T) {
	for _, b := range backends {
		for i, args := range manySettings {
			w := newWorld(t)
			text := w.install(t, b, append(args, "--dry-run", "--verbose")...)
			if b == "nft" {
				w.must(t, text, "nft", "-f", "-")
			} else {
				four, six, _ := strings.Cut(text, "### IPv6 ###")
				w.must(t, four, b+"-restore", "--noflush")
				w.must(t, six, strings.Replace(b, "ip", "ip6", 1)+"-restore", "--noflush")
			}
			if out := w.install(t, b, append(args, "--dry-run")...); !strings.Contains(out, "nothing would change") {
				t.Errorf("%s %d: installed by hand it is not the same:\n%s", b, i, out)
			}
		}
	}
}

// TestOpenConnectionsGoOn requires that connections which are open when rules are
// installed or replaced are neither cut nor redirected half-way.
func TestOpenConnectionsGoOn(t *testing.T) {
	each(t, func(t *testing.T, w *world, backend string) {
		l := w.newListeners(t)
		l.proxy(t, w)
		l.tcp(t, w.there, "there", 0, "10.77.0.2:80")
		l.tcp(t, w.here, "here", 0, "10.77.0.1:8080")
		open := map[string]net.Conn{}
		connect := func(want string, d dialed) {
			t.Helper()
			c, err := dial(t, d)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			open[want] = c
		}
		alive := func(when string) {
			t.Helper()
			for want, c := range open {
				if who, err := say(c, when); err != nil || who != want {
					t.Errorf("%s: the connection to %s is answered by %q (%v)", when, want, who, err)
				}
			}
		}
		connect("there", dialed{ns: w.here, uid: appUID, to: at(there4, 80)})
		connect("here", dialed{ns: w.there, to: at(here4, 8080)})
		alive("before")
		w.install(t, backend)
		alive("installed")
		connect("outbound", dialed{ns: w.here, uid: appUID, to: at(there4, 80)})
		connect("inbound", dialed{ns: w.there, to: at(here4, 8080)})
		alive("redirected")
		w.install(t, backend, "--redirect-dns", "--exclude-inbound-ports", "8080")
		alive("replaced")
	})
}

// TestRulesWithoutCommentsOf210 requires that rules which cannot be told from
// those of others are left alone, with an error that says so.
func TestRulesWithoutCommentsOf210(t *testing.T) {
	for _, mode := range []string{"iptables-nft", "iptables-legacy"} {
		w := newWorld(t)
		w.must(t, "", mode, "-t", "nat", "-N", "KUMA_MESH_INBOUND")
		before := w.ruleset(t)
		for _, args := range [][]string{{"uninstall", "transparent-proxy", "--dry-run"}, {"uninstall", "transparent-proxy"}, w.installArgs(t, "nft"), w.installArgs(t, mode)} {
			out, err := w.ctl(t, args...)
			if err == nil || !strings.Contains(out, "by hand") {
				t.Errorf("%s %v: %v\n%s", mode, args, err, out)
			}
		}
		if d := cmp.Diff(emptied(before), emptied(w.ruleset(t))); d != "" {
			t.Errorf("something changed:\n%s", d)
		}
	}
}

// TestRulesOf210AreReplaced puts rules as 2.10 has them into iptables.
func TestRulesOf210AreReplaced(t *testing.T) {
	for _, mode := range []string{"iptables-nft", "iptables-legacy"} {
		w := newWorld(t)
		w.foreign(t)
		before := w.ruleset(t)
		const c = `-m comment --comment "kuma/mesh/transparent/proxy/something" `
		w.must(t, "* raw\n-A OUTPUT "+c+"-p udp --dport 53 -j CT --zone 2\nCOMMIT\n* nat\n-N KUMA_MESH_INBOUND\n-N KUMA_MESH_OUTBOUND\n-N KUMA_MESH_INBOUND_REDIRECT\n-N KUMA_MESH_OUTBOUND_REDIRECT\n"+
			"-A PREROUTING "+c+"-p tcp -j KUMA_MESH_INBOUND\n-I OUTPUT 1 "+c+"-p udp --dport 53 -j REDIRECT --to-ports 15053\n-A OUTPUT "+c+"-p tcp -j KUMA_MESH_OUTBOUND\n"+
			"-A KUMA_MESH_INBOUND "+c+"-p tcp -j KUMA_MESH_INBOUND_REDIRECT\n-A KUMA_MESH_INBOUND_REDIRECT "+c+"-p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n", mode+"-restore", "--noflush")
		out := w.install(t, "nft")
		if !strings.Contains(out, "earlier installation") {
			t.Errorf("%s: %s", mode, out)
		}
		w.uninstall(t)
		if d := cmp.Diff(before, w.ruleset(t)); d != "" {
			t.Errorf("%s: not as before:\n%s", mode, d)
		}
	}
}

// TestFamilies requires that IPv6 is left alone when it is not wanted or not there,
// and that a link-local address is enough.
func TestFamilies(t *testing.T) {
	w := newWorld(t)
	has6 := func() bool { return strings.Contains(w.must(t, "", "nft", "list", "ruleset"), "ipv6") }
	w.install(t, "nft", "--ip-family-mode", "IPv4")
	if has6() {
		t.Error("rules for IPv6 although only IPv4 is wanted")
	}
	w.install(t, "nft")
	if !has6() {
		t.Error("no rules for IPv6")
	}
	netns.IP(t, "-n %s addr del fd77::1/64 dev eth0", w.here)
	w.install(t, "nft") // eth0 still has its link-local address
	if !has6() {
		t.Error("a link-local address is not enough for IPv6")
	}
	netns.IP(t, "-n %s -6 addr flush dev eth0", w.here)
	out := w.install(t, "nft", "--verbose")
	if has6() || !strings.Contains(out, "IPv6 is left out") {
		t.Errorf("rules for IPv6 although no interface has an address:\n%s", out)
	}
}

// TestWithoutRoot requires a clear error.
func TestWithoutRoot(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{w.installArgs(t, "nft"), {"uninstall", "transparent-proxy"}} {
		cmd := exec.Command(kumactl(t), args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "root privileges are needed") {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestFewCapabilities installs with what a container of Kubernetes usually has, and
// with what the systemd unit leaves. Without the right to make namespaces there is
// no comparison, but all else works.
func TestFewCapabilities(t *testing.T) {
	unit, err := os.ReadFile("../../deploy/systemd/kuma-transparent-proxy.service")
	if err != nil {
		t.Fatal(err)
	}
	_, set, ok := strings.Cut(string(unit), "\nCapabilityBoundingSet=")
	set, _, _ = strings.Cut(set, "\n")
	if !ok {
		t.Fatal("the unit names no capabilities")
	}
	ofUnit := "-all,+" + strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(set, "CAP_", ""), " ", ",+"))
	each(t, func(t *testing.T, w *world, backend string) {
		with := func(caps, pod string, args ...string) string {
			t.Helper()
			return w.must(t, "", append([]string{"env", "KUBERNETES_SERVICE_HOST=" + pod, "setpriv", "--bounding-set", caps, kumactl(t)}, args...)...)
		}
		with("-all,+net_admin,+net_raw", "10.0.0.1", w.installArgs(t, backend, "--redirect-all-dns-traffic")...)
		first := w.ruleset(t)
		with("-all,+net_admin,+net_raw", "10.0.0.1", w.installArgs(t, backend, "--redirect-all-dns-traffic")...)
		if d := cmp.Diff(first, w.ruleset(t)); d != "" {
			t.Errorf("twice is not like once:\n%s", d)
		}
		with("-all,+net_admin,+net_raw", "10.0.0.1", "uninstall", "transparent-proxy")
		out := with(ofUnit, "", w.installArgs(t, backend, "--redirect-dns", "--verbose")...)
		if n := strings.Count(out, ": good"); n != 12 {
			t.Errorf("%d parts of the self-test worked, want 12:\n%s", n, out)
		}
		if out := with(ofUnit, "", w.installArgs(t, backend, "--redirect-dns")...); !strings.Contains(out, "installed already") {
			t.Errorf("%s", out)
		}
		with(ofUnit, "", "uninstall", "transparent-proxy")
		if got := w.ruleset(t); strings.Contains(got, "KUMA_MESH") || strings.Contains(got, "weft_") || strings.Contains(got, "::6") {
			t.Errorf("left:\n%s", got)
		}
	})
}

// TestBootSettings requires that settings which an installation writes down give
// the same rules when the systemd unit applies them.
func TestBootSettings(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "sub", "tp.yaml")
	w.install(t, "nft", "--redirect-dns", "--exclude-outbound-ports-for-uids", "tcp:80,443:7", "--vnet", "docker0:172.17.0.0/16", "--write-config", file)
	before := w.ruleset(t)
	w.must(t, "", "nft", "flush", "ruleset") // as after a boot
	w.must(t, "", kumactl(t), "install", "transparent-proxy", "--config-file", file)
	// The address of loopback is still there, so nothing is remembered about it.
	after := w.ruleset(t)
	if d := cmp.Diff(withoutFacts(before), withoutFacts(after)); d != "" {
		t.Errorf("after a boot it is not the same:\n%s", d)
	}
}

func withoutFacts(ruleset string) string {
	head, rest, ok := strings.Cut(ruleset, "\tchain facts {")
	if !ok {
		return ruleset
	}
	_, rest, _ = strings.Cut(rest, "\t}\n\n")
	return head + rest
}

// TestValidator runs the check of pods, as the proxy's user.
func TestValidator(t *testing.T) {
	w := newWorld(t)
	check := func() (string, error) {
		return w.run(t, "", "setpriv", "--reuid", "5678", "--clear-groups", kumactl(t), "install", "transparent-proxy-validator")
	}
	w.install(t, "nft")
	if out, err := check(); err != nil || !strings.Contains(out, "IPv6: connections are redirected") {
		t.Errorf("%v\n%s", err, out)
	}
}

func BenchmarkInstallUninstall(b *testing.B) {
	for _, backend := range backends {
		b.Run(backend, func(b *testing.B) {
			w := newWorld(b)
			kumactl(b)
			var install, again, uninstall time.Duration
			n := 0
			for b.Loop() {
				start := time.Now()
				w.install(b, backend, "--redirect-dns")
				install += time.Since(start)
				start = time.Now()
				w.install(b, backend, "--redirect-dns")
				again += time.Since(start)
				start = time.Now()
				w.uninstall(b)
				uninstall += time.Since(start)
				n++
			}
			b.ReportMetric(float64(install.Milliseconds())/float64(n), "ms/install")
			b.ReportMetric(float64(again.Milliseconds())/float64(n), "ms/again")
			b.ReportMetric(float64(uninstall.Milliseconds())/float64(n), "ms/uninstall")
		})
	}
}
