package legacy

import (
	"fmt"
	"strings"
	"testing"

	"weft/internal/mesh/model"
)

// fixed are tables that are made once, as the control plane's are.
type fixed map[*model.Kind]*model.Table

func (f fixed) Table(k *model.Kind, _ string) *model.Table {
	if t := f[k]; t != nil {
		return t
	}
	return model.EmptyTable
}

// many returns 1,000 policies of each of some kinds, from one service to another; N stands for the number of the policy.
func many(t testing.TB, from, to string, list ...*model.Kind) fixed {
	t.Helper()
	confs := map[*model.Kind]string{
		Timeout: `"conf":{"connectTimeout":"5s"}`, Retry: `"conf":{"tcp":{"maxConnectAttempts":1}}`, TrafficPermission: `"name":"x"`,
	}
	w := world{}
	for _, k := range list {
		for i := range 1000 {
			w.add(t, k, fmt.Sprintf("p-%d", i), i, between(strings.ReplaceAll(from, "N", fmt.Sprint(i)), strings.ReplaceAll(to, "N", fmt.Sprint(i)))+","+confs[k])
		}
	}
	out := fixed{}
	for _, k := range list {
		out[k] = model.NewTable(w[k])
	}
	return out
}

// BenchmarkLegacyMatch finds the older policies for a proxy among 1,000 of each
// of three kinds, of which one of each kind matters.
func BenchmarkLegacyMatch(b *testing.B) {
	tables := many(b, "service=s-N", "service=s-N", Timeout, Retry, TrafficPermission)
	dp := proxy(map[string]string{"kuma.io/service": "s-7", "kuma.io/protocol": "http", "kuma.io/zone": "east"})
	b.Run("select", func(b *testing.B) {
		s := NewSet(tables, "m", nil)
		b.ReportAllocs()
		for b.Loop() {
			s.Match(dp)
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		s := NewSet(tables, "m", nil)
		b.ReportAllocs()
		for b.Loop() {
			NewSet(tables, "m", s)
		}
	})
	b.Run("index", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewSet(tables, "m", nil)
		}
	})
}

// BenchmarkLegacyOutbounds finds the policies for 200 services of a proxy that
// is a client of all 1,000 policies of two kinds.
func BenchmarkLegacyOutbounds(b *testing.B) {
	s := NewSet(many(b, "service=*", "service=s-N", Timeout, Retry), "m", nil)
	m := s.Match(proxy(web))
	services := make([]string, 200)
	for i := range services {
		services[i] = fmt.Sprintf("s-%d", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, name := range services {
			if m.outbound(Timeout, name) == nil || m.outbound(Retry, name) == nil {
				b.Fatal("no policy for " + name)
			}
		}
	}
}
