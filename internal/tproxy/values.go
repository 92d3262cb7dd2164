package tproxy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Port is a port that is not zero.
type Port uint16

// UnmarshalText reads a port.
func (p *Port) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a port: give a number from 1 to 65535", text)
	}
	*p = Port(n)
	return nil
}

// Ports is a list of ports, also given as "80,443".
type Ports []Port

// UnmarshalText reads ports with commas in between.
func (p *Ports) UnmarshalText(text []byte) error {
	out := Ports{}
	for _, s := range splitTrimmed(string(text), ",") {
		var one Port
		if err := one.UnmarshalText([]byte(s)); err != nil {
			return err
		}
		out = append(out, one)
	}
	*p = out
	return nil
}

// numbers returns the ports, each once.
func (p Ports) numbers() []uint16 {
	var out []uint16
	for _, x := range p {
		if !slices.Contains(out, uint16(x)) {
			out = append(out, uint16(x))
		}
	}
	return out
}

// Texts is a list of texts, also given as "a,b".
type Texts []string

// UnmarshalText reads texts with commas in between.
func (t *Texts) UnmarshalText(text []byte) error {
	*t = splitTrimmed(string(text), ",")
	return nil
}

// all splits entries that hold commas themselves, as repeatable flags allow.
func (t Texts) all() []string {
	var out []string
	for _, x := range t {
		out = append(out, splitTrimmed(x, ",")...)
	}
	return out
}

// UIDRules is a list of [protocol:][ports:]uids. As one text they are separated
// by semicolons, because ports may hold commas; texts of only uids also by commas.
type UIDRules []string

// UnmarshalText reads rules with semicolons in between.
func (u *UIDRules) UnmarshalText(text []byte) error {
	out := UIDRules{}
	for _, s := range splitTrimmed(string(text), ";") {
		if strings.Contains(s, ":") {
			out = append(out, s)
		} else {
			out = append(out, splitTrimmed(s, ",")...)
		}
	}
	*u = out
	return nil
}

func splitTrimmed(s, sep string) []string {
	var out []string
	for p := range strings.SplitSeq(s, sep) {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// FamilyMode says which families are redirected.
type FamilyMode string

// The modes.
const (
	DualStack FamilyMode = "dualstack"
	IPv4Only  FamilyMode = "ipv4"
)

// UnmarshalText reads a mode in any case; nothing means both families.
func (m *FamilyMode) UnmarshalText(text []byte) error {
	switch v := FamilyMode(strings.ToLower(strings.TrimSpace(string(text)))); v {
	case "", DualStack:
		*m = DualStack
	case IPv4Only:
		*m = IPv4Only
	default:
		return fmt.Errorf("%q is not known: use dualstack or ipv4", text)
	}
	return nil
}

// BackendName is what changes the kernel's rules.
type BackendName string

// The backends.
const (
	BackendAuto           BackendName = "auto"
	BackendNFT            BackendName = "nft"
	BackendIptablesNFT    BackendName = "iptables-nft"
	BackendIptablesLegacy BackendName = "iptables-legacy"
)

// BackendNames are all values that a setting may have.
var BackendNames = []string{string(BackendAuto), string(BackendNFT), string(BackendIptablesNFT), string(BackendIptablesLegacy)}

// UnmarshalText reads a name.
func (b *BackendName) UnmarshalText(text []byte) error {
	if !slices.Contains(BackendNames, string(text)) {
		return fmt.Errorf("%q is not known: use %s", text, strings.Join(BackendNames, ", "))
	}
	*b = BackendName(text)
	return nil
}
