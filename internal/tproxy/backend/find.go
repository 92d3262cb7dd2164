package backend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"weft/internal/tproxy/rules"
)

// toolFolders are where tools lie that the PATH of ordinary users leaves out.
var toolFolders = []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"}

// lookIn returns the path of a program, or "".
func lookIn(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	for _, dir := range toolFolders {
		p := filepath.Join(dir, name)
		if s, err := os.Stat(p); err == nil && s.Mode().IsRegular() && s.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// Mode is one of the two kinds of iptables.
type Mode string

// The modes.
const (
	ModeNFT    Mode = "nft"
	ModeLegacy Mode = "legacy"
)

// Tools are the programs of iptables for one family.
type Tools struct {
	Program, Save, Restore string
	Mode                   Mode
}

// programName is iptables or ip6tables.
func programName(f rules.Family) string {
	if f == rules.IPv6 {
		return "ip6tables"
	}
	return "iptables"
}

// Find returns the tools of a family and mode that are installed.
func Find(ctx context.Context, run Runner, f rules.Family, mode Mode) (*Tools, error) {
	name := programName(f)
	t := &Tools{Mode: mode}
	for _, want := range []struct {
		suffix string
		to     *string
	}{{"", &t.Program}, {"-save", &t.Save}, {"-restore", &t.Restore}} {
		// The name with the mode comes first, then the plain one, if it is of the mode.
		for _, candidate := range []string{name + "-" + string(mode) + want.suffix, name + want.suffix} {
			// A name with the mode says enough; a program is asked only without one.
			named := candidate != name+want.suffix
			if p := lookIn(candidate); p != "" && (named || modeOf(ctx, run, p) == mode) {
				*want.to = p
				break
			}
		}
		if *want.to == "" {
			return nil, fmt.Errorf("%s of mode %s is not installed", name+want.suffix, mode)
		}
	}
	return t, nil
}

// Given returns tools that the user names. All three must be of one mode.
func Given(ctx context.Context, run Runner, program, save, restore string) (*Tools, error) {
	t := &Tools{Program: program, Save: save, Restore: restore, Mode: modeOf(ctx, run, program)}
	for _, p := range []string{program, save, restore} {
		if _, err := os.Stat(p); err != nil {
			return nil, fmt.Errorf("program of iptables: %w", err)
		}
		if m := modeOf(ctx, run, p); m != t.Mode {
			return nil, fmt.Errorf("%s is of mode %s, but %s of mode %s: name programs of one mode", program, t.Mode, p, m)
		}
	}
	return t, nil
}

var versionText = regexp.MustCompile(`ip6?tables\S* v\d+\.\d+(?:\.\d+)?(?: \((\w+)\))?`)

// modeOf asks a program for its mode. Those that do not know are old, thus legacy.
func modeOf(ctx context.Context, run Runner, program string) Mode {
	out, err := run(ctx, "", program, "--version")
	if m := versionText.FindStringSubmatch(out); err == nil && m != nil && m[1] == "nf_tables" {
		return ModeNFT
	}
	return ModeLegacy
}

// abilities are what one family of a mode can do on this kernel.
type abilities struct {
	tables, modules map[string]bool
	// used tells that there are rules of others.
	used   bool
	docker bool
}

// emptyTables tells how many lines (the built-in chains) a table without any rule has.
var emptyTables = []struct {
	name  string
	lines int
}{{rules.NAT, 4}, {rules.Raw, 2}, {rules.Mangle, 5}}

// probe finds out what tools can do. Asking for a table makes the kernel load it.
func probe(ctx context.Context, run Runner, t *Tools) (*abilities, error) {
	a := &abilities{tables: map[string]bool{}, modules: map[string]bool{}}
	var why []error
	for _, table := range emptyTables {
		out, err := run(ctx, "", t.Save, "-t", table.name)
		if err != nil {
			why = append(why, err)
			continue
		}
		a.tables[table.name] = true
		a.used = a.used || countLines(out) > table.lines
		a.docker = a.docker || table.name == rules.NAT && hasDocker(out)
	}
	for _, m := range []string{"owner", "tcp", "udp", "comment", "conntrack", "multiport"} {
		if _, err := run(ctx, "", t.Program, "-m", m, "-h"); err != nil {
			why = append(why, err)
			continue
		}
		a.modules[m] = true
	}
	if !a.tables[rules.NAT] || !a.modules["tcp"] || !a.modules["owner"] {
		return nil, fmt.Errorf("table nat and modules tcp and owner are needed: %w", errors.Join(why...))
	}
	return a, nil
}

func countLines(save string) int {
	n := 0
	for line := range strings.Lines(save) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' && line[0] != '*' && line != "COMMIT" {
			n++
		}
	}
	return n
}

// hasDocker tells whether a listing of iptables holds Docker's chain.
func hasDocker(save string) bool { return strings.Contains("\n"+save, "\n:"+rules.DockerOutput+" ") }

func (a *abilities) limits() Limits {
	l := Limits{NoComments: !a.modules["comment"], DockerOutput: a.docker}
	switch {
	case !a.tables[rules.Raw]:
		l.NoZones = "the kernel or iptables has no table raw"
	case !a.modules["conntrack"] || !a.modules["udp"]:
		l.NoZones = "iptables lacks the modules conntrack and udp"
	}
	switch {
	case !a.tables[rules.Mangle]:
		l.NoMangle = "the kernel or iptables has no table mangle"
	case !a.modules["conntrack"]:
		l.NoMangle = "iptables lacks the module conntrack"
	}
	return l
}
