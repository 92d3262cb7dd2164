package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A permission that is withdrawn ends what it allowed, also what began before: an
// open connection of TCP, a long answer, a connection of HTTP that is kept alive.
// All are over when the drain time of the server's proxy is.
func TestMTLSPermissionWithdrawn(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	cp.allow("default", "all", "Allow", nil)
	p := ports(t, 3)
	cp.startDP(t, sidecar{name: "echo-1", service: "echo", protocol: "tcp", app: echo(t)})
	cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", app: endless(t)})
	cp.startDP(t, sidecar{name: "rpc-1", service: "rpc", protocol: "http2", app: endless(t)})
	cp.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{
		p[0]: to("echo"), p[1]: to("web"), p[2]: to("rpc"),
	}})
	eventually(t, 20*time.Second, "the echo comes back", func() error { return say(p[0], "hello") })
	held := map[string]<-chan error{"a connection of TCP": holdTCP(t, p[0])}
	for name, port := range map[string]int{"an answer of HTTP/1.1": p[1], "an answer of HTTP/2": p[2]} {
		held[name] = holdAnswer(t, port)
	}
	time.Sleep(time.Second)
	for name, ended := range held {
		select {
		case err := <-ended:
			t.Fatalf("%s ended although it is allowed: %v", name, err)
		default:
		}
	}

	begin := time.Now()
	cp.must(http.MethodDelete, "/meshes/default/meshtrafficpermissions/all", nil)
	eventually(t, 10*time.Second, "new connections are closed", func() error {
		if say(p[0], "hello") == nil {
			return fmt.Errorf("the echo comes back")
		}
		return nil
	})
	t.Logf("new connections are closed after %s", time.Since(begin))
	const drain, slack = 3 * time.Second, 20 * time.Second // --drain-time of the tests; a busy machine
	for name, ended := range held {
		select {
		case err := <-ended:
			t.Logf("%s ended after %s: %v", name, time.Since(begin), err)
		case <-time.After(time.Until(begin.Add(drain + slack))):
			t.Errorf("%s still goes on after %s", name, time.Since(begin))
		}
	}
}

// holdTCP keeps a connection of an echo server in use and tells when it ends.
func holdTCP(t testing.TB, port int) <-chan error {
	t.Helper()
	c, err := net.DialTimeout("tcp", hostport(port), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	ended := make(chan error, 1)
	in := bufio.NewReader(c)
	go func() {
		for {
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.WriteString(c, "word\n"); err != nil {
				ended <- err
				return
			}
			if _, err := in.ReadString('\n'); err != nil {
				ended <- err
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return ended
}

// holdAnswer reads an answer that never ends and tells when it does.
func holdAnswer(t testing.TB, port int) <-chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+hostport(port)+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	var resp *http.Response
	eventually(t, 20*time.Second, "an answer begins", func() error {
		if resp, err = http.DefaultClient.Do(req); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			_ = resp.Body.Close()
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	})
	ended := make(chan error, 1)
	go func() {
		defer resp.Body.Close()
		_, err := io.Copy(io.Discard, resp.Body)
		ended <- err
	}()
	return ended
}

// endless is an application whose answers do not end, over HTTP/1.1 and HTTP/2.
func endless(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var both http.Protocols
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: &both, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, "more\n"); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return l.Addr().(*net.TCPAddr).Port
}
