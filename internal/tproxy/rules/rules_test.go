package rules_test

import (
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/tproxy/rules"
	"weft/internal/tproxy/rules/rulestest"
)

var update = flag.Bool("update", false, "rewrite golden files")

func defaults(f rules.Family) rules.Input {
	return rules.Input{
		Family: f, UID: 5678, Loopback: "lo",
		Inbound:  rules.Direction{Enabled: true, Port: 15006},
		Outbound: rules.Direction{Enabled: true, Port: 15001},
		DNS:      rules.DNS{Port: 15053},
	}
}

// everything has all settings at once.
func everything(f rules.Family) rules.Input {
	in := defaults(f)
	net, addr, server := "10.9.0.0/16", "10.2.3.4/32", "127.0.0.11"
	if f == rules.IPv6 {
		net, addr, server = "fd00:9::/64", "fd00:2::1/128", "fd00::53"
	}
	in.Inbound.ExcludePorts, in.Inbound.KeepPorts = []uint16{8081}, []uint16{22, 5678}
	in.Inbound.ExcludeIPs = []netip.Prefix{netip.MustParsePrefix(net)}
	in.Inbound.ExcludeInterfaces = []string{"wg0"}
	in.Outbound.ExcludePorts, in.Outbound.KeepPorts = []uint16{5432}, []uint16{5678}
	in.Outbound.ExcludeIPs = []netip.Prefix{netip.MustParsePrefix(addr)}
	in.Outbound.ExcludeInterfaces = []string{"tun+"}
	in.Outbound.ExcludeUIDs = []rules.UIDExclusion{
		{Proto: rules.TCP, Ports: []rules.PortRange{{From: 80, To: 80}, {From: 1000, To: 2000}}, UIDs: rules.UIDRange{From: 1000, To: 1010}},
		{Proto: rules.UDP, Ports: []rules.PortRange{{From: 1, To: 65535}}, UIDs: rules.UIDRange{From: 999, To: 999}},
	}
	in.DNS = rules.DNS{Enabled: true, Port: 15053, Servers: []netip.Addr{netip.MustParseAddr(server)}, SplitZones: true}
	in.VNets = []rules.VNet{{Interface: "docker0", Net: netip.MustParsePrefix(net)}, {Interface: "br+", Net: netip.MustParsePrefix(addr)}}
	in.LogLevel, in.DropInvalid = 7, true
	return in
}

func TestGolden(t *testing.T) {
	captureAll := func(f rules.Family) *rules.Set {
		in := defaults(f)
		in.DNS.Enabled, in.DNS.CaptureAll, in.DNS.SplitZones = true, true, true
		return rules.Build(in)
	}
	every := []*rules.Set{rules.Build(everything(rules.IPv4)), rules.Build(everything(rules.IPv6))}
	for name, got := range map[string]string{
		"defaults.iptables":              rules.Iptables(rules.Build(defaults(rules.IPv4)), rules.IptablesStyle{}),
		"captureall.verbose.iptables":    rules.Iptables(captureAll(rules.IPv6), rules.IptablesStyle{Verbose: true}),
		"everything.iptables":            rules.Iptables(every[0], rules.IptablesStyle{}),
		"everything.nocomments.iptables": rules.Iptables(every[0], rules.IptablesStyle{NoComments: true}),
		"everything.nft":                 rules.NFT(every, []string{"something was done"}),
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// random returns settings of all kinds.
func random(r *rand.Rand) rules.Input {
	f := []rules.Family{rules.IPv4, rules.IPv6}[r.IntN(2)]
	in, all := defaults(f), everything(f)
	maybe := func(p float64, do func()) {
		if r.Float64() < p {
			do()
		}
	}
	for _, d := range []struct{ to, from *rules.Direction }{{&in.Inbound, &all.Inbound}, {&in.Outbound, &all.Outbound}} {
		maybe(0.1, func() { d.to.Enabled = false })
		maybe(0.2, func() { d.to.IncludePorts = []uint16{80, 22} })
		maybe(0.3, func() { d.to.ExcludePorts = d.from.ExcludePorts })
		maybe(0.5, func() { d.to.KeepPorts = d.from.KeepPorts })
		maybe(0.3, func() { d.to.ExcludeIPs = d.from.ExcludeIPs })
		maybe(0.3, func() { d.to.ExcludeInterfaces = d.from.ExcludeInterfaces })
		maybe(0.3, func() { d.to.Insert = true })
	}
	maybe(0.3, func() { in.Outbound.ExcludeUIDs = all.Outbound.ExcludeUIDs })
	maybe(0.5, func() { in.DNS = all.DNS; in.DNS.CaptureAll = r.IntN(2) == 0 })
	maybe(0.2, func() { in.DNS.SplitZones = false })
	maybe(0.3, func() { in.VNets = all.VNets })
	maybe(0.2, func() { in.LogLevel = 7 })
	maybe(0.2, func() { in.DropInvalid = true })
	return in
}

// TestAllFormsDoTheSame requires that the nft form, the form without comments and
// the text, read back, do to every packet what the rules do as data.
func TestAllFormsDoTheSame(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	seen := map[rules.Fate]int{}
	for range 60 {
		in := random(r)
		set := rules.Build(in)
		text, err := rulestest.Document(in.Family, rules.Iptables(set, rules.IptablesStyle{Verbose: r.IntN(2) == 0}))
		if err != nil {
			t.Fatal(err)
		}
		named, err := rulestest.Document(in.Family, rules.Iptables(set, rules.IptablesStyle{NoComments: true}))
		if err != nil {
			t.Fatal(err)
		}
		packets := rulestest.Packets(in.Family, set)
		for _, i := range r.Perm(len(packets))[:min(len(packets), 1500)] {
			p := &packets[i]
			want := rules.Trace(set, p)
			seen[want]++
			for form, got := range map[string]rules.Fate{
				"text": rules.Trace(text, p), "text without comments": rules.Trace(named, p), "nft": rules.TraceNFT([]*rules.Set{set}, p),
			} {
				if got != want {
					t.Fatalf("%s: packet %+v: got %+v, want %+v; input %+v", form, *p, got, want, in)
				}
			}
		}
	}
	if len(seen) < 8 {
		t.Fatalf("the packets tell only %d fates apart: the test sees nothing", len(seen))
	}
}

// TestWhatIsRedirected states the rules in words.
func TestWhatIsRedirected(t *testing.T) {
	me, there := netip.MustParseAddr("10.50.0.2"), netip.MustParseAddr("203.0.113.9")
	local := netip.MustParseAddr("127.0.0.1")
	in := func(port uint16) rules.Packet {
		return rules.Packet{Hook: rules.Prerouting, Proto: rules.TCP, Src: there, Dst: me, SrcPort: 40000, DstPort: port, Interface: "eth0"}
	}
	out := func(uid uint32, dst netip.Addr, port uint16) rules.Packet {
		p := rules.Packet{Hook: rules.Output, Proto: rules.TCP, Src: me, Dst: dst, SrcPort: 40000, DstPort: port, UID: uid, Interface: "eth0"}
		if dst == me || dst.IsLoopback() {
			p.Interface = "lo"
		}
		return p
	}
	ask := func(uid uint32, dst netip.Addr) rules.Packet {
		p := out(uid, dst, 53)
		p.Proto = rules.UDP
		return p
	}
	mid := func(p rules.Packet) rules.Packet { p.MidStream = true; return p }
	from := func(p rules.Packet, src string) rules.Packet { p.Src = netip.MustParseAddr(src); return p }
	include := defaults(rules.IPv4)
	include.Inbound.IncludePorts, include.Inbound.KeepPorts = []uint16{22, 443}, []uint16{22, 5678}
	all := defaults(rules.IPv4)
	all.DNS.Enabled, all.DNS.CaptureAll = true, true
	for _, c := range []struct {
		what string
		in   rules.Input
		p    rules.Packet
		want uint16
	}{
		{"from outside", defaults(rules.IPv4), in(80), 15006},
		{"application to elsewhere", defaults(rules.IPv4), out(0, there, 80), 15001},
		{"proxy to elsewhere", defaults(rules.IPv4), out(5678, there, 80), 0},
		{"application to its own address", defaults(rules.IPv4), out(0, me, 80), 0},
		{"proxy to its own address", defaults(rules.IPv4), out(5678, me, 80), 15006},
		{"proxy to the application, from the address for it", defaults(rules.IPv4), from(out(5678, me, 80), "127.0.0.6"), 0},
		{"proxy to localhost", defaults(rules.IPv4), out(5678, local, 80), 0},
		{"application to localhost", defaults(rules.IPv4), out(0, local, 80), 0},
		{"open connection, incoming", defaults(rules.IPv4), mid(in(80)), 0},
		{"open connection, outgoing", defaults(rules.IPv4), mid(out(0, there, 80)), 0},
		{"SSH stays reachable", everything(rules.IPv4), in(22), 0},
		{"control plane stays reachable", everything(rules.IPv4), out(0, there, 5678), 0},
		{"a kept port that is included", include, in(22), 15006},
		{"a kept port that is not included", include, in(5678), 0},
		{"any other port that is not included", include, in(80), 0},
		{"name asked while names are left alone", defaults(rules.IPv4), ask(0, there), 0},
		{"name asked anywhere", all, ask(0, there), 15053},
		{"name asked anywhere over TCP", all, out(0, there, 53), 15053},
		{"name asked by the proxy", all, ask(5678, there), 0},
		{"name asked by the proxy over TCP", all, out(5678, there, 53), 0},
		{"name asked of an uncaptured server", everything(rules.IPv4), ask(0, there), 0},
		{"name asked of the captured server", everything(rules.IPv4), ask(0, netip.MustParseAddr("127.0.0.11")), 15053},
	} {
		set := rules.Build(c.in)
		if got := rules.Trace(set, &c.p).RedirectedTo; got != c.want {
			t.Errorf("%s: redirected to %d, want %d", c.what, got, c.want)
		}
		if got := rules.TraceNFT([]*rules.Set{set}, &c.p).RedirectedTo; got != c.want {
			t.Errorf("%s (nft): redirected to %d, want %d", c.what, got, c.want)
		}
	}
}

func TestLongPortListsAreSplit(t *testing.T) {
	in := defaults(rules.IPv4)
	var ports []rules.PortRange
	for i := range uint16(20) {
		ports = append(ports, rules.PortRange{From: 100 * (i + 1), To: 100*(i+1) + i%2})
	}
	in.Outbound.ExcludeUIDs = []rules.UIDExclusion{{Proto: rules.TCP, Ports: ports, UIDs: rules.UIDRange{From: 7, To: 7}}}
	doc := rules.Iptables(rules.Build(in), rules.IptablesStyle{})
	n := 0
	for line := range strings.Lines(doc) {
		_, list, ok := strings.Cut(line, "--dports ")
		if !ok {
			continue
		}
		n++
		list, _, _ = strings.Cut(list, " ")
		if cost := strings.Count(list, ",") + 1 + strings.Count(list, ":"); cost > 15 {
			t.Errorf("%d ports in one rule, multiport takes 15: %s", cost, line)
		}
	}
	if n != 2 {
		t.Errorf("the list is in %d rules, want 2:\n%s", n, doc)
	}
}

func TestDockerResolver(t *testing.T) {
	in := defaults(rules.IPv4)
	in.DNS = rules.DNS{Enabled: true, Port: 15053, CaptureAll: true, DockerOutput: true}
	set := rules.Build(in)
	p := rules.Packet{Hook: rules.Output, Proto: rules.UDP, Src: netip.MustParseAddr("127.0.0.1"), Dst: netip.MustParseAddr("127.0.0.11"), DstPort: 53, UID: 5678, Interface: "lo"}
	if f := rules.Trace(set, &p); !f.Docker || f.RedirectedTo != 0 {
		t.Errorf("the proxy's question must pass Docker's chain and go on: %+v", f)
	}
	if doc := rules.NFT([]*rules.Set{set}, nil); strings.Contains(strings.ToLower(doc), "docker") {
		t.Errorf("nft has no chain of Docker to go to:\n%s", doc)
	}
}
