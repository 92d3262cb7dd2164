package tproxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"weft/internal/tproxy/backend"
	"weft/internal/tproxy/rules"
)

// dryRun prints the rules, what they do, and how they differ from what is
// installed. All but the rules is in comments, so that the output can be given to
// nft or iptables-restore.
func (i *Installer) dryRun(ctx context.Context, p *prepared) error {
	fmt.Fprint(i.Out, i.render(p))
	i.explain(p)
	if p.chosen != nil {
		i.difference(ctx, p)
	}
	if i.Config.StoreFirewalld {
		return i.storeFirewalld(p)
	}
	return nil
}

// render returns the rules for the backend that is, or would be, used.
func (i *Installer) render(p *prepared) string {
	switch {
	case p.chosen != nil:
		return p.chosen.Render(p.sets)
	case p.choice.Name == "" || p.choice.Name == "nft":
		return rules.NFT(p.sets, nil)
	}
	return backend.Document(p.sets, p.choice.Style)
}

// difference compares with what is installed.
func (i *Installer) difference(ctx context.Context, p *prepared) {
	installed, err := p.chosen.Installed(ctx)
	if err != nil {
		i.warn("[dry-run]: what is installed cannot be read: %v", err)
		return
	}
	for _, b := range backend.Others(ctx, p.choice, p.chosen) {
		if text, err := b.Installed(ctx); err == nil && text != "" {
			i.note("[%s] rules of an earlier installation would be removed:", b.Name())
			for line := range strings.Lines(text) {
				i.note("- %s", strings.TrimRight(line, "\n"))
			}
		}
	}
	if installed == "" {
		i.note("[%s] nothing is installed yet: all rules would be added", p.chosen.Name())
		return
	}
	want, err := p.chosen.Listing(ctx, p.sets, p.chosen.Facts(installed))
	switch {
	case errors.Is(err, backend.ErrNoNamespace):
		i.note("[%s] there are rules installed; how they differ cannot be told: %v", p.chosen.Name(), err)
	case err != nil:
		i.warn("[dry-run]: an installation would fail here: %v", err)
	case want == installed:
		i.note("[%s] these rules are installed; nothing would change", p.chosen.Name())
	default:
		i.note("[%s] difference to what is installed:", p.chosen.Name())
		for _, l := range lineDiff(installed, want) {
			i.note("%s", l)
		}
	}
}

// explain tells what becomes of some packets.
func (i *Installer) explain(p *prepared) {
	const otherUser = 1000000
	for _, s := range p.sets {
		away, me := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("192.0.2.1")
		if s.Family == rules.IPv6 {
			away, me = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
		}
		i.note("%s: what these rules do", s.Family)
		show := func(what string, k rules.Packet) {
			f := rules.Trace(s, &k)
			fate := "passes"
			if f.RedirectedTo != 0 {
				fate = fmt.Sprintf("to port %d", f.RedirectedTo)
			}
			i.note("  %-46s %s", what, fate)
		}
		in := func(port uint16) rules.Packet {
			return rules.Packet{Hook: rules.Prerouting, Proto: rules.TCP, Src: away, Dst: me, SrcPort: 40000, DstPort: port, Interface: "any"}
		}
		out := func(proto string, port uint16, uid uint32) rules.Packet {
			return rules.Packet{Hook: rules.Output, Proto: proto, Src: me, Dst: away, SrcPort: 40000, DstPort: port, UID: uid, Interface: "any"}
		}
		show("from outside to TCP port 22 (SSH)", in(22))
		show("from outside to TCP port 80", in(80))
		show("application to TCP port 80 elsewhere", out(rules.TCP, 80, otherUser))
		show("application to TCP port 5678 (control plane)", out(rules.TCP, 5678, otherUser))
		show(fmt.Sprintf("proxy (user %d) to TCP port 80 elsewhere", p.facts.UID), out(rules.TCP, 80, p.facts.UID))
		ask := out(rules.UDP, 53, otherUser)
		for _, r := range p.facts.Resolvers {
			if s.Family.Holds(r) {
				ask.Dst = r
				break
			}
		}
		show("application asks "+ask.Dst.String()+" for a name", ask)
	}
}

// lineDiff returns the lines of both texts, those only in one with "-" or "+".
// The texts are short, so the simple method will do.
func lineDiff(before, after string) []string {
	a, b := strings.Split(strings.TrimSuffix(before, "\n"), "\n"), strings.Split(strings.TrimSuffix(after, "\n"), "\n")
	common := make([][]int, len(a)+1) // longest common part of a[i:] and b[j:]
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return out
}
