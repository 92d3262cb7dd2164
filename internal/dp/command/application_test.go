package command

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/testkit/freeport"
	"weft/internal/testkit/lockedbuf"
)

// isApplication makes the test binary a small web server; see TestMain. It
// answers until SIGTERM, then says how many requests it had.
func isApplication() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals)
	l, err := net.Listen("tcp", os.Getenv("APP_LISTEN"))
	if err != nil {
		fmt.Println("application:", err)
		os.Exit(9)
	}
	count := 0
	requests := make(chan struct{})
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests <- struct{}{}
			_, _ = io.WriteString(w, "hello")
		}))
	}()
	fmt.Println("application up, arguments", os.Args[1:], "token", os.Getenv("KUMA_DATAPLANE_RUNTIME_TOKEN"), "color", os.Getenv("COLOR"))
	for {
		select {
		case <-requests:
			count++
		case sig := <-signals:
			if sig == syscall.SIGURG {
				continue // the runtime's own
			}
			fmt.Println("application got", sig)
			switch sig {
			case syscall.SIGTERM, syscall.SIGINT:
				// The way out through the sidecar must still be open.
				resp, err := http.Get(os.Getenv("APP_LAST_CALL"))
				if err != nil {
					fmt.Println("application: last call:", err)
					os.Exit(8)
				}
				resp.Body.Close()
				fmt.Println("application says goodbye after", count)
				os.Exit(0)
			case syscall.SIGUSR1:
				os.Exit(7)
			}
		}
	}
}

// webApplication returns the environment of an application behind cp's listener.
func webApplication(t *testing.T) (address string, env []string) {
	t.Helper()
	address = fmt.Sprintf("127.0.0.1:%d", freeport.Take(t, 1)[0])
	return address, []string{"WEFT_TEST_IS_APPLICATION=1", "APP_LISTEN=" + address, "COLOR=green"}
}

// startWithApplication runs kuma-dp in a shell that marks the application's
// own environment, as both are this test binary.
func startWithApplication(t *testing.T, cp *controlPlane, env []string, more ...string) *dataplane {
	t.Helper()
	args := []string{"--name=web-1", "--mesh=default", "--", "env", "-u", "WEFT_TEST_IS_KUMA_DP"}
	args = append(args, env...)
	args = append(args, fmt.Sprintf("APP_LAST_CALL=http://127.0.0.1:%d/ready", cp.admin), os.Args[0], "--flag", "a b")
	more = append(more, "KUMA_DATAPLANE_RUNTIME_TOKEN="+goodToken)
	return startDP(t, append(cp.env(realEnvoy(t)), more...), args...)
}

var envoyPID = regexp.MustCompile(`program\W+Envoy\W+pid\W+(\d+)`)

func TestApplicationLivesBetweenReadyAndDrained(t *testing.T) {
	address, env := webApplication(t)
	cp := newControlPlane(t, address)
	d := startWithApplication(t, cp, env)
	d.waitReady(t, cp)
	url := fmt.Sprintf("http://127.0.0.1:%d/", cp.listener)
	eventually(t, 10*time.Second, "serving", func() bool { return get(url) == "200 hello" })
	out := d.out.String()
	if !strings.Contains(out, "arguments [--flag a b] token  color green") {
		t.Errorf("arguments or environment are wrong, or the token is passed on:\n%s", out)
	}
	if ready, up := strings.Index(out, "proxy is ready"), strings.Index(out, "application up"); ready < 0 || up < ready {
		t.Error("the application was started before the proxy was ready")
	}
	if strings.Contains(out, "a b\"") {
		t.Error("arguments are in the log")
	}
	pid := envoyPID.FindStringSubmatch(out)
	if pid == nil {
		t.Fatalf("the log does not tell Envoy's pid:\n%s", out)
	}
	// Access logs can print variables of Envoy.
	if environ, err := os.ReadFile("/proc/" + pid[1] + "/environ"); err != nil || bytes.Contains(environ, []byte(goodToken)) {
		t.Errorf("the token is in the environment of Envoy, or that cannot be read: %v", err)
	}

	d.signal(t, syscall.SIGHUP)
	eventually(t, 5*time.Second, "passed on", func() bool { return strings.Contains(d.out.String(), "application got hangup") })
	stop := make(chan struct{})
	sent, wait := load(t, url, stop)
	eventually(t, 10*time.Second, "under load", func() bool { return sent.Load() > 100 })
	d.signal(t, syscall.SIGTERM)
	eventually(t, 5*time.Second, "terminating", func() bool {
		return get(fmt.Sprintf("http://127.0.0.1:%d/ready", cp.readiness)) == "503 TERMINATING"
	})
	before := sent.Load()
	eventually(t, 5*time.Second, "served while draining", func() bool { return sent.Load() > before+50 })
	if strings.Contains(d.out.String(), "application got terminated") {
		t.Error("the application was stopped before clients had left")
	}
	close(stop)
	wait()
	if code := d.wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	out = d.out.String()
	bye, envoyStops := strings.Index(out, "application says goodbye"), strings.Index(out, "program=Envoy")
	if bye < 0 || strings.LastIndex(out, "stopped") < bye {
		t.Errorf("the application did not end before Envoy (%d, %d)", bye, envoyStops)
	}
}

func TestEndOfApplicationEndsAll(t *testing.T) {
	address, env := webApplication(t)
	cp := newControlPlane(t, address)
	d := startWithApplication(t, cp, env, "KUMA_DATAPLANE_DRAIN_TIME=1h")
	d.waitReady(t, cp)
	eventually(t, 10*time.Second, "up", func() bool { return strings.Contains(d.out.String(), "application up") })
	began := time.Now()
	d.signal(t, syscall.SIGUSR1)
	// Nobody is connected, so the hour is not waited for.
	if code := d.wait(t, 20*time.Second); code != 7 {
		t.Errorf("exit code %d, want that of the application", code)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	out := d.out.String()
	for _, want := range []string{"the application has ended", "draining", "no client left"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output does not say %q", want)
		}
	}
	if strings.Contains(out, "kuma-dp: ") {
		t.Error("the end of the application is told as an error of kuma-dp")
	}
	if left, _ := filepath.Glob(filepath.Join(d.tmp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestJobWithShell(t *testing.T) {
	envoy := realEnvoy(t)
	for name, tc := range map[string]struct {
		script string
		code   int
		want   string
	}{
		"success":               {"echo done", 0, "done"},
		"failure":               {"exit 3", 3, ""},
		"killed":                {"kill -9 $$", 137, ""},
		"reads standard input":  {"read x && echo got $x", 0, "got input"},
		"leaves a child behind": {`sleep 300 & echo child $!`, 0, "child "},
	} {
		t.Run(name, func(t *testing.T) {
			cp := newControlPlane(t, application(t))
			d := startDPWithInput(t, cp.env(envoy), "input\n", "--name=web-1", "--mesh=default", "--", "sh", "-c", tc.script)
			if code := d.wait(t, 30*time.Second); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			out := d.out.String()
			if !strings.Contains(out, tc.want) {
				t.Errorf("the output does not say %q", tc.want)
			}
			if _, rest, ok := strings.Cut(out, "\nchild "); ok {
				var pid int
				if _, err := fmt.Sscan(rest, &pid); err != nil {
					t.Fatal(err)
				}
				eventually(t, 5*time.Second, "gone", func() bool { return !runs(pid) })
			}
		})
	}
}

// runs reports whether a process exists and is no zombie.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestStubbornApplicationIsKilled(t *testing.T) {
	envoy := realEnvoy(t)
	cp := newControlPlane(t, application(t))
	d := startDP(t, cp.env(envoy), "--name=web-1", "--mesh=default", "--application-stop-time=300ms", "--",
		"sh", "-c", "trap '' TERM; echo stubborn; while :; do sleep 0.05; done")
	eventually(t, 20*time.Second, "up", func() bool { return strings.Contains(d.out.String(), "\nstubborn") })
	d.signal(t, syscall.SIGTERM)
	if code := d.wait(t, 20*time.Second); code != 137 {
		t.Errorf("exit code %d", code)
	}
}

func TestApplicationEndsWithEnvoyAndKumaDP(t *testing.T) {
	envoy := realEnvoy(t)
	for name, tc := range map[string]struct {
		kill func(*testing.T, *dataplane)
		code int
	}{
		"Envoy dies":   {func(t *testing.T, d *dataplane) { kill(t, d.childNamed(t, "envoy")) }, 137},
		"kuma-dp dies": {func(t *testing.T, d *dataplane) { kill(t, d.cmd.Process.Pid) }, -1},
	} {
		t.Run(name, func(t *testing.T) {
			cp := newControlPlane(t, application(t))
			d := startDP(t, cp.env(envoy), "--name=web-1", "--mesh=default", "--", "sh", "-c", "echo pid $$; exec sleep 300")
			var pid int
			eventually(t, 20*time.Second, "up", func() bool {
				_, rest, ok := strings.Cut(d.out.String(), "\npid ")
				if !ok {
					return false
				}
				_, err := fmt.Sscan(rest, &pid)
				return err == nil
			})
			tc.kill(t, d)
			if code := d.wait(t, 20*time.Second); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			eventually(t, 5*time.Second, "gone", func() bool { return !runs(pid) })
		})
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func TestApplicationRefused(t *testing.T) {
	envoy := realEnvoy(t)
	file := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"not found":       {[]string{"--", "no-such-program"}, 127, "no-such-program"},
		"not executable":  {[]string{"--", file}, 126, "permission denied"},
		"nothing":         {[]string{"--"}, 1, "missing after --"},
		"no dash":         {[]string{"sleep", "1"}, 1, "write -- before"},
		"word and dash":   {[]string{"web", "--", "sleep", "1"}, 1, "write -- before"},
		"unknown user":    {[]string{"--application-user=no-such-user", "--", "true"}, 1, "no-such-user"},
		"user of nothing": {[]string{"--application-user=nobody"}, 1, "needs a command"},
		"no time":         {[]string{"--application-stop-time=0s", "--", "true"}, 1, "--application-stop-time"},
		"zone proxy":      {[]string{"--proxy-type=egress", "--", "true"}, 1, "no application"},
	} {
		t.Run(name, func(t *testing.T) {
			cp := newControlPlane(t, application(t))
			d := startDP(t, cp.env(envoy), append([]string{"--name=web-1", "--mesh=default"}, tc.args...)...)
			if code := d.wait(t, 20*time.Second); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if !strings.Contains(d.out.String(), tc.want) {
				t.Errorf("the output does not say %q", tc.want)
			}
		})
	}
}

func TestApplicationUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: only root can run the application as another user")
	}
	envoy := realEnvoy(t)
	cp := newControlPlane(t, application(t))
	d := startDP(t, cp.env(envoy), "--name=web-1", "--mesh=default", "--application-user=nobody", "--", "id", "-u")
	if code := d.wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	want, err := exec.Command("id", "-u", "nobody").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(d.out.String(), "\n"+strings.TrimSpace(string(want))+"\n") {
		t.Errorf("not run as user %s", want)
	}
	if strings.Contains(d.out.String(), "is not redirected") {
		t.Error("warned although the user is another one")
	}
}

// A kuma-dp that is not root but may become any user, as under systemd, does not
// hand that right to the application.
func TestApplicationGetsNoCapabilities(t *testing.T) {
	setpriv, err := exec.LookPath("setpriv")
	if os.Getuid() != 0 || err != nil {
		t.Skip("SKIPPED: needs root and setpriv")
	}
	envoy := realEnvoy(t)
	cp := newControlPlane(t, application(t))
	const caps = "+setuid,+setgid,+kill"
	dir, err := os.MkdirTemp("", "weft-caps-") // that of t is for root only
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(cp.ca)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "kuma-dp")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(setpriv, "--reuid=daemon", "--regid=daemon", "--clear-groups", "--inh-caps="+caps, "--ambient-caps="+caps,
		binary, "run", "--name=web-1", "--mesh=default", "--application-user=nobody", "--",
		"sh", "-c", "id -un; grep Cap /proc/self/status; sleep 300")
	cmd.Env = append(cp.env(envoy), "WEFT_TEST_IS_KUMA_DP=1", "PATH="+os.Getenv("PATH"), "TMPDIR="+dir,
		"KUMA_CONTROL_PLANE_CA_CERT_FILE=", "KUMA_CONTROL_PLANE_CA_CERT="+string(ca))
	out := &lockedbuf.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	defer func() { _ = cmd.Process.Kill(); <-ended }()
	eventually(t, 20*time.Second, "up", func() bool { return strings.Contains(out.String(), "CapAmb:") || isClosed(ended) })
	text := out.String()
	for _, want := range []string{"\nnobody\n", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000"} {
		if !strings.Contains(text, want) {
			t.Errorf("the output does not say %q:\n%s", want, text)
		}
	}
	// And it can still be stopped, although it is another user's.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "stopped", func() bool { return isClosed(ended) })
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("exit code %d", code)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Clients are sent to the application when it listens, not before.
func TestApplicationIsAnnounced(t *testing.T) {
	for name, hds := range map[string]bool{"health discovery": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			address, env := webApplication(t)
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				t.Fatal(err)
			}
			cp := newControlPlane(t, address)
			cp.hds.Store(hds)
			resource := fmt.Sprintf("{type: Dataplane, mesh: default, name: web-1, networking: {address: %s, inbound: [{port: 1, servicePort: %s, tags: {kuma.io/service: web}}]}}", host, port)
			args := append([]string{"--dataplane=" + resource, "--", "env", "-u", "WEFT_TEST_IS_KUMA_DP"}, env...)
			gate := filepath.Join(t.TempDir(), "go")
			args = append(args, fmt.Sprintf("APP_LAST_CALL=http://127.0.0.1:%d/ready", cp.admin), "sh", "-c",
				"while ! [ -e "+gate+" ]; do sleep 0.02; done; exec "+os.Args[0])
			d := startDP(t, cp.env(realEnvoy(t)), args...)
			d.waitReady(t, cp)
			eventually(t, 10*time.Second, "started", func() bool { return strings.Contains(d.out.String(), "application started") })
			if words, _ := cp.heard(); len(words) > 0 {
				t.Errorf("said %v before the application listens", words)
			}
			if err := os.WriteFile(gate, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			eventually(t, 10*time.Second, "announced", func() bool { words, _ := cp.heard(); return len(words) > 0 })
			d.signal(t, syscall.SIGTERM)
			if code := d.wait(t, 20*time.Second); code != 0 {
				t.Errorf("exit code %d", code)
			}
			words, asked := cp.heard()
			if strings.Join(words, " ") != "/serving /leave" {
				t.Errorf("said %v", words)
			}
			// Probes without somebody who looks at them would keep clients away.
			probed := strings.Contains(fmt.Sprint(cp.lastRequest(t)["dataplaneResource"]), `"serviceProbe":{"tcp":{}}`)
			if wantAsked := map[bool]int{true: 1, false: 2}[hds]; probed != hds || asked != wantAsked {
				t.Errorf("probes: %t, asked for the document %d times", probed, asked)
			}
		})
	}
}
