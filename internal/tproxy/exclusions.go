package tproxy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"weft/internal/tproxy/rules"
)

// parseUIDRule reads [protocol:][ports:]uids; both protocols make two exclusions.
func parseUIDRule(text string) ([]rules.UIDExclusion, error) {
	parts := strings.Split(text, ":")
	if len(parts) > 3 || strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("%q is not an exclusion for users: write [protocol:][ports:]uids, for example tcp:80,443:1000", text)
	}
	var protocols, ports string
	uids := parts[len(parts)-1]
	if len(parts) > 1 {
		ports = parts[len(parts)-2]
	}
	if len(parts) > 2 {
		protocols = parts[0]
	}
	names, err := parseProtocols(protocols)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	ranges, err := parsePortRanges(ports)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	who, err := parseUIDs(uids)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	var out []rules.UIDExclusion
	for _, n := range names {
		out = append(out, rules.UIDExclusion{Proto: n, Ports: ranges, UIDs: who})
	}
	return out, nil
}

// parseProtocols returns tcp, udp or both, tcp first.
func parseProtocols(text string) ([]string, error) {
	if text = strings.TrimSpace(text); text == "" || text == "*" {
		return []string{rules.TCP, rules.UDP}, nil
	}
	var tcp, udp bool
	for p := range strings.SplitSeq(text, ",") {
		switch strings.ToLower(strings.TrimSpace(p)) {
		case rules.TCP:
			tcp = true
		case rules.UDP:
			udp = true
		case "*":
			tcp, udp = true, true
		default:
			return nil, fmt.Errorf("protocol %q is not supported: use tcp, udp or *", p)
		}
	}
	var out []string
	if tcp {
		out = append(out, rules.TCP)
	}
	if udp {
		out = append(out, rules.UDP)
	}
	return out, nil
}

// parsePortRanges reads 80,443,1000-2000; nothing or * means all.
func parsePortRanges(text string) ([]rules.PortRange, error) {
	if text = strings.TrimSpace(text); text == "" || text == "*" {
		return []rules.PortRange{{From: 1, To: 65535}}, nil
	}
	var out []rules.PortRange
	for p := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(p), "-")
		var a, b Port
		if err := a.UnmarshalText([]byte(from)); err != nil {
			return nil, err
		}
		b = a
		if isRange {
			if err := b.UnmarshalText([]byte(to)); err != nil {
				return nil, err
			}
		}
		if b < a {
			return nil, fmt.Errorf("the range of ports %s ends before it starts", p)
		}
		out = append(out, rules.PortRange{From: uint16(a), To: uint16(b)})
	}
	return out, nil
}

// parseUIDs reads one user id or one range.
func parseUIDs(text string) (rules.UIDRange, error) {
	text = strings.TrimSpace(text)
	if text == "*" {
		return rules.UIDRange{}, fmt.Errorf("users must be named by number; * is not allowed for them (to exclude ports for everybody use excludePorts)")
	}
	from, to, isRange := strings.Cut(text, "-")
	a, err := strconv.ParseUint(from, 10, 32)
	b := a
	if err == nil && isRange {
		b, err = strconv.ParseUint(to, 10, 32)
	}
	switch {
	case err != nil:
		return rules.UIDRange{}, fmt.Errorf("%q is neither a user id nor a range like 1000-1010", text)
	case b < a:
		return rules.UIDRange{}, fmt.Errorf("the range of user ids %s ends before it starts", text)
	}
	return rules.UIDRange{From: uint32(a), To: uint32(b)}, nil
}

// parseNet reads an address or a network.
func parseNet(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("%q is neither an address nor a network: write for example 10.0.0.1, 172.16.0.0/16, fd00::1 or fd00::/64", text)
	}
	return p, nil
}

// parseVNet reads interface:CIDR.
func parseVNet(text string) (rules.VNet, error) {
	name, cidr, ok := strings.Cut(text, ":")
	if !ok {
		return rules.VNet{}, fmt.Errorf("%q is not a virtual network: write interface:CIDR, for example docker0:172.17.0.0/16", text)
	}
	if err := checkInterface(name); err != nil {
		return rules.VNet{}, fmt.Errorf("virtual network %q: %w", text, err)
	}
	p, err := netip.ParsePrefix(cidr)
	if err != nil || p.Addr().Is4In6() {
		return rules.VNet{}, fmt.Errorf("virtual network %q: %q is not a network: write for example 172.17.0.0/16", text, cidr)
	}
	return rules.VNet{Interface: name, Net: p}, nil
}

// maxInterfaceName is what Linux allows.
const maxInterfaceName = 15

// checkInterface refuses names that cannot exist, and so also everything that
// could mean something else in a rule.
func checkInterface(name string) error {
	bad := func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`/:"\*;{}#`, r)
	}
	start := strings.TrimSuffix(name, "+")
	switch {
	case start == "":
		return fmt.Errorf("the name of the interface is missing")
	case len(name) > maxInterfaceName:
		return fmt.Errorf("interface %q has a name longer than %d characters", name, maxInterfaceName)
	case strings.ContainsFunc(start, bad) || strings.Contains(start, "+"):
		return fmt.Errorf("interface %q has a name that cannot exist", name)
	}
	return nil
}
