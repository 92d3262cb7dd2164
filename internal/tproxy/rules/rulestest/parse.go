// Package rulestest reads documents of iptables-restore back into rules, so that
// tests can compare what documents do instead of how they are written. For tests
// only.
package rulestest

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"weft/internal/tproxy/rules"
)

// Documents reads a dry run: documents under headings "### IPv4 ###".
func Documents(text string) ([]*rules.Set, error) {
	var out []*rules.Set
	for _, f := range []rules.Family{rules.IPv4, rules.IPv6} {
		_, doc, ok := strings.Cut(text, "### "+f.String()+" ###")
		if !ok {
			continue
		}
		doc, _, _ = strings.Cut(doc, "###")
		s, err := Document(f, doc)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// Document reads one document. Lines that are no rules (comments, XML) are passed
// over outside of tables.
func Document(f rules.Family, doc string) (*rules.Set, error) {
	s := &rules.Set{Family: f}
	var t *rules.Table
	for line := range strings.Lines(doc) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '*':
			s.Tables = append(s.Tables, rules.Table{Name: strings.TrimSpace(line[1:])})
			t = &s.Tables[len(s.Tables)-1]
		case t == nil:
		case line == "COMMIT":
			t = nil
		default:
			words, err := split(line)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			if words[0] == "-N" || words[0] == "--new-chain" {
				t.Chains = append(t.Chains, words[1])
				continue
			}
			r, err := rule(words)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			t.Rules = append(t.Rules, *r)
		}
	}
	return s, nil
}

// split cuts a line into words; quotes hold words together.
func split(line string) ([]string, error) {
	var out []string
	for line != "" {
		if line[0] == '"' {
			q, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, err
			}
			text, err := strconv.Unquote(q)
			if err != nil {
				return nil, err
			}
			out, line = append(out, text), strings.TrimLeft(line[len(q):], " ")
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		out, line = append(out, word), strings.TrimLeft(rest, " ")
	}
	return out, nil
}

func rule(w []string) (*rules.Rule, error) {
	r := &rules.Rule{Chain: w[1], Insert: w[0] == "-I" || w[0] == "--insert"}
	w = w[2:]
	if r.Insert {
		w = w[1:]
	}
	for len(w) > 0 {
		not := w[0] == "!"
		if not {
			w = w[1:]
		}
		used, err := option(r, w, not)
		if err != nil {
			return nil, err
		}
		w = w[used:]
	}
	return r, nil
}

// option reads one option and returns how many words it has.
func option(r *rules.Rule, w []string, not bool) (int, error) {
	if w[0] == "--syn" {
		r.Match.Opening = true
		return 1, nil
	}
	if len(w) < 2 {
		return 0, fmt.Errorf("option %s has no value", w[0])
	}
	m := &r.Match
	switch w[0] {
	case "-m", "--match":
	case "--comment":
		r.Why = strings.TrimPrefix(w[1], rules.CommentPrefix)
	case "-p", "--protocol":
		m.Proto = w[1]
	case "-s", "--source":
		return 2, network(&m.Src, w[1])
	case "-d", "--destination":
		if not {
			return 2, network(&m.NotDst, w[1])
		}
		return 2, network(&m.Dst, w[1])
	case "-i", "--in-interface":
		m.In = w[1]
	case "-o", "--out-interface":
		m.Out = w[1]
	case "--sport", "--source-port":
		return 2, number(&m.SrcPort, w[1])
	case "--dport", "--destination-port", "--dports", "--destination-ports":
		if not {
			return 2, number(&m.NotDstPort, w[1])
		}
		return 2, ports(m, w[1])
	case "--uid-owner":
		u, err := users(w[1])
		if not {
			m.NotUIDs = u
		} else {
			m.UIDs = u
		}
		return 2, err
	case "--ctstate":
		m.InvalidInConntrack = w[1] == "INVALID"
	case "-j", "--jump":
		target(&r.Do, w[1])
		return 2, nil
	case "--to-ports":
		return 2, number(&r.Do.Port, w[1])
	case "--zone":
		return 2, number(&r.Do.Zone, w[1])
	case "--log-prefix":
		r.Do.Prefix = w[1]
	case "--log-level":
		return 2, number(&r.Do.Level, w[1])
	default:
		return 0, fmt.Errorf("option %s is not known", w[0])
	}
	return 2, nil
}

func target(a *rules.Action, word string) {
	switch word {
	case "RETURN":
		a.Verdict = rules.Return
	case "REDIRECT":
		a.Verdict = rules.Redirect
	case "CT":
		a.Verdict = rules.Zone
	case "LOG":
		a.Verdict = rules.Log
	case "DROP":
		a.Verdict = rules.Drop
	case "ACCEPT":
		a.Verdict = rules.Accept
	default:
		a.Verdict, a.Chain = rules.Jump, word
	}
}

func network(to *netip.Prefix, text string) error {
	if a, err := netip.ParseAddr(text); err == nil {
		*to = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	p, err := netip.ParsePrefix(text)
	*to = p
	return err
}

func number(to *uint16, text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	*to = uint16(n)
	return err
}

// ports reads a port or a list of ports and ranges.
func ports(m *rules.Match, text string) error {
	if !strings.ContainsAny(text, ",:") {
		return number(&m.DstPort, text)
	}
	for p := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(p, ":")
		var r rules.PortRange
		if err := number(&r.From, from); err != nil {
			return err
		}
		r.To = r.From
		if isRange {
			if err := number(&r.To, to); err != nil {
				return err
			}
		}
		m.DstPorts = append(m.DstPorts, r)
	}
	return nil
}

func users(text string) (*rules.UIDRange, error) {
	from, to, isRange := strings.Cut(text, ":")
	if !isRange {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 32)
	if err != nil {
		return nil, err
	}
	b, err := strconv.ParseUint(to, 10, 32)
	return &rules.UIDRange{From: uint32(a), To: uint32(b)}, err
}
