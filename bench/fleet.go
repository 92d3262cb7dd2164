package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// fleetRun measures the control plane with the fleet.
func fleetRun(ctx context.Context, o options, delta bool) error {
	form := "state-of-the-world"
	if delta {
		form = "delta"
	}
	with := ""
	if o.policies > 0 {
		with = fmt.Sprintf(", %d policies", o.policies)
	}
	fmt.Printf("\n## Control plane: %d proxies, %d services, %d outbounds each%s, %s ADS, %s store\n",
		o.proxies, o.services, o.outbound, with, form, o.store)
	cp, err := startControlPlane(ctx, o)
	if err != nil {
		return err
	}
	defer cp.stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range o.policies {
		if err := cp.send(http.MethodPut, fmt.Sprintf("/meshes/default/meshtimeouts/some-%d", i), timeout(
			fmt.Sprintf("some-%d", i), "idleTimeout", time.Duration(i+1)*time.Minute,
			map[string]any{"kind": "MeshSubset", "tags": map[string]any{"kuma.io/service": serviceName(i % o.services)}},
		)); err != nil {
			return err
		}
	}
	f := newFleet(o, delta, cp.xds)
	pid := cp.cmd.Process.Pid
	profiles := profiler{folder: o.profiles, diag: cp.diag, form: form}

	for _, phase := range []struct {
		name string
		run  func() error
	}{
		{"ramp", func() error { return f.ramp(ctx, pid) }},
		{"endpoints", func() error { return f.endpointRounds(cp, pid) }},
		{"policies", func() error { return f.policyRounds(cp, pid) }},
	} {
		if err := profiles.during(phase.name, phase.run); err != nil {
			return err
		}
	}
	f.idle(pid)
	row("resident memory", fmt.Sprintf("%.0f MiB", resident(pid)), f.targets.memory)
	f.reportBroken("streams that broke")
	if err := profiles.take("metrics", "/metrics"); err != nil {
		return err
	}
	return profiles.take("memory", "/debug/pprof/heap?gc=1")
}

// ramp connects the fleet and waits until it is configured.
func (f *fleet) ramp(ctx context.Context, pid int) error {
	c := cpu(pid)
	f.start(ctx)
	opened := time.Now()
	for f.done.Load() < int64(f.o.proxies) {
		if time.Since(opened) > 3*time.Minute {
			return fmt.Errorf("only %d of %d proxies are configured", f.done.Load(), f.o.proxies)
		}
		time.Sleep(time.Millisecond)
	}
	row("last connection → every proxy configured", ms(time.Since(opened)), f.targets.configured)
	row("CPU of the ramp", ms(cpu(pid)-c), "")
	time.Sleep(3 * time.Second)
	return nil
}

// flushed is how long the control plane takes at most to write down what proxies
// accepted: its interval of 10 s and what the writing takes.
const flushed = 13 * time.Second

// idle lets nothing happen, once everything that happened before is written down.
func (f *fleet) idle(pid int) {
	time.Sleep(flushed)
	c, t := cpu(pid), time.Now()
	time.Sleep(f.o.idle)
	row("CPU of one core without change", fmt.Sprintf("%.2f %%", 100*(cpu(pid)-c).Seconds()/time.Since(t).Seconds()), f.targets.idle)
}

// targets are the figures to reach with a number of proxies; "" = none is set.
type targets struct {
	configured, endpoint, endpointCPU, endpointBytes, policy, policyCPU, idle, memory, restart string
}

func targetsOf(proxies int) targets {
	switch proxies {
	case 10_000:
		return targets{configured: "≤ 60 s", endpoint: "p99 ≤ 500 ms", idle: "≤ 5 %", memory: "≤ 2048 MiB"}
	case 1000:
		return targets{
			configured: "≤ 2 s", endpoint: "≤ 30 ms / 150 ms", endpointCPU: "≤ 60 ms", endpointBytes: "≤ 60 kB",
			policy: "≤ 400 ms / 1.5 s", policyCPU: "≤ 1.2 s", idle: "≤ 1 %", memory: "≤ 250 MiB", restart: "≤ 5 s",
		}
	case 100:
		return targets{endpoint: "≤ 10 ms / 50 ms", policy: "≤ 20 ms", idle: "≤ 0.3 %", memory: "≤ 90 MiB"}
	}
	return targets{}
}

// endpointRounds adds and removes endpoints of services.
func (f *fleet) endpointRounds(cp *controlPlane, pid int) error {
	var all []time.Duration
	c, b := cpu(pid), f.bytes.Load()
	for i := range f.o.rounds {
		service := i % f.o.services
		name, address := fmt.Sprintf("probe-%d", i), fmt.Sprintf("10.99.0.%d", i+1)
		users := 0
		for _, p := range f.proxies {
			if slices.Contains(p.calls(), service) {
				users++
			}
		}
		f.await(func(p *simulated) bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.endpoints[serviceName(service)][address]
		})
		start := time.Now()
		if err := cp.send(http.MethodPut, "/meshes/default/dataplanes/"+name, dataplane(name, address, service, nil)); err != nil {
			return err
		}
		got, err := f.collect(start, users, time.Minute)
		if err != nil {
			return err
		}
		all = append(all, got...)
		if err := cp.send(http.MethodDelete, "/meshes/default/dataplanes/"+name, nil); err != nil {
			return err
		}
		time.Sleep(500 * time.Millisecond)
	}
	slices.Sort(all)
	n := f.o.rounds
	row("endpoint written → a subscribed proxy has it, p50 / p99", ms(quantile(all, 0.5))+" / "+ms(quantile(all, 0.99)), f.targets.endpoint)
	row("CPU for one endpoint added and removed", ms((cpu(pid)-c)/time.Duration(n)), f.targets.endpointCPU)
	row("bytes sent for one endpoint added and removed", fmt.Sprintf("%.1f kB", float64(f.bytes.Load()-b)/float64(n)/1000), f.targets.endpointBytes)
	return nil
}

// policyRounds changes a timeout of the whole mesh.
func (f *fleet) policyRounds(cp *controlPlane, pid int) error {
	var all, last []time.Duration
	c := cpu(pid)
	for i := range f.o.rounds {
		d := time.Duration(3000+i) * time.Millisecond
		f.await(func(p *simulated) bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, s := range p.calls() {
				if p.timeouts[serviceName(s)] != d {
					return false
				}
			}
			return true
		})
		start := time.Now()
		policy := timeout("a-bench", "connectionTimeout", d, map[string]any{"kind": "Mesh"})
		if err := cp.send(http.MethodPut, "/meshes/default/meshtimeouts/a-bench", policy); err != nil {
			return err
		}
		got, err := f.collect(start, len(f.proxies), time.Minute)
		if err != nil {
			return err
		}
		all, last = append(all, got...), append(last, got[len(got)-1])
		time.Sleep(500 * time.Millisecond)
	}
	slices.Sort(all)
	slices.Sort(last)
	row("mesh-wide policy written → a proxy has it, p50 / last", ms(quantile(all, 0.5))+" / "+ms(quantile(last, 0.5)), f.targets.policy)
	row("CPU for one mesh-wide policy change", ms((cpu(pid)-c)/time.Duration(f.o.rounds)), f.targets.policyCPU)
	return nil
}

// timeout is a MeshTimeout for the requests of some proxies.
func timeout(name, field string, d time.Duration, proxies map[string]any) map[string]any {
	return map[string]any{"type": "MeshTimeout", "mesh": "default", "name": name, "spec": map[string]any{
		"targetRef": proxies,
		"to":        []any{map[string]any{"targetRef": map[string]any{"kind": "Mesh"}, "default": map[string]any{field: d.String()}}},
	}}
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func ms(d time.Duration) string {
	if d < time.Millisecond {
		return fmt.Sprintf("%d µs", d.Microseconds())
	}
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
