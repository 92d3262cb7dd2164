package tproxy

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weft/internal/tproxy/rules"
)

func TestUIDRules(t *testing.T) {
	all := []rules.PortRange{{From: 1, To: 65535}}
	for text, want := range map[string][]rules.UIDExclusion{
		"1000":                {{Proto: "tcp", Ports: all, UIDs: rules.UIDRange{From: 1000, To: 1000}}, {Proto: "udp", Ports: all, UIDs: rules.UIDRange{From: 1000, To: 1000}}},
		"tcp:80,443-445:1-9":  {{Proto: "tcp", Ports: []rules.PortRange{{From: 80, To: 80}, {From: 443, To: 445}}, UIDs: rules.UIDRange{From: 1, To: 9}}},
		"udp,tcp::4294967295": {{Proto: "tcp", Ports: all, UIDs: rules.UIDRange{From: 4294967295, To: 4294967295}}, {Proto: "udp", Ports: all, UIDs: rules.UIDRange{From: 4294967295, To: 4294967295}}},
		"*:*:0":               {{Proto: "tcp", Ports: all}, {Proto: "udp", Ports: all}},
		" udp : 53 : 7 ":      {{Proto: "udp", Ports: []rules.PortRange{{From: 53, To: 53}}, UIDs: rules.UIDRange{From: 7, To: 7}}},
	} {
		got, err := parseUIDRule(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
	for text, want := range map[string]string{
		"": "[protocol:][ports:]uids", "a:b:c:d": "[protocol:][ports:]uids", "tcp:80:*": "* is not allowed", "icmp:80:1": `"icmp" is not supported`,
		"tcp:0:1": "is not a port", "tcp:9-8:1": "ends before it starts", "tcp:80:9-8": "ends before it starts", "80:x": "neither a user id nor a range",
		"1,2": "neither a user id nor a range", "tcp:70000:1": "is not a port", "80:4294967296": "neither a user id",
	} {
		if _, err := parseUIDRule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestListsOfUIDRules(t *testing.T) {
	for text, want := range map[string]UIDRules{
		"": nil, "1;2": {"1", "2"}, "1,2": {"1", "2"}, "tcp:80,81:1; 7": {"tcp:80,81:1", "7"},
	} {
		var got UIDRules
		if err := got.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func TestInterfaceNames(t *testing.T) {
	for _, good := range []string{"eth0", "br+", "wlp3s0.100", "veth-1@x"[:6], "docker_gwbridge"} {
		if err := checkInterface(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "+", "a b", "x\"y", "a;b", "a+b", "sixteen-letters-", "é", "a\n", "{", "a*"} {
		if err := checkInterface(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestNameServers(t *testing.T) {
	got := nameServers([]byte("# nameserver 1.1.1.1\nnameserver 10.0.0.1\nnameserver fe80::1%eth0 \nsearch x\nnameserver\nnameserver ::ffff:10.0.0.2\noptions edns0\n nameserver bad\n"))
	want := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("10.0.0.2")}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

// memory is a host that exists only as files.
type memory struct {
	files map[string]string
	modes map[string]fs.FileMode
}

func (m *memory) host() *Host {
	return &Host{
		Linux: true, Root: true,
		ReadFile: func(n string) ([]byte, error) {
			if text, ok := m.files[n]; ok {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		},
		WriteFile: func(n string, text []byte, mode fs.FileMode) error {
			m.files[n], m.modes[n] = string(text), mode
			return nil
		},
		RemoveFile: func(n string) error { delete(m.files, n); return nil },
		Glob: func(pattern string) ([]string, error) {
			var out []string
			for n := range m.files {
				if strings.HasPrefix(n, strings.TrimSuffix(pattern, "*.conf")) {
					out = append(out, n)
				}
			}
			return out, nil
		},
		Interfaces: func() ([]Interface, error) { return []Interface{{Name: "lo", Loopback: true}}, nil },
		LookupUser: func(context.Context, string) (uint32, bool) { return 5678, true },
		Run: func(context.Context, string, string, ...string) (string, error) {
			return "", errors.New("no commands here")
		},
	}
}

func TestSSHPorts(t *testing.T) {
	m := &memory{files: map[string]string{
		"/etc/ssh/sshd_config":           "#Port 1\nPort 2222\n port 2223 # more\nListenAddress 10.0.0.1:2224\nListenAddress 10.0.0.2\nListenAddress [::1]:2225\nPermitRootLogin no\n",
		"/etc/ssh/sshd_config.d/10.conf": "Port 2222\nPort 2226\nPort 0\nPort x\nPort\n",
	}}
	if d := cmp.Diff([]uint16{2222, 2223, 2224, 2225, 2226}, m.host().sshPorts()); d != "" {
		t.Error(d)
	}
	c := Default(false)
	f, _, err := c.facts(t.Context(), m.host())
	if err != nil {
		t.Fatal(err)
	}
	sets, _, err := c.Plan(f)
	if err != nil {
		t.Fatal(err)
	}
	if doc := rules.NFT(sets, nil); !strings.Contains(doc, "tcp dport 2226 return") {
		t.Errorf("the port of the SSH server is redirected:\n%s", doc)
	}
}

const othersDirect = `<?xml version="1.0" encoding="utf-8"?>
<direct>
  <chain ipv="ipv4" table="filter" chain="mine"/>
  <rule ipv="ipv4" table="filter" chain="INPUT" priority="0">-p tcp --dport 22 -m comment --comment "a &amp; b" -j ACCEPT</rule>
  <passthrough ipv="ipv6">-A INPUT -j DROP</passthrough>
</direct>
`

func TestFirewalld(t *testing.T) {
	for _, before := range []string{"", othersDirect} {
		m := &memory{files: map[string]string{"/etc/resolv.conf": "nameserver 10.0.0.1\n"}, modes: map[string]fs.FileMode{}}
		if before != "" {
			m.files[firewalldFile] = before
		}
		h := m.host()
		original, err := h.readDirect()
		if err != nil {
			t.Fatal(err)
		}
		c := Default(false)
		c.StoreFirewalld, c.Redirect.DNS.Enabled, c.DropInvalidPackets, c.Log.Enabled = true, true, true, true
		f, _, err := c.facts(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		sets, _, err := c.Plan(f)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		i := &Installer{Config: c, Host: h, Out: &out, Err: &out}
		for range 2 { // the second time changes nothing
			if err := i.storeFirewalld(&prepared{sets: sets}); err != nil {
				t.Fatal(err)
			}
		}
		if m.modes[firewalldFile] != 0o600 {
			t.Errorf("mode %o", m.modes[firewalldFile])
		}
		d, err := h.readDirect()
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Chains)-len(original.Chains) != 4 || len(d.Passthrough) != len(original.Passthrough) {
			t.Errorf("chains %v, passthrough %v", d.Chains, d.Passthrough)
		}
		checkPriorities(t, d.Rules[len(original.Rules):])
		if err := i.cleanFirewalld(); err != nil {
			t.Fatal(err)
		}
		if _, there := m.files[firewalldFile]; there != (before != "") {
			t.Errorf("the file is there after uninstalling: %v, before: %v", there, before != "")
		}
		after, err := h.readDirect()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(original, after, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("not as before: %s", diff)
		}
	}
	m := &memory{files: map[string]string{firewalldFile: "<direct><rule"}}
	if _, err := m.host().readDirect(); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("broken file: %v", err)
	}
}

// checkPriorities requires that the rules of a chain keep their order, inserted
// ones in front.
func checkPriorities(t *testing.T, list []directRule) {
	t.Helper()
	last := map[string]int{}
	for _, r := range list {
		key := r.Table + "/" + r.Chain
		if before, ok := last[key]; ok && r.Priority <= before {
			t.Errorf("%s: priority %d after %d", key, r.Priority, before)
		}
		last[key] = r.Priority
		if redirects := strings.Contains(r.Args, "--dport 53 -j REDIRECT"); redirects && r.Chain == rules.Output && r.Priority >= lastPriority {
			t.Errorf("an inserted rule has priority %d: %s", r.Priority, r.Args)
		}
	}
	if len(list) < 20 {
		t.Errorf("only %d rules", len(list))
	}
}

func TestResolvConfOfOldVersions(t *testing.T) {
	m := &memory{files: map[string]string{resolvConf: "nameserver 127.0.0.1\n", resolvConfBackup: "nameserver 10.0.0.1\n"}, modes: map[string]fs.FileMode{}}
	var out bytes.Buffer
	i := &Installer{Config: Default(false), Host: m.host(), Out: &out, Err: &out}
	i.Config.DryRun = true
	if err := i.restoreResolvConf(); err != nil || m.files[resolvConf] != "nameserver 127.0.0.1\n" {
		t.Errorf("a dry run: %v %v", err, m.files)
	}
	i.Config.DryRun = false
	if err := i.restoreResolvConf(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{resolvConf: "nameserver 10.0.0.1\n"}, m.files); d != "" {
		t.Error(d)
	}
	if !strings.Contains(out.String(), "# nameserver 10.0.0.1") {
		t.Errorf("it is not told:\n%s", out.String())
	}
}

func TestProxyUser(t *testing.T) {
	users := map[string]uint32{"kuma-dp": 990}
	h := &Host{LookupUser: func(_ context.Context, who string) (uint32, bool) { u, ok := users[who]; return u, ok }}
	c := Default(false)
	if uid, err := c.proxyUID(t.Context(), h); err != nil || uid != 990 {
		t.Errorf("by default name: %d %v", uid, err)
	}
	users["5678"] = 5678
	if uid, err := c.proxyUID(t.Context(), h); err != nil || uid != 5678 {
		t.Errorf("by default number: %d %v", uid, err)
	}
	c.CNIMode, c.KumaDPUser = true, "1337"
	if uid, err := c.proxyUID(t.Context(), h); err != nil || uid != 1337 {
		t.Errorf("CNI: %d %v", uid, err)
	}
	c.KumaDPUser = ""
	if uid, err := c.proxyUID(t.Context(), h); err != nil || uid != 5678 {
		t.Errorf("CNI without user: %d %v", uid, err)
	}
	c.KumaDPUser = "name"
	if _, err := c.proxyUID(t.Context(), h); err == nil || !strings.Contains(err.Error(), "must be a number") {
		t.Errorf("CNI with a name: %v", err)
	}
}

func TestLoopWarning(t *testing.T) {
	c := Default(false)
	c.Redirect.DNS.CaptureAll = true
	f := &Facts{Families: []rules.Family{rules.IPv4}, Loopback: "lo", Resolvers: []netip.Addr{netip.MustParseAddr("127.0.0.53")}, Limits: map[rules.Family]Limits{}}
	_, w, err := c.Plan(f)
	if err != nil || len(w) != 1 || !strings.Contains(w[0], "systemd-resolve") {
		t.Errorf("%v %q", err, w)
	}
	c.Redirect.Outbound.ExcludePortsForUIDs = UIDRules{"53:101"}
	if _, w, err := c.Plan(f); err != nil || len(w) != 0 {
		t.Errorf("%v %q", err, w)
	}
}

func TestLineDiff(t *testing.T) {
	got := lineDiff("a\nb\nc\nd\n", "a\nc\nx\nd\n")
	if d := cmp.Diff([]string{"  a", "- b", "  c", "+ x", "  d"}, got); d != "" {
		t.Error(d)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("redirect: {inbound: {excludePorts: 80}}", "tcp:80:1", "docker0:10.0.0.0/8", "10.0.0.0/8", "eth+")
	f.Fuzz(func(t *testing.T, file, uids, vnet, addr, name string) {
		c := Default(false)
		if _, err := c.Load([]byte(file), nil); err != nil {
			return
		}
		c.Redirect.Outbound.ExcludePortsForUIDs = append(c.Redirect.Outbound.ExcludePortsForUIDs, uids)
		c.Redirect.VNet.Networks = Texts{vnet}
		c.Redirect.Outbound.ExcludePortsForIPs = Texts{addr}
		c.Redirect.Inbound.ExcludeInterfaces = Texts{name}
		sets, _, err := c.Plan(&Facts{Families: []rules.Family{rules.IPv4, rules.IPv6}, Loopback: "lo", Limits: map[rules.Family]Limits{}})
		if err != nil {
			return
		}
		// Whatever is accepted must not be able to say something else in a rule.
		doc := rules.NFT(sets, nil)
		if strings.Count(doc, "\n\t\t") < 5 || strings.Count(doc, `"`)%2 != 0 {
			t.Errorf("odd document for %q %q %q %q:\n%s", uids, vnet, addr, name, doc)
		}
	})
}
