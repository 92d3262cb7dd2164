package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"weft/internal/testkit/corpus"
	"weft/internal/tproxy"
	"weft/internal/tproxy/rules"
	"weft/internal/tproxy/rules/rulestest"
)

// fakeHost is the machine of a recorded case. It runs no commands, so that dry
// runs print rules without looking at any that are installed.
func fakeHost(resolvers []string, ipv4, ipv6, linkLocal bool, passwd string) *tproxy.Host {
	files := map[string]string{"/etc/resolv.conf": "nameserver " + strings.Join(resolvers, "\nnameserver ") + "\n"}
	eth0 := tproxy.Interface{Name: "eth0"}
	for addr, there := range map[string]bool{"10.50.0.2": ipv4, "fd00:50::2": ipv6, "fe80::1": linkLocal} {
		if there {
			eth0.Addrs = append(eth0.Addrs, netip.MustParseAddr(addr))
		}
	}
	users := map[string]uint32{"root": 0, "0": 0, "nobody": 65534, "65534": 65534}
	if f := strings.Split(passwd, ":"); len(f) > 2 {
		users[f[0]], users[f[2]] = 5678, 5678
	}
	return &tproxy.Host{
		Linux: true, Root: true,
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := files[name]; ok {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		},
		Glob: func(string) ([]string, error) { return nil, nil },
		Interfaces: func() ([]tproxy.Interface, error) {
			return []tproxy.Interface{{Name: "lo", Loopback: true, Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}, eth0}, nil
		},
		LookupUser: func(_ context.Context, who string) (uint32, bool) { uid, ok := users[who]; return uid, ok },
		Run: func(context.Context, string, string, ...string) (string, error) {
			return "", errors.New("this machine runs no commands")
		},
	}
}

// transparentProxyDifferences are the recorded cases that we answer differently.
var transparentProxyDifferences = map[string]string{
	"tproxy-ebpf":              "2.10 accepts --ebpf-enabled and installs rules of iptables all the same; we say that it is not supported",
	"tproxy-firewalld-dns":     "2.10 cannot store inserted rules for firewalld; we can",
	"tproxy-wait":              "2.10 does not understand its own flag --sleep-between-retries",
	"tproxy-uninstall-no-user": "removing rules needs no user",
}

// TestTransparentProxyCorpus plays the recorded dry runs. Rules are compared by
// what they do to packets.
func TestTransparentProxyCorpus(t *testing.T) {
	root := corpus.Root(t, "kumactl")
	played := 0
	for _, name := range corpus.Cases(t, root) {
		if !strings.HasPrefix(name, "tproxy-") {
			continue
		}
		if name == "tproxy-uninstall-no-comments" {
			continue // needs a real iptables: TestRulesWithoutCommentsOf210 of package tproxy
		}
		played++
		t.Run(name, func(t *testing.T) { playTransparentProxy(t, filepath.Join(root, name), name) })
	}
	if played < 45 {
		t.Errorf("only %d cases were played", played)
	}
}

func playTransparentProxy(t *testing.T, dir, name string) {
	c := &struct {
		recorded `yaml:",inline"`
		Netns    struct {
			Resolv    []string
			IPv4      *bool `yaml:"ipv4"`
			IPv6      bool  `yaml:"ipv6"`
			LinkLocal bool  `yaml:"link_local"`
			Passwd    string
		}
	}{}
	corpus.ReadYAML(t, filepath.Join(dir, "case.yaml"), c)
	c.name, c.dir = name, dir
	host := func() *tproxy.Host {
		return fakeHost(c.Netns.Resolv, c.Netns.IPv4 == nil || *c.Netns.IPv4, c.Netns.IPv6, c.Netns.LinkLocal, c.Netns.Passwd)
	}
	base := t.TempDir()
	k := &kumactl{home: filepath.Join(base, "home"), dir: filepath.Join(base, "files")}
	cp := &testCP{url: "http://localhost:1", secure: "https://localhost:1", ports: []string{"1"}}
	c.prepare(t, k, cp)
	want := result{out: readText(t, dir, "stdout.txt"), err: readText(t, dir, "stderr.txt")}
	fmt.Sscan(readText(t, dir, "code.txt"), &want.code)

	run := func(backend string) result {
		k.env = map[string]string{"KUMA_TRANSPARENT_PROXY_BACKEND": backend, "KUMA_TRANSPARENT_PROXY_KEEP_REACHABLE_ENABLED": "false"}
		for n, v := range c.ClientEnv {
			k.env[n] = v
		}
		return k.runOn(t, host(), c.args(t, k, cp)...)
	}
	got := run("iptables-nft")
	if reason := transparentProxyDifferences[name]; reason != "" {
		if got.code == want.code {
			t.Errorf("code %d is as recorded, although a difference is noted: %s", got.code, reason)
		}
		t.Logf("deliberate: %s", reason)
		return
	}
	if got.code != want.code {
		t.Fatalf("code %d, want %d\n%s", got.code, want.code, got.err)
	}
	if want.code != 0 {
		if !strings.Contains(got.err, "Error: ") || len(got.err) < 20 || strings.Contains(got.out, "COMMIT") {
			t.Errorf("a clear error and no rules must be printed:\n%s%s", got.out, got.err)
		}
		return
	}
	sameEffect(t, want.out, got.out)
	if nft := run("nft"); strings.Contains(want.out, "COMMIT") && !strings.Contains(want.out, "<direct>") &&
		(nft.code != 0 || !strings.Contains(nft.out, "table inet "+rules.NFTTable+" {")) {
		t.Errorf("with nft: code %d\n%s%s", nft.code, nft.out, nft.err)
	}
}

func readText(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// runOn runs kumactl in this process, on another machine.
func (k *kumactl) runOn(t *testing.T, h *tproxy.Host, args ...string) result {
	t.Helper()
	var out, errOut strings.Builder
	app := &App{
		In: strings.NewReader(k.stdin), Out: &out, Err: &errOut, Home: k.home, Env: func(name string) string { return k.env[name] }, host: h,
	}
	code := Main(t.Context(), app, args)
	return result{code, out.String(), errOut.String()}
}

// sameEffect compares documents, and the rules in XML for firewalld.
func sameEffect(t *testing.T, want, got string) {
	t.Helper()
	for form, read := range map[string]func(string) ([]*rules.Set, error){"rules": rulestest.Documents, "firewalld": directSets} {
		w, err := read(want)
		if err != nil {
			t.Fatalf("recorded %s: %v", form, err)
		}
		g, err := read(got)
		if err != nil {
			t.Fatalf("our %s: %v", form, err)
		}
		if len(w) != len(g) {
			t.Fatalf("%s for %d families, want %d:\n%s", form, len(g), len(w), got)
		}
		for i := range w {
			packets := rulestest.Packets(w[i].Family, w[i], g[i])
			for j := range packets {
				p := &packets[j]
				a, b := rules.Trace(w[i], p), rules.Trace(g[i], p)
				if a.Zone == 0 && b.Zone == 2 && p.Hook == rules.Prerouting && p.DstPort == 53 && p.Interface != "eth0" && p.Interface != "lo" {
					// Deliberate: in 2.10 containers get no answers, because answers are
					// tracked in zone 2, but their questions in none.
					a.Zone = b.Zone
				}
				if a != b {
					t.Fatalf("%s: packet %+v: got %+v, want %+v\nours:\n%s", form, *p, b, a, got)
				}
			}
			t.Logf("%s for %s do the same to %d packets", form, w[i].Family, len(packets))
		}
	}
}

var directRule = regexp.MustCompile(`<rule ipv="(\w+)" table="(\w+)" chain="(\w+)" priority="\d+">(.*)</rule>`)

// directSets reads the rules for firewalld of IPv4.
func directSets(text string) ([]*rules.Set, error) {
	tables := map[string][]string{}
	for _, m := range directRule.FindAllStringSubmatch(text, -1) {
		if m[1] == "ipv4" {
			tables[m[2]] = append(tables[m[2]], "-A "+m[3]+" "+strings.ReplaceAll(m[4], "&#34;", `"`))
		}
	}
	if len(tables) == 0 {
		return nil, nil
	}
	var doc strings.Builder
	for _, name := range []string{rules.Raw, rules.NAT, rules.Mangle} {
		if tables[name] != nil {
			fmt.Fprintf(&doc, "*%s\n%s\nCOMMIT\n", name, strings.Join(tables[name], "\n"))
		}
	}
	s, err := rulestest.Document(rules.IPv4, doc.String())
	return []*rules.Set{s}, err
}

// TestTransparentProxyFlags requires all flags of 2.10 with their types and
// defaults; ours may be more.
func TestTransparentProxyFlags(t *testing.T) {
	root := corpus.Root(t, "kumactl")
	for _, name := range []string{"flags-install-transparent-proxy", "flags-install-transparent-proxy-validator"} {
		c := recorded{dir: filepath.Join(root, name), name: name}
		want := corpus.ReadJSON(t, filepath.Join(c.dir, "stdout.json")).(map[string]any)
		k := &kumactl{home: t.TempDir()}
		r := k.run(t, strings.Fields(readText(t, c.dir, "cmd.txt"))...)
		got := flagTable(r.out).(map[string]any)
		have := map[string]any{}
		for _, f := range got["flags"].([]any) {
			have[f.(map[string]any)["name"].(string)] = f
		}
		for _, f := range want["flags"].([]any) {
			flag := f.(map[string]any)["name"].(string)
			if d := corpus.Compare(flag, f, have[flag]); len(d) > 0 {
				t.Errorf("%s: flag %s: %v", name, flag, d)
			}
		}
		if d := corpus.Compare("usage", want["usage"], got["usage"]); len(d) > 0 {
			t.Errorf("%s: %v", name, d)
		}
	}
}

func TestTransparentProxyMessages(t *testing.T) {
	host := func() *tproxy.Host { return fakeHost([]string{"10.50.0.53"}, true, true, false, "") }
	file := filepath.Join(t.TempDir(), "tp.yaml")
	if err := os.WriteFile(file, []byte("redirect:\n  inbond: {port: 1}\n  outbound: {port: 0}\n  inbound: {excludePortsForUIDs: [\"1000\"]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args string
		env  map[string]string
		want []string // in what is printed
		code int
	}{
		"not root":              {"--kuma-dp-user nobody", map[string]string{"NOT_ROOT": "1"}, []string{"root privileges are needed", "sudo"}, 1},
		"not root, dry run":     {"--kuma-dp-user nobody --dry-run", map[string]string{"NOT_ROOT": "1"}, []string{"without root privileges", "table inet"}, 0},
		"no tools":              {"--kuma-dp-user nobody", nil, []string{"nothing on this host can change the rules", "nft", "iptables"}, 1},
		"unknown user":          {"--kuma-dp-user ghost --dry-run", nil, []string{`no user "ghost"`, "useradd"}, 1},
		"config from the dash":  {"--config - --dry-run", nil, []string{"--config-file -"}, 1},
		"mistakes in the file":  {"--dry-run --config-file " + file, nil, []string{`did you mean redirect.inbound`, `redirect.outbound.port: line 3: "0" is not a port`}, 1},
		"mistake in a variable": {"--dry-run", map[string]string{"KUMA_TRANSPARENT_PROXY_REDIRECT_DNS_PORT": "x"}, []string{"redirect.dns.port", "KUMA_TRANSPARENT_PROXY_REDIRECT_DNS_PORT"}, 1},
		"users of incoming":     {"--kuma-dp-user nobody --dry-run --config {\"redirect\":{\"inbound\":{\"excludePortsForUIDs\":[\"7\"]}}}", nil, []string{"redirect.inbound.excludePortsForUIDs: must be empty"}, 1},
		"bad address":           {"--kuma-dp-user nobody --dry-run --exclude-outbound-ips 10.2.3", nil, []string{"redirect.outbound.excludePortsForIPs[0]", "10.2.3", "172.16.0.0/16"}, 1},
		"bad interface":         {"--kuma-dp-user nobody --dry-run --exclude-inbound-interfaces e\";drop", nil, []string{"redirect.inbound.excludeInterfaces[0]", "cannot exist"}, 1},
		"bad network":           {"--kuma-dp-user nobody --dry-run --vnet docker0", nil, []string{"interface:CIDR"}, 1},
		"same ports":            {"--kuma-dp-user nobody --dry-run --redirect-inbound-port 15001", nil, []string{"redirect.outbound.port: must differ"}, 1},
		"eBPF":                  {"--kuma-dp-user nobody --dry-run --ebpf-enabled --ebpf-instance-ip 1.2.3.4", nil, []string{"not supported", "--ebpf-enabled"}, 1},
		"firewalld with nft":    {"--kuma-dp-user nobody --dry-run --store-firewalld --backend nft", nil, []string{"storeFirewalld: needs a backend of iptables"}, 1},
		"unknown backend":       {"--backend pf --dry-run", nil, []string{"pf", "iptables-legacy"}, 1},
		"half of the programs":  {"--kuma-dp-user nobody --dry-run --iptables-executables iptables:/x", nil, []string{"all three are needed"}, 0},
		"unknown program":       {"--kuma-dp-user nobody --dry-run --iptables-executables ipfw:/x", nil, []string{"ipfw", "iptables-save"}, 1},
		"no server of a family": {"--kuma-dp-user nobody --dry-run --redirect-dns", nil, []string{"names no IPv6 server"}, 0},
		"SSH stays":             {"--kuma-dp-user nobody --dry-run", nil, []string{"SSH)              passes", "tcp dport 22 return"}, 0},
		"SSH does not stay":     {"--kuma-dp-user nobody --dry-run --keep-reachable=false", nil, []string{"SSH)              to port 15006"}, 0},
		"a pod decides itself":  {"--kuma-dp-user nobody --dry-run", map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, []string{"SSH)              to port 15006"}, 0},
		"deprecated flag":       {"--kuma-dp-uid nobody --dry-run", nil, []string{"--kuma-dp-uid has been deprecated"}, 0},
		"users in one variable": {"--kuma-dp-user nobody --dry-run", map[string]string{"KUMA_TRANSPARENT_PROXY_REDIRECT_OUTBOUND_EXCLUDE_PORTS_FOR_UIDS": "tcp:80,443:1000;7,8"}, []string{"tcp dport { 80, 443 } meta skuid 1000", "meta skuid 8 "}, 0},
		"nothing to confirm":    {"--confirm", nil, []string{"nothing waits for confirmation"}, 1},
		"negative time":         {"--confirm-within -1s", nil, []string{"must not be negative"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := host()
			h.Root = c.env["NOT_ROOT"] == ""
			k := &kumactl{home: t.TempDir(), env: c.env}
			r := k.runOn(t, h, append([]string{"install", "transparent-proxy"}, strings.Fields(c.args)...)...)
			if r.code != c.code {
				t.Errorf("code %d, want %d", r.code, c.code)
			}
			for _, w := range c.want {
				if !strings.Contains(r.out+r.err, w) {
					t.Errorf("%q is not in:\n%s%s", w, r.out, r.err)
				}
			}
		})
	}
}

// TestWrittenSettings requires that settings which are written down are the same
// when they are read.
func TestWrittenSettings(t *testing.T) {
	s := newSettingFlags()
	fl := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.add(fl)
	if err := fl.Parse(strings.Fields("--kuma-dp-user nobody --redirect-dns --exclude-inbound-ports 1,2 --exclude-outbound-ports-for-uids tcp:80,443:7 " +
		"--vnet d0:10.0.0.0/8 --vnet d1:10.1.0.0/16 --sleep-between-retries 3s --keep-reachable=false --ip-family-mode ipv4 --backend nft --iptables-executables iptables:/x")); err != nil {
		t.Fatal(err)
	}
	want := tproxy.Default(false)
	s.apply(fl, want)
	text, err := encodeYAML(want.Changed())
	if err != nil {
		t.Fatal(err)
	}
	got := tproxy.Default(false)
	if warnings, err := got.Load(text, nil); err != nil || len(warnings) > 0 {
		t.Fatalf("%v %v\n%s", warnings, err, text)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s\nwritten:\n%s", d, text)
	}
	if strings.Contains(string(text), "15006") {
		t.Errorf("defaults are not to be written:\n%s", text)
	}
}

// What 2.10 says about eBPF when something is removed must not stop the removal,
// and must not pass for one.
func TestUninstallEBPF(t *testing.T) {
	k := &kumactl{home: t.TempDir()}
	r := k.runOn(t, fakeHost([]string{"10.50.0.53"}, true, true, false, ""), "uninstall", "transparent-proxy", "--ebpf-enabled", "--ebpf-bpffs-path", "/sys/fs/bpf", "--dry-run")
	if r.code != 0 || !strings.Contains(r.err, "--ebpf-enabled has no effect") {
		t.Errorf("code %d: %s", r.code, r.err)
	}
	r = k.runOn(t, fakeHost([]string{"10.50.0.53"}, true, true, false, ""), "uninstall", "ebpf", "--namespace", "kuma-system", "--remove-only")
	if r.code == 0 || !strings.Contains(r.err, "not supported") {
		t.Errorf("code %d: %s", r.code, r.err)
	}
}
