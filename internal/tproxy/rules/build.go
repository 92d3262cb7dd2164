package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// dnsPort is where resolvers listen.
const dnsPort = 53

// Zones of connection tracking.
const (
	zoneOfProxy    = 1
	zoneOfWorkload = 2
)

// Build returns the rules for an input.
func Build(in Input) *Set {
	b := &builder{Input: in, self: &UIDRange{in.UID, in.UID}}
	s := &Set{Family: in.Family}
	for _, t := range []Table{b.raw(), b.nat(), b.mangle()} {
		if len(t.Rules) > 0 {
			s.Tables = append(s.Tables, t)
		}
	}
	return s
}

type builder struct {
	Input
	self *UIDRange
}

// chain collects the rules of one chain.
type chain struct {
	name  string
	rules []Rule
}

func (c *chain) add(m Match, do Action, why string, args ...any) {
	c.rules = append(c.rules, Rule{Chain: c.name, Match: m, Do: do, Why: fmt.Sprintf(why, args...)})
}

func (c *chain) insert(m Match, do Action, why string, args ...any) {
	c.rules = append(c.rules, Rule{Chain: c.name, Insert: true, Match: m, Do: do, Why: fmt.Sprintf(why, args...)})
}

// put adds or inserts.
func (c *chain) put(insert bool, m Match, do Action, why string, args ...any) {
	c.add(m, do, why, args...)
	c.rules[len(c.rules)-1].Insert = insert
}

var pass = Action{Verdict: Return}

func jump(to string) Action            { return Action{Verdict: Jump, Chain: to} }
func redirect(port uint16) Action      { return Action{Verdict: Redirect, Port: port} }
func inZone(zone uint16) Action        { return Action{Verdict: Zone, Zone: zone} }
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// nat returns the table that redirects.
func (b *builder) nat() Table {
	t := Table{Name: NAT, Chains: []string{Inbound, Outbound, InboundRedirect, OutboundRedirect}}
	for _, c := range []*chain{b.natPrerouting(), b.natOutput(), b.inbound(), b.outbound(), b.redirects()} {
		t.Rules = append(t.Rules, c.rules...)
	}
	return t
}

func (b *builder) natPrerouting() *chain {
	c := &chain{name: Prerouting}
	if b.LogLevel > 0 {
		c.add(Match{}, Action{Verdict: Log, Prefix: Prerouting + ":", Level: b.LogLevel}, "log incoming connections")
	}
	nets := slices.Clone(b.VNets)
	slices.SortStableFunc(nets, func(x, y VNet) int { return cmp.Compare(x.Interface, y.Interface) })
	for _, n := range nets {
		c.insert(Match{Proto: UDP, DstPort: dnsPort, In: n.Interface}, redirect(b.DNS.Port), "names asked by network %s", n.Interface)
		c.insert(Match{Proto: TCP, Opening: true, NotDst: n.Net, In: n.Interface}, redirect(b.Outbound.Port), "network %s to elsewhere", n.Interface)
	}
	c.put(b.Inbound.Insert || len(nets) > 0, Match{Proto: TCP, Opening: true}, jump(Inbound), "incoming connections")
	return c
}

func (b *builder) natOutput() *chain {
	c := &chain{name: Output}
	if b.LogLevel > 0 {
		c.insert(Match{}, Action{Verdict: Log, Prefix: Output + ":", Level: b.LogLevel}, "log outgoing connections")
	}
	for _, x := range b.Outbound.ExcludeUIDs {
		c.insert(Match{Proto: x.Proto, DstPorts: x.Ports, UIDs: &x.UIDs}, pass, "excluded user")
	}
	for _, p := range b.Outbound.ExcludeIPs {
		c.insert(Match{Dst: p}, pass, "excluded address")
	}
	for _, i := range b.Outbound.ExcludeInterfaces {
		c.insert(Match{Out: i}, pass, "excluded interface")
	}
	if b.DNS.Enabled {
		if b.DNS.DockerOutput {
			c.insert(Match{Proto: UDP, DstPort: dnsPort, UIDs: b.self}, jump(DockerOutput), "names asked by the proxy of Docker")
		}
		c.insert(Match{Proto: UDP, DstPort: dnsPort, UIDs: b.self}, pass, "names asked by the proxy")
		for _, m := range b.questions(UDP) {
			c.insert(m, redirect(b.DNS.Port), "names asked by the workload")
		}
	}
	c.put(b.Outbound.Insert, Match{Proto: TCP, Opening: true}, jump(Outbound), "outgoing connections")
	return c
}

// questions match what goes to the resolvers that are captured.
func (b *builder) questions(proto string) []Match {
	if b.DNS.CaptureAll {
		return []Match{{Proto: proto, DstPort: dnsPort}}
	}
	var out []Match
	for _, s := range b.DNS.Servers {
		out = append(out, Match{Proto: proto, DstPort: dnsPort, Dst: single(s)})
	}
	return out
}

func (b *builder) inbound() *chain {
	c := &chain{name: Inbound}
	d := &b.Inbound
	if !d.Enabled {
		c.add(Match{Proto: TCP}, pass, "incoming connections are not redirected")
		return c
	}
	b.keep(c, d)
	for _, p := range d.ExcludeIPs {
		c.add(Match{Src: p}, pass, "excluded address")
	}
	for _, i := range d.ExcludeInterfaces {
		c.add(Match{In: i}, pass, "excluded interface")
	}
	for _, p := range d.IncludePorts {
		c.add(Match{Proto: TCP, DstPort: p}, jump(InboundRedirect), "included port")
	}
	if len(d.IncludePorts) > 0 {
		return c
	}
	for _, p := range d.ExcludePorts {
		c.add(Match{Proto: TCP, DstPort: p}, pass, "excluded port")
	}
	c.add(Match{Proto: TCP}, jump(InboundRedirect), "all others")
	return c
}

// keep excludes the ports that must stay reachable.
func (b *builder) keep(c *chain, d *Direction) {
	for _, p := range d.KeepPorts {
		explicit := slices.Contains(d.IncludePorts, p) || len(d.IncludePorts) == 0 && slices.Contains(d.ExcludePorts, p)
		if !explicit {
			c.add(Match{Proto: TCP, DstPort: p}, pass, "stays reachable")
		}
	}
}

func (b *builder) outbound() *chain {
	c := &chain{name: Outbound}
	d := &b.Outbound
	if !d.Enabled {
		c.add(Match{Proto: TCP}, pass, "outgoing connections are not redirected")
		return c
	}
	b.keep(c, d)
	if len(d.IncludePorts) == 0 {
		for _, p := range d.ExcludePorts {
			c.add(Match{Proto: TCP, DstPort: p}, pass, "excluded port")
		}
	}
	var notDNS uint16
	if b.DNS.Enabled {
		notDNS = dnsPort
	}
	local := b.Family.localhost()
	c.add(Match{Src: b.Family.passthroughSource(), Out: b.Loopback}, pass, "proxy to the workload")
	c.add(Match{Proto: TCP, NotDstPort: notDNS, Out: b.Loopback, NotDst: local, UIDs: b.self}, jump(InboundRedirect),
		"proxy to this host's own address: like from outside")
	c.add(Match{Proto: TCP, NotDstPort: notDNS, Out: b.Loopback, NotUIDs: b.self}, pass, "workload to this host")
	c.add(Match{UIDs: b.self}, pass, "proxy to elsewhere")
	if b.DNS.Enabled {
		for _, m := range b.questions(TCP) {
			c.add(m, redirect(b.DNS.Port), "names asked by the workload over TCP")
		}
	}
	c.add(Match{Dst: local}, pass, "to localhost")
	for _, p := range d.IncludePorts {
		c.add(Match{Proto: TCP, DstPort: p}, jump(OutboundRedirect), "included port")
	}
	if len(d.IncludePorts) == 0 {
		c.add(Match{}, jump(OutboundRedirect), "all others")
	}
	return c
}

func (b *builder) redirects() *chain {
	in, out := &chain{name: InboundRedirect}, &chain{name: OutboundRedirect}
	in.add(Match{Proto: TCP}, redirect(b.Inbound.Port), "to the proxy's inbound port")
	out.add(Match{Proto: TCP}, redirect(b.Outbound.Port), "to the proxy's outbound port")
	return &chain{rules: append(in.rules, out.rules...)}
}

// raw returns the table that separates the tracking of questions.
func (b *builder) raw() Table {
	t := Table{Name: Raw}
	d := b.DNS
	if !d.Enabled || !d.SplitZones {
		return t
	}
	pre, out := &chain{name: Prerouting}, &chain{name: Output}
	if d.CaptureAll {
		pre.add(Match{Proto: UDP, SrcPort: dnsPort}, inZone(zoneOfProxy), "answers to the proxy")
	}
	out.add(Match{Proto: UDP, DstPort: dnsPort, UIDs: b.self}, inZone(zoneOfProxy), "questions of the proxy")
	out.add(Match{Proto: UDP, SrcPort: d.Port, UIDs: b.self}, inZone(zoneOfWorkload), "answers of the proxy")
	for _, m := range b.questions(UDP) {
		out.add(m, inZone(zoneOfWorkload), "questions of the workload")
		if d.CaptureAll {
			continue
		}
		server := m.Dst
		pre.add(Match{Proto: UDP, SrcPort: dnsPort, Src: server}, inZone(zoneOfProxy), "answers to the proxy")
		if server.Addr().IsLoopback() {
			out.add(Match{Proto: UDP, Src: server, Dst: b.Family.localhost()}, inZone(zoneOfProxy), "answers of a resolver on this host")
		}
	}
	for _, n := range b.VNets {
		// The answers of the proxy are tracked with those to the workload, so the
		// questions must be, too.
		pre.add(Match{Proto: UDP, DstPort: dnsPort, In: n.Interface}, inZone(zoneOfWorkload), "questions of network %s", n.Interface)
	}
	t.Rules = append(pre.rules, out.rules...)
	return t
}

func (b *builder) mangle() Table {
	t := Table{Name: Mangle}
	if b.DropInvalid {
		c := &chain{name: Prerouting}
		c.add(Match{InvalidInConntrack: true}, Action{Verdict: Drop}, "drop what belongs to no connection")
		t.Rules = c.rules
	}
	return t
}
