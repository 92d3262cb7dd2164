package accesslog

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseLine(t *testing.T) {
	for name, tc := range map[string]struct{ line, address, text string }{
		"text":      {`{"address":"10.0.0.1:9000","message":"a \"b\""}`, "10.0.0.1:9000", "a \"b\"\n"},
		"object":    {`{"address":"logs:9000","message":{"b": 1, "a": [2]}}`, "logs:9000", "{\"b\":1,\"a\":[2]}\n"},
		"older":     {`logs:9000;GET / HTTP/1.1; 200`, "logs:9000", "GET / HTTP/1.1; 200\n"},
		"IPv6":      {`[::1]:9000;x`, "[::1]:9000", "x\n"},
		"empty old": {`logs:9000;`, "logs:9000", "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := ParseLine([]byte(tc.line))
			if err != nil {
				t.Fatal(err)
			}
			if e.Address != tc.address || string(e.Text) != tc.text {
				t.Errorf("got %q %q", e.Address, e.Text)
			}
		})
	}
	for _, bad := range []string{"", "x", "{", `{"address":"a:1"}`, `{"message":"x"}`, `{"address":"a","message":"x"}`, `:9000;x`, `a:;x`, `{"address":5,"message":"x"}`} {
		if e, err := ParseLine([]byte(bad)); err == nil {
			t.Errorf("%q accepted: %+v", bad, e)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte(`{"address":"a:1","message":"x"}`))
	f.Add([]byte(`a:1;x`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := ParseLine(line)
		if err == nil && (e.Address == "" || e.Text[len(e.Text)-1] != '\n') {
			t.Errorf("%q gives %+v", line, e)
		}
	})
}

// collector accepts connections and hands on what they bring, line by line.
type collector struct {
	net.Listener
	lines chan string
	conns chan net.Conn
}

func listen(t *testing.T, addr string) *collector {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{Listener: l, lines: make(chan string, 10000), conns: make(chan net.Conn, 16)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.conns <- conn
			go func() {
				s := bufio.NewScanner(conn)
				for s.Scan() {
					c.lines <- s.Text()
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return c
}

func (c *collector) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-c.lines:
		return line
	case <-time.After(10 * time.Second):
		t.Fatal("no line arrived")
		return ""
	}
}

func run(t *testing.T) (pipe *os.File, stop func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "al.sock")
	if err := os.WriteFile(path, []byte("left over"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	pipe, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0) // as Envoy does
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("does not stop")
		}
		pipe.Close()
		if _, err := os.Stat(path); err == nil {
			t.Error("the pipe is left behind")
		}
	}
	t.Cleanup(stop)
	return pipe, stop
}

func TestStreamer(t *testing.T) {
	a, b := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	pipe, stop := run(t)
	fmt.Fprintf(pipe, "%s;first\n{\"address\":%q,\"message\":{\"x\":1}}\nnonsense\n\n%s;%s\n%s;second\n",
		a.Addr(), b.Addr(), a.Addr(), strings.Repeat("y", maxLine+1), a.Addr())
	if got := a.next(t); got != "first" {
		t.Errorf("got %q", got)
	}
	if got := a.next(t); got != "second" {
		t.Errorf("got %.40q", got)
	}
	if got := b.next(t); got != `{"x":1}` {
		t.Errorf("got %q", got)
	}
	// Envoy opens the file anew at times; the streamer goes on.
	again, err := os.OpenFile(pipe.Name(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	pipe.Close()
	fmt.Fprintf(again, "%s;third\n", a.Addr())
	if got := a.next(t); got != "third" {
		t.Errorf("got %q", got)
	}
	again.Close()
	stop()
}

func TestStreamerReconnects(t *testing.T) {
	a := listen(t, "127.0.0.1:0")
	pipe, _ := run(t)
	fmt.Fprintf(pipe, "%s;one\n", a.Addr())
	if got := a.next(t); got != "one" {
		t.Fatalf("got %q", got)
	}
	// The collector restarts on the same address; no line is lost because the
	// closed connection is noticed before the next write.
	(<-a.conns).Close()
	a.Close()
	b := listen(t, a.Addr().String())
	fmt.Fprintf(pipe, "%s;two\n", a.Addr())
	if got := b.next(t); got != "two" {
		t.Errorf("got %q", got)
	}
}

func TestDeadCollectorDoesNotDelayOthers(t *testing.T) {
	// A listener whose queue of connections is never emptied and whose
	// connections nobody reads.
	stuck, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	alive := listen(t, "127.0.0.1:0")
	pipe, _ := run(t)
	big := strings.Repeat("z", 8<<10)
	for i := range 3000 {
		fmt.Fprintf(pipe, "%s;%s\n", stuck.Addr(), big)
		if i%100 == 0 {
			fmt.Fprintf(pipe, "127.0.0.1:1;x\n%s;%d\n", alive.Addr(), i)
		}
	}
	for i := 0; i < 3000; i += 100 {
		if got := alive.next(t); got != fmt.Sprint(i) {
			t.Fatalf("got %q, want %d", got, i)
		}
	}
}
