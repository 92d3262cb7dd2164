package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"syscall"
	"testing"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// BenchmarkKey compares the keys that leaves could have.
func BenchmarkKey(b *testing.B) {
	b.Run("ECDSA-P256", func(b *testing.B) {
		for b.Loop() {
			if _, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("RSA-2048", func(b *testing.B) {
		for b.Loop() {
			if _, err := rsa.GenerateKey(rand.Reader, 2048); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func builtinAuthority(b *testing.B, bits uint32) *keyPair {
	b.Helper()
	conf := kinds.BuiltinCA{}
	if bits > 0 {
		conf.CACert = &kinds.BuiltinCACert{RSABits: &bits}
	}
	cert, key, err := newBuiltin("m", conf, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	k, err := newKeyPair(cert, key)
	if err != nil {
		b.Fatal(err)
	}
	return k
}

// cpu returns the CPU time that the process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIssue is the CPU time of one certificate.
func BenchmarkIssue(b *testing.B) {
	uris := names("m", []string{"web"}, map[string][]string{model.TagService: {"web"}, model.TagProtocol: {"http"}, model.TagZone: {"default"}, "version": {"1"}})
	for _, c := range []struct {
		name string
		bits uint32
		rsa  bool
	}{{"ECDSA-by-ECDSA", 0, false}, {"ECDSA-by-RSA2048", 2048, false}, {"RSA2048-by-RSA2048", 2048, true}} {
		b.Run(c.name, func(b *testing.B) {
			k := builtinAuthority(b, c.bits)
			b.ReportAllocs()
			start := cpu(b)
			for b.Loop() {
				if _, err := k.Issue(b.Context(), Request{URIs: uris, RSA: c.rsa, Lifetime: 24 * time.Hour, Now: time.Now()}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu(b)-start).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// BenchmarkThousandProxies is the time until a thousand proxies that connect to a
// control plane which has just started have their secrets.
func BenchmarkThousandProxies(b *testing.B) {
	const n = 1000
	k := builtinAuthority(b, 0)
	for b.Loop() {
		w := newWorld(b, func(d *Deps) { withTestType(d, map[string]Authority{"ca": k}); d.Workers, d.Rate = 0, 0 })
		w.mesh(backend("ca", testType))
		got := make(chan int, n)
		start := time.Now()
		for i := range n {
			var m *Member
			need := &ir.Identity{Mesh: "m", Services: []string{fmt.Sprint("svc-", i%100)}}
			tags := map[string][]string{model.TagService: need.Services}
			poke := make(chan struct{}, 1)
			m = w.service.Join(kinds.Dataplane.Key("m", fmt.Sprint("dp-", i)), 0, func() {
				select {
				case poke <- struct{}{}:
				default:
				}
			})
			go func() {
				for len(m.Secrets([]*ir.Identity{need}, tags)) < 2 {
					<-poke
				}
				got <- i
			}()
		}
		for range n {
			<-got
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/1000-proxies")
	}
}

// BenchmarkSwitch1000 is the time from an edit that names another authority until
// the last of a thousand proxies has a certificate of it, apart from the time for
// which the steps are held on purpose.
func BenchmarkSwitch1000(b *testing.B) {
	all := map[string]Authority{"one": builtinAuthority(b, 0), "two": builtinAuthority(b, 0)}
	for b.Loop() {
		w := newWorld(b, func(d *Deps) { withTestType(d, all); d.Workers, d.Rate = 0, 0 })
		w.mesh(backend("one", testType))
		var ps []*proxy
		for i := range 1000 {
			ps = append(ps, w.join(fmt.Sprint("dp-", i), fmt.Sprint("svc-", i%100)))
		}
		issued := func(by string) {
			for _, p := range ps {
				for m := p.mtls(); m == nil || m.IssuedBackend != by; m = p.mtls() {
					time.Sleep(time.Millisecond)
				}
			}
		}
		issued("one")
		time.Sleep(2 * testHold)
		start := time.Now()
		w.mesh(backend("two", testType))
		issued("two")
		b.ReportMetric(float64((time.Since(start) - testHold).Milliseconds()), "ms/1000-proxies")
	}
}
