package rules

import (
	"fmt"
	"strconv"
	"strings"
)

// NFTTable is the name of the one table that the nft form uses; its family is
// inet.
const NFTTable = "weft_transparent_proxy"

// Priorities of the base chains. Those that redirect lie around dstnat (-100),
// where iptables and others have theirs: what iptables would insert comes before,
// what it would append comes after.
const (
	priorityRaw    = -300
	priorityMangle = -150
	priorityFirst  = -110
	priorityLast   = -90
)

// base is a chain where packets enter the table.
type base struct {
	name, kind, hook string
	priority         int
	chains           []familyChain
}

// familyChain holds the rules for packets of one family.
type familyChain struct {
	family Family
	name   string
	rules  []Rule
}

// layout is the shape of the nft table: base chains send packets to the chain of
// their family.
type layout struct {
	bases []*base
	own   []familyChain
}

// NFT returns the script that nft -f takes to put the sets (of different families)
// into place of whatever the table held, in one transaction. facts are remembered
// in the table as comments, see Facts.
func NFT(sets []*Set, facts []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s\ndelete table inet %s\n", NFTTable, NFTTable)
	b.WriteString(nftTable(sets, facts))
	return b.String()
}

// nftTable returns only the table.
func nftTable(sets []*Set, facts []string) string {
	l := newLayout(sets)
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", NFTTable)
	if len(facts) > 0 {
		b.WriteString("\tchain " + factsChain + " {\n")
		for _, f := range facts {
			b.WriteString("\t\treturn comment " + strconv.Quote(f) + "\n")
		}
		b.WriteString("\t}\n\n")
	}
	for _, c := range l.own {
		c.write(&b)
	}
	for _, base := range l.bases {
		for _, c := range base.chains {
			c.write(&b)
		}
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype %s hook %s priority %d; policy accept;\n", base.name, base.kind, base.hook, base.priority)
		for _, c := range base.chains {
			fmt.Fprintf(&b, "\t\tmeta nfproto %s jump %s\n", strings.ToLower(c.family.String()), c.name)
		}
		b.WriteString("\t}\n\n")
	}
	return strings.TrimSuffix(b.String(), "\n") + "}\n"
}

// factsChain is a chain that no packet enters. The comments of its rules say what
// else was changed on the host, so that it can be undone.
const factsChain = "facts"

// Facts returns what was remembered in a table, from its listing.
func Facts(listing string) []string {
	_, rest, ok := strings.Cut(listing, "chain "+factsChain+" {")
	if !ok {
		return nil
	}
	body, _, _ := strings.Cut(rest, "}")
	var out []string
	for line := range strings.Lines(body) {
		_, comment, ok := strings.Cut(line, " comment ")
		if text, err := strconv.Unquote(strings.TrimSpace(comment)); ok && err == nil {
			out = append(out, text)
		}
	}
	return out
}

// newLayout arranges the sets. The two chains of a hook in the nat table are both
// passed by a connection until one redirects it, so what is excluded by the first
// is excluded again by the second.
func newLayout(sets []*Set) *layout {
	l := &layout{}
	for _, s := range sets {
		for i := range s.Tables {
			t := &s.Tables[i]
			for _, c := range t.Chains {
				l.own = append(l.own, familyChain{s.Family, nftChain(c, s.Family), t.Of(c)})
			}
			switch t.Name {
			case Raw:
				l.enter(s.Family, "raw", "filter", priorityRaw, t.Of)
			case Mangle:
				l.enter(s.Family, "mangle", "filter", priorityMangle, t.Of)
			case NAT:
				l.enter(s.Family, "first", "nat", priorityFirst, func(c string) []Rule { return acting(t.Of(c), true) })
				l.enter(s.Family, "last", "nat", priorityLast, func(c string) []Rule { return acting(t.Of(c), false) })
			}
		}
	}
	return l
}

// enter adds the base chains of a table where there are rules for them.
func (l *layout) enter(f Family, place, kind string, priority int, of func(chain string) []Rule) {
	for _, hook := range []string{Prerouting, Output} {
		list := of(hook)
		if len(list) == 0 {
			continue
		}
		name := strings.ToLower(hook) + "_" + place
		b := l.base(name)
		if b == nil {
			b = &base{name: name, kind: kind, hook: strings.ToLower(hook), priority: priority}
			l.bases = append(l.bases, b)
		}
		b.chains = append(b.chains, familyChain{f, nftChain(name, f), list})
	}
}

func (l *layout) base(name string) *base {
	for _, b := range l.bases {
		if b.name == name {
			return b
		}
	}
	return nil
}

// acting returns the rules of the first or the last chain of a hook: exclusions
// are part of both, the rest of one. A chain of exclusions only is left out.
func acting(list []Rule, first bool) []Rule {
	var out []Rule
	acts := false
	for _, r := range list {
		if r.Do.Chain == DockerOutput {
			continue // Docker's own chain sees the packet anyway
		}
		if r.Insert == first || r.Insert && r.Do.Verdict == Return {
			out = append(out, r)
			acts = acts || r.Do.Verdict != Return
		}
	}
	if !acts {
		return nil
	}
	return out
}

// nftChain names a chain of iptables in nft.
func nftChain(name string, f Family) string {
	return strings.ToLower(strings.TrimPrefix(name, ChainPrefix+"_")) + "_" + strings.ToLower(f.String())
}

func (c *familyChain) write(b *strings.Builder) {
	fmt.Fprintf(b, "\tchain %s {\n", c.name)
	for _, r := range c.rules {
		b.WriteString("\t\t" + nftRule(&r, c.family) + "\n")
	}
	b.WriteString("\t}\n\n")
}

// maxNFTComment is what nft takes.
const maxNFTComment = 120

func nftRule(r *Rule, f Family) string {
	words := append(nftMatches(&r.Match, f), nftAction(r.Do, f))
	if r.Why != "" {
		words = append(words, "comment "+strconv.Quote(r.Why[:min(len(r.Why), maxNFTComment)]))
	}
	return strings.Join(words, " ")
}

func nftMatches(m *Match, f Family) []string {
	var w []string
	add := func(format string, args ...any) { w = append(w, fmt.Sprintf(format, args...)) }
	ip := map[Family]string{IPv4: "ip", IPv6: "ip6"}[f]
	if m.In != "" {
		add("iifname %q", nftInterface(m.In))
	}
	if m.Out != "" {
		add("oifname %q", nftInterface(m.Out))
	}
	if m.Src.IsValid() {
		add("%s saddr %s", ip, prefix(m.Src))
	}
	if m.Dst.IsValid() {
		add("%s daddr %s", ip, prefix(m.Dst))
	}
	if m.NotDst.IsValid() {
		add("%s daddr != %s", ip, prefix(m.NotDst))
	}
	if m.Proto != "" && !m.Opening && m.SrcPort == 0 && m.DstPort == 0 && m.NotDstPort == 0 && len(m.DstPorts) == 0 {
		add("meta l4proto %s", m.Proto)
	}
	if m.SrcPort != 0 {
		add("%s sport %d", m.Proto, m.SrcPort)
	}
	if m.DstPort != 0 {
		add("%s dport %d", m.Proto, m.DstPort)
	}
	if m.NotDstPort != 0 {
		add("%s dport != %d", m.Proto, m.NotDstPort)
	}
	if len(m.DstPorts) > 0 {
		add("%s dport { %s }", m.Proto, strings.ReplaceAll(ranges(m.DstPorts, "-"), ",", ", "))
	}
	if m.Opening {
		add("tcp flags & (fin | syn | rst | ack) == syn")
	}
	if m.UIDs != nil {
		add("meta skuid %s", uids(m.UIDs, "-"))
	}
	if m.NotUIDs != nil {
		add("meta skuid != %s", uids(m.NotUIDs, "-"))
	}
	if m.InvalidInConntrack {
		add("ct state invalid")
	}
	return w
}

// nftInterface writes a name; a trailing + stands for any ending.
func nftInterface(name string) string {
	if rest, ok := strings.CutSuffix(name, "+"); ok {
		return rest + "*"
	}
	return name
}

// logLevels of nft, by number.
var logLevels = []string{"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"}

func nftAction(a Action, f Family) string {
	switch a.Verdict {
	case Jump:
		return "jump " + nftChain(a.Chain, f)
	case Redirect:
		return fmt.Sprintf("redirect to :%d", a.Port)
	case Zone:
		return fmt.Sprintf("ct zone set %d", a.Zone)
	case Log:
		return fmt.Sprintf("log prefix %q level %s", a.Prefix, logLevels[min(int(a.Level), len(logLevels)-1)])
	case Drop:
		return "drop"
	case Accept:
		return "accept"
	default:
		return "return"
	}
}
