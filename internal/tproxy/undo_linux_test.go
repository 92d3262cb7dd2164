package tproxy_test

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/testkit/netns"
)

// TestFailedSelfTest requires that everything is undone when what was reachable is
// not any more.
func TestFailedSelfTest(t *testing.T) {
	each(t, func(t *testing.T, w *world, backend string) {
		l := w.newListeners(t)
		l.tcp(t, w.there, "there", 0, "10.77.0.2:80")
		l.tcp(t, w.there, "there", 0, "10.77.0.2:5681")
		for _, earlier := range [][]string{nil, {"--exclude-outbound-ports", "80"}} {
			if earlier != nil {
				w.install(t, backend, earlier...)
			}
			before := w.ruleset(t)
			out, err := w.ctl(t, w.installArgs(t, backend, "--redirect-dns", "--self-test-connect", "10.77.0.2:80")...)
			if err == nil || !strings.Contains(out, "10.77.0.2:80") || !strings.Contains(out, "as it was before") {
				t.Errorf("%v\n%s", err, out)
			}
			if d := cmp.Diff(emptied(before), emptied(w.ruleset(t))); d != "" {
				t.Errorf("not as before:\n%s", d)
			}
		}
		// What stays reachable by default passes the same test.
		w.install(t, backend, "--redirect-dns", "--self-test-connect", "10.77.0.2:5681")
		out, err := w.ctl(t, w.installArgs(t, backend, "--self-test-connect", "10.77.0.2:81")...)
		if err == nil || !strings.Contains(out, "already before the installation") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// emptied leaves out tables and built-in chains without rules, which iptables
// leaves behind wherever it was used.
func emptied(ruleset string) string {
	var out []string
	for line := range strings.Lines(ruleset) {
		if strings.HasPrefix(line, "*") || strings.HasPrefix(line, "COMMIT") || strings.HasPrefix(line, ":") && strings.Contains(line, " ACCEPT ") {
			continue
		}
		out = append(out, line)
	}
	return strings.Join(out, "")
}

// TestConfirmation requires that what nobody confirms is undone by a process that
// outlives the shell, and that what is confirmed stays.
func TestConfirmation(t *testing.T) {
	each(t, func(t *testing.T, w *world, backend string) {
		w.install(t, backend, "--exclude-inbound-ports", "1234")
		before := w.ruleset(t)
		out := w.install(t, backend, "--redirect-dns", "--confirm-within", "1500ms")
		if !strings.Contains(out, "--confirm") {
			t.Errorf("%s", out)
		}
		changed := w.ruleset(t)
		if changed == before {
			t.Fatal("nothing was installed")
		}
		if out, err := w.ctl(t, w.installArgs(t, backend)...); err == nil || !strings.Contains(out, "waits for confirmation") {
			t.Errorf("a second installation meanwhile: %v\n%s", err, out)
		}
		eventually(t, func() bool { return emptied(w.ruleset(t)) == emptied(before) }, func() string { return cmp.Diff(before, w.ruleset(t)) })
		eventually(t, func() bool { // the process is done a moment later
			out, _ := w.ctl(t, "install", "transparent-proxy", "--confirm")
			return strings.Contains(out, "nothing waits")
		}, func() string { return "the waiting process ends" })

		w.install(t, backend, "--redirect-dns", "--confirm-within", "1m")
		if out, err := w.ctl(t, "install", "transparent-proxy", "--confirm"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if out, err := w.ctl(t, "install", "transparent-proxy", "--confirm"); err == nil {
			t.Errorf("there was something to confirm twice:\n%s", out)
		}
		confirmed := w.ruleset(t)
		w.install(t, backend, "--redirect-dns", "--confirm-within", "1m")
		w.uninstall(t) // also ends the waiting
		if out, err := w.ctl(t, "install", "transparent-proxy", "--confirm"); err == nil {
			t.Errorf("something waits after uninstalling:\n%s", out)
		}
		w.install(t, backend, "--redirect-dns")
		if d := cmp.Diff(emptied(confirmed), emptied(w.ruleset(t))); d != "" {
			t.Errorf("confirmed is not like installed:\n%s", d)
		}
	})
}

func eventually(t *testing.T, f func() bool, why func() string) {
	t.Helper()
	deadline := time.Now().Add(2 * patience)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("it never happens: %s", why())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestKilledInstallation kills the installing process, and all of its session,
// while it runs.
func TestKilledInstallation(t *testing.T) {
	w := newWorld(t)
	l := w.newListeners(t)
	l.tcp(t, w.there, "there", 0, "10.77.0.2:80")
	before := w.ruleset(t)
	// The test of an address that does not answer keeps the installation busy.
	args := w.installArgs(t, "nft", "--self-test-connect", "10.77.0.2:80", "--confirm-within", "1m", "--config",
		`{"selfTest":{"timeout":"1m"},"cniMode":true}`)
	// Packets to the proxy's port vanish, so that the connection hangs.
	w.must(t, "table inet hole {\n chain c {\n  type filter hook input priority 0; policy accept;\n  tcp dport 15001 drop\n }\n}\n", "nft", "-f", "-")
	cmd := exec.Command(netns.Find("ip"), append([]string{"netns", "exec", w.here, kumactl(t)}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return strings.Contains(w.ruleset(t), "weft_transparent_proxy") }, func() string { return "rules" })
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	w.must(t, "", "nft", "delete", "table", "inet", "hole")
	eventually(t, func() bool { return w.ruleset(t) == before }, func() string { return cmp.Diff(before, w.ruleset(t)) })
}

// TestSelfTestSeesOthers requires that the self-test notices what rules of others do
// to ours.
func TestSelfTestSeesOthers(t *testing.T) {
	w := newWorld(t)
	for want, rule := range map[string]string{
		"so the proxy would talk to itself": "type nat hook output priority -150; meta skuid 5678 ip daddr 198.51.100.1 meta l4proto tcp redirect to :15001",
		"application to another host":       "type filter hook input priority 0; tcp dport 15001 drop",
		"application asks for a name":       "type filter hook output priority 0; udp dport 15053 drop",
		"application to localhost":          "type nat hook output priority -150; meta skuid 0 ip daddr 127.0.0.1 tcp dport > 1024 redirect to :1",
	} {
		w.must(t, "table inet sabotage {\n chain c {\n  "+strings.Replace(rule, "; ", ";\n  ", 1)+"\n }\n}\n", "nft", "-f", "-")
		before := w.ruleset(t)
		out, err := w.ctl(t, w.installArgs(t, "nft", "--redirect-dns", "--config", `{"cniMode":true,"selfTest":{"timeout":"300ms"},"redirect":{"dns":{"resolvConfigPath":"`+w.resolv(t)+`"}}}`)...)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("%s is not noticed: %v\n%s", rule, err, out)
		}
		if d := cmp.Diff(before, w.ruleset(t)); d != "" {
			t.Errorf("not as before:\n%s", d)
		}
		w.must(t, "", "nft", "delete", "table", "inet", "sabotage")
	}
}

// TestSelfTestOnABusyHost requires that the self-test knows its own connection when
// the kernel gave it another source port: the redirected connection would otherwise
// look like an earlier one from the same port, which conntrack still remembers.
func TestSelfTestOnABusyHost(t *testing.T) {
	w := newWorld(t)
	w.must(t, "", "sysctl", "-w", "net.ipv4.ip_local_port_range=40000 40003")
	for range 4 {
		w.install(t, "nft")
		w.uninstall(t)
	}
}
