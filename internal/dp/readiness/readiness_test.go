package readiness

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestStates(t *testing.T) {
	r, err := Listen("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	base := "http://" + r.Addr().String()
	for _, step := range []struct {
		advance State
		code    int
		body    string
	}{
		{Starting, 503, "STARTING"},
		{Ready, 200, "READY"},
		{Terminating, 503, "TERMINATING"},
		{Ready, 503, "TERMINATING"}, // no way back
	} {
		r.Advance(step.advance)
		resp, err := http.Get(base + "/ready")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != step.code || string(body) != step.body {
			t.Errorf("after %d: %d %s, want %d %s", step.advance, resp.StatusCode, body, step.code, step.body)
		}
		for header, want := range map[string]string{"Content-Type": "text/plain", "Cache-Control": "no-cache, max-age=0", "X-Powered-By": "kuma-dp"} {
			if got := resp.Header.Get(header); got != want {
				t.Errorf("%s: %q, want %q", header, got, want)
			}
		}
	}
	resp, err := http.Get(base + "/other")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("other path: %d", resp.StatusCode)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := http.Get(base + "/ready"); err == nil {
		t.Error("still listening")
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Listen("127.0.0.1", uint16(l.Addr().(*net.TCPAddr).Port))
	if err == nil || !strings.Contains(err.Error(), "KUMA_READINESS_PORT") {
		t.Errorf("got %v", err)
	}
}
