// Command bench prints the figures of the project: the control plane with many
// simulated proxies in both forms of ADS, start-up times and sizes, hosts with the
// transparent proxy (as root), and the Go benchmarks of the hot packages. It starts what it measures itself, on loopback.
//
//	go run ./bench                      # everything
//	go run ./bench -only fleet -proxies 100 -services 20 -outbounds 5
//	go run ./bench -only fleet -policies 1000
//	go run ./bench -only fleet -form delta -proxies 10000 -services 1000 -ramp 2m -rounds 3
//	go run ./bench -only start
//	go run ./bench -only mtls
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

type options struct {
	bin, only, store, form      string
	profiles                    string
	proxies, services, outbound int
	policies                    int
	ramp, idle                  time.Duration
	rounds                      int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder with kuma-cp, kuma-dp, kumactl and envoy")
	flag.StringVar(&o.only, "only", "", "fleet, start, mtls, hosts or go; empty = all")
	flag.StringVar(&o.store, "store", "sqlite", "store of the control plane: sqlite or memory")
	flag.StringVar(&o.form, "form", "", "form of ADS: delta or sotw; empty = first one, then the other")
	flag.IntVar(&o.proxies, "proxies", 1000, "simulated proxies")
	flag.IntVar(&o.services, "services", 100, "services that they form")
	flag.IntVar(&o.outbound, "outbounds", 10, "outbounds of each proxy")
	flag.IntVar(&o.policies, "policies", 0, "further policies in the mesh, each for the proxies of one service")
	flag.StringVar(&o.profiles, "profiles", "", "folder for profiles of the control plane: CPU of each phase, memory at the end")
	flag.DurationVar(&o.ramp, "ramp", 20*time.Second, "time over which the proxies connect")
	flag.DurationVar(&o.idle, "idle", 15*time.Second, "time over which the idle cost is measured")
	flag.IntVar(&o.rounds, "rounds", 10, "changes of each sort")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return fmt.Errorf("find %s: %w", o.bin, err)
	}
	o.bin = bin
	if o.only == "" || o.only == "start" {
		if err := startUp(ctx, o); err != nil {
			return err
		}
	}
	if o.only == "" || o.only == "fleet" {
		for _, delta := range []bool{true, false} {
			if skip := map[bool]string{true: "sotw", false: "delta"}; o.form == skip[delta] {
				continue
			}
			if err := fleetRun(ctx, o, delta); err != nil {
				return err
			}
		}
	}
	if o.only == "" || o.only == "mtls" {
		if err := mtlsFleet(ctx, o); err != nil {
			return err
		}
		if err := mtlsLatency(ctx, o); err != nil {
			return err
		}
	}
	if o.only == "" || o.only == "hosts" {
		if err := hosts(ctx); err != nil {
			return err
		}
	}
	if o.only == "" || o.only == "go" {
		return goBenchmarks(ctx)
	}
	return nil
}

// goBenchmarks runs the benchmarks of the hot packages.
func goBenchmarks(ctx context.Context) error {
	fmt.Println("\n## Go benchmarks")
	args := []string{"test", "-run", "^$", "-bench", ".", "-benchmem", "-benchtime", "200ms"}
	for _, p := range []string{"mesh/model", "mesh/policy/...", "cp/identity", "cp/state", "cp/view", "cp/build", "cp/envoy", "cp/engine", "cp/xds"} {
		args = append(args, "./internal/"+p)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	out, err := cmd.CombinedOutput()
	for line := range strings.SplitSeq(string(out), "\n") {
		if strings.HasPrefix(line, "Benchmark") || strings.HasPrefix(line, "FAIL") {
			fmt.Println(line)
		}
	}
	if err != nil {
		return fmt.Errorf("go benchmarks: %w\n%s", err, out)
	}
	return nil
}

// row prints a figure beside its target.
func row(name, got, target string) { fmt.Printf("%-58s %18s   %s\n", name, got, target) }
