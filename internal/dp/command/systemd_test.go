package command

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestServiceManagerIsTold(t *testing.T) {
	envoy := realEnvoy(t)
	cp := newControlPlane(t, application(t))
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	_ = socket.SetReadDeadline(time.Now().Add(30 * time.Second))
	next := func() string {
		t.Helper()
		buffer := make([]byte, 4096)
		n, err := socket.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
	d := startDP(t, append(cp.env(envoy), "NOTIFY_SOCKET="+path), "--name=web-1", "--mesh=default")
	for _, want := range []string{"STATUS=asking the control plane", "STATUS=waiting until Envoy", "READY=1\nSTATUS=serving"} {
		if got := next(); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := get(fmt.Sprintf("http://127.0.0.1:%d/", cp.listener)); got != "200 hello" {
		t.Errorf("told to be ready, but traffic gives %q", got)
	}
	d.signal(t, syscall.SIGTERM)
	// A second of draining, and time for all parts to end.
	if got := next(); !strings.HasPrefix(got, "STOPPING=1\n") || !strings.Contains(got, "EXTEND_TIMEOUT_USEC=31000000") {
		t.Errorf("got %q", got)
	}
	if code := d.wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
