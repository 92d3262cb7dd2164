package backend

import (
	"fmt"
	"slices"
	"strings"

	"weft/internal/tproxy/rules"
)

// dump is what iptables-save printed, as far as it matters here.
type dump struct{ tables []dumpTable }

type dumpTable struct {
	name string
	// own are our chains.
	own []string
	// lines are all rules, in order.
	lines []dumpLine
}

// dumpLine is one rule: "-A chain spec".
type dumpLine struct {
	chain, spec string
	// ours tells that the rule is the transparent proxy's.
	ours bool
}

// parseDump reads the output of iptables-save.
func parseDump(save string) *dump {
	d := &dump{}
	var t *dumpTable
	for line := range strings.Lines(save) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "*"):
			d.tables = append(d.tables, dumpTable{name: strings.TrimSpace(line[1:])})
			t = &d.tables[len(d.tables)-1]
		case t == nil:
		case strings.HasPrefix(line, ":"+rules.ChainPrefix):
			name, _, _ := strings.Cut(line[1:], " ")
			t.own = append(t.own, name)
		case strings.HasPrefix(line, "-A "):
			chain, spec, _ := strings.Cut(line[3:], " ")
			t.lines = append(t.lines, dumpLine{chain, spec, isOurs(chain, spec)})
		}
	}
	return d
}

// isOurs tells whether a rule is in one of our chains, leads there, or has our
// comment. Others may have comments that only mention such words.
func isOurs(chain, spec string) bool {
	return strings.HasPrefix(chain, rules.ChainPrefix) ||
		strings.Contains(" "+spec, " -j "+rules.ChainPrefix) || strings.Contains(" "+spec, " -g "+rules.ChainPrefix) ||
		strings.Contains(" "+spec, ` --comment "`+rules.CommentPrefix) || strings.Contains(" "+spec, ` --comment `+rules.CommentPrefix)
}

func (t *dumpTable) hasOurs() bool {
	return len(t.own) > 0 || slices.ContainsFunc(t.lines, func(l dumpLine) bool { return l.ours })
}

// identifiable tells whether all rules of ours can be recognised: those that 2.10
// installs without comments cannot.
func (d *dump) identifiable() bool {
	chains := false
	for _, t := range d.tables {
		chains = chains || len(t.own) > 0
		if slices.Contains(t.own, rules.Marker) || slices.ContainsFunc(t.lines, func(l dumpLine) bool { return strings.Contains(l.spec, rules.CommentPrefix) }) {
			return true
		}
	}
	return !chains
}

// removal returns the lines of iptables-restore that take our rules and chains out
// of a table.
func (t *dumpTable) removal() []string {
	var out []string
	for _, l := range t.lines {
		if l.ours && !strings.HasPrefix(l.chain, rules.ChainPrefix) {
			out = append(out, "-D "+l.chain+" "+l.spec)
		}
	}
	for _, c := range t.own {
		out = append(out, "-F "+c)
	}
	for _, c := range t.own {
		out = append(out, "-X "+c)
	}
	return out
}

// table returns a table, or an empty one.
func (d *dump) table(name string) *dumpTable {
	for i := range d.tables {
		if d.tables[i].name == name {
			return &d.tables[i]
		}
	}
	return &dumpTable{name: name}
}

// alone tells whether a chain holds no rules but ours.
func (t *dumpTable) alone(chain string) bool {
	return !slices.ContainsFunc(t.lines, func(l dumpLine) bool { return l.chain == chain && !l.ours })
}

// listing writes our part, as lines that put it back.
func (d *dump) listing() string {
	var b strings.Builder
	for _, t := range d.tables {
		if !t.hasOurs() {
			continue
		}
		b.WriteString("*" + t.name + "\n")
		for _, c := range t.own {
			b.WriteString("-N " + c + "\n")
		}
		for _, l := range t.positions() {
			b.WriteString(l + "\n")
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// positions returns our rules as lines that put them back where they are: those
// in front of the rules of others are inserted.
func (t *dumpTable) positions() []string {
	var out []string
	foreign, inserted := map[string]bool{}, map[string]int{}
	for _, l := range t.lines {
		switch {
		case !l.ours:
			foreign[l.chain] = true
		case foreign[l.chain] || t.alone(l.chain):
			out = append(out, "-A "+l.chain+" "+l.spec)
		default:
			inserted[l.chain]++
			out = append(out, fmt.Sprintf("-I %s %d %s", l.chain, inserted[l.chain], l.spec))
		}
	}
	return out
}

// comparable returns our part for comparing what is wanted with what is live:
// where a chain of live has no rules of others, it does not matter whether ours
// are inserted.
func (d *dump) comparable(live *dump) string {
	c := &dump{}
	for _, t := range d.tables {
		u := dumpTable{name: t.name, own: slices.Sorted(slices.Values(t.own))}
		there := live.table(t.name)
		for _, l := range t.lines {
			if l.ours || !there.alone(l.chain) {
				u.lines = append(u.lines, l)
			}
		}
		c.tables = append(c.tables, u)
	}
	slices.SortFunc(c.tables, func(a, b dumpTable) int { return strings.Compare(a.name, b.name) })
	return c.listing()
}
