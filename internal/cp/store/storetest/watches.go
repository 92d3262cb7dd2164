package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// patience is how long the suite waits for something to happen.
const patience = 20 * time.Second

// follower holds what a consumer knows from a watch.
type follower struct {
	t      testing.TB
	w      store.Watch
	rev    uint64
	first  bool
	now    map[model.Key]*model.Object
	events []store.Event // since the first batch
}

func newFollower(t testing.TB, w store.Watch) *follower {
	return &follower{t: t, w: w, first: true, now: map[model.Key]*model.Object{}}
}

func (s *suite) follow(st store.Store) *follower {
	s.Helper()
	w, err := st.Watch(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(w.Close)
	f := newFollower(s, w)
	f.take(s.ctx)
	return f
}

// take waits for one batch.
func (f *follower) take(ctx context.Context) {
	f.t.Helper()
	b, err := f.w.Next(ctx)
	if err != nil {
		f.t.Fatalf("next batch: %v", err)
	}
	f.accept(b)
}

func (f *follower) accept(b store.Batch) {
	f.t.Helper()
	if f.first && !b.Full {
		f.t.Fatal("the first batch is not full")
	}
	if !f.first && (b.Rev < f.rev || b.Rev == f.rev && !b.Full) {
		f.t.Fatalf("revision went from %d to %d", f.rev, b.Rev)
	}
	f.rev = b.Rev
	if b.Full {
		clear(f.now)
	}
	once := map[model.Key]bool{}
	for _, e := range b.Events {
		if once[e.Key] {
			f.t.Fatalf("%s is twice in one batch", e.Key)
		}
		once[e.Key] = true
		if e.Object == nil {
			delete(f.now, e.Key)
		} else {
			if e.Object.Key() != e.Key {
				f.t.Fatalf("event for %s holds %s", e.Key, e.Object.Key())
			}
			f.now[e.Key] = e.Object
		}
	}
	if !f.first {
		f.events = append(f.events, b.Events...)
	}
	f.first = false
}

// until takes batches until the condition holds.
func (f *follower) until(cond func(*follower) bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !cond(f) {
		b, err := f.w.Next(ctx)
		if err != nil {
			f.t.Fatalf("waited in vain (%d events so far): %v", len(f.events), err)
		}
		f.accept(b)
	}
}

// quiet checks that nothing more is to come.
func (f *follower) quiet(d time.Duration) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	b, err := f.w.Next(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		f.t.Fatalf("got %v %v, want silence", b, err)
	}
}

// mirrors tells whether the follower knows exactly what the store holds.
func (f *follower) mirrors(s *suite, st store.Store) bool {
	n := 0
	for _, k := range []*model.Kind{Mesh, Thing, Part, Loose} {
		for _, o := range s.list(st, k, "") {
			n++
			if have := f.now[o.Key()]; have == nil || have.Meta.Version != o.Meta.Version {
				return false
			}
		}
	}
	return n == len(f.now)
}

func watchBasics(s *suite) {
	st := s.open()
	empty := s.follow(st)
	if len(empty.now) != 0 {
		s.Fatalf("the first batch of an empty store holds %v", empty.now)
	}
	s.create(st, NewMesh("m"))
	a := s.create(st, NewThing("m", "a", 1))
	full := s.follow(st)
	full.until(func(f *follower) bool { return f.now[a.Key()] != nil && f.now[Mesh.Key("", "m")] != nil })
	s.equal(full.now[a.Key()], a)
	empty.until(func(f *follower) bool { return f.now[a.Key()] != nil })
	b := s.update(st, counted(a, 2))
	for _, f := range []*follower{empty, full} {
		f.until(func(f *follower) bool { return f.now[a.Key()].Meta.Version == b.Meta.Version })
		s.equal(f.now[a.Key()], b)
	}
	s.delete(st, a.Key())
	s.create(st, NewThing("m", "a", 5))
	s.delete(st, Mesh.Key("", "m"))
	for _, f := range []*follower{empty, full} {
		f.until(func(f *follower) bool { return len(f.now) == 0 })
		f.quiet(30 * time.Millisecond)
	}
}

// watchOrder: what one writer did arrives in the order in which it was done.
func watchOrder(s *suite) {
	st := s.open()
	f := s.follow(st)
	const objects, writes = 7, 200
	stored := map[model.Key]*model.Object{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := rand.New(rand.NewPCG(1, 2))
		for i := range writes {
			key := Loose.Key("", fmt.Sprint("o", r.IntN(objects)))
			old := stored[key]
			var o *model.Object
			var err error
			if old == nil {
				o, err = st.Create(s.ctx, NewLoose(key.Name, i))
			} else {
				o, err = st.Update(s.ctx, counted(old, i))
			}
			if err != nil {
				s.Error(err)
				return
			}
			stored[key] = o
		}
		if _, err := st.Create(s.ctx, NewLoose("end", writes)); err != nil {
			s.Error(err)
		}
	}()
	f.until(func(f *follower) bool { return f.now[Loose.Key("", "end")] != nil })
	<-done
	// Every write carries its number, so events must come with rising numbers.
	at := -1
	for _, e := range f.events {
		if n := count(e.Object); n <= at {
			s.Fatalf("write %d arrived after write %d", n, at)
		} else {
			at = n
		}
	}
	for key, o := range stored {
		s.equal(f.now[key], o)
	}
}

func watchCascade(s *suite) {
	st := s.open()
	f := s.follow(st)
	s.create(st, NewMesh("m"))
	for i := range 20 {
		t := s.create(st, NewThing("m", fmt.Sprint("t", i), i))
		s.create(st, NewPart(fmt.Sprint("p", i), t))
	}
	f.until(func(f *follower) bool { return len(f.now) == 41 })
	s.delete(st, Mesh.Key("", "m"))
	f.until(func(f *follower) bool { return len(f.now) == 0 })
}

// watchConcurrent lets writers do what they want and checks that the consumers
// end with what the store holds, never having gone back.
func watchConcurrent(s *suite) {
	st := s.open()
	s.create(st, NewMesh("m"))
	const writers, steps = 8, 60
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() { s.mess(st, w, steps) })
	}
	followers := []*follower{s.follow(st), s.follow(st)}
	wg.Wait()
	s.create(st, NewLoose("end", 0))
	for i, f := range followers {
		f.until(func(f *follower) bool { return f.now[Loose.Key("", "end")] != nil })
		f.until(func(f *follower) bool { return f.mirrors(s, st) })
		at := map[model.Key]time.Time{}
		for _, e := range f.events {
			if e.Object == nil {
				continue
			}
			if m := e.Object.Meta.Modified; m.Before(at[e.Key]) {
				s.Errorf("follower %d: %s went back from %v to %v", i, e.Key, at[e.Key], m)
			} else {
				at[e.Key] = m
			}
		}
	}
}

// mess creates, updates and deletes at random among names shared by all writers.
func (s *suite) mess(st store.Store, seed, steps int) {
	r := rand.New(rand.NewPCG(uint64(seed), 7))
	for i := range steps {
		key := Thing.Key("m", fmt.Sprint("x", r.IntN(10)))
		var err error
		switch r.IntN(4) {
		case 0:
			err = st.Delete(s.ctx, key)
		case 1:
			_, err = st.Create(s.ctx, NewThing("m", key.Name, i))
		case 2:
			_, err = st.Create(s.ctx, NewThing("m", fmt.Sprint("own", seed, "-", i), i))
		default:
			var o *model.Object
			if o, err = st.Get(s.ctx, key); err == nil {
				_, err = st.Update(s.ctx, counted(o, i))
			}
		}
		if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrNotFound) {
			s.Error(err)
			return
		}
	}
}

// watchSlow: a consumer that does not look gets the newest of each object, and
// nothing of what came and went in between.
func watchSlow(s *suite) {
	st := s.open()
	keep := s.create(st, NewLoose("keep", 0))
	drop := s.create(st, NewLoose("drop", 0))
	slow, quick := s.follow(st), s.follow(st)
	slow.until(func(f *follower) bool { return len(f.now) == 2 })
	for i := range 100 {
		keep = s.update(st, counted(keep, i+1))
		if i%10 == 0 {
			brief := s.create(st, NewLoose(fmt.Sprint("brief", i), i))
			s.delete(st, brief.Key())
		}
	}
	s.delete(st, drop.Key())
	s.create(st, NewLoose("end", 0))
	// The quick one shows when this process has seen everything.
	quick.until(func(f *follower) bool { return f.now[Loose.Key("", "end")] != nil })
	slow.take(s.ctx)
	if len(slow.now) != 2 || count(slow.now[keep.Key()]) != 100 || slow.now[Loose.Key("", "end")] == nil {
		s.Fatalf("the slow consumer knows %v", slow.now)
	}
	if n := len(slow.events); n > 13 || n < 3 {
		s.Fatalf("the slow consumer got %d events: %v", n, slow.events)
	}
	slow.quiet(30 * time.Millisecond)
}

func watchMany(s *suite) {
	st := s.open()
	s.create(st, NewMesh("m"))
	const objects, writers = 2000, 16
	f := s.follow(st)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < objects; i += writers {
				if _, err := st.Create(s.ctx, NewThing("m", fmt.Sprint("t", i), i)); err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	f.until(func(f *follower) bool { return len(f.now) == objects+1 })
	wg.Wait()
	late := s.follow(st)
	if !late.mirrors(s, st) {
		late.until(func(f *follower) bool { return f.mirrors(s, st) })
	}
	s.delete(st, Mesh.Key("", "m"))
	for _, f := range []*follower{f, late} {
		f.until(func(f *follower) bool { return len(f.now) == 0 })
	}
}

func watchClose(s *suite) {
	st := s.open()
	f, other := s.follow(st), s.follow(st)
	ended := make(chan error)
	go func() {
		_, err := f.w.Next(s.ctx)
		ended <- err
	}()
	f.w.Close()
	f.w.Close()
	s.wantErr(<-ended, store.ErrClosed)
	s.create(st, NewLoose("a", 1))
	other.until(func(f *follower) bool { return len(f.now) == 1 })
}

// watchOther: a handle hears of what another one writes.
func watchOther(s *suite) {
	if !s.place.Shared {
		s.Skip("only one handle at a time")
	}
	a, b := s.open(), s.open()
	fa, fb := s.follow(a), s.follow(b)
	for i := range 20 {
		s.create(a, NewLoose(fmt.Sprint("a", i), i))
		s.create(b, NewLoose(fmt.Sprint("b", i), i))
	}
	for _, f := range []*follower{fa, fb} {
		f.until(func(f *follower) bool { return len(f.now) == 40 })
	}
	s.delete(a, Loose.Key("", "b3"))
	for _, f := range []*follower{fa, fb} {
		f.until(func(f *follower) bool { return len(f.now) == 39 })
	}
}
