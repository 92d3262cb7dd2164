package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"weft/internal/tlsutil"
)

// buildDP builds kuma-dp.
func buildDP(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "kuma-dp")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "weft/cmd/kuma-dp").CombinedOutput(); err != nil {
		t.Fatalf("build kuma-dp: %v\n%s", err, out)
	}
	return bin
}

// startProxy runs kuma-dp with a real Envoy until the test ends.
func (c *testCP) startProxy(t *testing.T, dp, envoy, proxyType, file string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "dp") // short, for the paths of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	readiness := freePorts(t, 1)[0]
	c.moved[readiness] = strconv.Itoa(23560 + len(c.proxies)) // as it was recorded
	c.proxies = append(c.proxies, dir)
	args := []string{
		"run", "--cp-address=" + c.dp, "--ca-cert-file=" + filepath.Join(c.dir, tlsutil.OwnCertFile), "--binary-path=" + envoy,
		"--dns-enabled=false", "--config-dir=" + dir, "--concurrency=1", "--dataplane-file=" + file,
	}
	if proxyType != "" {
		args = append(args, "--proxy-type="+proxyType)
	}
	cmd := exec.CommandContext(t.Context(), dp, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &log, &log, dir
	cmd.Env = append(os.Environ(), "KUMA_READINESS_PORT="+readiness, "KUMA_DATAPLANE_RUNTIME_SOCKET_DIR="+dir,
		"KUMA_DATAPLANE_DRAIN_TIME=100ms")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		err := cmd.Wait()
		if t.Failed() || testing.Verbose() {
			t.Logf("kuma-dp %s ended with %v:\n%.4000s", filepath.Base(file), err, log.String())
		}
	})
}
