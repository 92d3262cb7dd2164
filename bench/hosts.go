package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// figure is a metric of a Go benchmark, as it is printed.
type figure struct{ unit, name, target string }

// What benchmarks report, in the order in which it is printed.
var (
	ofRules = []figure{
		{"ms/install", "install, self-test included", ""},
		{"ms/again", "install again, nothing to do", ""},
		{"ms/uninstall", "uninstall", ""},
	}
	ofHosts = []figure{
		{"direct-p50-µs", "HTTP/1.1 at 1,000 rps from host to host, direct, p50", ""},
		{"direct-p99-µs", "… p99", ""},
		{"mesh-p50-µs", "… redirected, two sidecars, mutual TLS, p50", ""},
		{"mesh-p99-µs", "… p99", ""},
		{"answers/core-s", "DNS answers, redirected, for a second of one core", "≥ 30,000"},
		{"answers/s", "DNS answers a second beside the client that asks", ""},
		{"p50-µs", "DNS at 2,000 questions a second, p50", ""},
		{"p99-µs", "… p99", "≤ 1 ms"},
		{"few-MiB", "Envoy's memory, 4 services reachable", ""},
		{"all-MiB", "Envoy's memory, 1,000 services reachable by tag and as objects", ""},
		{"trimmed-MiB", "Envoy's memory, 10 of them by reachableBackends", ""},
	}
)

// hosts measures the transparent proxy on hosts that are network namespaces.
func hosts(ctx context.Context) error {
	fmt.Println("\n## Hosts with the transparent proxy")
	for _, b := range []struct {
		pkg, name, time string
		figures         []figure
	}{
		{"./internal/tproxy", "BenchmarkInstallUninstall", "5x", ofRules},
		{"./e2e", "BenchmarkHosts", "1x", ofHosts},
	} {
		out, err := exec.CommandContext(ctx, "go", "test", "-v", "-run", "^$", "-bench", "^"+b.name+"$", "-benchtime", b.time, b.pkg).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s of %s: %w\n%s", b.name, b.pkg, err, out)
		}
		printFigures(string(out), b.figures)
	}
	return nil
}

// printFigures prints what a Go benchmark reported, or why it did not run.
func printFigures(out string, figures []figure) {
	for line := range strings.Lines(out) {
		if _, reason, skipped := strings.Cut(line, "SKIPPED: "); skipped {
			row("not measured", "", strings.TrimSpace(reason))
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		got := map[string]float64{}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				got[fields[i+1]] = v
			}
		}
		prefix := ""
		if _, backend, ok := strings.Cut(fields[0], "InstallUninstall/"); ok {
			prefix = backend[:strings.LastIndexByte(backend, '-')] + ": "
		}
		for _, f := range figures {
			if v, ok := got[f.unit]; ok {
				row(prefix+f.name, amount(v, f.unit), f.target)
			}
		}
	}
}

// amount prints a value with the measure at the end of its unit.
func amount(v float64, unit string) string {
	switch {
	case strings.HasPrefix(unit, "ms/"):
		return fmt.Sprintf("%.0f ms", v)
	case strings.HasSuffix(unit, "µs"):
		return fmt.Sprintf("%.2f ms", v/1000)
	case strings.HasSuffix(unit, "MiB"):
		return fmt.Sprintf("%.0f MiB", v)
	}
	return fmt.Sprintf("%.0f", v)
}
