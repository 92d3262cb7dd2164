package tproxy

import (
	"fmt"
	"net/netip"
	"slices"

	"weft/internal/mesh/model"
	"weft/internal/tproxy/rules"
)

// Facts are what the rules depend on besides the settings.
type Facts struct {
	// UID of the user that runs the proxy.
	UID uint32
	// Loopback is the name of the loopback interface.
	Loopback string
	// Families that are redirected.
	Families []rules.Family
	// Resolvers are the name servers of this host.
	Resolvers []netip.Addr
	// SSHPorts are where the SSH server of this host listens.
	SSHPorts []uint16
	// Limits are what the backend cannot do, by family.
	Limits map[rules.Family]Limits
}

// Limits are what a backend cannot do, and what it found.
type Limits struct {
	// NoZones says why questions for names cannot be tracked apart; empty = they can.
	NoZones string
	// NoMangle says why invalid packets cannot be dropped; empty = they can.
	NoMangle string
	// NoComments tells that rules cannot have comments.
	NoComments bool
	// DockerOutput tells that there is a chain of Docker for its resolver.
	DockerOutput bool
}

// Check returns what is wrong with the settings as a *model.Invalid, or nil.
func (c *Config) Check() error {
	var v model.Violations
	c.parse(&v)
	c.checkEBPF(&v)
	if len(c.Redirect.Inbound.ExcludePortsForUIDs) > 0 {
		v.At("redirect", "inbound", "excludePortsForUIDs").Add("must be empty: who sends an incoming connection is known only on the host that it comes from")
	}
	if c.Redirect.Inbound.Port == c.Redirect.Outbound.Port {
		v.At("redirect", "outbound", "port").Add("must differ from redirect.inbound.port, which is %d too", c.Redirect.Inbound.Port)
	}
	if c.Log.Level > 7 {
		v.At("log", "level").Add("must be from 0 to 7, but is %d", c.Log.Level)
	}
	if c.Log.Enabled && c.Log.Level == 0 {
		v.At("log", "level").Add("must not be 0 (emergency): every terminal would be written to; use 7")
	}
	if c.StoreFirewalld && c.Backend == BackendNFT {
		v.At("storeFirewalld").Add("needs a backend of iptables, because firewalld's direct rules are such; firewalld leaves the table of nft alone")
	}
	if c.SelfTest.Timeout <= 0 {
		v.At("selfTest", "timeout").Add("must be more than zero")
	}
	return v.Err()
}

func (c *Config) checkEBPF(v *model.Violations) {
	if c.EBPF.Enabled {
		v.At("ebpf", "enabled").Add("is not supported: leave --ebpf-enabled out, then rules of nft or iptables do the same")
	}
}

// parsed are the settings that are given as text.
type parsed struct {
	inboundIPs, outboundIPs []netip.Prefix
	uids                    []rules.UIDExclusion
	vnets                   []rules.VNet
}

func (c *Config) parse(v *model.Violations) *parsed {
	p := &parsed{}
	nets := func(list Texts, name string) (out []netip.Prefix) {
		for i, text := range list.all() {
			n, err := parseNet(text)
			if err != nil {
				v.At("redirect", name, "excludePortsForIPs", i).Add("%s", err)
				continue
			}
			out = append(out, n)
		}
		return out
	}
	p.inboundIPs = nets(c.Redirect.Inbound.ExcludePortsForIPs, "inbound")
	p.outboundIPs = nets(c.Redirect.Outbound.ExcludePortsForIPs, "outbound")
	interfaces := func(list Texts, name string) {
		for i, n := range list.all() {
			if err := checkInterface(n); err != nil {
				v.At("redirect", name, "excludeInterfaces", i).Add("%s", err)
			}
		}
	}
	interfaces(c.Redirect.Inbound.ExcludeInterfaces, "inbound")
	interfaces(c.Redirect.Outbound.ExcludeInterfaces, "outbound")
	for i, text := range c.Redirect.Outbound.ExcludePortsForUIDs {
		x, err := parseUIDRule(text)
		if err != nil {
			v.At("redirect", "outbound", "excludePortsForUIDs", i).Add("%s", err)
		}
		p.uids = append(p.uids, x...)
	}
	for i, text := range c.Redirect.VNet.Networks.all() {
		n, err := parseVNet(text)
		if err != nil {
			v.At("redirect", "vnet", "networks", i).Add("%s", err)
			continue
		}
		p.vnets = append(p.vnets, n)
	}
	return p
}

// Plan returns the sets of rules, one for each family, and sentences about what
// was asked for but cannot be had.
func (c *Config) Plan(f *Facts) (sets []*rules.Set, warnings []string, err error) {
	if err := c.Check(); err != nil {
		return nil, nil, err
	}
	p := c.parse(&model.Violations{})
	for _, family := range f.Families {
		in, more := c.input(p, f, family)
		warnings = append(warnings, more...)
		sets = append(sets, rules.Build(*in))
	}
	return sets, append(warnings, c.loopWarning(f)...), nil
}

func (c *Config) input(p *parsed, f *Facts, family rules.Family) (in *rules.Input, warnings []string) {
	in = &rules.Input{
		Family: family, UID: f.UID, Loopback: f.Loopback,
		Inbound:     c.direction(&c.Redirect.Inbound, ofFamily(p.inboundIPs, family), c.KeepReachable.InboundPorts),
		Outbound:    c.direction(&c.Redirect.Outbound, ofFamily(p.outboundIPs, family), c.KeepReachable.OutboundPorts),
		DropInvalid: c.DropInvalidPackets,
	}
	in.Outbound.ExcludeUIDs = p.uids
	for _, port := range f.SSHPorts {
		if c.KeepReachable.Enabled && !slices.Contains(in.Inbound.KeepPorts, port) {
			in.Inbound.KeepPorts = append(in.Inbound.KeepPorts, port)
		}
	}
	if c.Log.Enabled {
		in.LogLevel = c.Log.Level
	}
	for _, n := range p.vnets {
		if family.Holds(n.Net.Addr()) {
			in.VNets = append(in.VNets, n)
		}
	}
	limits := f.Limits[family]
	if in.DropInvalid && limits.NoMangle != "" {
		in.DropInvalid = false
		warnings = append(warnings, fmt.Sprintf("%s: invalid packets are not dropped: %s", family, limits.NoMangle))
	}
	warnings = append(warnings, c.dns(in, f, &limits)...)
	return in, warnings
}

func (c *Config) direction(d *Direction, ips []netip.Prefix, keep Ports) rules.Direction {
	out := rules.Direction{
		Enabled: d.Enabled, Port: uint16(d.Port), IncludePorts: d.IncludePorts.numbers(), ExcludePorts: d.ExcludePorts.numbers(),
		ExcludeIPs: ips, ExcludeInterfaces: d.ExcludeInterfaces.all(), Insert: d.InsertRedirectInsteadOfAppend,
	}
	if c.KeepReachable.Enabled {
		out.KeepPorts = keep.numbers()
	}
	return out
}

func ofFamily(list []netip.Prefix, f rules.Family) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		if f.Holds(p.Addr()) {
			out = append(out, p)
		}
	}
	return out
}

// dns fills in which questions are redirected.
func (c *Config) dns(in *rules.Input, f *Facts, limits *Limits) (warnings []string) {
	d := &c.Redirect.DNS
	in.DNS = rules.DNS{Port: uint16(d.Port)}
	if !d.Enabled && !d.CaptureAll {
		return nil
	}
	for _, a := range f.Resolvers {
		if in.Family.Holds(a) {
			in.DNS.Servers = append(in.DNS.Servers, a.Unmap())
		}
	}
	if !d.CaptureAll && len(in.DNS.Servers) == 0 {
		return []string{fmt.Sprintf("%s names no %s server, so questions over %s are not redirected", d.ResolvConfigPath, in.Family, in.Family)}
	}
	in.DNS.Enabled, in.DNS.CaptureAll, in.DNS.DockerOutput = true, d.CaptureAll, limits.DockerOutput
	switch {
	case d.SkipConntrackZoneSplit:
	case limits.NoZones != "":
		warnings = append(warnings, fmt.Sprintf("%s: questions of the application and the proxy are tracked together: %s", in.Family, limits.NoZones))
	case limits.DockerOutput && d.CaptureAll:
		warnings = append(warnings, fmt.Sprintf("%s: questions of the application and the proxy are tracked together, because all of them pass Docker's resolver", in.Family))
	default:
		in.DNS.SplitZones = true
	}
	return warnings
}

// loopWarning tells when a resolver on this host would get its own questions
// back from the proxy.
func (c *Config) loopWarning(f *Facts) []string {
	if !c.Redirect.DNS.CaptureAll || len(c.Redirect.Outbound.ExcludePortsForUIDs) > 0 {
		return nil
	}
	for _, a := range f.Resolvers {
		if a.IsLoopback() && !f.Limits[rules.IPv4].DockerOutput {
			return []string{fmt.Sprintf("%s names a resolver on this host (%s); if it asks other servers, its questions come back to the proxy: "+
				"exclude its user, for example --exclude-outbound-ports-for-uids 53:$(id -u systemd-resolve)", c.Redirect.DNS.ResolvConfigPath, a)}
		}
	}
	return nil
}
