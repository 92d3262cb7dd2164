package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// startApp serves a small answer until ctx ends and returns its port.
func startApp(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("application: %w", err)
	}
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	})}
	go func() { _ = srv.Serve(l) }()
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	return l.Addr().(*net.TCPAddr).Port, nil
}

// pair starts a server's and a client's sidecar in a mesh and returns the URL by
// which the application is called through both.
func (cp *controlPlane) pair(ctx context.Context, o options, mesh string, app int) (url string, stop func(), err error) {
	p := freePorts(11)
	server := fmt.Sprintf("type: Dataplane\nmesh: %s\nname: web-%[1]s\nnetworking:\n  address: 127.0.0.1\n  admin: {port: %d}\n  inbound:\n  - {port: %d, servicePort: %d, tags: {kuma.io/service: web, kuma.io/protocol: http}}\n",
		mesh, p[0], p[1], app)
	client := fmt.Sprintf("type: Dataplane\nmesh: %s\nname: client-%[1]s\nnetworking:\n  address: 127.0.0.1\n  admin: {port: %d}\n  inbound:\n  - {port: %d, servicePort: %d, tags: {kuma.io/service: client, kuma.io/protocol: http}}\n  outbound:\n  - {port: %d, tags: {kuma.io/service: web}}\n",
		mesh, p[2], p[3], app, p[4])
	a, err := cp.sidecar(ctx, o, "web-"+mesh, server, p[5:8])
	if err != nil {
		return "", nil, err
	}
	b, err := cp.sidecar(ctx, o, "client-"+mesh, client, p[8:11])
	if err != nil {
		a.stop()
		return "", nil, err
	}
	stop = func() { b.stop(); a.stop() }
	url = fmt.Sprintf("http://127.0.0.1:%d/", p[4])
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(url)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return url, stop, nil
			}
		}
		if time.Now().After(deadline) {
			stop()
			return "", nil, errors.New("no call through the sidecars succeeds within 30 s")
		}
	}
}

// measure calls a way at a steady rate for a while. Each request has its time; what
// is late counts from that time, so that a stall is seen by all that wait behind it.
func (w *way) measure(ctx context.Context, rate int, lasts time.Duration) error {
	const workers = 32
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	defer client.CloseIdleConnections()
	interval := time.Second / time.Duration(rate)
	due := make(chan time.Time, rate)
	var mu sync.Mutex
	var took []time.Duration
	var running sync.WaitGroup
	warm := time.Now().Add(500 * time.Millisecond)
	for range workers {
		running.Go(func() {
			for at := range due {
				err := call(ctx, client, w.url)
				d := time.Since(at)
				mu.Lock()
				if err != nil {
					w.errors++
				} else if at.After(warm) {
					took = append(took, d)
				}
				mu.Unlock()
			}
		})
	}
	for at, end := time.Now(), warm.Add(lasts); at.Before(end) && ctx.Err() == nil; at = at.Add(interval) {
		time.Sleep(time.Until(at))
		due <- at
	}
	close(due)
	running.Wait()
	if len(took) == 0 {
		return fmt.Errorf("%s: no request succeeded: %w", w.name, ctx.Err())
	}
	slices.Sort(took)
	w.p50, w.p99 = append(w.p50, quantile(took, 0.5)), append(w.p99, quantile(took, 0.99))
	return nil
}

func call(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("call: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answer: %s", resp.Status)
	}
	return nil
}
