package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"weft/internal/mesh/model"
)

var testKind = &model.Kind{Name: "K", Scope: model.Global, New: func() any { return new(struct{}) }}

func object(name string, version uint64) *model.Object {
	o := testKind.Make("", name)
	o.Meta.Version = version
	return o
}

func put(m *Mirror, name string, version uint64) {
	m.Apply([]Change{{Key: testKind.Key("", name), Object: object(name, version)}})
}

func drop(m *Mirror, name string) {
	m.Apply([]Change{{Key: testKind.Key("", name), Gone: true}})
}

func loaded(t *testing.T) *Mirror {
	t.Helper()
	m := NewMirror()
	m.Load(nil)
	return m
}

func watching(t *testing.T, m *Mirror) Watch {
	t.Helper()
	w, err := m.Watch()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := w.Next(t.Context()); err != nil || !b.Full {
		t.Fatalf("first batch: %v %v", b, err)
	}
	return w
}

// batchText returns a batch as "name:version name:gone".
func batchText(b Batch) string {
	s := ""
	for _, e := range b.Events {
		if s += " " + e.Key.Name; e.Object == nil {
			s += ":gone"
		} else {
			s += fmt.Sprint(":", e.Object.Meta.Version)
		}
	}
	return s
}

func next(t *testing.T, w Watch, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b, err := w.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := batchText(b); got != want || b.Full {
		t.Fatalf("got batch%s (full %v), want%s", got, b.Full, want)
	}
}

func TestWatchWaitsForLoad(t *testing.T) {
	m := NewMirror()
	w, err := m.Watch()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan Batch)
	go func() {
		b, err := w.Next(t.Context())
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	select {
	case b := <-got:
		t.Fatalf("a batch came before anything was loaded: %v", b)
	case <-time.After(10 * time.Millisecond):
	}
	m.Load([]Change{{Key: testKind.Key("", "a"), Object: object("a", 1)}})
	if b := <-got; !b.Full || batchText(b) != " a:1" {
		t.Fatalf("first batch: %v", b)
	}
}

func TestLoadTellsTheDifference(t *testing.T) {
	m := loaded(t)
	put(m, "a", 1)
	put(m, "b", 2)
	put(m, "c", 3)
	w := watching(t, m)
	m.Load([]Change{
		{Key: testKind.Key("", "c"), Object: object("c", 3)},
		{Key: testKind.Key("", "b"), Object: object("b", 9)},
		{Key: testKind.Key("", "d"), Object: object("d", 4)},
	})
	next(t, w, " a:gone b:9 d:4")
}

func TestMergedToTheNewest(t *testing.T) {
	m := loaded(t)
	put(m, "a", 1)
	put(m, "b", 2)
	w := watching(t, m)
	put(m, "a", 3)
	put(m, "b", 4)
	put(m, "a", 5)    // moves behind b
	put(m, "new", 6)  // comes
	drop(m, "new")    // and goes unseen
	drop(m, "b")      // known, so its end is told
	put(m, "b", 7)    // but it is back
	put(m, "late", 8) //
	next(t, w, " a:5 b:7 late:8")
	drop(m, "a")
	drop(m, "late")
	put(m, "late", 9)
	drop(m, "late")
	next(t, w, " a:gone late:gone")
}

// TestRepeatsAreSilent: what was known already wakes nobody.
func TestRepeatsAreSilent(t *testing.T) {
	m := loaded(t)
	put(m, "a", 1)
	w := watching(t, m)
	put(m, "a", 1)
	drop(m, "none")
	m.Load([]Change{{Key: testKind.Key("", "a"), Object: object("a", 1)}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if b, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v %v, want silence", b, err)
	}
}

// TestMemoryIsBounded: a watcher that never looks costs nothing for what comes
// and goes, and no deletion is remembered longer than somebody needs it.
func TestMemoryIsBounded(t *testing.T) {
	m := loaded(t)
	for i := range 10 {
		put(m, fmt.Sprint("old", i), 1)
	}
	asleep, awake := watching(t, m), watching(t, m)
	for i := range 5000 {
		name := fmt.Sprint("n", i)
		put(m, name, 1)
		if i%2 == 0 {
			next(t, awake, " "+name+":1")
		}
		drop(m, name)
		if i%2 == 0 {
			next(t, awake, " "+name+":gone")
		}
	}
	if n := len(m.graves); n > 1 {
		t.Fatalf("%d deletions are remembered that nobody needs", n)
	}
	for i := range 10 {
		drop(m, fmt.Sprint("old", i))
	}
	if n := len(m.graves); n != 10 {
		t.Fatalf("%d deletions are remembered, want the 10 that both have to hear of", n)
	}
	if b, err := asleep.Next(t.Context()); err != nil || len(b.Events) != 10 {
		t.Fatalf("the sleeper got %v %v", b, err)
	}
	awake.Close()
	if len(m.graves) != 0 || m.newest != nil || m.oldest != nil || len(m.owned) != 0 {
		t.Fatalf("after all: %d graves, list %v %v", len(m.graves), m.oldest, m.newest)
	}
	asleep.Close()
}

// TestRandomWatchers: whatever happens, each watcher ends with what is there.
func TestRandomWatchers(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	m := loaded(t)
	type eye struct {
		w     Watch
		knows map[string]uint64
	}
	var eyes []*eye
	is := map[string]uint64{}
	take := func(e *eye) {
		b, err := e.w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b.Full {
			clear(e.knows)
		}
		for _, ev := range b.Events {
			if ev.Object == nil {
				delete(e.knows, ev.Key.Name)
			} else {
				e.knows[ev.Key.Name] = ev.Object.Meta.Version
			}
		}
		if len(e.knows) != len(is) {
			t.Fatalf("a watcher knows %v, but there is %v", e.knows, is)
		}
		for k, v := range is {
			if e.knows[k] != v {
				t.Fatalf("a watcher knows %v, but there is %v", e.knows, is)
			}
		}
	}
	for version := uint64(1); version < 5000; version++ {
		name := fmt.Sprint(r.IntN(12))
		if _, ok := is[name]; ok && r.IntN(2) == 0 {
			drop(m, name)
			delete(is, name)
		} else {
			put(m, name, version)
			is[name] = version
		}
		switch n := len(eyes); {
		case n < 4 && r.IntN(20) == 0:
			w, err := m.Watch()
			if err != nil {
				t.Fatal(err)
			}
			eyes = append(eyes, &eye{w: w, knows: map[string]uint64{}})
		case n > 0 && r.IntN(100) == 0:
			eyes[n-1].w.Close()
			eyes = eyes[:n-1]
		case n > 0 && r.IntN(4) == 0:
			e := eyes[r.IntN(n)]
			// A change that undid itself leaves nothing to be told.
			m.mu.RLock()
			pending := !e.w.(*watch).started || len(m.since(e.w.(*watch).seen)) > 0
			m.mu.RUnlock()
			if pending {
				take(e)
			}
		}
	}
	if n := len(m.graves); n > 12 {
		t.Errorf("%d deletions are remembered of 12 names", n)
	}
}

func TestLine(t *testing.T) {
	l := NewLine[int]()
	running, hold := make(chan struct{}), make(chan struct{})
	var groups [][]int
	served := make(chan struct{})
	odd := errors.New("odd")
	go func() {
		defer close(served)
		l.Serve(3, func(group []int) []error {
			groups = append(groups, append([]int(nil), group...))
			if len(groups) == 1 {
				close(running)
				<-hold
			}
			out := make([]error, len(group))
			for i, n := range group {
				if n%2 == 1 {
					out[i] = odd
				}
			}
			return out
		})
	}()
	results := make(chan error, 10)
	do := func(ctx context.Context, n int) { results <- l.Do(ctx, n) }
	go do(t.Context(), 0)
	<-running
	gone, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { left <- l.Do(gone, 99) }()
	waitFor(t, func() bool { return length(l) == 1 })
	for n := 1; n <= 4; n++ {
		go do(t.Context(), n)
		waitFor(t, func() bool { return length(l) == n+1 })
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Fatalf("a write that was given up: %v", err)
	}
	close(hold)
	failed := 0
	for range 5 {
		if err := <-results; errors.Is(err, odd) {
			failed++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if failed != 2 {
		t.Errorf("%d writes failed, want 2", failed)
	}
	if err := l.Do(gone, 7); !errors.Is(err, context.Canceled) {
		t.Errorf("a write of somebody who left: %v", err)
	}
	l.Close()
	<-served
	if got, want := fmt.Sprint(groups), "[[0] [1 2] [3 4]]"; got != want {
		t.Errorf("groups %s, want %s: at most 3 places, and none for who gave up", got, want)
	}
	if err := l.Do(t.Context(), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("a write after the end: %v", err)
	}
}

func length[T any](l *Line[T]) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}
