package backend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/tproxy/rules"
)

// fake is a host whose tools are told what to answer. All tools are there as
// files; what they are is up to version.
type fake struct {
	dir string
	// noNFT makes the program nft fail.
	noNFT bool
	// modes that work.
	modes map[Mode]bool
	// saves is what X-save prints, by mode; lacks are tables and modules that are
	// not there.
	saves map[Mode]string
	lacks map[string]bool
	// failures is how many restores fail before one works.
	failures int
	ran      []string
	warnings []string
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{dir: t.TempDir(), modes: map[Mode]bool{ModeNFT: true, ModeLegacy: true}, saves: map[Mode]string{}, lacks: map[string]bool{}}
	names := []string{"nft"}
	for _, x := range []string{"iptables", "ip6tables"} {
		for _, m := range []string{"", "-nft", "-legacy"} {
			for _, s := range []string{"", "-save", "-restore"} {
				names = append(names, x+m+s)
			}
		}
	}
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(f.dir, n), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", f.dir)
	return f
}

func (f *fake) modeOf(name string) (Mode, bool) {
	m := ModeLegacy
	if strings.Contains(name, "-nft") || !strings.Contains(name, "-legacy") && f.modes[ModeNFT] {
		m = ModeNFT
	}
	return m, f.modes[m]
}

func (f *fake) run(_ context.Context, _, path string, args ...string) (string, error) {
	name := filepath.Base(path)
	if name == "nft" {
		if f.noNFT {
			return "", errors.New("netlink: Operation not supported")
		}
		if len(args) > 1 && args[1] == "chain" {
			return "", errors.New("No such file or directory")
		}
		return "", nil
	}
	mode, works := f.modeOf(name)
	if !works {
		return "", errors.New("exec format error")
	}
	line := name + " " + strings.Join(args, " ")
	switch {
	case args == nil, args[0] == "-t":
		if len(args) > 1 && f.lacks[args[1]] {
			return "", errors.New("table does not exist")
		}
		if len(args) > 1 && args[1] != rules.NAT {
			return "", nil
		}
		return f.saves[mode], nil
	case args[0] == "--version":
		return map[Mode]string{ModeNFT: "iptables v1.8.9 (nf_tables)", ModeLegacy: "iptables v1.8.9 (legacy)"}[mode], nil
	case args[0] == "-m":
		if f.lacks[args[1]] {
			return "", errors.New("couldn't load match")
		}
		return "", nil
	}
	f.ran = append(f.ran, line)
	if f.failures > 0 {
		f.failures--
		return "", errors.New("resource temporarily unavailable")
	}
	return "", nil
}

func (f *fake) choice(name string) *Choice {
	warn := func(format string, args ...any) { f.warnings = append(f.warnings, fmt.Sprintf(format, args...)) }
	return &Choice{
		Name: name, Warn: warn, Executables: func(rules.Family) (string, string, string, bool) { return "", "", "", false },
		IptablesOptions: IptablesOptions{Options: Options{Run: f.run, Retries: 2, Tell: warn}, Wait: 5, WaitInterval: 100},
	}
}

const emptyNAT = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n"

const usedNAT = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A OUTPUT -p tcp -j ACCEPT\n-A OUTPUT -p udp -j ACCEPT\nCOMMIT\n"

var dockerNAT = strings.Replace(usedNAT, "-A OUTPUT -p tcp", ":DOCKER_OUTPUT - [0:0]\n-A OUTPUT -p tcp", 1)

func TestChoose(t *testing.T) {
	for name, c := range map[string]struct {
		wanted string
		set    func(*fake)
		want   string // backend, or part of the error
	}{
		"nft works":                            {"", func(*fake) {}, "nft"},
		"nft does not work":                    {"", func(f *fake) { f.noNFT = true }, "iptables-nft"},
		"only legacy works":                    {"", func(f *fake) { f.noNFT, f.modes[ModeNFT] = true, false }, "iptables-legacy"},
		"nothing works":                        {"", func(f *fake) { f.noNFT, f.modes = true, map[Mode]bool{} }, "nothing on this host can change"},
		"legacy has rules":                     {"", func(f *fake) { f.noNFT, f.saves[ModeLegacy] = true, usedNAT }, "iptables-legacy"},
		"both have rules":                      {"", func(f *fake) { f.noNFT, f.saves[ModeLegacy], f.saves[ModeNFT] = true, usedNAT, usedNAT }, "iptables-nft"},
		"both have rules, Docker is in legacy": {"", func(f *fake) { f.noNFT, f.saves[ModeLegacy], f.saves[ModeNFT] = true, dockerNAT, usedNAT }, "iptables-legacy"},
		"any iptables is wanted":               {"iptables", func(*fake) {}, "iptables-nft"},
		"legacy is wanted":                     {"iptables-legacy", func(*fake) {}, "iptables-legacy"},
		"nft is wanted but does not work":      {"nft", func(f *fake) { f.noNFT = true }, "Operation not supported"},
		"no table nat":                         {"iptables-nft", func(f *fake) { f.lacks["nat"] = true }, "table nat and modules tcp and owner are needed"},
		"no module owner":                      {"iptables", func(f *fake) { f.lacks["owner"] = true }, "modules tcp and owner are needed"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.saves[ModeNFT], f.saves[ModeLegacy] = emptyNAT, emptyNAT
			c.set(f)
			b, err := Choose(t.Context(), f.choice(c.wanted))
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = b.Name()
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	f := newFake(t)
	f.saves[ModeNFT] = dockerNAT
	f.lacks = map[string]bool{"raw": true, "conntrack": true, "comment": true}
	b, err := Choose(t.Context(), f.choice("iptables-nft"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.Limits(t.Context(), rules.IPv4)
	if err != nil || !strings.Contains(l.NoZones, "raw") || !strings.Contains(l.NoMangle, "conntrack") || !l.NoComments || !l.DockerOutput {
		t.Errorf("%+v %v", l, err)
	}
}

func TestGivenTools(t *testing.T) {
	f := newFake(t)
	path := func(n string) string { return filepath.Join(f.dir, n) }
	c := f.choice("")
	give := func(a, b, d string) {
		c.Executables = func(rules.Family) (string, string, string, bool) { return path(a), path(b), path(d), true }
	}
	give("iptables-legacy", "iptables-legacy-save", "iptables-legacy-restore")
	if b, err := Choose(t.Context(), c); err != nil || b.Name() != "iptables-legacy" {
		t.Errorf("%v %v", b, err)
	}
	give("iptables-legacy", "iptables-nft-save", "iptables-legacy-restore")
	if _, err := Choose(t.Context(), c); err == nil || !strings.Contains(err.Error(), "name programs of one mode") {
		t.Errorf("mixed modes: %v", err)
	}
	give("iptables-legacy", "nowhere", "iptables-legacy-restore")
	if _, err := Choose(t.Context(), c); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("missing program: %v", err)
	}
}

func set4() []*rules.Set {
	return []*rules.Set{rules.Build(rules.Input{
		Family: rules.IPv4, UID: 1, Loopback: "lo",
		Inbound: rules.Direction{Enabled: true, Port: 15006}, Outbound: rules.Direction{Enabled: true, Port: 15001},
	})}
}

func TestRetriesAndTheLock(t *testing.T) {
	for mode, want := range map[string]string{
		"iptables-nft":    "iptables-nft-restore --noflush",
		"iptables-legacy": "iptables-legacy-restore --noflush --wait=5 --wait-interval=100",
	} {
		f := newFake(t)
		b, err := Choose(t.Context(), f.choice(mode))
		if err != nil {
			t.Fatal(err)
		}
		f.failures = 2
		if err := b.Apply(t.Context(), set4(), nil); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		if d := cmp.Diff([]string{want, want, want}, f.ran); d != "" {
			t.Errorf("%s: %s", mode, d)
		}
		if len(f.warnings) != 2 || !strings.Contains(f.warnings[1], "attempt 2 of 3") {
			t.Errorf("%s: %q", mode, f.warnings)
		}
		f.failures = 3
		if err := b.Apply(t.Context(), set4(), nil); err == nil || !strings.Contains(err.Error(), "3 attempts") {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestRetriesEndWithTheContext(t *testing.T) {
	f := newFake(t)
	f.failures = 100
	c := f.choice("iptables-nft")
	c.Pause = 1 << 40
	b, err := Choose(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Apply(ctx, set4(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

const dumpText = `# Generated by iptables-save
*nat
:PREROUTING ACCEPT [5:300]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:KUMA_MESH_INBOUND - [0:0]
-A PREROUTING -p udp -m comment --comment "kuma/mesh/transparent/proxy/one two" -m udp --dport 53 -j REDIRECT --to-ports 15053
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -p tcp -m comment --comment kuma/mesh/transparent/proxy/x -j KUMA_MESH_INBOUND
-A OUTPUT -p tcp -m comment --comment "see kuma/mesh/transparent/proxy/x or KUMA_MESH_INBOUND" -j ACCEPT
-A KUMA_MESH_INBOUND -p tcp -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
-A INPUT -j ACCEPT
COMMIT
`

func TestDump(t *testing.T) {
	d := parseDump(dumpText)
	want := `*nat
-N KUMA_MESH_INBOUND
-I PREROUTING 1 -p udp -m comment --comment "kuma/mesh/transparent/proxy/one two" -m udp --dport 53 -j REDIRECT --to-ports 15053
-A PREROUTING -p tcp -m comment --comment kuma/mesh/transparent/proxy/x -j KUMA_MESH_INBOUND
-A KUMA_MESH_INBOUND -p tcp -j RETURN
COMMIT
`
	if diff := cmp.Diff(want, d.listing()); diff != "" {
		t.Error(diff)
	}
	removal := []string{
		`-D PREROUTING -p udp -m comment --comment "kuma/mesh/transparent/proxy/one two" -m udp --dport 53 -j REDIRECT --to-ports 15053`,
		`-D PREROUTING -p tcp -m comment --comment kuma/mesh/transparent/proxy/x -j KUMA_MESH_INBOUND`,
		"-F KUMA_MESH_INBOUND", "-X KUMA_MESH_INBOUND",
	}
	if diff := cmp.Diff(removal, d.table("nat").removal()); diff != "" {
		t.Error(diff)
	}
	if !d.identifiable() || parseDump("").listing() != "" || !parseDump("").identifiable() {
		t.Error("what is there is misjudged")
	}
	if parseDump("*nat\n:KUMA_MESH_INBOUND - [0:0]\n-A KUMA_MESH_INBOUND -j RETURN\nCOMMIT\n").identifiable() {
		t.Error("rules without comments count as identifiable")
	}
	if !parseDump("*nat\n:" + rules.Marker + " - [0:0]\n:KUMA_MESH_INBOUND - [0:0]\nCOMMIT\n").identifiable() {
		t.Error("our rules without comments do not count as identifiable")
	}
}

// TestOthersDoNotMatter requires that a wanted order is compared only with rules
// that others really have.
func TestOthersDoNotMatter(t *testing.T) {
	inserted := parseDump("*nat\n-A OUTPUT -j KUMA_MESH_A\n-A OUTPUT " + stranger + "\nCOMMIT\n")
	appended := parseDump("*nat\n-A OUTPUT " + stranger + "\n-A OUTPUT -j KUMA_MESH_A\nCOMMIT\n")
	alone := parseDump("*nat\n-A OUTPUT -j KUMA_MESH_A\nCOMMIT\n")
	crowd := parseDump("*nat\n-A OUTPUT -j ACCEPT\n-A OUTPUT -j KUMA_MESH_A\nCOMMIT\n")
	if inserted.comparable(alone) != alone.comparable(alone) || appended.comparable(alone) != alone.comparable(alone) {
		t.Error("alone, the order matters")
	}
	if inserted.comparable(crowd) == crowd.comparable(crowd) || appended.comparable(crowd) != crowd.comparable(crowd) {
		t.Error("among others, the order does not matter")
	}
}

func FuzzParseDump(f *testing.F) {
	f.Add(dumpText)
	f.Add("*\n-A \n:KUMA_MESH\n-A x")
	f.Fuzz(func(t *testing.T, text string) {
		d := parseDump(text)
		again := parseDump(strings.NewReplacer("\n-N ", "\n:", "\n-I ", "\n-A ").Replace(d.listing()))
		if (d.listing() == "") != (again.listing() == "") {
			t.Errorf("%q becomes %q", text, d.listing())
		}
		_ = d.identifiable()
	})
}
