package rules

import "net/netip"

// Input is all that the rules of one family depend on.
type Input struct {
	Family Family
	// UID is the user that runs the proxy; what it sends is not redirected.
	UID uint32
	// Loopback is the name of the loopback interface.
	Loopback string

	Inbound  Direction
	Outbound Direction
	DNS      DNS
	// VNets are networks of containers or virtual machines on this host whose
	// connections to elsewhere go through the proxy, too.
	VNets []VNet
	// LogLevel logs every new connection with this level; 0 = none.
	LogLevel    uint16
	DropInvalid bool
}

// Direction is what happens to connections to this host (inbound), or from it.
type Direction struct {
	Enabled bool
	// Port of the proxy.
	Port uint16
	// IncludePorts, if there are any, are the only ports that are redirected, and
	// ExcludePorts has no effect.
	IncludePorts, ExcludePorts []uint16
	// KeepPorts are excluded so that nobody is locked out; a port that is in
	// IncludePorts is redirected nevertheless.
	KeepPorts []uint16
	// ExcludeIPs are the addresses at the other end that are left alone.
	ExcludeIPs        []netip.Prefix
	ExcludeInterfaces []string
	// ExcludeUIDs is for outbound only.
	ExcludeUIDs []UIDExclusion
	// Insert puts the redirection in front of other rules instead of behind them.
	Insert bool
}

// UIDExclusion leaves connections of some users alone.
type UIDExclusion struct {
	Proto string
	Ports []PortRange
	UIDs  UIDRange
}

// DNS says which questions go to the proxy's resolver.
type DNS struct {
	Enabled bool
	// Port of the proxy's resolver.
	Port uint16
	// CaptureAll redirects questions to any server, otherwise those to Servers.
	CaptureAll bool
	Servers    []netip.Addr
	// SplitZones tracks questions of the workload and of the proxy's resolver in
	// two zones, because both may use the same source port.
	SplitZones bool
	// DockerOutput tells that Docker redirects to its resolver in a chain that the
	// proxy's own questions must pass.
	DockerOutput bool
}

// VNet is a network behind an interface.
type VNet struct {
	Interface string
	Net       netip.Prefix
}
