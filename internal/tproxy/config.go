// Package tproxy installs and removes the transparent proxy: rules of the kernel
// by which the connections of an unchanged application go through its sidecar.
//
// Config holds the settings, Plan turns them and what is known about the host
// into sets of rules (package rules), an Installer puts these into the kernel
// with nft or iptables (package backend), tries whether connections go where
// they should (package probe) and undoes everything when they do not, or when
// nobody confirms in time (package watchdog). kumactl and the CNI plugin call it.
package tproxy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"weft/internal/config/loader"
)

// envPrefix is what all variables start with.
const envPrefix = "KUMA_TRANSPARENT_PROXY_"

// Config are the settings. The keys and variables are those of 2.10, apart from
// backend, keepReachable, selfTest and excludeInterfaces, which are ours.
type Config struct {
	// User that runs kuma-dp, by name or number; empty = 5678, or else kuma-dp.
	KumaDPUser string `json:"kumaDPUser" env:"KUMA_TRANSPARENT_PROXY_KUMA_DP_USER"`
	// Families whose connections are redirected: dualstack or ipv4.
	IPFamilyMode FamilyMode `json:"ipFamilyMode" env:"KUMA_TRANSPARENT_PROXY_IP_FAMILY_MODE"`
	// What changes the kernel's rules: auto, nft, iptables-nft or iptables-legacy.
	Backend       BackendName   `json:"backend" env:"KUMA_TRANSPARENT_PROXY_BACKEND"`
	Redirect      Redirect      `json:"redirect" env:"KUMA_TRANSPARENT_PROXY_REDIRECT"`
	KeepReachable KeepReachable `json:"keepReachable" env:"KUMA_TRANSPARENT_PROXY_KEEP_REACHABLE"`
	SelfTest      SelfTest      `json:"selfTest" env:"KUMA_TRANSPARENT_PROXY_SELF_TEST"`
	EBPF          EBPF          `json:"ebpf" env:"KUMA_TRANSPARENT_PROXY_EBPF"`
	// If true, packets that belong to no connection are dropped.
	DropInvalidPackets bool `json:"dropInvalidPackets" env:"KUMA_TRANSPARENT_PROXY_DROP_INVALID_PACKETS"`
	// If true, rules of iptables are written with long options.
	Verbose bool `json:"verbose" env:"KUMA_TRANSPARENT_PROXY_VERBOSE"`
	// If true, rules are only printed.
	DryRun bool `json:"dryRun" env:"KUMA_TRANSPARENT_PROXY_DRY_RUN"`
	Log    Log  `json:"log" env:"KUMA_TRANSPARENT_PROXY_LOG"`
	// Seconds to wait for the lock of iptables-legacy; 0 = do not wait.
	Wait uint `json:"wait" env:"KUMA_TRANSPARENT_PROXY_WAIT"`
	// Microseconds between attempts to get the lock; 0 = as iptables likes.
	WaitInterval uint  `json:"waitInterval" env:"KUMA_TRANSPARENT_PROXY_WAIT_INTERVAL"`
	Retry        Retry `json:"retry" env:"KUMA_TRANSPARENT_PROXY_RETRY"`
	// If true, rules are also kept in firewalld's direct rules.
	StoreFirewalld bool `json:"storeFirewalld" env:"KUMA_TRANSPARENT_PROXY_STORE_FIREWALLD"`
	// Programs to use instead of those found: iptables, iptables-save,
	// iptables-restore, ip6tables, ip6tables-save, ip6tables-restore.
	IptablesExecutables Executables `json:"iptablesExecutables" env:"KUMA_TRANSPARENT_PROXY_IPTABLES_EXECUTABLES"`
	Comments            Comments    `json:"comments" env:"KUMA_TRANSPARENT_PROXY_COMMENTS"`
	// If true, the user is not looked up on this host.
	CNIMode bool `json:"cniMode" env:"KUMA_TRANSPARENT_PROXY_CNI_MODE"`
}

// Redirect says what is redirected.
type Redirect struct {
	Inbound  Direction  `json:"inbound" env:"INBOUND"`
	Outbound Direction  `json:"outbound" env:"OUTBOUND"`
	DNS      DNSConfig  `json:"dns" env:"DNS"`
	VNet     VNetConfig `json:"vnet" env:"VNET"`
}

// Direction is about connections to this host, or from it.
type Direction struct {
	// If false, nothing is redirected.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// Port of the proxy.
	Port Port `json:"port" env:"PORT"`
	// Only these ports are redirected; empty = all but the excluded ones.
	IncludePorts Ports `json:"includePorts" env:"INCLUDE_PORTS"`
	// Ports that are not redirected.
	ExcludePorts Ports `json:"excludePorts" env:"EXCLUDE_PORTS"`
	// Ports that are not redirected for some users: [protocol:][ports:]uids.
	ExcludePortsForUIDs UIDRules `json:"excludePortsForUIDs" env:"EXCLUDE_PORTS_FOR_UIDS"`
	// Addresses or networks at the other end that are not redirected.
	ExcludePortsForIPs Texts `json:"excludePortsForIPs" env:"EXCLUDE_PORTS_FOR_IPS"`
	// Interfaces whose connections are not redirected; a trailing + stands for any ending.
	ExcludeInterfaces Texts `json:"excludeInterfaces" env:"EXCLUDE_INTERFACES"`
	// If true, the redirection comes before rules of others.
	InsertRedirectInsteadOfAppend bool `json:"insertRedirectInsteadOfAppend" env:"INSERT_REDIRECT_INSTEAD_OF_APPEND"`
	// Accepted for compatibility; names of chains are fixed.
	ChainName string `json:"chainName,omitempty" env:"CHAIN_NAME"`
	// Accepted for compatibility; names of chains are fixed.
	RedirectChainName string `json:"redirectChainName,omitempty" env:"REDIRECT_CHAIN_NAME"`
}

// DNSConfig is about questions for names.
type DNSConfig struct {
	// If true, questions to the servers in resolvConfigPath go to the proxy.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// Port of the proxy's resolver.
	Port Port `json:"port" env:"PORT"`
	// If true, questions to any server go to the proxy.
	CaptureAll bool `json:"captureAll" env:"CAPTURE_ALL"`
	// If true, questions of the workload and the proxy are tracked together.
	SkipConntrackZoneSplit bool `json:"skipConntrackZoneSplit" env:"SKIP_CONNTRACK_ZONE_SPLIT"`
	// File that names the servers.
	ResolvConfigPath string `json:"resolvConfigPath" env:"RESOLV_CONFIG_PATH"`
}

// VNetConfig is about networks of containers on this host.
type VNetConfig struct {
	// interface:CIDR; a trailing + of the interface stands for any ending.
	Networks Texts `json:"networks,omitempty" env:"NETWORKS"`
}

// KeepReachable are ports that are left alone so that the host stays reachable.
type KeepReachable struct {
	// If false, these ports are redirected like others.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// Ports of this host: SSH and a control plane that may run here.
	InboundPorts Ports `json:"inboundPorts" env:"INBOUND_PORTS"`
	// Ports of other hosts: the control plane's.
	OutboundPorts Ports `json:"outboundPorts" env:"OUTBOUND_PORTS"`
}

// SelfTest is about connections that are tried after an installation.
type SelfTest struct {
	// If false, nothing is tried.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// host:port that must be reachable after the installation as before.
	Connect Texts `json:"connect" env:"CONNECT"`
	// How long a connection may take.
	Timeout time.Duration `json:"timeout" env:"TIMEOUT"`
}

// EBPF are settings of a variant that is not supported.
type EBPF struct {
	Enabled              bool   `json:"enabled" env:"ENABLED"`
	InstanceIP           string `json:"instanceIP" env:"INSTANCE_IP"`
	InstanceIPEnvVarName string `json:"instanceIPEnvVarName" env:"INSTANCE_IP_ENV_VAR_NAME"`
	BPFFSPath            string `json:"bpffsPath" env:"BPFFS_PATH"`
	CgroupPath           string `json:"cgroupPath" env:"CGROUP_PATH"`
	ProgramsSourcePath   string `json:"programsSourcePath" env:"PROGRAMS_SOURCE_PATH"`
	TCAttachIface        string `json:"tcAttachIface" env:"TC_ATTACH_IFACE"`
}

// Log is about the kernel's log.
type Log struct {
	// If true, new connections are written to the kernel's log.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// Level of the entries, 0 to 7.
	Level uint16 `json:"level" env:"LEVEL"`
}

// Retry is about commands that fail.
type Retry struct {
	// How often a failed command is tried again.
	MaxRetries uint `json:"maxRetries" env:"MAX_RETRIES"`
	// How long to wait in between.
	SleepBetweenRetries time.Duration `json:"sleepBetweenRetries" env:"SLEEP_BETWEEN_RETRIES"`
}

// Comments is about comments on rules.
type Comments struct {
	// If true, rules have no comments.
	Disabled bool `json:"disabled" env:"DISABLED"`
}

// Default returns the settings for a host, or for a pod of Kubernetes: there the
// platform decides what is excluded, and no operator can be locked out.
func Default(inPod bool) *Config {
	controlPlane := Ports{5676, 5678, 5680, 5681, 5682, 5683, 5685}
	return &Config{
		IPFamilyMode: DualStack,
		Backend:      BackendAuto,
		Redirect: Redirect{
			Inbound:  Direction{Enabled: true, Port: 15006},
			Outbound: Direction{Enabled: true, Port: 15001},
			DNS:      DNSConfig{Port: 15053, ResolvConfigPath: "/etc/resolv.conf"},
		},
		KeepReachable: KeepReachable{Enabled: !inPod, InboundPorts: append(Ports{22}, controlPlane...), OutboundPorts: controlPlane},
		SelfTest:      SelfTest{Enabled: !inPod, Timeout: 3 * time.Second},
		EBPF:          EBPF{BPFFSPath: "/run/kuma/bpf", CgroupPath: "/sys/fs/cgroup", ProgramsSourcePath: "/tmp/kuma-ebpf"},
		Log:           Log{Level: 7},
		Wait:          5,
		Retry:         Retry{MaxRetries: 4, SleepBetweenRetries: 2 * time.Second},
	}
}

// Load overlays the settings with a file (YAML or JSON; nil = none) and with the
// variables in environ. Warnings are sentences about what has no effect.
func (c *Config) Load(file []byte, environ []string) (warnings []string, err error) {
	res, err := loader.Load(c, loader.Options{File: file, Environ: environ, Prefix: envPrefix})
	if res != nil {
		warnings = res.Warnings
	}
	return warnings, err
}

// Variables returns the names of all variables that Load knows.
func Variables() []string {
	var out []string
	for _, f := range loader.Fields(new(Config), envPrefix) {
		if f.Env != "" {
			out = append(out, f.Env)
		}
	}
	return out
}

// Changed returns the settings that are not as Default(false) has them, as a tree
// that Load reads.
func (c *Config) Changed() map[string]any {
	return changed(loader.Dump(Default(false)), loader.Dump(c))
}

func changed(was, is map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range is {
		if group, ok := v.(map[string]any); ok {
			before, _ := was[k].(map[string]any)
			if sub := changed(before, group); len(sub) > 0 {
				out[k] = sub
			}
			continue
		}
		if !reflect.DeepEqual(v, was[k]) {
			out[k] = v
		}
	}
	return out
}

// Executables maps the names of programs to paths.
type Executables map[string]string

// ExecutableNames are the names that Executables may hold.
var ExecutableNames = []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"}

// Family returns the three programs of a family ("iptables" or "ip6tables") if
// all are given.
func (e Executables) Family(name string) (program, save, restore string, ok bool) {
	program, save, restore = e[name], e[name+"-save"], e[name+"-restore"]
	return program, save, restore, program != "" && save != "" && restore != ""
}

// UnmarshalText reads name:path[,name:path...].
func (e *Executables) UnmarshalText(text []byte) error {
	out := Executables{}
	for _, p := range splitTrimmed(string(text), ",") {
		name, path, ok := strings.Cut(p, ":")
		if !ok || path == "" {
			return fmt.Errorf("%q is not of the form name:path", p)
		}
		if !slices.Contains(ExecutableNames, name) {
			return fmt.Errorf("%q is not a program that can be replaced; those are %s", name, strings.Join(ExecutableNames, ", "))
		}
		out[name] = path
	}
	*e = out
	return nil
}
