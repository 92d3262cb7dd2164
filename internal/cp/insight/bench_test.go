package insight

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/cp/state"
	"weft/internal/cp/store/sqlite"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
)

// BenchmarkFlush10000 writes what 10,000 proxies accepted, and takes it in again as
// a control plane does, which costs a copy of the table for each change that it
// hears of.
func BenchmarkFlush10000(b *testing.B) {
	const n = 10_000
	s, err := sqlite.Open(b.Context(), sqlite.Options{Path: filepath.Join(b.TempDir(), "db"), Kinds: catalog.ByName, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(b.Context())
	follower := state.New(s, slog.New(slog.DiscardHandler), time.Now)
	var snapshots atomic.Int64
	follower.Tap(func(state.Update) { snapshots.Add(1) })
	var running sync.WaitGroup
	running.Go(func() { _ = follower.Run(ctx) })
	defer running.Wait()
	defer cancel()

	r := NewRecorder(RecorderDeps{Store: s, Instance: "cp-1", Interval: time.Hour, IdleTimeout: time.Hour, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if _, err := s.Create(ctx, kinds.Mesh.Make("", "default")); err != nil {
		b.Fatal(err)
	}
	subs := make([]*Subscription, n)
	var made sync.WaitGroup
	for i := range subs {
		subs[i] = r.Open(proxyKey(i), nil)
		made.Go(func() {
			if _, err := s.Create(ctx, kinds.Dataplane.Make("default", fmt.Sprintf("web-%d", i))); err != nil {
				b.Error(err)
			}
		})
	}
	made.Wait()
	flush := func() {
		if !r.write(ctx, r.due()) {
			b.Fatal("not everything is written")
		}
		newest, err := s.Get(ctx, kinds.DataplaneInsight.Key("default", fmt.Sprintf("web-%d", n-1)))
		if err != nil {
			b.Fatal(err)
		}
		want := (*Subscriptions(newest))[0].Status.Total.ResponsesSent
		for rev := uint64(1); ; rev = follower.Current().Rev + 1 {
			row, ok := follower.Current().Table(kinds.DataplaneInsight, "default").Get(newest.Meta.Name)
			if ok && (*Subscriptions(row.Object))[0].Status.Total.ResponsesSent == want {
				return
			}
			if err := follower.WaitFor(ctx, rev); err != nil {
				b.Fatal(err)
			}
		}
	}
	flush()
	snapshots.Store(0)
	b.ReportAllocs()
	for b.Loop() {
		for i, sub := range subs {
			sub.Count(StatCDS, Sent)
			r.mu.Lock()
			r.mark(proxyKey(i), true)
			r.mu.Unlock()
		}
		flush()
	}
	b.ReportMetric(float64(snapshots.Load())/float64(b.N), "snapshots")
}
