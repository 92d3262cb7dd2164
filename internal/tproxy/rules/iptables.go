package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// CommentPrefix starts the comments of all rules in iptables: by it, and by
// ChainPrefix, they are recognised when they are removed.
const CommentPrefix = "kuma/mesh/transparent/proxy/"

// maxComment is what the comment module takes.
const maxComment = 254

// Ports in one rule of the multiport module; a range counts twice.
const maxMultiport = 15

// IptablesStyle says how the text for iptables-restore looks.
type IptablesStyle struct {
	// Verbose uses long options and headings.
	Verbose bool
	// NoComments leaves comments out. Rules that nothing else would identify then
	// go into chains of their own, see Identifiable.
	NoComments bool
}

// Iptables returns the document that iptables-restore --noflush (ip6tables-
// restore for IPv6) takes to add the set where nothing of it is installed.
func Iptables(s *Set, style IptablesStyle) string {
	if style.NoComments {
		s = Identifiable(s)
	}
	var b strings.Builder
	for i := range s.Tables {
		if style.Verbose && i > 0 {
			b.WriteString("\n\n")
		}
		b.WriteString(IptablesTable(&s.Tables[i], style, nil))
	}
	return b.String()
}

// IptablesTable returns the part of one table. The lines of before (deletions)
// are done first, in the same transaction.
func IptablesTable(t *Table, style IptablesStyle, before []string) string {
	l := optionNames(style.Verbose)
	var b strings.Builder
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		if style.Verbose {
			b.WriteString("\n# " + title + ":\n")
		}
		b.WriteString(strings.Join(lines, "\n") + "\n")
	}
	b.WriteString("* " + t.Name + "\n")
	section("Removed", before)
	var chains []string
	for _, c := range t.Chains {
		chains = append(chains, l.newChain+" "+c)
	}
	section("Custom Chains", chains)
	section("Rules", ruleLines(t, style))
	if style.Verbose {
		b.WriteString("\n")
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// IptablesRule is one rule as text.
type IptablesRule struct {
	Chain  string
	Insert bool
	// Spec is all after the name of the chain.
	Spec string
}

// IptablesRules writes the rules of a table one by one.
func IptablesRules(t *Table, style IptablesStyle) []IptablesRule {
	l := optionNames(style.Verbose)
	var out []IptablesRule
	for _, r := range t.Rules {
		for _, part := range splitPorts(r) {
			var words []string
			if !style.NoComments {
				words = append(words, l.match, "comment", "--comment", strconv.Quote(cut(CommentPrefix+r.Why)))
			}
			words = append(words, l.matches(&part.Match)...)
			out = append(out, IptablesRule{r.Chain, r.Insert, strings.Join(append(words, l.action(part.Do)...), " ")})
		}
	}
	return out
}

// ruleLines writes the rules as lines. Inserted ones are numbered per chain.
func ruleLines(t *Table, style IptablesStyle) []string {
	l := optionNames(style.Verbose)
	inserted := map[string]int{}
	var lines []string
	for _, r := range IptablesRules(t, style) {
		where := l.appendRule + " " + r.Chain
		if r.Insert {
			inserted[r.Chain]++
			where = fmt.Sprintf("%s %s %d", l.insertRule, r.Chain, inserted[r.Chain])
		}
		lines = append(lines, where+" "+r.Spec)
	}
	return lines
}

func cut(s string) string { return s[:min(len(s), maxComment)] }

// splitPorts cuts a list of ports into rules that multiport can take.
func splitPorts(r Rule) []Rule {
	var out []Rule
	rest := r.Match.DstPorts
	for {
		n, cost := 0, 0
		for n < len(rest) {
			c := 1
			if rest[n].From != rest[n].To {
				c = 2
			}
			if cost += c; cost > maxMultiport {
				break
			}
			n++
		}
		part := r
		part.Match.DstPorts = rest[:n]
		out = append(out, part)
		if rest = rest[n:]; len(rest) == 0 {
			return out
		}
	}
}

// options are the names of iptables' options, short or long.
type options struct {
	newChain, appendRule, insertRule      string
	match, protocol, jump, source, target string
	in, out, sourcePort, destinationPort  string
}

func optionNames(long bool) *options {
	if long {
		return &options{
			"--new-chain", "--append", "--insert", "--match", "--protocol", "--jump", "--source", "--destination",
			"--in-interface", "--out-interface", "--source-port", "--destination-port",
		}
	}
	return &options{"-N", "-A", "-I", "-m", "-p", "-j", "-s", "-d", "-i", "-o", "--sport", "--dport"}
}

func (l *options) matches(m *Match) []string {
	var w []string
	add := func(words ...string) { w = append(w, words...) }
	if m.Src.IsValid() {
		add(l.source, prefix(m.Src))
	}
	if m.Dst.IsValid() {
		add(l.target, prefix(m.Dst))
	}
	if m.NotDst.IsValid() {
		add("!", l.target, prefix(m.NotDst))
	}
	if m.In != "" {
		add(l.in, m.In)
	}
	if m.Out != "" {
		add(l.out, m.Out)
	}
	if m.Proto != "" {
		add(l.protocol, m.Proto)
	}
	if m.Opening {
		add("--syn")
	}
	if m.SrcPort != 0 {
		add(l.sourcePort, port(m.SrcPort))
	}
	if m.DstPort != 0 {
		add(l.destinationPort, port(m.DstPort))
	}
	if m.NotDstPort != 0 {
		add("!", l.destinationPort, port(m.NotDstPort))
	}
	if len(m.DstPorts) > 0 {
		add(l.match, "multiport", "--dports", ranges(m.DstPorts, ":"))
	}
	if m.UIDs != nil {
		add(l.match, "owner", "--uid-owner", uids(m.UIDs, ":"))
	}
	if m.NotUIDs != nil {
		add(l.match, "owner", "!", "--uid-owner", uids(m.NotUIDs, ":"))
	}
	if m.InvalidInConntrack {
		add(l.match, "conntrack", "--ctstate", "INVALID")
	}
	return w
}

func (l *options) action(a Action) []string {
	switch a.Verdict {
	case Jump:
		return []string{l.jump, a.Chain}
	case Redirect:
		return []string{l.jump, "REDIRECT", "--to-ports", port(a.Port)}
	case Zone:
		return []string{l.jump, "CT", "--zone", port(a.Zone)}
	case Log:
		return []string{l.jump, "LOG", "--log-prefix", a.Prefix, "--log-level", port(a.Level)}
	case Drop:
		return []string{l.jump, "DROP"}
	case Accept:
		return []string{l.jump, "ACCEPT"}
	default:
		return []string{l.jump, "RETURN"}
	}
}

// prefix writes a network; a single address goes without its length.
func prefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.Masked().String()
}

func port(p uint16) string { return strconv.Itoa(int(p)) }

// ranges writes ports like 80,443,1000:2000.
func ranges(list []PortRange, sep string) string {
	words := make([]string, len(list))
	for i, r := range list {
		words[i] = port(r.From)
		if r.From != r.To {
			words[i] += sep + port(r.To)
		}
	}
	return strings.Join(words, ",")
}

func uids(r *UIDRange, sep string) string {
	if r.From == r.To {
		return strconv.FormatUint(uint64(r.From), 10)
	}
	return fmt.Sprintf("%d%s%d", r.From, sep, r.To)
}

// Marker is an empty chain that tells, where comments are left out, that all
// rules can be recognised by the names of chains.
const Marker = ChainPrefix + "_NAMED"

// Identifiable moves the rules of built-in chains that do not jump to an own
// chain into own chains, so that all rules can be recognised without comments.
// What it does to packets is the same.
func Identifiable(s *Set) *Set {
	out := &Set{Family: s.Family}
	for _, t := range s.Tables {
		u := Table{Name: t.Name, Chains: append([]string{Marker}, t.Chains...)}
		moved := map[string]string{}
		for _, r := range t.Rules {
			if strings.HasPrefix(r.Chain, ChainPrefix) || r.Do.Verdict == Jump && strings.HasPrefix(r.Do.Chain, ChainPrefix) {
				u.Rules = append(u.Rules, r)
				continue
			}
			own := ChainPrefix + "_" + r.Chain
			if r.Insert {
				own += "_FIRST"
			}
			if moved[own] == "" {
				moved[own] = r.Chain
				u.Chains = append(u.Chains, own)
				u.Rules = append(u.Rules, Rule{Chain: r.Chain, Insert: r.Insert, Do: jump(own), Why: r.Why})
			}
			if r.Do.Verdict == Return { // leaving the own chain is not enough
				r.Do.Verdict = Accept
			}
			r.Chain, r.Insert = own, false
			u.Rules = append(u.Rules, r)
		}
		slices.SortStableFunc(u.Rules, func(a, b Rule) int { return own(a.Chain) - own(b.Chain) })
		out.Tables = append(out.Tables, u)
	}
	return out
}

// own orders built-in chains before own ones.
func own(chain string) int {
	if strings.HasPrefix(chain, ChainPrefix) {
		return 1
	}
	return 0
}
