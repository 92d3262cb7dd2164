package command

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// BenchmarkStart measures from exec to a proxy that is ready, and the memory
// that kuma-dp itself then holds (of this test binary, which is a bit larger).
func BenchmarkStart(b *testing.B) {
	envoy := realEnvoy(b)
	var rss float64
	for b.Loop() {
		b.StopTimer()
		cp := newControlPlane(b, "127.0.0.1:1")
		b.StartTimer()
		d := startDP(b, cp.env(envoy), "--name=web-1", "--mesh=default")
		d.waitReady(b, cp)
		b.StopTimer()
		for range 2000 {
			q := new(dns.Msg)
			q.SetQuestion("backend.mesh.", dns.TypeA)
			if _, err := dns.Exchange(q, fmt.Sprintf("127.0.0.1:%d", cp.coreDNS)); err != nil {
				b.Fatal(err)
			}
		}
		rss = resident(b, d.cmd.Process.Pid)
		d.signal(b, syscall.SIGTERM)
		d.signal(b, syscall.SIGTERM)
		d.wait(b, 20*time.Second)
		b.StartTimer()
	}
	b.ReportMetric(rss, "MB-resident")
}

func resident(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}

// cpu returns the processor time that a process has used.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// BenchmarkDNS measures answers for a name of the mesh through the DNS server
// of kuma-dp and Envoy's filter, with the processor time of each.
func BenchmarkDNS(b *testing.B) {
	envoy := realEnvoy(b)
	cp := newControlPlane(b, "127.0.0.1:1")
	d := startDP(b, cp.env(envoy), "--name=web-1", "--mesh=default")
	d.waitReady(b, cp)
	pid := d.envoyPID(b)
	var mu sync.Mutex
	var took []time.Duration
	dpBefore, envoyBefore := cpu(b, d.cmd.Process.Pid), cpu(b, pid)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := dns.Dial("udp", fmt.Sprintf("127.0.0.1:%d", cp.coreDNS))
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		q := new(dns.Msg)
		q.SetQuestion("backend.mesh.", dns.TypeA)
		var own []time.Duration
		for pb.Next() {
			began := time.Now()
			_ = conn.SetDeadline(began.Add(5 * time.Second))
			if err := conn.WriteMsg(q); err != nil {
				b.Error(err)
				return
			}
			if _, err := conn.ReadMsg(); err != nil {
				b.Error(err)
				return
			}
			own = append(own, time.Since(began))
		}
		mu.Lock()
		defer mu.Unlock()
		took = append(took, own...)
	})
	b.StopTimer()
	n := float64(len(took))
	b.ReportMetric(float64((cpu(b, d.cmd.Process.Pid)-dpBefore).Microseconds())/n, "µs-cpu-kuma-dp/op")
	b.ReportMetric(float64((cpu(b, pid)-envoyBefore).Microseconds())/n, "µs-cpu-envoy/op")
	b.ReportMetric(n/b.Elapsed().Seconds(), "answers/s")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
}
