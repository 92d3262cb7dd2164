package store

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weft/internal/mesh/model"
)

func TestElectorAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewElector(Alone, slog.New(slog.DiscardHandler))
		var starts, ended atomic.Int64
		e.OnLeader("steady", func(ctx context.Context) error {
			starts.Add(1)
			<-ctx.Done()
			ended.Add(1)
			return ctx.Err()
		})
		var breaks atomic.Int64
		e.OnLeader("breaks", func(context.Context) error {
			breaks.Add(1)
			return errors.New("broken")
		})
		e.OnLeader("short", func(context.Context) error { ended.Add(1); return nil })
		if e.Leading() {
			t.Error("it leads before it runs")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		synctest.Wait()
		if !e.Leading() || starts.Load() != 1 || ended.Load() != 1 || breaks.Load() != 1 {
			t.Errorf("leading %v, %d starts, %d ends, %d breaks", e.Leading(), starts.Load(), ended.Load(), breaks.Load())
		}
		time.Sleep(2 * time.Minute) // 0.5 1 2 4 8 16 30 30 …
		if n := breaks.Load(); n != 9 {
			t.Errorf("the task that breaks was started %d times in two minutes, want 9", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if e.Leading() || ended.Load() != 2 || starts.Load() != 1 {
			t.Errorf("after the end: leading %v, %d starts, %d ends", e.Leading(), starts.Load(), ended.Load())
		}
	})
}

func TestElectorLosesAndWins(t *testing.T) {
	turns := make(chan context.Context)
	e := NewElector(func(ctx context.Context, lead func(context.Context)) error {
		for turn := range turns {
			lead(turn)
		}
		return errors.New("no more")
	}, slog.New(slog.DiscardHandler))
	var in sync.WaitGroup
	running := make(chan struct{}, 1)
	e.OnLeader("x", func(ctx context.Context) error {
		running <- struct{}{}
		<-ctx.Done()
		return nil
	})
	in.Go(func() {
		if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no more") {
			t.Errorf("run: %v", err)
		}
	})
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		turns <- ctx
		<-running
		if !e.Leading() {
			t.Error("it does not know that it leads")
		}
		cancel()
	}
	close(turns)
	in.Wait()
	if e.Leading() {
		t.Error("it leads after the end")
	}
}

// refusing is a Store that refuses writes.
type refusing struct{ Store }

func (refusing) Create(context.Context, *model.Object) (*model.Object, error) { return nil, ErrExists }
func (refusing) Update(context.Context, *model.Object) (*model.Object, error) {
	return nil, ErrConflict
}
func (refusing) Delete(context.Context, model.Key) error               { return nil }
func (refusing) Get(context.Context, model.Key) (*model.Object, error) { return nil, ErrNotFound }
func (refusing) List(context.Context, *model.Kind, string) ([]*model.Object, error) {
	return nil, nil
}

func TestInstrument(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	s, err := Instrument(refusing{}, reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	o := object("a", 1)
	_, err1 := s.Create(ctx, o)
	_, err2 := s.Update(ctx, o)
	_, err3 := s.Create(ctx, nil) // refused further down, and must not break the count
	err4 := s.Delete(ctx, o.Key())
	_, err5 := s.Get(ctx, o.Key())
	_, err6 := s.List(ctx, testKind, "")
	if !errors.Is(err1, ErrExists) || !errors.Is(err2, ErrConflict) || err3 == nil || err4 != nil || !errors.Is(err5, ErrNotFound) || err6 != nil {
		t.Fatal(err1, err2, err3, err4, err5, err6)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]uint64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName() + " "
			for _, l := range m.GetLabel() {
				name += l.GetName() + "=" + l.GetValue() + " "
			}
			seen[strings.TrimSpace(name)] = m.GetHistogram().GetSampleCount() + uint64(m.GetCounter().GetValue())
		}
	}
	for _, op := range []string{"create", "update", "delete", "get", "list"} {
		if n := seen["store operation="+op+" resource_type=K"]; n != 1 {
			t.Errorf("%s was counted %d times: %v", op, n, seen)
		}
	}
	if seen["store_conflicts resource_type=K"] != 2 {
		t.Errorf("conflicts were not counted twice: %v", seen)
	}
	if _, err := Instrument(refusing{}, reg); err == nil {
		t.Error("the same metrics were registered twice")
	}
}

func TestStaleness(t *testing.T) {
	if StaleAllowed(t.Context()) || !StaleAllowed(AllowStale(t.Context())) {
		t.Error("stale reads must be allowed by AllowStale only")
	}
}
