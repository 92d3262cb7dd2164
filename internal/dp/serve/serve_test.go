package serve

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

func TestHTTPEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- HTTP(ctx, "greetings", l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	}()
	url := "http://" + l.Addr().String()
	resp, err := http.Get(url) // its connection stays open, and must not hold the server
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != "hello" {
		t.Errorf("got %q", body)
	}
	_ = resp.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the end is no error, got %v", err)
	}
	if _, err := http.Get(url); err == nil {
		t.Error("the server still answers")
	}
}

func TestHTTPTellsWhatFailed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := HTTP(t.Context(), "greetings", l, http.NotFoundHandler()); err == nil {
		t.Error("a closed listener was served")
	}
}
