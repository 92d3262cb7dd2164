package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// caller calls in one way, over and over, and keeps what went wrong.
type caller struct {
	name string
	call func() error
	ok   atomic.Int64
	mu   sync.Mutex
	errs []string
}

// callers run side by side until stop.
type callers struct {
	list []*caller
	stop func()
}

func startCallers(t testing.TB, list ...*caller) *callers {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, c := range list {
		for range 2 {
			wg.Go(func() {
				for ctx.Err() == nil {
					c.once()
					time.Sleep(2 * time.Millisecond)
				}
			})
		}
	}
	cs := &callers{list: list, stop: sync.OnceFunc(func() { cancel(); wg.Wait() })}
	t.Cleanup(cs.stop)
	return cs
}

func (c *caller) once() {
	err := c.call()
	if err == nil {
		c.ok.Add(1)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.errs) < 5 {
		c.errs = append(c.errs, time.Now().Format("15:04:05.000 ")+err.Error())
	}
}

// verdict ends the calls; not one may have failed.
func (cs *callers) verdict(t testing.TB) {
	t.Helper()
	cs.stop()
	for _, c := range cs.list {
		t.Logf("%s: %d calls", c.name, c.ok.Load())
		if len(c.errs) > 0 || c.ok.Load() == 0 {
			t.Errorf("%s: %d calls succeeded, these failed among others: %s", c.name, c.ok.Load(), strings.Join(c.errs, "; "))
		}
	}
}

// httpCaller keeps its connections, or takes a new one for each request.
func httpCaller(name, url string, keep bool) *caller {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4, DisableKeepAlives: !keep}}
	return &caller{name: name, call: func() error { return getWith(client, url) }}
}

// http2Caller speaks HTTP/2 in clear text over one connection.
func http2Caller(name, url string) *caller {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Timeout: 5 * time.Second, Transport: transport}
	return &caller{name: name, call: func() error { return getWith(client, url) }}
}

func getWith(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.100s", resp.Status, body)
	}
	return err
}

// tcpCaller has a few words over a connection of its own, as a database client
// without a pool.
func tcpCaller(name string, port int) *caller {
	return &caller{name: name, call: func() error {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 2*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(3 * time.Second))
		r := bufio.NewReader(c)
		for _, word := range []string{"one", "two", "three"} {
			if _, err := fmt.Fprintln(c, word); err != nil {
				return err
			}
			back, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			if strings.TrimSpace(back) != word {
				return errors.New("not an echo: " + back)
			}
		}
		return nil
	}}
}

// h2App is an application that speaks HTTP/1.1 and HTTP/2 in clear text.
func h2App(t testing.TB, h http.Handler) int { return clearText(t, h, true) }

// h2OnlyApp is one that speaks HTTP/2 only.
func h2OnlyApp(t testing.TB, h http.Handler) int { return clearText(t, h, false) }

func clearText(t testing.TB, h http.Handler, http1 bool) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(http1)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

// trio is a proxy before three applications: web (HTTP/1.1), api (HTTP/2) and
// echo (TCP).
type trio struct {
	name           string
	web, api, echo int // ports of the applications
}

func (i trio) sidecar(t testing.TB) sidecar {
	t.Helper()
	p := ports(t, 3)
	var b strings.Builder
	for n, in := range []struct {
		service, protocol string
		app               int
	}{{"web", "http", i.web}, {"api", "http2", i.api}, {"echo", "tcp", i.echo}} {
		fmt.Fprintf(&b, "  - {port: %d, servicePort: %d, tags: {kuma.io/service: %s, kuma.io/protocol: %s}}\n", p[n], in.app, in.service, in.protocol)
	}
	return sidecar{name: i.name, inbounds: b.String()}
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func trioCallers(t testing.TB, p []int) *callers {
	t.Helper()
	web, api := fmt.Sprintf("http://127.0.0.1:%d/", p[0]), fmt.Sprintf("http://127.0.0.1:%d/", p[1])
	list := []*caller{
		httpCaller("HTTP/1.1 kept", web, true), httpCaller("HTTP/1.1 fresh", web, false),
		httpCaller("HTTP/1.1 to HTTP/2", api, true), http2Caller("HTTP/2", api), tcpCaller("TCP", p[2]),
	}
	eventually(t, 20*time.Second, "traffic flows", func() error {
		for _, c := range list {
			if err := c.call(); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		return nil
	})
	return startCallers(t, list...)
}

// A rolling restart of all instances of a service under load fails no request,
// whatever clients speak, round after round, without and with mutual TLS.
func TestRollingRestartFailsNothing(t *testing.T) {
	t.Parallel()
	for name, secured := range map[string]bool{"plain": false, "mutual TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cp := startCP(t, t.TempDir())
			if secured {
				cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
				cp.allow("default", "all", "Allow", nil)
			}
			rollingRestart(t, cp)
		})
	}
}

func rollingRestart(t *testing.T, cp *controlPlane) {
	t.Helper()
	p := ports(t, 3)
	var instances []trio
	var running []*dataplane
	for n := range 3 {
		i := trio{
			name: fmt.Sprintf("trio-%d", n), web: h2App(t, http.HandlerFunc(hello)),
			api: h2App(t, http.HandlerFunc(hello)), echo: echo(t),
		}
		instances = append(instances, i)
		running = append(running, cp.startDP(t, i.sidecar(t)))
	}
	cp.startDP(t, sidecar{name: "client", service: "client", protocol: "tcp", outbounds: map[int]map[string]string{
		p[0]: to("web"), p[1]: to("api"), p[2]: to("echo"),
	}})
	calls := trioCallers(t, p)
	for range 2 {
		for n, i := range instances {
			running[n].signal(syscall.SIGTERM)
			if err := running[n].wait(20 * time.Second); err != nil {
				t.Errorf("%s ended with %v", i.name, err)
			}
			running[n] = cp.startDP(t, i.sidecar(t))
		}
	}
	calls.verdict(t)
}

// The number of instances goes down to one and up again under load.
func TestScalingDownFailsNothing(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	p := ports(t, 3)
	start := func(n int) *dataplane {
		return cp.startDP(t, trio{
			name: fmt.Sprintf("trio-%d", n), web: h2App(t, http.HandlerFunc(hello)),
			api: h2App(t, http.HandlerFunc(hello)), echo: echo(t),
		}.sidecar(t))
	}
	all := []*dataplane{start(0), start(1), start(2), start(3)}
	cp.startDP(t, sidecar{name: "client", service: "client", protocol: "tcp", outbounds: map[int]map[string]string{
		p[0]: to("web"), p[1]: to("api"), p[2]: to("echo"),
	}})
	calls := trioCallers(t, p)
	for _, d := range all[:3] {
		d.signal(syscall.SIGTERM) // all at once
	}
	for _, d := range all[:3] {
		if err := d.wait(20 * time.Second); err != nil {
			t.Errorf("%s ended with %v", d.name, err)
		}
	}
	start(4)
	all[3].signal(syscall.SIGTERM)
	if err := all[3].wait(20 * time.Second); err != nil {
		t.Errorf("%s ended with %v", all[3].name, err)
	}
	calls.verdict(t)
}

// Requests that are under way when the proxy is told to stop are answered in
// full, as long as they end within the drain time.
func TestRequestsUnderWayAreFinished(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	p := ports(t, 2)
	begun := make(chan struct{}, 8)
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			return
		}
		for range 20 { // two seconds
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			select {
			case begun <- struct{}{}:
			default:
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	d := cp.startDP(t, trio{name: "trio", web: h2App(t, slow), api: h2App(t, slow), echo: echo(t)}.sidecar(t))
	cp.startDP(t, sidecar{name: "client", service: "client", protocol: "tcp", outbounds: map[int]map[string]string{p[0]: to("web"), p[1]: to("api")}})
	answers := make(chan error, 2)
	fetchSlow := func(port int) {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/slow", port))
		if err != nil {
			answers <- err
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && len(body) != 20 {
			err = fmt.Errorf("%d of 20 bytes, %s", len(body), resp.Status)
		}
		answers <- err
	}
	for _, port := range p {
		eventually(t, 20*time.Second, "traffic flows", func() error {
			_, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", port))
			return err
		})
	}
	for _, port := range p {
		go fetchSlow(port)
	}
	<-begun
	<-begun
	d.signal(syscall.SIGTERM)
	for range p {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if err := d.wait(20 * time.Second); err != nil {
		t.Errorf("kuma-dp ended with %v", err)
	}
}
