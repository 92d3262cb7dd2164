package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// mesh returns a Mesh with mutual TLS; the first authority signs.
func mesh(name string, authorities ...string) map[string]any {
	var backends []any
	for _, a := range authorities {
		backends = append(backends, map[string]any{"name": a, "type": "builtin"})
	}
	m := map[string]any{"type": "Mesh", "name": name}
	if len(backends) > 0 {
		m["mtls"] = map[string]any{"enabledBackend": authorities[0], "backends": backends}
	}
	return m
}

// allowAll lets everybody call everything in a mesh.
func (cp *controlPlane) allowAll(mesh string) error {
	return cp.send(http.MethodPut, "/meshes/"+mesh+"/meshtrafficpermissions/all", map[string]any{
		"type": "MeshTrafficPermission", "mesh": mesh, "name": "all", "spec": map[string]any{
			"targetRef": map[string]any{"kind": "Mesh"},
			"from": []any{map[string]any{
				"targetRef": map[string]any{"kind": "Mesh"}, "default": map[string]any{"action": "Allow"},
			}},
		},
	})
}

// mtlsFleet measures certificates for simulated proxies.
func mtlsFleet(ctx context.Context, o options) error {
	fmt.Printf("\n## Mutual TLS: %d proxies, %d services, %d outbounds each, delta ADS, sqlite store\n", o.proxies, o.services, o.outbound)
	o.store = "sqlite" // the mesh survives a restart
	cp, err := startControlPlane(ctx, o)
	if err != nil {
		return err
	}
	defer cp.stop()
	if err := cp.send(http.MethodPut, "/meshes/default", mesh("default", "ca-1")); err != nil {
		return err
	}
	if err := cp.allowAll("default"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := newFleet(o, true, cp.xds)
	f.secrets = []string{"identity_cert:secret:default", "mesh_ca:secret:default"}
	certified := func(p *simulated) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.complete && p.leaf != nil
	}
	f.await(certified)
	f.start(ctx)
	got, err := f.collect(time.Now(), o.proxies, 2*time.Minute)
	if err != nil {
		return err
	}
	row("last connection → every proxy configured and certified", ms(max(got[len(got)-1], 0)), f.targets.configured)
	time.Sleep(3 * time.Second)
	if err := f.restart(ctx, cp); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	if err := f.switchAuthority(cp); err != nil {
		return err
	}
	f.reportBroken("streams that broke, but for the restart")
	return nil
}

// fresh makes the fleet note when each proxy has another certificate than now,
// for which also holds.
func (f *fleet) fresh(holds func(old, now *x509.Certificate) bool) {
	before := make([]*x509.Certificate, len(f.proxies))
	for i, p := range f.proxies {
		p.mu.Lock()
		before[i] = p.leaf
		p.mu.Unlock()
	}
	f.await(func(p *simulated) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.leaf != nil && !p.leaf.Equal(before[p.index]) && holds(before[p.index], p.leaf)
	})
}

// restart measures the start of a control plane whose proxies wait for it: each
// gets a certificate from the new process, which knows no former one.
func (f *fleet) restart(ctx context.Context, cp *controlPlane) error {
	cp.end()
	f.fresh(func(_, _ *x509.Certificate) bool { return true })
	start := time.Now()
	if err := cp.run(ctx); err != nil {
		return err
	}
	ready := time.Since(start)
	var got []time.Duration
	profiles := profiler{folder: f.o.profiles, diag: cp.diag, form: "mtls"}
	err := profiles.during("restart", func() (err error) {
		got, err = f.collect(start, len(f.proxies), 2*time.Minute)
		return err
	})
	if err != nil {
		return err
	}
	last := got[len(got)-1]
	row("control plane start → every proxy in sync, new certificate", ms(last), f.targets.restart)
	row("… of it until the control plane is ready", ms(ready), "")
	row("… CPU of it", ms(cpu(cp.cmd.Process.Pid)), "")
	f.forgetBroken()
	return nil
}

// switchAuthority measures how the fleet comes to certificates of another authority.
func (f *fleet) switchAuthority(cp *controlPlane) error {
	pid := cp.cmd.Process.Pid
	f.fresh(func(old, now *x509.Certificate) bool { return string(old.AuthorityKeyId) != string(now.AuthorityKeyId) })
	c, start := cpu(pid), time.Now()
	if err := cp.send(http.MethodPut, "/meshes/default", mesh("default", "ca-2", "ca-1")); err != nil {
		return err
	}
	got, err := f.collect(start, len(f.proxies), 2*time.Minute)
	if err != nil {
		return err
	}
	first, last := got[0], got[len(got)-1]
	row("another authority named → first / last new certificate", ms(first)+" / "+ms(last), "")
	row("… from the first to the last", ms(last-first), "")
	time.Sleep(time.Second)
	row("… CPU per certificate, trust and reports included", ms((cpu(pid)-c)/time.Duration(len(f.proxies))), "")
	return nil
}

// way is one of the ways on which latency is measured.
type way struct {
	name, url string
	p50, p99  []time.Duration
	errors    int
}

// mtlsLatency measures what two sidecars add to a call.
func mtlsLatency(ctx context.Context, o options) error {
	const (
		rate   = 1000
		rounds = 5
		lasts  = 4 * time.Second
	)
	fmt.Printf("\n## Latency of HTTP/1.1 at %d requests per second, median of %d rounds\n", rate, rounds)
	app, err := startApp(ctx)
	if err != nil {
		return err
	}
	cp, err := startControlPlane(ctx, o)
	if err != nil {
		return err
	}
	defer cp.stop()
	ways := []*way{{name: "direct", url: fmt.Sprintf("http://127.0.0.1:%d/", app)}}
	for name, authorities := range map[string][]string{"plain": nil, "mtls": {"ca-1"}} {
		if err := cp.send(http.MethodPut, "/meshes/"+name, mesh(name, authorities...)); err != nil {
			return err
		}
		if err := cp.allowAll(name); err != nil {
			return err
		}
		url, stop, err := cp.pair(ctx, o, name, app)
		if err != nil {
			return err
		}
		defer stop()
		ways = append(ways, &way{name: "two sidecars, " + name, url: url})
	}
	for round := range rounds {
		for i := range ways { // another one begins each time
			if err := ways[(i+round)%len(ways)].measure(ctx, rate, lasts); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(ways[1:], func(a, b *way) int { return strings.Compare(b.name, a.name) })
	for _, w := range ways {
		p50, p99 := w.medians()
		row(w.name+", p50 / p99", ms(p50)+" / "+ms(p99), "")
	}
	d50, d99 := ways[0].medians()
	for _, w := range ways[1:] {
		p50, p99 := w.medians()
		row(w.name+": added, p50 / p99", ms(p50-d50)+" / "+ms(p99-d99), "")
	}
	for _, w := range ways {
		if w.errors > 0 {
			return fmt.Errorf("%s: %d requests failed", w.name, w.errors)
		}
	}
	return nil
}

func (w *way) medians() (p50, p99 time.Duration) {
	slices.Sort(w.p50)
	slices.Sort(w.p99)
	return w.p50[len(w.p50)/2], w.p99[len(w.p99)/2]
}
