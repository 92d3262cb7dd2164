package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

func ownerMissing(s *suite) {
	st := s.open()
	_, err := st.Create(s.ctx, NewThing("none", "a", 1))
	s.wantErr(err, store.ErrOwnerMissing)
	s.absent(st, Thing.Key("none", "a"))
	s.create(st, NewMesh("m"))
	thing := NewThing("m", "t", 1)
	_, err = st.Create(s.ctx, NewPart("p", thing))
	s.wantErr(err, store.ErrOwnerMissing)
	s.create(st, thing)
	s.create(st, NewPart("p", thing))
	// What exists, exists: also when its owner is given wrongly.
	_, err = st.Create(s.ctx, NewPart("p", NewThing("m", "none", 1)))
	s.wantErr(err, store.ErrExists)
	s.delete(st, Mesh.Key("", "m"))
	_, err = st.Create(s.ctx, NewThing("m", "a", 1))
	s.wantErr(err, store.ErrOwnerMissing)
}

func ownerCascade(s *suite) {
	st := s.open()
	for _, m := range []string{"m", "other"} {
		s.create(st, NewMesh(m))
		for i := range 3 {
			thing := s.create(st, NewThing(m, fmt.Sprint("t", i), i))
			part := s.create(st, NewPart(fmt.Sprint("p", i), thing))
			deep := s.create(st, NewPart(fmt.Sprint("pp", i), part))
			s.create(st, NewPart(fmt.Sprint("ppp", i), deep))
		}
	}
	s.create(st, NewLoose("l", 1))
	s.delete(st, Thing.Key("m", "t0"))
	for _, n := range []string{"p0", "pp0", "ppp0"} {
		s.absent(st, Part.Key("m", n))
		s.get(st, Part.Key("other", n))
	}
	s.get(st, Part.Key("m", "ppp1"))
	s.delete(st, Part.Key("m", "pp1"))
	s.absent(st, Part.Key("m", "ppp1"))
	s.get(st, Part.Key("m", "p1"))
	s.delete(st, Mesh.Key("", "m"))
	if n := len(s.list(st, Thing, "")) + len(s.list(st, Part, "")); n != 3+9 {
		s.Fatalf("%d things and parts are left, want the 12 of the other mesh", n)
	}
	s.get(st, Loose.Key("", "l"))
	// An updated object still belongs to its owner.
	t1 := s.update(st, counted(s.get(st, Thing.Key("other", "t1")), 99))
	s.delete(st, Mesh.Key("", "other"))
	s.absent(st, t1.Key())
}

func ownerChanges(s *suite) {
	st := s.open()
	s.create(st, NewMesh("m"))
	a, b := s.create(st, NewThing("m", "a", 1)), s.create(st, NewThing("m", "b", 1))
	part := s.create(st, NewPart("p", a))
	moved := part.Clone()
	moved.Spec = NewPart("p", b).Spec
	moved = s.update(st, moved)
	s.delete(st, a.Key())
	s.equal(s.get(st, part.Key()), moved)
	lost := moved.Clone()
	lost.Spec = NewPart("p", a).Spec
	_, err := st.Update(s.ctx, lost)
	s.wantErr(err, store.ErrOwnerMissing)
	s.equal(s.get(st, part.Key()), moved)
	s.delete(st, b.Key())
	s.absent(st, part.Key())
}

// optimisticUpdates lets writers count up the same objects; no step may be lost.
func optimisticUpdates(s *suite) {
	first := s.open()
	handles := []store.Store{first, first}
	if s.place.Shared {
		handles[1] = s.open()
	}
	const objects, writers, steps = 3, 8, 15
	for i := range objects {
		s.create(first, NewLoose(fmt.Sprint("c", i), 0))
	}
	var conflicts atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range steps {
				key := Loose.Key("", fmt.Sprint("c", (w+n)%objects))
				if err := countUp(s.ctx, handles[w%2], key, &conflicts); err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, o := range s.list(first, Loose, "") {
		sum += count(o)
	}
	if sum != writers*steps {
		s.Fatalf("counted to %d, want %d (%d conflicts)", sum, writers*steps, conflicts.Load())
	}
}

func countUp(ctx context.Context, st store.Store, key model.Key, conflicts *atomic.Int64) error {
	for {
		o, err := st.Get(ctx, key)
		if err != nil {
			return err
		}
		_, err = st.Update(ctx, counted(o, count(o)+1))
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		conflicts.Add(1)
	}
}

// createRace lets writers create and delete the same names; each create has one winner.
func createRace(s *suite) {
	st := s.open()
	s.create(st, NewMesh("m"))
	for round := range 10 {
		var won atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := st.Create(s.ctx, NewThing("m", "a", round))
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, store.ErrExists):
					s.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			s.Fatalf("%d creates of one name succeeded", won.Load())
		}
		won.Store(0)
		for range 8 {
			wg.Go(func() {
				switch err := st.Delete(s.ctx, Thing.Key("m", "a")); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, store.ErrNotFound):
					s.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			s.Fatalf("%d deletes of one object succeeded", won.Load())
		}
	}
	ownerRace(s, st)
}

// ownerRace creates below an owner that is deleted at the same time: either the
// create fails, or the object goes with its owner.
func ownerRace(s *suite, st store.Store) {
	for range 10 {
		s.create(st, NewMesh("racy"))
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				_, err := st.Create(s.ctx, NewThing("racy", fmt.Sprint(i), i))
				if err != nil && !errors.Is(err, store.ErrOwnerMissing) {
					s.Error(err)
				}
			})
		}
		wg.Go(func() {
			if err := st.Delete(s.ctx, Mesh.Key("", "racy")); err != nil {
				s.Error(err)
			}
		})
		wg.Wait()
		if l := s.list(st, Thing, "racy"); len(l) != 0 {
			s.Fatalf("%d objects outlived their owner", len(l))
		}
	}
}

func recreate(s *suite) {
	st := s.open()
	a := s.create(st, NewLoose("a", 1))
	s.delete(st, a.Key())
	b := s.create(st, NewLoose("a", 2))
	if b.Meta.Created.Before(a.Meta.Created) {
		s.Errorf("created again at %v, before %v", b.Meta.Created, a.Meta.Created)
	}
	// Who read the first one must not overwrite the second.
	_, err := st.Update(s.ctx, counted(a, 3))
	s.wantErr(err, store.ErrConflict)
	s.equal(s.get(st, a.Key()), b)
}

func contexts(s *suite) {
	st := s.open()
	ctx, cancel := context.WithCancel(s.ctx)
	s.create(st, NewLoose("there", 1))
	w, err := st.Watch(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Next(s.ctx); err != nil {
		s.Fatal(err)
	}
	cancel()
	_, err = st.Create(ctx, NewLoose("a", 1))
	s.wantErr(err, context.Canceled)
	_, err = st.Update(ctx, s.get(st, Loose.Key("", "there")))
	s.wantErr(err, context.Canceled)
	s.wantErr(st.Delete(ctx, Loose.Key("", "there")), context.Canceled)
	_, err = st.Get(ctx, Loose.Key("", "there"))
	s.wantErr(err, context.Canceled)
	_, err = st.List(ctx, Loose, "")
	s.wantErr(err, context.Canceled)
	_, err = w.Next(ctx)
	s.wantErr(err, context.Canceled)
	s.wantErr(st.Ping(ctx), context.Canceled)
	short, cancel := context.WithTimeout(s.ctx, 20*time.Millisecond)
	defer cancel()
	_, err = w.Next(short)
	s.wantErr(err, context.DeadlineExceeded)
	// Neither the store nor the watch is harmed.
	s.absent(st, Loose.Key("", "a"))
	s.create(st, NewLoose("a", 1))
	f := newFollower(s, w)
	f.first = false
	f.until(func(f *follower) bool { return f.now[Loose.Key("", "a")] != nil })
}

func closing(s *suite) {
	st := s.open()
	s.create(st, NewLoose("a", 1))
	w, err := st.Watch(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := w.Next(s.ctx); err != nil {
		s.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := w.Next(s.ctx)
		ended <- err
	}()
	for range 2 {
		if err := st.Close(); err != nil {
			s.Fatal(err)
		}
	}
	s.wantErr(<-ended, store.ErrClosed)
	w.Close()
	_, err = st.Create(s.ctx, NewLoose("b", 1))
	s.wantErr(err, store.ErrClosed)
	_, err = st.Update(s.ctx, NewLoose("a", 1))
	s.wantErr(err, store.ErrClosed)
	s.wantErr(st.Delete(s.ctx, Loose.Key("", "a")), store.ErrClosed)
	_, err = st.Get(s.ctx, Loose.Key("", "a"))
	s.wantErr(err, store.ErrClosed)
	_, err = st.List(s.ctx, Loose, "")
	s.wantErr(err, store.ErrClosed)
	_, err = st.Watch(s.ctx)
	s.wantErr(err, store.ErrClosed)
	s.wantErr(st.Ping(s.ctx), store.ErrClosed)
}

// reopen checks that data outlive the handle, with versions and times.
func reopen(s *suite) {
	if !s.place.Durable {
		s.Skip("this store keeps nothing, by design")
	}
	st := s.open()
	s.create(st, NewMesh("m"))
	thing := s.create(st, NewThing("m", "a", 1))
	part := s.create(st, NewPart("p", thing))
	gone := s.create(st, NewThing("m", "gone", 1))
	thing = s.update(st, counted(thing, 2))
	s.delete(st, gone.Key())
	if err := st.Close(); err != nil {
		s.Fatal(err)
	}
	st = s.open()
	s.equal(s.get(st, thing.Key()), thing)
	s.equal(s.get(st, part.Key()), part)
	s.absent(st, gone.Key())
	s.update(st, counted(thing, 3))
	_, err := st.Create(s.ctx, NewThing("m", "a", 1))
	s.wantErr(err, store.ErrExists)
	s.delete(st, Mesh.Key("", "m"))
	if err := st.Close(); err != nil {
		s.Fatal(err)
	}
	st = s.open()
	if n := len(s.list(st, Mesh, "")) + len(s.list(st, Thing, "")) + len(s.list(st, Part, "")); n != 0 {
		s.Fatalf("%d objects came back after their mesh was deleted", n)
	}
}

// secondHandle: handles on the same data see each other's writes at once, or
// the second one is refused.
func secondHandle(s *suite) {
	a := s.open()
	if !s.place.Shared {
		if !s.place.Durable {
			s.Skip("nothing to share")
		}
		if st, err := s.place.Open(); err == nil {
			_ = st.Close()
			s.Fatal("a second handle was given out")
		}
		return
	}
	b := s.open()
	for i := range 20 {
		o := s.create(a, NewLoose(fmt.Sprint(i), i))
		s.equal(s.get(b, o.Key()), o)
		o = s.update(b, counted(o, i+1))
		if l := s.list(a, Loose, ""); len(l) != 1 {
			s.Fatalf("got %d objects, want 1", len(l))
		}
		s.equal(s.get(a, o.Key()), o)
		s.delete(b, o.Key())
		s.absent(a, o.Key())
	}
}
