package dp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/dp/envoy"
)

// journal notes what happens in which order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func TestSuperviseStopsInReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		var list []component
		for i := range 3 {
			list = append(list, component{name: fmt.Sprint(i), vital: true, run: func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second) // in the fake time of synctest
				j.add(fmt.Sprint(i))
				return nil
			}})
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		if err := supervise(ctx, list, slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
		if !slices.Equal(j.lines, []string{"2", "1", "0"}) {
			t.Errorf("stopped in order %v", j.lines)
		}
	})
}

func TestEndOfVitalComponentEndsAll(t *testing.T) {
	broken := errors.New("broken")
	for name, end := range map[string]error{"with an error": broken, "without": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stopped := false
				err := supervise(t.Context(), []component{
					{name: "helper", run: func(ctx context.Context) error { <-ctx.Done(); stopped = true; return nil }},
					{name: "envoy", vital: true, run: func(context.Context) error { time.Sleep(time.Minute); return end }},
				}, slog.New(slog.DiscardHandler))
				if !errors.Is(err, end) || (end == nil && err != nil) {
					t.Errorf("got %v", err)
				}
				if !stopped {
					t.Error("the helper was not stopped")
				}
			})
		})
	}
}

func TestHelperIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var starts atomic.Int32
		var pauses []time.Duration
		last := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		err := supervise(ctx, []component{{name: "helper", run: func(context.Context) error {
			pauses = append(pauses, time.Since(last))
			last = time.Now()
			if starts.Add(1) == 7 {
				cancel()
			}
			return errors.New("broken")
		}}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Error(err) // failures of helpers are logged, not returned
		}
		want := []time.Duration{0, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute}
		if !slices.Equal(pauses, want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
	})
}

func TestStuckComponentIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := supervise(ctx, []component{{name: "stuck", vital: true, run: func(context.Context) error { <-release; return nil }}}, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Error("not reported")
		}
		close(release)
	})
}

func TestIdleWatch(t *testing.T) {
	start := time.Now()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	for name, tc := range map[string]struct {
		counts []envoy.Activity // one each second
		want   int              // index at which clients are gone, -1 for never
	}{
		"quiet from the start": {[]envoy.Activity{{Total: 5}, {Total: 5}, {Total: 5}, {Total: 5}, {Total: 5}, {Total: 5}}, 4}, // not before the earliest
		"connection kept":      {[]envoy.Activity{{Active: 1}, {Active: 1}, {Active: 1}, {Active: 1}, {Active: 1}, {Active: 1}, {Active: 1}}, -1},
		"short ones between":   {[]envoy.Activity{{Total: 1}, {Total: 2}, {Total: 3}, {Total: 4}, {Total: 5}, {Total: 6}, {Total: 6}, {Total: 6}}, 7},
		"leaves late":          {[]envoy.Activity{{Active: 1}, {Active: 1}, {Active: 1}, {Active: 1}, {Active: 1}, {}, {}, {}}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			w := idleWatch{earliest: at(4), idle: 2 * time.Second}
			got := -1
			for i, a := range tc.counts {
				if w.seen(at(float64(i)), a) {
					got = i
					break
				}
			}
			if got != tc.want {
				t.Errorf("gone at %d, want %d", got, tc.want)
			}
		})
	}
}
