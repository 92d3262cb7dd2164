package rules

import (
	"net/netip"
	"slices"
	"strings"
)

// Packet is the first packet of a connection, or one question or answer.
type Packet struct {
	// Hook is Prerouting for what arrives, Output for what is sent.
	Hook             string
	Proto            string
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	// Interface is where it comes in or goes out.
	Interface string
	// UID is the user that sends it (Output).
	UID uint32
	// MidStream marks a TCP packet that opens no connection, Invalid one that
	// belongs to none.
	MidStream, Invalid bool
}

// Fate is what becomes of a packet.
type Fate struct {
	// RedirectedTo is the port that it is sent to; 0 = it goes where it wants.
	RedirectedTo uint16
	// Zone is where it is tracked; 0 = as usual.
	Zone    uint16
	Dropped bool
	Logged  bool
	// Docker tells that Docker's chain was passed.
	Docker bool
}

// Trace tells what a set does to a packet of its family, with the rules as
// iptables applies them.
func Trace(s *Set, p *Packet) Fate {
	var f Fate
	for i := range s.Tables {
		t := &s.Tables[i]
		w := walker{packet: p, fate: &f, of: t.Of}
		w.chain(p.Hook)
	}
	return f
}

// TraceNFT tells the same of the nft form.
func TraceNFT(sets []*Set, p *Packet) Fate {
	l := newLayout(sets)
	chains := map[string][]Rule{}
	for _, c := range l.own {
		chains[c.name] = c.rules
	}
	family := IPv6
	if p.Dst.Is4() {
		family = IPv4
	}
	var f Fate
	bases := slices.Clone(l.bases)
	slices.SortStableFunc(bases, func(a, b *base) int { return a.priority - b.priority })
	for _, b := range bases {
		if b.hook != strings.ToLower(p.Hook) || b.kind == "nat" && f.RedirectedTo != 0 {
			continue
		}
		for _, c := range b.chains {
			if c.family != family {
				continue
			}
			w := walker{packet: p, fate: &f, of: func(name string) []Rule { return chains[nftChain(name, family)] }}
			w.rules(c.rules)
		}
	}
	return f
}

// walker follows a packet through one table.
type walker struct {
	packet *Packet
	fate   *Fate
	of     func(chain string) []Rule
}

func (w *walker) chain(name string) (done bool) {
	if name == DockerOutput {
		w.fate.Docker = true
		return false
	}
	return w.rules(w.of(name))
}

// rules follows the packet through a chain; done means that it needs no more.
func (w *walker) rules(list []Rule) (done bool) {
	for i := range list {
		r := &list[i]
		if !r.Match.holds(w.packet) {
			continue
		}
		switch r.Do.Verdict {
		case Return:
			return false
		case Accept:
			return true
		case Jump:
			if w.chain(r.Do.Chain) {
				return true
			}
		case Redirect:
			w.fate.RedirectedTo = r.Do.Port
			return true
		case Zone:
			// Both forms go on after setting a zone, but only the first counts.
			if w.fate.Zone == 0 {
				w.fate.Zone = r.Do.Zone
			}
		case Log:
			w.fate.Logged = true
		case Drop:
			w.fate.Dropped = true
			return true
		}
	}
	return false
}

func (m *Match) holds(p *Packet) bool {
	within := func(n netip.Prefix, a netip.Addr) bool { return n.Masked().Contains(a) }
	switch {
	case m.Proto != "" && m.Proto != p.Proto,
		m.Opening && p.MidStream,
		m.SrcPort != 0 && m.SrcPort != p.SrcPort,
		m.DstPort != 0 && m.DstPort != p.DstPort,
		m.NotDstPort != 0 && m.NotDstPort == p.DstPort,
		len(m.DstPorts) > 0 && !inRanges(m.DstPorts, p.DstPort),
		m.Src.IsValid() && !within(m.Src, p.Src),
		m.Dst.IsValid() && !within(m.Dst, p.Dst),
		m.NotDst.IsValid() && within(m.NotDst, p.Dst),
		m.InvalidInConntrack && !p.Invalid:
		return false
	case p.Hook == Prerouting:
		return m.Out == "" && m.UIDs == nil && m.NotUIDs == nil && onInterface(m.In, p.Interface)
	}
	return m.In == "" && onInterface(m.Out, p.Interface) &&
		(m.UIDs == nil || m.UIDs.has(p.UID)) && (m.NotUIDs == nil || !m.NotUIDs.has(p.UID))
}

func (r *UIDRange) has(uid uint32) bool { return r.From <= uid && uid <= r.To }

func inRanges(list []PortRange, port uint16) bool {
	return slices.ContainsFunc(list, func(r PortRange) bool { return r.From <= port && port <= r.To })
}

func onInterface(want, have string) bool {
	if start, ok := strings.CutSuffix(want, "+"); ok {
		return strings.HasPrefix(have, start)
	}
	return want == "" || want == have
}
