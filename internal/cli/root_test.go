package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newUser returns somebody who never used kumactl.
func newUser(t *testing.T) *kumactl {
	t.Helper()
	return &kumactl{home: t.TempDir(), dir: t.TempDir()}
}

// want checks a result: the exit code and what the outputs contain. An empty
// text means that nothing may be printed there.
func (r result) want(t *testing.T, code int, out, err string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	for _, c := range []struct{ name, got, want string }{{"stdout", r.out, out}, {"stderr", r.err, err}} {
		if c.want == "" && c.got != "" {
			t.Errorf("%s: %q, want nothing", c.name, c.got)
		}
		if !strings.Contains(c.got, c.want) {
			t.Errorf("%s: %q, want %q in it", c.name, c.got, c.want)
		}
	}
}

// What cannot name anything is refused before anybody is asked.
func TestWrongNames(t *testing.T) {
	k := newUser(t)
	key := filepath.Join(k.dir, "key.pem")
	if err := os.WriteFile(key, []byte(k.run(t, "generate", "signing-key", "--format=pem").out), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		err  string
	}{
		{[]string{"get", "meshtimeout", ""}, "NAME must not be empty"},
		{[]string{"get", "mesh", ".."}, `NAME ".."`},
		{[]string{"delete", "meshtimeout", "../dataplanes/web-1"}, `NAME "../dataplanes/web-1"`},
		{[]string{"inspect", "zoneingress", "a/b"}, `NAME "a/b"`},
		{[]string{"explain", "request", "--from", "", "--to", "x"}, "--from must not be empty"},
		{[]string{"generate", "user-token", "--name", "", "--valid-for=1h", "--kid=1", "--signing-key-path", key}, "--name must not be empty"},
		{[]string{"generate", "zone-token", "--zone", "", "--valid-for=1h", "--kid=1", "--signing-key-path", key}, "--zone must not be empty"},
		{[]string{"generate", "tls-certificate", "--type=server", "--hostname", ""}, "--hostname"},
		{[]string{"generate", "tls-certificate", "--type=server", "--hostname", "a,,b"}, `--hostname: ""`},
		{[]string{"generate", "tls-certificate", "--type=client", "--hostname", "a b"}, `--hostname: "a b"`},
		{[]string{"generate", "tls-certificate", "--type=server", "--hostname", "https://a"}, `--hostname: "https://a"`},
	} {
		r := k.run(t, c.args...)
		if r.code != 1 || !strings.Contains(r.err, c.err) || strings.Contains(r.err, "connection refused") {
			t.Errorf("%q: code %d, %s", c.args, r.code, r.err)
		}
	}
	if _, err := os.Stat(filepath.Join(k.dir, "cert.pem")); err == nil {
		t.Error("a certificate was written")
	}
	k.run(t, "generate", "tls-certificate", "--type=server", "--hostname=10.0.0.1,::1,*.a_b.test,localhost", "--key-type=ecdsa").want(t, 0, "saved", "")
}

func TestWrongCommands(t *testing.T) {
	k := newUser(t)
	for _, c := range []struct {
		args, err string
		usage     bool
	}{
		{"aply", "Did you mean this?\n\tapply", false},
		{"get moons", `unknown command "moons" for "kumactl get"`, false},
		{"config control-planes ad", "\tadd", false},
		{"inspect", "", false}, // a help page
		{"get dataplane", "accepts 1 arg(s)", true},
		{"get dataplanes --moon", "unknown flag: --moon", true},
		{"--log-level loud version", `log level "loud"`, true},
		{"get dataplanes -o xml --no-config", `output format "xml"`, false},
		{"apply --no-config", `required flag(s) "file" not set`, false},
	} {
		r := k.run(t, strings.Fields(c.args)...)
		if c.err == "" {
			r.want(t, 0, "Usage:", "")
			continue
		}
		out := ""
		if c.usage {
			out = "Usage:"
		}
		r.want(t, 1, out, c.err)
		if !strings.HasPrefix(r.err, "Error: ") {
			t.Errorf("%s: stderr is %q", c.args, r.err)
		}
	}
}

func TestConfigurationFileIsMadeAtFirstUse(t *testing.T) {
	t.Run("by default", func(t *testing.T) {
		k := newUser(t)
		k.run(t, "config", "view").want(t, 0, "currentContext: local", "")
		st, err := os.Stat(filepath.Join(k.home, ".kumactl", "config"))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
	})
	t.Run("where it is said to be", func(t *testing.T) {
		k := newUser(t)
		file := filepath.Join(k.home, "a", "b")
		k.run(t, "config", "view", "--config-file", file).want(t, 0, "currentContext: local", "")
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	})
	t.Run("not with --no-config", func(t *testing.T) {
		k := newUser(t)
		k.run(t, "config", "view", "--no-config").want(t, 0, localURL, "")
		if _, err := os.Stat(filepath.Join(k.home, ".kumactl")); !os.IsNotExist(err) {
			t.Errorf("there is a folder: %v", err)
		}
	})
	t.Run("not without a home", func(t *testing.T) {
		k := &kumactl{dir: t.TempDir()}
		k.run(t, "config", "view").want(t, 0, localURL, "")
		if entries, _ := os.ReadDir(k.dir); len(entries) > 0 {
			t.Errorf("the working directory holds %v", entries)
		}
		k.run(t, "config", "control-planes", "add", "--name=x", "--address=http://127.0.0.1:1", "--skip-check").want(t, 1, "", "--config-file")
	})
	t.Run("going on without where it cannot be made", func(t *testing.T) {
		k := newUser(t)
		k.home = filepath.Join(k.dir, "file")
		if err := os.WriteFile(k.home, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		k.run(t, "generate", "signing-key", "--format=pem").want(t, 0, "RSA PRIVATE KEY", "")
		k.run(t, "config", "view", "--config-file", filepath.Join(k.home, "x")).want(t, 1, "", "configuration")
	})
	t.Run("not to show completions or help", func(t *testing.T) {
		k := newUser(t)
		k.run(t, "completion", "bash").want(t, 0, "kumactl", "")
		k.run(t, "get", "--help").want(t, 0, "Usage:", "")
		k.run(t, "__complete", "get", "meshe")
		if _, err := os.Stat(filepath.Join(k.home, ".kumactl")); !os.IsNotExist(err) {
			t.Errorf("there is a folder: %v", err)
		}
	})
}

// kumactl must stay small: it makes of objects what a control plane makes of them
// (render, analyze), and for that carries the pure way from objects to Envoy's
// resources, but no server, no store and no engine.
func TestKumactlCarriesNoControlPlane(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED: no go command")
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "weft/cmd/kumactl").Output()
	if err != nil {
		t.Fatal(err)
	}
	var pure []string
	for _, name := range []string{
		"admit", "build", "defaults", "envoy", "explain", "findings", "inspect", "preview", "services", "state", "store", "view", "vip", "whatif", "xds",
	} {
		pure = append(pure, "weft/internal/cp/"+name)
	}
	for _, pkg := range strings.Fields(string(out)) {
		if slices.Contains(pure, pkg) {
			continue
		}
		for _, banned := range []string{"weft/internal/cp", "weft/internal/dp", "modernc.org/", "github.com/jackc", "github.com/miekg"} {
			if strings.HasPrefix(pkg, banned) {
				t.Errorf("kumactl imports %s", pkg)
			}
		}
	}
	const most = 45 << 20
	bin := filepath.Join(t.TempDir(), "kumactl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "weft/cmd/kumactl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if st, err := os.Stat(bin); err != nil || st.Size() > most {
		t.Errorf("kumactl has %d bytes, more than %d (%v)", st.Size(), most, err)
	}
}
