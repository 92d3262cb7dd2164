// Package rules says which packets a transparent proxy redirects: a pure
// function (Build) turns settings and facts about the host into tables of rules,
// which are plain data. Text for iptables-restore and for nft is made from the
// same data, and Trace tells what becomes of a packet, so that a set of rules can
// be judged before it is installed. Nothing here touches the host; everything is
// safe for concurrent use.
package rules

import (
	"net/netip"
	"strconv"
)

// Family is an IP version.
type Family int

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String returns "IPv4" or "IPv6".
func (f Family) String() string { return "IPv" + strconv.Itoa(int(f)) }

// Holds tells whether an address is of this family.
func (f Family) Holds(a netip.Addr) bool { return a.Unmap().Is4() == (f == IPv4) }

// passthroughSource is the address from which the proxy talks to the workload,
// so that these connections can be told from all others.
func (f Family) passthroughSource() netip.Prefix {
	if f == IPv4 {
		return netip.MustParsePrefix("127.0.0.6/32")
	}
	return netip.MustParsePrefix("::6/128")
}

// localhost is the loopback address proper.
func (f Family) localhost() netip.Prefix {
	if f == IPv4 {
		return netip.MustParsePrefix("127.0.0.1/32")
	}
	return netip.MustParsePrefix("::1/128")
}

// Names of tables, and of the chains where packets enter them.
const (
	Raw        = "raw"
	NAT        = "nat"
	Mangle     = "mangle"
	Prerouting = "PREROUTING"
	Output     = "OUTPUT"
)

// Own chains of the nat table. 2.10 has the same, so that its uninstall works on
// our rules and ours on its.
const (
	ChainPrefix      = "KUMA_MESH"
	Inbound          = ChainPrefix + "_INBOUND"
	Outbound         = ChainPrefix + "_OUTBOUND"
	InboundRedirect  = ChainPrefix + "_INBOUND_REDIRECT"
	OutboundRedirect = ChainPrefix + "_OUTBOUND_REDIRECT"
	// DockerOutput is the chain in which Docker redirects to its own resolver.
	DockerOutput = "DOCKER_OUTPUT"
)

// Set holds all rules of one family, in the order of tables in which they are
// written. Tables without rules are absent.
type Set struct {
	Family Family
	Tables []Table
}

// Table returns a table, or nil.
func (s *Set) Table(name string) *Table {
	for i := range s.Tables {
		if s.Tables[i].Name == name {
			return &s.Tables[i]
		}
	}
	return nil
}

// Table is one table: its own chains and the rules of these and of built-in
// chains.
type Table struct {
	Name   string
	Chains []string
	Rules  []Rule
}

// Of returns the rules of a chain: inserted ones first, as they take effect.
func (t *Table) Of(chain string) []Rule {
	var first, last []Rule
	for _, r := range t.Rules {
		switch {
		case r.Chain != chain:
		case r.Insert:
			first = append(first, r)
		default:
			last = append(last, r)
		}
	}
	return append(first, last...)
}

// Rule does something with the packets of a chain that match.
type Rule struct {
	Chain string
	// Insert puts the rule in front of rules that others have in a built-in chain.
	// Inserted rules keep their order among themselves.
	Insert bool
	Match  Match
	Do     Action
	// Why is the comment.
	Why string
}

// Protocols of Match.
const (
	TCP = "tcp"
	UDP = "udp"
)

// Match is what a packet must be like; a zero field matches everything.
type Match struct {
	Proto string
	// Opening restricts to TCP packets that open a connection. Connections that
	// exist when rules are installed would otherwise be redirected half-way.
	Opening            bool
	SrcPort, DstPort   uint16
	NotDstPort         uint16
	DstPorts           []PortRange
	Src, Dst, NotDst   netip.Prefix
	In, Out            string // interface; a trailing + stands for any ending
	UIDs               *UIDRange
	NotUIDs            *UIDRange
	InvalidInConntrack bool
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ From, To uint16 }

// UIDRange is a range of user ids, both ends included.
type UIDRange struct{ From, To uint32 }

// Verdict is what is done with a packet.
type Verdict int

// The verdicts.
const (
	// Return leaves the chain; in a built-in chain it lets the packet pass.
	Return Verdict = iota
	// Jump goes on in Action.Chain.
	Jump
	// Redirect sends the connection to Action.Port of this host.
	Redirect
	// Zone tracks the connection in Action.Zone.
	Zone
	// Log writes the packet to the kernel's log and goes on.
	Log
	// Drop throws the packet away.
	Drop
	// Accept lets the packet pass, from any chain of the table.
	Accept
)

// Action is what a rule does.
type Action struct {
	Verdict Verdict
	Chain   string
	Port    uint16
	Zone    uint16
	Prefix  string
	Level   uint16
}
