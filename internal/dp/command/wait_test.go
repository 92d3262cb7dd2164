package command

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// call runs the command line inside the test.
func call(t *testing.T, signals chan os.Signal, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	code = Main(context.Background(), Environment{Args: args, Stdin: strings.NewReader(""), Stdout: &b, Stderr: &b, Signals: signals, Exit: func(int) {}})
	return code, b.String()
}

func TestWait(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(503)
		}
	}))
	defer s.Close()
	if code, out := call(t, nil, "wait", "--url="+s.URL, "--check-frequency=1ms"); code != 0 || asked.Load() != 3 {
		t.Errorf("code %d after %d questions: %s", code, asked.Load(), out)
	}
	asked.Store(-1 << 20)
	code, out := call(t, nil, "wait", "--url="+s.URL, "--check-frequency=1ms", "--timeout=50ms")
	if code != 1 || !strings.Contains(out, "not ready within 50ms") || !strings.Contains(out, "503") {
		t.Errorf("code %d: %s", code, out)
	}
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	began := time.Now()
	if code, out := call(t, signals, "wait", "--url="+s.URL, "--timeout=1h"); code != 1 || time.Since(began) > 10*time.Second {
		t.Errorf("code %d: %s", code, out)
	}
	if code, out := call(t, nil, "wait", "--check-frequency=0s"); code != 1 || !strings.Contains(out, "--check-frequency") {
		t.Errorf("code %d: %s", code, out)
	}
}

func TestVersion(t *testing.T) {
	if code, out := call(t, nil, "version"); code != 0 || out != "Weft 2.10.11+weft\n" {
		t.Errorf("code %d: %q", code, out)
	}
	code, out := call(t, nil, "version", "--detailed")
	for _, want := range []string{"Product:", "Git Commit:", "CoreDNS:", "Envoy:"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("code %d: %q does not say %q", code, out, want)
		}
	}
	if code, _ := call(t, nil, "nonsense"); code != 1 {
		t.Errorf("unknown command: code %d", code)
	}
}
