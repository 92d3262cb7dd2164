package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// Benchmark measures writes and watches of a store. open returns a new empty one.
func Benchmark(b *testing.B, open func(b *testing.B) store.Store) {
	for _, writers := range []int{1, 32} {
		b.Run(fmt.Sprint("create/writers=", writers), func(b *testing.B) {
			s := benchStore(b, open)
			parallel(b, writers, func(ctx context.Context, n int) error {
				_, err := s.Create(ctx, typical(fmt.Sprint("dp-", n)))
				return err
			})
		})
		b.Run(fmt.Sprint("update/writers=", writers), func(b *testing.B) {
			s := benchStore(b, open)
			objects := make([]*model.Object, writers)
			for i := range objects {
				var err error
				if objects[i], err = s.Create(b.Context(), typical(fmt.Sprint("dp-", i))); err != nil {
					b.Fatal(err)
				}
			}
			locks := make([]sync.Mutex, writers)
			parallel(b, writers, func(ctx context.Context, n int) (err error) {
				i := n % writers
				locks[i].Lock()
				defer locks[i].Unlock()
				objects[i], err = s.Update(ctx, counted(objects[i], n))
				return err
			})
		})
	}
	b.Run("watch", func(b *testing.B) { benchWatch(b, benchStore(b, open)) })
	b.Run("list/objects=1000", func(b *testing.B) {
		s := benchStore(b, open)
		for i := range 1000 {
			if _, err := s.Create(b.Context(), typical(fmt.Sprint("dp-", i))); err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			if l, err := s.List(b.Context(), Thing, "m"); err != nil || len(l) != 1000 {
				b.Fatal(len(l), err)
			}
		}
	})
}

func benchStore(b *testing.B, open func(b *testing.B) store.Store) store.Store {
	s := open(b)
	b.Cleanup(func() { _ = s.Close() })
	if _, err := s.Create(b.Context(), NewMesh("m")); err != nil {
		b.Fatal(err)
	}
	return s
}

// typical has about the size of a Dataplane.
func typical(name string) *model.Object {
	o := NewThing("m", name, 1)
	o.Meta.Labels = map[string]string{"kuma.io/origin": "zone", "kuma.io/zone": "east", "kuma.io/env": "universal", "app": name}
	o.Spec = &ThingSpec{Count: 1, Text: "10.1.2.3", Map: map[string]string{
		"kuma.io/service": "backend_demo_svc_8080", "kuma.io/protocol": "http", "kuma.io/zone": "east", "version": "v1.2.3",
		"team": "payments", "region": "eu-central-1", "instance": name,
	}}
	return o
}

// parallel runs b.N calls in a number of goroutines.
func parallel(b *testing.B, writers int, f func(ctx context.Context, n int) error) {
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				if err := f(b.Context(), int(n)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

// benchWatch measures the time from the call of a write to its event.
func benchWatch(b *testing.B, s store.Store) {
	w, err := s.Watch(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	o, err := s.Create(b.Context(), typical("dp"))
	if err != nil {
		b.Fatal(err)
	}
	wait := func(version uint64) {
		for {
			batch, err := w.Next(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			for _, e := range batch.Events {
				if e.Key == o.Key() && e.Object.Meta.Version >= version {
					return
				}
			}
		}
	}
	wait(o.Meta.Version)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if o, err = s.Update(b.Context(), counted(o, len(took))); err != nil {
			b.Fatal(err)
		}
		wait(o.Meta.Version)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
