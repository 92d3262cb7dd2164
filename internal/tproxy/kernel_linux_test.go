package tproxy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/tproxy/rules"
)

// randomInput returns rules for the world.
func randomInput(r *rand.Rand, f rules.Family) rules.Input {
	in := rules.Input{
		Family: f, UID: proxyUID, Loopback: "lo",
		Inbound:  rules.Direction{Enabled: r.IntN(8) > 0, Port: 15006, Insert: r.IntN(3) == 0},
		Outbound: rules.Direction{Enabled: r.IntN(8) > 0, Port: 15001, Insert: r.IntN(3) == 0},
		DNS:      rules.DNS{Port: 15053},
	}
	maybe := func(do func()) {
		if r.IntN(3) == 0 {
			do()
		}
	}
	peer := there4
	if f == rules.IPv6 {
		peer = there6
	}
	single := netip.PrefixFrom(peer, peer.BitLen())
	for _, d := range []*rules.Direction{&in.Inbound, &in.Outbound} {
		maybe(func() { d.IncludePorts = []uint16{80, 8080} })
		maybe(func() { d.ExcludePorts = []uint16{443, 8081} })
		maybe(func() { d.KeepPorts = []uint16{22} })
	}
	if r.IntN(6) == 0 {
		in.Inbound.ExcludeIPs = []netip.Prefix{single}
	}
	if r.IntN(6) == 0 {
		in.Outbound.ExcludeIPs = []netip.Prefix{single}
	}
	if r.IntN(6) == 0 {
		in.Inbound.ExcludeInterfaces = []string{"et+"}
	}
	maybe(func() {
		in.Outbound.ExcludeUIDs = []rules.UIDExclusion{{Proto: rules.TCP, Ports: []rules.PortRange{{From: 80, To: 90}, {From: 443, To: 443}}, UIDs: rules.UIDRange{From: 1001, To: 1005}}}
	})
	maybe(func() {
		in.DNS.Enabled, in.DNS.Servers = true, []netip.Addr{peer}
		in.DNS.CaptureAll, in.DNS.SplitZones = r.IntN(2) == 0, r.IntN(4) > 0
	})
	return in
}

// TestKernelDoesWhatTheDataSays puts random rules into the kernel and compares
// where connections arrive with what Trace foretells.
func TestKernelDoesWhatTheDataSays(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	each(t, func(t *testing.T, w *world, backend string) {
		l := w.newListeners(t)
		l.proxy(t, w)
		for _, any := range []string{"0.0.0.0", "[::]"} {
			for _, port := range []string{"22", "80", "443"} {
				l.tcp(t, w.there, "there", 0, any+":"+port)
			}
			for _, port := range []string{"22", "8080", "8081"} {
				l.tcp(t, w.here, "here", 0, any+":"+port)
			}
		}
		for _, a := range []string{"10.77.0.2", "[fd77::2]"} {
			l.udp(t, w.there, "there", 0, a+":53")
			l.tcp(t, w.there, "there", 0, a+":53")
		}
		redirected := 0
		for round := range 6 {
			four, six := rules.Build(randomInput(r, rules.IPv4)), rules.Build(randomInput(r, rules.IPv6))
			w.load(t, backend, four, six)
			for _, set := range []*rules.Set{four, six} {
				redirected += w.compare(t, fmt.Sprintf("round %d", round), set)
			}
		}
		if redirected < 10 {
			t.Errorf("only %d connections were redirected: the test sees little", redirected)
		}
	})
}

// load replaces all rules.
func (w *world) load(t *testing.T, backend string, sets ...*rules.Set) {
	t.Helper()
	if backend == "nft" {
		w.must(t, rules.NFT(sets, nil), "nft", "-f", "-")
		return
	}
	for _, s := range sets {
		tool := backend
		if s.Family == rules.IPv6 {
			tool = strings.Replace(backend, "iptables", "ip6tables", 1)
		}
		w.must(t, "*raw\nCOMMIT\n*nat\nCOMMIT\n*mangle\nCOMMIT\n", tool+"-restore")
		w.must(t, rules.Iptables(s, rules.IptablesStyle{NoComments: s.Family == rules.IPv6}), tool+"-restore", "--noflush")
	}
}

// compare tries all kinds of connections and returns how many were redirected.
func (w *world) compare(t *testing.T, when string, s *rules.Set) (redirected int) {
	t.Helper()
	me, peer, local := here4, there4, netip.MustParseAddr("127.0.0.1")
	if s.Family == rules.IPv6 {
		me, peer, local = here6, there6, netip.IPv6Loopback()
	}
	var list []rules.Packet
	for _, port := range []uint16{22, 8080, 8081} {
		list = append(list, rules.Packet{Hook: rules.Prerouting, Proto: rules.TCP, Src: peer, Dst: me, DstPort: port, Interface: "eth0"})
		for _, uid := range []uint32{appUID, proxyUID} {
			list = append(list,
				rules.Packet{Hook: rules.Output, Proto: rules.TCP, Src: me, Dst: me, DstPort: port, Interface: "lo", UID: uid},
				rules.Packet{Hook: rules.Output, Proto: rules.TCP, Src: local, Dst: local, DstPort: port, Interface: "lo", UID: uid})
		}
	}
	for _, uid := range []uint32{appUID, otherUID, proxyUID} {
		for _, port := range []uint16{22, 80, 443, 53} {
			list = append(list, rules.Packet{Hook: rules.Output, Proto: rules.TCP, Src: me, Dst: peer, DstPort: port, Interface: "eth0", UID: uid})
		}
		list = append(list, rules.Packet{Hook: rules.Output, Proto: rules.UDP, Src: me, Dst: peer, DstPort: 53, Interface: "eth0", UID: uid})
	}
	names := map[uint16]string{15001: "outbound", 15006: "inbound", 15053: "resolver"}
	for i := range list {
		p := &list[i]
		d := dialed{ns: w.here, uid: int(p.UID), to: at(p.Dst, p.DstPort), proto: p.Proto}
		want := "there"
		if p.Hook == rules.Prerouting {
			d.ns = w.there
		}
		if p.Dst != peer {
			want = "here"
		}
		if to := rules.Trace(s, p).RedirectedTo; to != 0 {
			want = names[to]
			redirected++
		}
		who, err := exchange(t, d)
		if err != nil || who != want {
			t.Errorf("%s, %s: packet %+v: %q answers (%v), want %q\n%s", when, s.Family, *p, who, err, want, rules.Iptables(s, rules.IptablesStyle{NoComments: true}))
			return redirected
		}
	}
	return redirected
}
