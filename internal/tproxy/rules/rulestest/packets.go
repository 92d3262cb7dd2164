package rulestest

import (
	"net/netip"
	"slices"

	"weft/internal/tproxy/rules"
)

// Packets returns packets that tell sets apart: for all ports, addresses,
// interfaces and users that the sets mention, one that is meant and one beside it.
func Packets(f rules.Family, sets ...*rules.Set) []rules.Packet {
	v := values{family: f}
	v.add(me(f), other(f))
	v.ports = []uint16{80, 53, 22, 40000}
	v.uids = []uint32{0, 1000}
	v.interfaces = []string{"lo", "eth0"}
	for _, s := range sets {
		for _, t := range s.Tables {
			for i := range t.Rules {
				v.match(&t.Rules[i].Match)
			}
		}
	}
	return v.packets()
}

func me(f rules.Family) netip.Addr {
	if f == rules.IPv4 {
		return netip.MustParseAddr("10.50.0.2")
	}
	return netip.MustParseAddr("fd00:50::2")
}

func other(f rules.Family) netip.Addr {
	if f == rules.IPv4 {
		return netip.MustParseAddr("203.0.113.9")
	}
	return netip.MustParseAddr("2001:db8::9")
}

type values struct {
	family     rules.Family
	addrs      []netip.Addr
	ports      []uint16
	uids       []uint32
	interfaces []string
}

func (v *values) add(addrs ...netip.Addr) {
	for _, a := range addrs {
		if v.family.Holds(a) && !slices.Contains(v.addrs, a) {
			v.addrs = append(v.addrs, a)
		}
	}
}

func (v *values) port(p ...uint16) {
	for _, x := range p {
		if x != 0 && !slices.Contains(v.ports, x) {
			v.ports = append(v.ports, x)
		}
	}
}

func (v *values) match(m *rules.Match) {
	v.port(m.SrcPort, m.DstPort, m.NotDstPort)
	for _, r := range m.DstPorts {
		v.port(r.From, r.To, r.To+1)
	}
	for _, p := range []netip.Prefix{m.Src, m.Dst, m.NotDst} {
		if p.IsValid() {
			v.add(p.Addr(), p.Masked().Addr().Next())
		}
	}
	for _, u := range []*rules.UIDRange{m.UIDs, m.NotUIDs} {
		if u != nil {
			for _, x := range []uint32{u.From, u.To, u.To + 1} {
				if !slices.Contains(v.uids, x) {
					v.uids = append(v.uids, x)
				}
			}
		}
	}
	for _, i := range []string{m.In, m.Out} {
		if i = trimPlus(i); i != "" && !slices.Contains(v.interfaces, i) {
			v.interfaces = append(v.interfaces, i)
		}
	}
}

func trimPlus(name string) string {
	if n := len(name); n > 0 && name[n-1] == '+' {
		return name[:n-1] + "7"
	}
	return name
}

// packets combines all values, apart from the source port, which matters only for
// answers.
func (v *values) packets() []rules.Packet {
	var out []rules.Packet
	for _, proto := range []string{rules.TCP, rules.UDP} {
		for _, iface := range v.interfaces {
			for _, a := range v.addrs {
				for _, port := range v.ports {
					in := rules.Packet{Hook: rules.Prerouting, Proto: proto, Src: a, Dst: me(v.family), SrcPort: 40001, DstPort: port, Interface: iface}
					out = append(out, in, answer(in))
					in.Dst = other(v.family)
					in.Invalid = true
					out = append(out, in)
					in.Dst, in.Invalid = a, false
					out = append(out, in)
					for _, uid := range v.uids {
						for _, src := range v.sources() {
							o := rules.Packet{Hook: rules.Output, Proto: proto, Src: src, Dst: a, SrcPort: 40001, DstPort: port, Interface: iface, UID: uid}
							out = append(out, o, answer(o))
						}
					}
				}
			}
		}
	}
	return out
}

func (v *values) sources() []netip.Addr {
	if v.family == rules.IPv4 {
		return []netip.Addr{me(v.family), netip.MustParseAddr("127.0.0.6"), netip.MustParseAddr("127.0.0.11")}
	}
	return []netip.Addr{me(v.family), netip.MustParseAddr("::6")}
}

// answer is a packet with its ports exchanged.
func answer(p rules.Packet) rules.Packet {
	p.SrcPort, p.DstPort = p.DstPort, p.SrcPort
	return p
}
