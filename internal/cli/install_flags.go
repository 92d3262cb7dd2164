package cli

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"weft/internal/tproxy"
)

// textValue is a flag whose type reads texts by itself.
type textValue[T any] struct {
	to       *T
	typeName string
}

func textFlag[T any](to *T, typeName string) *textValue[T] { return &textValue[T]{to, typeName} }

// String implements pflag.Value.
func (v *textValue[T]) String() string {
	if v == nil || v.to == nil {
		return ""
	}
	x := reflect.ValueOf(*v.to)
	switch x.Kind() {
	case reflect.Slice:
		var parts []string
		for i := range x.Len() {
			parts = append(parts, fmt.Sprint(x.Index(i)))
		}
		return strings.Join(parts, ",")
	case reflect.Map:
		return ""
	}
	return fmt.Sprint(x)
}

// Set implements pflag.Value.
func (v *textValue[T]) Set(s string) error {
	return any(v.to).(encoding.TextUnmarshaler).UnmarshalText([]byte(s))
}

// Type implements pflag.Value.
func (v *textValue[T]) Type() string { return v.typeName }

// listValue is a list flag that may be repeated; the first time replaces.
type listValue[T ~[]string] struct {
	to  *T
	set bool
}

// String implements pflag.Value.
func (v *listValue[T]) String() string {
	if v == nil || v.to == nil {
		return ""
	}
	return strings.Join(*v.to, ",")
}

// Set implements pflag.Value.
func (v *listValue[T]) Set(s string) error {
	if !v.set {
		*v.to, v.set = nil, true
	}
	*v.to = append(*v.to, s)
	return nil
}

// Type implements pflag.Value.
func (v *listValue[T]) Type() string { return "stringArray" }

// uintValue is a number that is not negative.
type uintValue struct{ to *uint }

// String implements pflag.Value.
func (v *uintValue) String() string {
	if v == nil || v.to == nil {
		return ""
	}
	return strconv.FormatUint(uint64(*v.to), 10)
}

// Set implements pflag.Value.
func (v *uintValue) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is not a number from 0 to 4294967295", s)
	}
	*v.to = uint(n)
	return nil
}

// Type implements pflag.Value.
func (v *uintValue) Type() string { return "uint" }

// settingFlags are flags that set one setting each. They are parsed into settings
// of their own; what was given is copied over those of the file and the variables,
// which are read later but count less.
type settingFlags struct {
	given *tproxy.Config
	copy  map[string]func(to *tproxy.Config)
}

func newSettingFlags() *settingFlags {
	return &settingFlags{given: tproxy.Default(false), copy: map[string]func(*tproxy.Config){}}
}

// setting makes a flag for the setting that field returns.
func setting[T any](s *settingFlags, name string, field func(*tproxy.Config) *T, add func(to *T)) {
	add(field(s.given))
	s.copy[name] = func(to *tproxy.Config) { *field(to) = *field(s.given) }
}

// apply copies the settings whose flags were given.
func (s *settingFlags) apply(fl *pflag.FlagSet, to *tproxy.Config) {
	fl.Visit(func(f *pflag.Flag) {
		if c := s.copy[f.Name]; c != nil {
			c(to)
		}
	})
}

type conf = tproxy.Config

//nolint:funlen // because it is a table of flags
func (s *settingFlags) add(fl *pflag.FlagSet) {
	truth := func(name, help string, field func(*conf) *bool) {
		setting(s, name, field, func(to *bool) { fl.BoolVar(to, name, *to, help) })
	}
	text := func(name, help string, field func(*conf) *string) {
		setting(s, name, field, func(to *string) { fl.StringVar(to, name, *to, help) })
	}
	number := func(name, help string, field func(*conf) *uint) {
		setting(s, name, field, func(to *uint) { fl.Var(&uintValue{to}, name, help) })
	}
	port := func(name, help string, field func(*conf) *tproxy.Port) {
		setting(s, name, field, func(to *tproxy.Port) { fl.Var(textFlag(to, "uint16"), name, help) })
	}
	ports := func(name, help string, field func(*conf) *tproxy.Ports) {
		setting(s, name, field, func(to *tproxy.Ports) { fl.Var(textFlag(to, "uint16[,...]"), name, help) })
	}
	list := func(name, help string, field func(*conf) *tproxy.Texts) {
		setting(s, name, field, func(to *tproxy.Texts) { fl.Var(&listValue[tproxy.Texts]{to: to}, name, help) })
	}

	truth("dry-run", "only print the rules, and how they differ from what is installed", func(c *conf) *bool { return &c.DryRun })
	truth("verbose", "write rules of iptables with long options, and tell about each connection of the self-test", func(c *conf) *bool { return &c.Verbose })
	setting(s, "ip-family-mode", func(c *conf) *tproxy.FamilyMode { return &c.IPFamilyMode }, func(to *tproxy.FamilyMode) {
		fl.Var(textFlag(to, "string"), "ip-family-mode", "families that are redirected: dualstack or ipv4")
	})
	setting(s, "backend", func(c *conf) *tproxy.BackendName { return &c.Backend }, func(to *tproxy.BackendName) {
		fl.Var(textFlag(to, "string"), "backend", "what changes the rules of the kernel: "+strings.Join(tproxy.BackendNames, ", "))
	})
	user := func(c *conf) *string { return &c.KumaDPUser }
	text("kuma-dp-user", "name or number of the user that runs kuma-dp; what it sends is not redirected (without: user 5678, or else kuma-dp)", user)
	s.copy["kuma-dp-uid"] = s.copy["kuma-dp-user"]
	fl.StringVar(user(s.given), "kuma-dp-uid", "", "number of the user that runs kuma-dp")

	truth("redirect-inbound", "redirect incoming connections; false for gateways", func(c *conf) *bool { return &c.Redirect.Inbound.Enabled })
	port("redirect-inbound-port", "port of the proxy for incoming connections", func(c *conf) *tproxy.Port { return &c.Redirect.Inbound.Port })
	port("redirect-outbound-port", "port of the proxy for outgoing connections", func(c *conf) *tproxy.Port { return &c.Redirect.Outbound.Port })
	ports("exclude-inbound-ports", "ports of this host that are not redirected", func(c *conf) *tproxy.Ports { return &c.Redirect.Inbound.ExcludePorts })
	ports("exclude-outbound-ports", "ports elsewhere that are not redirected", func(c *conf) *tproxy.Ports { return &c.Redirect.Outbound.ExcludePorts })
	list("exclude-inbound-ips", "addresses or networks whose incoming connections are not redirected; may be repeated", func(c *conf) *tproxy.Texts { return &c.Redirect.Inbound.ExcludePortsForIPs })
	list("exclude-outbound-ips", "addresses or networks to which nothing is redirected; may be repeated", func(c *conf) *tproxy.Texts { return &c.Redirect.Outbound.ExcludePortsForIPs })
	list("exclude-inbound-interfaces", "interfaces whose incoming connections are not redirected; a trailing + stands for any ending; may be repeated", func(c *conf) *tproxy.Texts { return &c.Redirect.Inbound.ExcludeInterfaces })
	list("exclude-outbound-interfaces", "interfaces over which nothing is redirected; a trailing + stands for any ending; may be repeated", func(c *conf) *tproxy.Texts { return &c.Redirect.Outbound.ExcludeInterfaces })
	setting(s, "exclude-outbound-ports-for-uids", func(c *conf) *tproxy.UIDRules { return &c.Redirect.Outbound.ExcludePortsForUIDs }, func(to *tproxy.UIDRules) {
		fl.Var(&listValue[tproxy.UIDRules]{to: to}, "exclude-outbound-ports-for-uids", "ports that are not redirected for some users, [protocol:][ports:]uids, for example tcp:80,443:1000-1010; may be repeated")
	})
	truth("keep-reachable", "leave port 22 (and those of sshd_config) of this host, and the ports of the control plane, alone; off in pods of Kubernetes", func(c *conf) *bool { return &c.KeepReachable.Enabled })

	truth("redirect-dns", "redirect questions to the servers in /etc/resolv.conf", func(c *conf) *bool { return &c.Redirect.DNS.Enabled })
	truth("redirect-all-dns-traffic", "redirect questions to any server", func(c *conf) *bool { return &c.Redirect.DNS.CaptureAll })
	port("redirect-dns-port", "port of the proxy for questions", func(c *conf) *tproxy.Port { return &c.Redirect.DNS.Port })
	truth("skip-dns-conntrack-zone-split", "do not track questions of the application and the proxy apart", func(c *conf) *bool { return &c.Redirect.DNS.SkipConntrackZoneSplit })
	list("vnet", "network of containers on this host, interface:CIDR, for example docker0:172.17.0.0/16; may be repeated", func(c *conf) *tproxy.Texts { return &c.Redirect.VNet.Networks })
	truth("redirect-inbound-insert-instead-of-append", "put the redirection of incoming connections in front of rules of others", func(c *conf) *bool { return &c.Redirect.Inbound.InsertRedirectInsteadOfAppend })
	truth("redirect-outbound-insert-instead-of-append", "put the redirection of outgoing connections in front of rules of others", func(c *conf) *bool { return &c.Redirect.Outbound.InsertRedirectInsteadOfAppend })
	truth("drop-invalid-packets", "drop packets that belong to no connection", func(c *conf) *bool { return &c.DropInvalidPackets })
	truth("iptables-logs", "write new connections to the log of the kernel", func(c *conf) *bool { return &c.Log.Enabled })
	truth("disable-comments", "rules of iptables have no comments", func(c *conf) *bool { return &c.Comments.Disabled })
	truth("store-firewalld", "also keep the rules in the direct rules of firewalld; needs iptables", func(c *conf) *bool { return &c.StoreFirewalld })

	truth("self-test", "after the installation, open connections and undo it if they do not go where they should; off in pods of Kubernetes", func(c *conf) *bool { return &c.SelfTest.Enabled })
	list("self-test-connect", "host:port that must be reachable after the installation as before; may be repeated", func(c *conf) *tproxy.Texts { return &c.SelfTest.Connect })

	number("wait", "seconds to wait for the lock of iptables-legacy; 0 = do not wait", func(c *conf) *uint { return &c.Wait })
	number("wait-interval", "microseconds between attempts to get the lock; 0 = as iptables likes", func(c *conf) *uint { return &c.WaitInterval })
	number("max-retries", "how often a failed change is tried again", func(c *conf) *uint { return &c.Retry.MaxRetries })
	setting(s, "sleep-between-retries", func(c *conf) *time.Duration { return &c.Retry.SleepBetweenRetries }, func(to *time.Duration) {
		fl.DurationVar(to, "sleep-between-retries", *to, "how long to wait before a failed change is tried again")
	})
	setting(s, "iptables-executables", func(c *conf) *tproxy.Executables { return &c.IptablesExecutables }, func(to *tproxy.Executables) {
		fl.Var(textFlag(to, "name:path[,name:path...]"), "iptables-executables", "programs to use, all three of a family: "+strings.Join(tproxy.ExecutableNames, ", "))
	})
	s.addEBPF(fl)
}

// addEBPF adds the flags of a variant that is not supported, so that using it is
// told in plain words.
func (s *settingFlags) addEBPF(fl *pflag.FlagSet) {
	setting(s, "ebpf-enabled", func(c *conf) *bool { return &c.EBPF.Enabled }, func(to *bool) {
		fl.BoolVar(to, "ebpf-enabled", *to, "not supported")
	})
	for _, f := range []struct {
		name  string
		field func(*conf) *string
	}{
		{"ebpf-instance-ip", func(c *conf) *string { return &c.EBPF.InstanceIP }},
		{"ebpf-bpffs-path", func(c *conf) *string { return &c.EBPF.BPFFSPath }},
		{"ebpf-cgroup-path", func(c *conf) *string { return &c.EBPF.CgroupPath }},
		{"ebpf-programs-source-path", func(c *conf) *string { return &c.EBPF.ProgramsSourcePath }},
		{"ebpf-tc-attach-iface", func(c *conf) *string { return &c.EBPF.TCAttachIface }},
	} {
		setting(s, f.name, f.field, func(to *string) { fl.StringVar(to, f.name, *to, "not supported") })
	}
}
