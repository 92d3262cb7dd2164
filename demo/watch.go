package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// counts is what the client saw.
type counts struct {
	mu       sync.Mutex
	ok       int
	failed   int
	lastErr  error
	byServer map[string]int
}

func (c *counts) snapshot() (ok, failed int, by map[string]int, last error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	by = map[string]int{}
	for k, v := range c.byServer {
		by[k] = v
	}
	return c.ok, c.failed, by, c.lastErr
}

// client calls web through its sidecar, again and again.
func (m *mesh) client(ctx context.Context, c *counts, pause time.Duration) {
	for ctx.Err() == nil {
		var t tally
		err := get(ctx, fmt.Sprintf("http://127.0.0.1:%d/api", m.webPort), &t)
		c.mu.Lock()
		switch {
		case err == nil:
			c.ok++
			c.byServer[t.Instance]++
		case ctx.Err() == nil:
			c.failed++
			c.lastErr = err
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// introduce says what is running and where to look.
func (m *mesh) introduce() {
	fmt.Printf(`
The mesh is up, %.1f s after the start.

  client ──▶ [sidecar] ──▶ [sidecar] web ──▶ [sidecar] ──┬─▶ [sidecar] counter-1
                                                         └─▶ [sidecar] counter-2

  the page, through the client's sidecar   http://127.0.0.1:%d/
  the control plane's API                  http://127.0.0.1:%d/meshes/default/dataplanes/_overview
  the control plane's GUI                  http://127.0.0.1:%d/gui
  Envoy of web                             http://127.0.0.1:%d/clusters

  look further:
    bin/kumactl config control-planes add --name demo --address http://localhost:%d --auth-type tokens --auth-conf token="$(cat %s/%s)" --overwrite
    bin/kumactl get dataplanes
`, time.Since(m.started).Seconds(), m.webPort, m.api, m.api, m.admin["web-1"], m.api, m.dir, adminTokenFile)
}

// watch prints live counts until ctx ends.
func (m *mesh) watch(ctx context.Context) error {
	c := &counts{byServer: map[string]int{}}
	go m.client(ctx, c, 20*time.Millisecond)
	fmt.Print("\n  Ctrl-C ends it.\n\n")
	for {
		select {
		case <-ctx.Done():
			fmt.Println("\n\n  stopping …")
			return nil
		case <-time.After(500 * time.Millisecond):
		}
		ok, failed, by, last := c.snapshot()
		fmt.Printf("\r  requests %d   failed %d   counter-1 %d   counter-2 %d   ", ok, failed, by["counter-1"], by["counter-2"])
		if last != nil {
			fmt.Printf("last failure: %.60s", last)
		}
	}
}

// check sends traffic and judges what came back.
func (m *mesh) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	const want = 200
	c := &counts{byServer: map[string]int{}}
	run, stop := context.WithCancel(ctx)
	defer stop()
	go m.client(run, c, time.Millisecond)
	for {
		ok, failed, _, _ := c.snapshot()
		if ok+failed >= want || ctx.Err() != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	ok, failed, by, last := c.snapshot()
	fmt.Printf("\n  requests %d   failed %d   counter-1 %d   counter-2 %d\n", ok, failed, by["counter-1"], by["counter-2"])
	var errs []error
	if failed > 0 {
		errs = append(errs, fmt.Errorf("%d requests failed, the last one with: %w", failed, last))
	}
	if ok < want-failed {
		errs = append(errs, fmt.Errorf("only %d of %d requests were answered in time", ok, want))
	}
	for _, name := range []string{"counter-1", "counter-2"} {
		if by[name] == 0 {
			errs = append(errs, fmt.Errorf("%s got no request: load balancing does not work", name))
		}
	}
	for name, port := range m.admin {
		n, err := m.proxied(ctx, port)
		if err != nil {
			errs = append(errs, err)
		} else if n == 0 {
			errs = append(errs, fmt.Errorf("the sidecar of %s saw no request: traffic went past it", name))
		}
		fmt.Printf("  sidecar of %-10s %6d requests\n", name, n)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "\n  traffic flows as it should")
	return nil
}

// proxied counts the requests that an Envoy handled for the mesh.
func (m *mesh) proxied(ctx context.Context, admin int) (int, error) {
	var stats struct {
		Stats []struct {
			Name  string `json:"name"`
			Value any    `json:"value"`
		} `json:"stats"`
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/stats?format=json&filter=%s", admin, `^http\.(localhost_.*|web|counter)\.downstream_rq_completed$`)
	if err := get(ctx, url, &stats); err != nil {
		return 0, err
	}
	n := 0
	for _, s := range stats.Stats {
		if v, ok := s.Value.(float64); ok {
			n += int(v)
		}
	}
	return n, nil
}
