package tproxy

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"weft/internal/tproxy/rules"
)

// firewalldFile holds firewalld's direct rules, which it applies whenever it is
// started or reloaded.
const firewalldFile = "/etc/firewalld/direct.xml"

// direct is the content of that file.
type direct struct {
	XMLName     xml.Name            `xml:"direct"`
	Chains      []directChain       `xml:"chain"`
	Rules       []directRule        `xml:"rule"`
	Passthrough []directPassthrough `xml:"passthrough"`
}

type directChain struct {
	IPV   string `xml:"ipv,attr"`
	Table string `xml:"table,attr"`
	Chain string `xml:"chain,attr"`
}

type directRule struct {
	IPV      string `xml:"ipv,attr"`
	Table    string `xml:"table,attr"`
	Chain    string `xml:"chain,attr"`
	Priority int    `xml:"priority,attr"`
	Args     string `xml:",chardata"`
}

type directPassthrough struct {
	IPV  string `xml:"ipv,attr"`
	Args string `xml:",chardata"`
}

// lastPriority is where rules start that are to come behind those of others.
const lastPriority = 3

// withoutOurs removes what an earlier installation stored, and tells whether
// there was something.
func (d *direct) withoutOurs() bool {
	n := len(d.Chains) + len(d.Rules)
	var chains []directChain
	for _, c := range d.Chains {
		if !strings.HasPrefix(c.Chain, rules.ChainPrefix) {
			chains = append(chains, c)
		}
	}
	var list []directRule
	for _, r := range d.Rules {
		if !strings.HasPrefix(r.Chain, rules.ChainPrefix) && !strings.Contains(r.Args, "-j "+rules.ChainPrefix) && !strings.Contains(r.Args, rules.CommentPrefix) {
			list = append(list, r)
		}
	}
	d.Chains, d.Rules = chains, list
	return len(chains)+len(list) < n
}

// add adds sets. firewalld keeps the order of rules only between priorities, so
// each rule of a chain has a higher one than that before.
func (d *direct) add(sets []*rules.Set, noComments bool) {
	for _, s := range sets {
		if noComments {
			s = rules.Identifiable(s)
		}
		ipv := strings.ToLower(s.Family.String())
		for i := range s.Tables {
			t := &s.Tables[i]
			for _, c := range t.Chains {
				d.Chains = append(d.Chains, directChain{ipv, t.Name, c})
			}
			next := map[string]int{}
			for _, l := range rules.IptablesRules(t, rules.IptablesStyle{NoComments: noComments}) {
				if !l.Insert {
					next[l.Chain] = max(next[l.Chain], lastPriority)
				}
				d.Rules = append(d.Rules, directRule{ipv, t.Name, l.Chain, next[l.Chain], l.Spec})
				next[l.Chain]++
			}
		}
	}
}

func (d *direct) text() ([]byte, error) {
	out, err := xml.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the direct rules of firewalld: %w", err)
	}
	return append([]byte(`<?xml version="1.0" encoding="UTF-8"?>`+"\n"), append(out, '\n')...), nil
}

// readDirect reads the file as it is; without one there are no rules.
func (h *Host) readDirect() (*direct, error) {
	d := &direct{}
	text, err := h.ReadFile(firewalldFile)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the direct rules of firewalld: %w", err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return d, nil
	}
	if err := xml.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("%s cannot be read, so nothing can be added to it: %w", firewalldFile, err)
	}
	return d, nil
}

// storeFirewalld keeps the rules in firewalld's file.
func (i *Installer) storeFirewalld(p *prepared) error {
	d, err := i.Host.readDirect()
	if err != nil {
		return err
	}
	d.withoutOurs()
	d.add(p.sets, i.Config.Comments.Disabled)
	text, err := d.text()
	if err != nil {
		return err
	}
	fmt.Fprintf(i.Out, "\n\n%s\n", text)
	if i.Config.DryRun {
		return nil
	}
	if err := i.Host.writeFirewalld(text); err != nil {
		return err
	}
	i.note("the rules are stored for firewalld in %s", firewalldFile)
	return nil
}

// writeFirewalld replaces the file; nil removes it.
func (h *Host) writeFirewalld(text []byte) error {
	if text == nil {
		if err := h.RemoveFile(firewalldFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the direct rules of firewalld: %w", err)
		}
		return nil
	}
	if err := h.WriteFile(firewalldFile, text, 0o600); err != nil {
		return fmt.Errorf("store the direct rules of firewalld (is it installed? %s must exist): %w", filepath.Dir(firewalldFile), err)
	}
	return nil
}

// cleanFirewalld removes our part of firewalld's file.
func (i *Installer) cleanFirewalld() error {
	d, err := i.Host.readDirect()
	if err != nil || !d.withoutOurs() {
		return err
	}
	if i.Config.DryRun {
		i.note("our rules in %s would be removed", firewalldFile)
		return nil
	}
	var text []byte
	if len(d.Chains)+len(d.Rules)+len(d.Passthrough) > 0 {
		if text, err = d.text(); err != nil {
			return err
		}
	}
	if err := i.Host.writeFirewalld(text); err != nil {
		return err
	}
	i.note("our rules in %s are removed", firewalldFile)
	return nil
}
