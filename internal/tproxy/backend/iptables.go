package backend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weft/internal/tproxy/rules"
)

// IptablesOptions are what the backends of iptables need besides Options.
type IptablesOptions struct {
	Options
	Style rules.IptablesStyle
	// Wait and WaitInterval are for the lock of the legacy mode, in seconds and
	// microseconds.
	Wait, WaitInterval uint
}

// iptables keeps its rules in the tables of iptables, among those of others.
type iptables struct {
	IptablesOptions
	mode  Mode
	tools map[rules.Family]*Tools
	can   map[rules.Family]*abilities
	why   map[rules.Family]error // of families without tools
}

// Iptables returns the backend of a mode for the tools that are given; the tools
// of IPv4 must be among them.
func Iptables(ctx context.Context, mode Mode, o IptablesOptions, tools map[rules.Family]*Tools) (Backend, error) {
	b := &iptables{
		IptablesOptions: o, mode: mode, tools: map[rules.Family]*Tools{},
		can: map[rules.Family]*abilities{}, why: map[rules.Family]error{},
	}
	for _, f := range families {
		t := tools[f]
		if t == nil {
			b.why[f] = fmt.Errorf("there is no %s of mode %s", programName(f), mode)
			continue
		}
		can, err := probe(ctx, o.Run, t)
		if err != nil {
			b.why[f] = fmt.Errorf("%s: %w", t.Program, err)
			continue
		}
		b.tools[f], b.can[f] = t, can
	}
	if err := b.why[rules.IPv4]; err != nil {
		return nil, err
	}
	return b, nil
}

// families in the order in which they are changed.
var families = []rules.Family{rules.IPv4, rules.IPv6}

func (b *iptables) Name() string { return "iptables-" + string(b.mode) }

func (b *iptables) Limits(_ context.Context, f rules.Family) (Limits, error) {
	if err := b.why[f]; err != nil {
		return Limits{}, err
	}
	return b.can[f].limits(), nil
}

func (b *iptables) style(f rules.Family) rules.IptablesStyle {
	s := b.Style
	if can := b.can[f]; can != nil && !can.modules["comment"] {
		s.NoComments = true
	}
	return s
}

func (b *iptables) Render(sets []*rules.Set) string { return Document(sets, b.Style) }

// Document returns the documents of all families, each under a heading.
func Document(sets []*rules.Set, style rules.IptablesStyle) string {
	var parts []string
	for _, s := range sets {
		parts = append(parts, fmt.Sprintf("### %s ###\n\n%s", s.Family, rules.Iptables(s, style)))
	}
	return strings.Join(parts, "\n")
}

// live returns what is installed now.
func (b *iptables) live(ctx context.Context, f rules.Family) (*dump, error) {
	out, err := b.Run(ctx, "", b.tools[f].Save)
	if err != nil {
		return nil, fmt.Errorf("list rules of %s: %w", f, err)
	}
	d := parseDump(out)
	if !d.identifiable() {
		return nil, ErrUnidentifiable
	}
	return d, nil
}

// each calls do for each family that has tools, and joins what it returns under
// headings; families for which it returns nothing are left out.
func (b *iptables) each(do func(f rules.Family) (string, error)) (string, error) {
	var out strings.Builder
	for _, f := range families {
		if b.tools[f] == nil {
			continue
		}
		text, err := do(f)
		if err != nil {
			return "", err
		}
		if text != "" {
			out.WriteString(heading(f) + text)
		}
	}
	return out.String(), nil
}

func heading(f rules.Family) string { return "# " + f.String() + "\n" }

func (b *iptables) Installed(ctx context.Context) (string, error) {
	return b.each(func(f rules.Family) (string, error) {
		d, err := b.live(ctx, f)
		if err != nil {
			return "", err
		}
		return d.comparable(d), nil
	})
}

func (b *iptables) Snapshot(ctx context.Context) (string, error) {
	return b.each(func(f rules.Family) (string, error) {
		d, err := b.live(ctx, f)
		if err != nil {
			return "", err
		}
		return d.listing(), nil
	})
}

// stranger is a rule that stands for those of others where rules are tried.
const stranger = "-m mark --mark 1 -j RETURN"

func (b *iptables) Listing(ctx context.Context, sets []*rules.Set, facts []string) (string, error) {
	return b.each(func(f rules.Family) (string, error) {
		s := ofFamily(sets, f)
		if s == nil {
			return "", nil
		}
		now, err := b.live(ctx, f)
		if err != nil {
			return "", err
		}
		var want *dump
		err = inNamespace(func() error {
			var doc strings.Builder
			for _, t := range s.Tables {
				fmt.Fprintf(&doc, "*%s\n-A PREROUTING %[2]s\n-A OUTPUT %[2]s\nCOMMIT\n", t.Name, stranger)
			}
			doc.WriteString(b.document(s, &dump{}, f, facts))
			if err := b.restore(ctx, f, doc.String()); err != nil {
				return fmt.Errorf("try the rules: %w", err)
			}
			want, err = b.live(ctx, f)
			return err
		})
		if err != nil {
			return "", err
		}
		return want.comparable(now), nil
	})
}

func ofFamily(sets []*rules.Set, f rules.Family) *rules.Set {
	for _, s := range sets {
		if s.Family == f {
			return s
		}
	}
	return nil
}

// document returns what iptables-restore takes to replace our part of now by a
// set (nil = by nothing).
func (b *iptables) document(s *rules.Set, now *dump, f rules.Family, facts []string) string {
	style := b.style(f)
	if s == nil {
		s = &rules.Set{Family: f}
	}
	if style.NoComments {
		s = rules.Identifiable(s)
	}
	var out strings.Builder
	for i := range s.Tables {
		t := &s.Tables[i]
		if t.Name == rules.NAT && f == rules.IPv4 {
			t = withFacts(t, facts)
		}
		out.WriteString(rules.IptablesTable(t, style, now.table(t.Name).removal()))
	}
	for _, t := range now.tables {
		if t.hasOurs() && s.Table(t.name) == nil {
			fmt.Fprintf(&out, "*%s\n%s\nCOMMIT\n", t.name, strings.Join(t.removal(), "\n"))
		}
	}
	return out.String()
}

// Facts are the names of empty chains, which need no comments.
const factPrefix = rules.ChainPrefix + "_FACT_"

// maxChainName is what iptables takes.
const maxChainName = 28

// withFacts adds the chains that are what is remembered. What is too long for the
// name of a chain is forgotten.
func withFacts(t *rules.Table, facts []string) *rules.Table {
	u := &rules.Table{Name: t.Name, Chains: slices.Clone(t.Chains), Rules: t.Rules}
	for _, f := range facts {
		if name := factPrefix + f; len(name) <= maxChainName {
			u.Chains = append(u.Chains, name)
		}
	}
	return u
}

func (b *iptables) Facts(installed string) []string {
	var out []string
	for line := range strings.Lines(installed) {
		if f, ok := strings.CutPrefix(strings.TrimSpace(line), "-N "+factPrefix); ok {
			out = append(out, f)
		}
	}
	return out
}

func (b *iptables) Apply(ctx context.Context, sets []*rules.Set, facts []string) error {
	return b.change(ctx, func(f rules.Family, now *dump) string {
		return b.document(ofFamily(sets, f), now, f, facts)
	})
}

// ErrUnidentifiable tells that rules are installed that cannot be told from those
// of others.
var ErrUnidentifiable = errors.New("rules of a transparent proxy without comments are installed (2.10 with --disable-comments makes such), " +
	"and they cannot be told from those of others: remove the chains " + rules.ChainPrefix + "_* and the rules that lead to the proxy's ports by hand, see iptables-save")

// change replaces our part of each family.
func (b *iptables) change(ctx context.Context, document func(f rules.Family, now *dump) string) error {
	for _, f := range families {
		if b.tools[f] == nil {
			continue
		}
		err := b.retry(ctx, fmt.Sprintf("change the %s rules with %s", f, b.Name()), func() error {
			now, err := b.live(ctx, f)
			if err != nil {
				return err
			}
			doc := document(f, now)
			if doc == "" {
				return nil
			}
			return b.restore(ctx, f, doc)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// restore runs iptables-restore. Only the legacy mode has a lock to wait for.
func (b *iptables) restore(ctx context.Context, f rules.Family, doc string) error {
	args := []string{"--noflush"}
	if b.mode == ModeLegacy && b.Wait > 0 {
		args = append(args, "--wait="+strconv.FormatUint(uint64(b.Wait), 10))
		if b.WaitInterval > 0 {
			args = append(args, "--wait-interval="+strconv.FormatUint(uint64(b.WaitInterval), 10))
		}
	}
	_, err := b.Run(ctx, doc, b.tools[f].Restore, args...)
	return err
}

func (b *iptables) Restore(ctx context.Context, snapshot string) error {
	return b.change(ctx, func(f rules.Family, now *dump) string {
		_, mine, _ := strings.Cut(snapshot, heading(f))
		mine, _, _ = strings.Cut(mine, "\n# ")
		var out strings.Builder
		done := map[string]bool{}
		for part := range strings.SplitSeq("\n"+mine, "\n*") {
			name, lines, ok := strings.Cut(part, "\n")
			if !ok || name == "" {
				continue
			}
			done[name] = true
			fmt.Fprintf(&out, "*%s\n%s%s\n", name, joined(now.table(name).removal()), strings.TrimSpace(lines))
		}
		for _, t := range now.tables {
			if t.hasOurs() && !done[t.name] {
				fmt.Fprintf(&out, "*%s\n%sCOMMIT\n", t.name, joined(t.removal()))
			}
		}
		return out.String()
	})
}

func joined(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
