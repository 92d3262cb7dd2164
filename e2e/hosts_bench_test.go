package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weft/internal/testkit/netns"
)

// BenchmarkHosts measures what applications on hosts with the transparent proxy
// notice of it. `make bench` prints it beside the targets; it is meant for
// -benchtime 1x.
func BenchmarkHosts(b *testing.B) {
	m := startMeshOfHosts(b)
	url := "http://" + m.address(b, "backend.mesh") + "/"
	eventually(b, 20*time.Second, "calls go out", func() error { _, err := m.client.fetch(appUser, url); return err })
	b.Run("Latency", func(b *testing.B) {
		b.ReportMetric(0, "ns/op")
		for name, call := range map[string]struct {
			user int
			url  string
		}{"direct": {proxyUser, "http://" + m.outside.ip4 + "/"}, "mesh": {appUser, url}} {
			p50, p99 := m.client.latency(b, call.user, call.url, 1000, 5*time.Second)
			b.ReportMetric(micros(p50), name+"-p50-µs")
			b.ReportMetric(micros(p99), name+"-p99-µs")
		}
	})
	b.Run("DNS", func(b *testing.B) {
		b.ReportMetric(0, "ns/op")
		pids := []int{m.clientDP.cmd.Process.Pid, childNamed(b, m.clientDP.cmd.Process.Pid, "envoy")}
		before := processorTime(b, pids...)
		start := time.Now()
		took := m.client.questions(b, m.gateway4, 4, 50_000, 0)
		elapsed, cpu := time.Since(start), processorTime(b, pids...)-before
		b.ReportMetric(float64(len(took))/elapsed.Seconds(), "answers/s")
		b.ReportMetric(float64(len(took))/cpu.Seconds(), "answers/core-s")
		took = m.client.questions(b, m.gateway4, 4, 10_000, 2000)
		b.ReportMetric(micros(quantile(took, 0.5)), "p50-µs")
		b.ReportMetric(micros(quantile(took, 0.99)), "p99-µs")
	})
	b.Run("Memory", func(b *testing.B) {
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(m.clientDP.envoyMemory(b), "few-MiB")
		for _, p := range []*hostProxy{m.clientDP, m.oneDP, m.twoDP} {
			p.kill() // a start with all is measured, not a thousand changes
		}
		const services = 1000
		for i := range services {
			name := fmt.Sprintf("svc-%d", i)
			m.cp.must(http.MethodPut, "/meshes/default/dataplanes/"+name, map[string]any{"type": "Dataplane", "mesh": "default", "name": name, "networking": map[string]any{
				"address": fmt.Sprintf("10.9.%d.%d", i/250, i%250+1), "inbound": []any{map[string]any{"port": 80, "tags": map[string]any{"kuma.io/service": name, "kuma.io/protocol": "http"}}},
			}})
		}
		clusters := func(p *hostProxy, least, most int) {
			b.Helper()
			eventually(b, 3*time.Minute, "all services are configured", func() error {
				n, err := p.tryStat("cluster_manager.active_clusters")
				if err != nil {
					return err
				}
				return between("clusters", n, least, most)
			})
		}
		m.clientDP.start(b, m.cp)
		clusters(m.clientDP, 2*services, 3*services) // by tag and as a MeshService
		b.ReportMetric(m.clientDP.envoyMemory(b), "all-MiB")
		var names, refs []string
		for i := range 10 {
			names = append(names, fmt.Sprintf("svc-%d", i))
			refs = append(refs, fmt.Sprintf("{kind: MeshService, name: svc-%d}", i))
		}
		h := m.host("trimmed")
		h.install(b)
		p := h.joinAt(b, m.cp, h.ip4, fmt.Sprintf(", reachableServices: [%s], reachableBackends: {refs: [%s]}", strings.Join(names, ", "), strings.Join(refs, ", ")), inbound(80, "trimmed", "http"))
		clusters(p, 20, 60)
		b.ReportMetric(p.envoyMemory(b), "trimmed-MiB")
	})
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// latency calls a URL at a rate and returns how long calls take, from when each
// was due.
func (h *host) latency(b *testing.B, user int, url string, rate int, d time.Duration) (p50, p99 time.Duration) {
	b.Helper()
	client := h.client(user)
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 16
	defer client.CloseIdleConnections()
	call := func() error {
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	paced(b, 16, rate, rate, call) // connections are open after this
	took := paced(b, 16, rate, int(float64(rate)*d.Seconds()), call)
	return quantile(took, 0.5), quantile(took, 0.99)
}

// paced makes n calls by several workers, rate a second (0 = as fast as they can),
// and returns the times that they took, sorted.
func paced(b *testing.B, workers, rate, n int, call func() error) []time.Duration {
	b.Helper()
	due := make(chan time.Time, n)
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			var own []time.Duration
			for at := range due {
				if at.IsZero() {
					at = time.Now()
				}
				if err := call(); err != nil {
					b.Error(err)
					return
				}
				own = append(own, time.Since(at))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
		})
	}
	start := time.Now()
	for i := range n {
		at := time.Time{}
		if rate > 0 {
			at = start.Add(time.Duration(i) * time.Second / time.Duration(rate))
			time.Sleep(time.Until(at))
		}
		due <- at
	}
	close(due)
	wg.Wait()
	if len(all) < n/2 {
		b.Fatalf("only %d of %d calls were answered", len(all), n)
	}
	slices.Sort(all)
	return all
}

// questions asks for a name of the mesh, as an application whose resolver keeps
// its sockets.
func (h *host) questions(b *testing.B, server string, workers, n, rate int) []time.Duration {
	b.Helper()
	q := new(dns.Msg)
	q.SetQuestion("backend.mesh.", dns.TypeA)
	text, err := q.Pack()
	if err != nil {
		b.Fatal(err)
	}
	sockets := make(chan net.Conn, workers)
	for range workers {
		c, err := netns.Dial(context.Background(), h.ns, appUser, &net.Dialer{}, "udp", net.JoinHostPort(server, "53"))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		sockets <- c
	}
	return paced(b, workers, rate, n, func() error {
		c := <-sockets
		defer func() { sockets <- c }()
		buf := make([]byte, 512)
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		if _, err := c.Write(text); err != nil {
			return err
		}
		_, err := c.Read(buf)
		return err
	})
}

// processorTime returns the processor time that processes have used.
func processorTime(b *testing.B, pids ...int) time.Duration {
	b.Helper()
	ticks := 0
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		for _, f := range fields[11:13] { // user and system, in hundredths of a second
			n, _ := strconv.Atoi(f)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// envoyMemory returns the resident memory of the proxy's Envoy in MiB.
func (p *hostProxy) envoyMemory(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", childNamed(b, p.cmd.Process.Pid, "envoy")))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kb, _ := strconv.Atoi(strings.Fields(rest)[0])
	return float64(kb) / 1024
}
