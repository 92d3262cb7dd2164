// Package deploy holds no code: it is what packages for hosts with systemd are
// made of. The test keeps it in step with the programs.
package deploy

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weft/internal/config"
	"weft/internal/dp"
)

var variable = regexp.MustCompile(`\bKUMA_[A-Z0-9_]+`)

// assignments returns the variables that a file sets or shows, with values.
func assignments(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(lines.Text()), "#"), "Environment=")
		name, value, ok := strings.Cut(line, "=")
		if ok && variable.FindString(name) == name {
			out[name] = value
		}
	}
	return out
}

// Every variable that units and defaults set, and that the page tells, exists.
func TestVariablesExist(t *testing.T) {
	proxy := map[string]bool{}
	c := dp.DefaultConfig()
	for _, o := range dp.Options(&c) {
		proxy[o.Env] = true
	}
	for _, file := range []string{"systemd/kuma-dp@.service", "default/kuma-dp"} {
		found := assignments(t, file)
		if len(found) < 3 {
			t.Errorf("%s: only %d variables found", file, len(found))
		}
		for name := range found {
			if !proxy[name] {
				t.Errorf("%s: kuma-dp has no variable %s", file, name)
			}
		}
	}
	var plane []string
	for _, file := range []string{"systemd/kuma-cp.service", "default/kuma-cp"} {
		for name, value := range assignments(t, file) {
			plane = append(plane, name+"="+value)
		}
	}
	if _, warnings, err := config.Load("etc/kuma-cp.yaml", plane); err != nil || strings.Contains(strings.Join(warnings, "\n"), "KUMA_") {
		t.Errorf("kuma-cp does not like its settings: %v, %v", warnings, err)
	}
	page, err := os.ReadFile("../docs/universal.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range variable.FindAllString(string(page), -1) {
		if !proxy[name] && name != "KUMA_GENERAL_WORK_DIR" {
			t.Errorf("universal.md: kuma-dp has no variable %s", name)
		}
	}
}

// The settings that a person starts from are read without a complaint.
func TestSampleSettings(t *testing.T) {
	if _, warnings, err := config.Load("etc/kuma-cp.yaml", nil); err != nil || len(warnings) > 0 {
		t.Errorf("kuma-cp.yaml: %v, %v", warnings, err)
	}
}

// systemd accepts the units, and they keep their services in a small world.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("SKIPPED: no systemd-analyze on this host")
	}
	dir := t.TempDir()
	program := regexp.MustCompile(`=/usr/bin/\S+`)
	for unit, exposure := range map[string]string{"kuma-cp.service": "20", "kuma-dp@.service": "20", "kuma-transparent-proxy.service": "55"} {
		t.Run(unit, func(t *testing.T) {
			out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--threshold="+exposure, filepath.Join("systemd", unit)).CombinedOutput()
			if err != nil && !bytes.Contains(out, []byte("unrecognized option")) {
				t.Errorf("exposed more than %s: %s", exposure, last(out))
			}
			text, err := os.ReadFile(filepath.Join("systemd", unit))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, strings.Replace(unit, "@", "@web", 1))
			if err := os.WriteFile(file, program.ReplaceAll(text, []byte("=/bin/true")), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err = exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput()
			if err != nil || strings.Contains(string(out), filepath.Base(file)) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func last(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// Scripts are plain shell, and all that packages name is there.
func TestPackagesAreWhole(t *testing.T) {
	scripts, err := filepath.Glob("packages/*-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		if strings.HasSuffix(script, ".yaml") {
			continue
		}
		if out, err := exec.Command("sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", script, out)
		}
	}
	source := regexp.MustCompile(`(?:src: |(?:postinstall|preremove|postremove): )([a-zA-Z][^,\s]*)`)
	packages, err := filepath.Glob("packages/*.yaml")
	if err != nil || len(packages) != 3 {
		t.Fatal(packages, err)
	}
	for _, file := range packages {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range source.FindAllStringSubmatch(string(text), -1) {
			if strings.HasPrefix(m[1], "bin/") {
				continue // is built
			}
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}
