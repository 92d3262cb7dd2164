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
	fmt.Printf("\n## Control plane: %d proxies, %d services, %d outbounds each, %s ADS, %s store\n",
		o.proxies, o.services, o.outbound, form, o.store)
	cp, err := startControlPlane(ctx, o)
	if err != nil {
		return err
	}
	defer cp.stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := newFleet(o, delta, cp.xds)
	pid := cp.cmd.Process.Pid

	f.start(ctx)
	opened := time.Now()
	for f.done.Load() < int64(o.proxies) {
		if time.Since(opened) > 2*time.Minute {
			return fmt.Errorf("only %d of %d proxies are configured", f.done.Load(), o.proxies)
		}
		time.Sleep(time.Millisecond)
	}
	big := o.proxies >= 1000
	row("last connection → every proxy configured", ms(time.Since(opened)), pick(big, "≤ 2 s", ""))
	row("CPU of the ramp", ms(cpu(pid)), "")
	time.Sleep(3 * time.Second)

	if err := f.endpointRounds(cp, pid, big); err != nil {
		return err
	}
	if err := f.policyRounds(cp, pid, big); err != nil {
		return err
	}
	c, t := cpu(pid), time.Now()
	time.Sleep(o.idle)
	row("CPU of one core without change", fmt.Sprintf("%.2f %%", 100*(cpu(pid)-c).Seconds()/time.Since(t).Seconds()), pick(big, "≤ 1 %", "≤ 0.3 %"))
	row("resident memory", fmt.Sprintf("%.0f MiB", resident(pid)), pick(big, "≤ 250 MiB", "≤ 90 MiB"))
	row("streams that broke", fmt.Sprint(f.broken.Load()), "0")
	return nil
}

func pick(big bool, a, b string) string {
	if big {
		return a
	}
	return b
}

// endpointRounds adds and removes endpoints of services.
func (f *fleet) endpointRounds(cp *controlPlane, pid int, big bool) error {
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
	row("endpoint written → a subscribed proxy has it, p50 / p99", ms(quantile(all, 0.5))+" / "+ms(quantile(all, 0.99)), pick(big, "≤ 30 ms / 150 ms", "≤ 10 ms / 50 ms"))
	row("CPU for one endpoint added and removed", ms((cpu(pid)-c)/time.Duration(n)), pick(big, "≤ 60 ms", ""))
	row("bytes sent for one endpoint added and removed", fmt.Sprintf("%.1f kB", float64(f.bytes.Load()-b)/float64(n)/1000), pick(big, "≤ 60 kB", ""))
	return nil
}

// policyRounds changes a timeout of the whole mesh.
func (f *fleet) policyRounds(cp *controlPlane, pid int, big bool) error {
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
		policy := map[string]any{"type": "MeshTimeout", "mesh": "default", "name": "a-bench", "spec": map[string]any{
			"targetRef": map[string]any{"kind": "Mesh"},
			"to":        []any{map[string]any{"targetRef": map[string]any{"kind": "Mesh"}, "default": map[string]any{"connectionTimeout": d.String()}}},
		}}
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
	row("mesh-wide policy written → a proxy has it, p50 / last", ms(quantile(all, 0.5))+" / "+ms(quantile(last, 0.5)), pick(big, "≤ 400 ms / 1.5 s", "≤ 20 ms"))
	row("CPU for one mesh-wide policy change", ms((cpu(pid)-c)/time.Duration(f.o.rounds)), pick(big, "≤ 1.2 s", ""))
	return nil
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
