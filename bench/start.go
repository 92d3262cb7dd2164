package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// startUp measures start-up times, sizes and memory.
func startUp(ctx context.Context, o options) error {
	fmt.Println("\n## Start-up and size")
	for _, b := range []struct {
		name   string
		target string
	}{{"kuma-cp", "≤ 90 MB"}, {"kuma-dp", "≤ 50 MB"}, {"kumactl", "≤ 45 MB"}} {
		st, err := os.Stat(filepath.Join(o.bin, b.name))
		if err != nil {
			return fmt.Errorf("size of %s: %w", b.name, err)
		}
		row("binary "+b.name, fmt.Sprintf("%.1f MB", float64(st.Size())/1e6), b.target)
	}
	var ready []time.Duration
	for range 5 {
		cp, err := startControlPlane(ctx, o)
		if err != nil {
			return err
		}
		ready = append(ready, cp.ready)
		cp.stop()
	}
	slices.Sort(ready)
	row("kuma-cp: exec → ready, empty store, median of 5", ms(ready[2]), "≤ 500 ms")
	return sidecarStart(ctx, o)
}

// sidecarStart measures kuma-dp with a real Envoy.
func sidecarStart(ctx context.Context, o options) error {
	cp, err := startControlPlane(ctx, o)
	if err != nil {
		return err
	}
	defer cp.stop()
	var took []time.Duration
	var rss float64
	for i := range 5 {
		p := freePorts(6)
		doc := fmt.Sprintf("type: Dataplane\nmesh: default\nname: start-%d\nnetworking:\n  address: 127.0.0.1\n  admin: {port: %d}\n  inbound:\n  - {port: %d, servicePort: %d, tags: {kuma.io/service: start, kuma.io/protocol: http}}\n", i, p[0], p[1], p[2])
		d, err := cp.sidecar(ctx, o, "start", doc, p[3:])
		if err != nil {
			return err
		}
		if err := envoyReady(p[0], p[1]); err != nil {
			_ = d.cmd.Process.Kill()
			text, _ := os.ReadFile(d.log)
			return fmt.Errorf("%w\n%s", err, text)
		}
		took = append(took, time.Since(d.started))
		time.Sleep(300 * time.Millisecond)
		rss = resident(d.cmd.Process.Pid)
		d.stop()
	}
	slices.Sort(took)
	row("kuma-dp run → Envoy ready to serve, median of 5", ms(took[2]), "≤ 1.0 s")
	row("kuma-dp itself, resident", fmt.Sprintf("%.1f MB", rss*1.048576), "≤ 35 MB")
	return nil
}

// sidecar is a running kuma-dp with its Envoy.
type sidecar struct {
	cmd     *exec.Cmd
	log     string
	started time.Time
}

// sidecar starts a kuma-dp for a Dataplane; dns are three ports that it may use.
func (cp *controlPlane) sidecar(ctx context.Context, o options, name, doc string, dns []int) (*sidecar, error) {
	file := filepath.Join(cp.dir, name+".yaml")
	if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
		return nil, fmt.Errorf("dataplane file: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(o.bin, "kuma-dp"), "run", "--cp-address=https://"+cp.xds,
		"--ca-cert-file="+filepath.Join(cp.dir, "kuma-cp.crt"), "--dataplane-file="+file, "--drain-time=1s", "--concurrency=1",
		"--dns-coredns-port="+strconv.Itoa(dns[0]), "--dns-envoy-port="+strconv.Itoa(dns[1]), "--dns-prometheus-port="+strconv.Itoa(dns[2]))
	cmd.Env = append(os.Environ(), "KUMA_READINESS_PORT=0")
	log, err := os.Create(filepath.Join(cp.dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	d := &sidecar{cmd: cmd, log: log.Name(), started: time.Now()}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start kuma-dp: %w", err)
	}
	return d, nil
}

func (d *sidecar) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // the second one cuts the wait short
	_ = d.cmd.Wait()
}

// envoyReady waits until Envoy is live and the inbound listens.
func envoyReady(admin, inbound int) error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/ready", admin))
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			continue
		}
		// The application is not there, so Envoy itself answers 503.
		if resp, err = http.Get(fmt.Sprintf("http://127.0.0.1:%d/", inbound)); err == nil {
			_ = resp.Body.Close()
			return nil
		}
	}
	return fmt.Errorf("no ready Envoy within 20 s")
}
