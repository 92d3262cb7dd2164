package state_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/cp/state"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// following returns a running State on a fresh store that holds a mesh.
func following(t *testing.T) (*state.State, store.Store) {
	t.Helper()
	s := memory.New()
	st := state.New(s, slog.New(slog.DiscardHandler), time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = st.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	create(t, s, kinds.Mesh.Make("", "m"))
	<-st.Ready()
	return st, s
}

func create(t *testing.T, s store.Store, o *model.Object) *model.Object {
	t.Helper()
	out, err := s.Create(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func dataplane(name string, port uint32) *model.Object {
	o := kinds.Dataplane.Make("m", name)
	o.Spec = &kinds.DataplaneSpec{Networking: &kinds.DataplaneNetworking{Address: "10.0.0.1", Inbound: []kinds.Inbound{{Port: port}}}}
	return o
}

// next returns the next update or fails after a while.
func next(t *testing.T, st *state.State) state.Update {
	t.Helper()
	select {
	case u := <-st.Updates():
		return u
	case <-time.After(5 * time.Second):
		t.Fatal("no update")
		return state.Update{}
	}
}

func TestUpdatesSayWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, s := following(t)
		synctest.Wait()
		next(t, st) // the mesh
		a := create(t, s, dataplane("a", 80))
		synctest.Wait()
		u := next(t, st)
		if fmt.Sprint(u.Changes.Keys) != "[Dataplane m/a]" || fmt.Sprint(u.Changes.Meshes()) != "[m]" || u.Changes.Global {
			t.Fatalf("after create: %+v", u.Changes)
		}
		changed := a.Clone()
		changed.Spec = dataplane("a", 81).Spec
		if _, err := s.Update(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
		create(t, s, kinds.Zone.Make("", "z"))
		synctest.Wait()
		u = next(t, st) // both, because nobody took the first
		if fmt.Sprint(u.Changes.Keys) != "[Dataplane m/a Zone z]" && fmt.Sprint(u.Changes.Keys) != "[Dataplane m/a]" {
			t.Fatalf("after update: %v", u.Changes)
		}
		if err := s.Delete(t.Context(), a.Key()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		u = next(t, st)
		if _, there := u.Table(kinds.Dataplane, "m").Get("a"); there {
			t.Fatal("the deleted dataplane is still in its table")
		}
	})
}

func TestWritesThatFeedNothingAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, s := following(t)
		a := create(t, s, dataplane("a", 80))
		synctest.Wait()
		next(t, st)
		for range 3 { // the same content again
			got, err := s.Get(t.Context(), a.Key())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Update(t.Context(), got.Clone()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		select {
		case u := <-st.Updates():
			t.Fatalf("equal content made an update: %v", u.Changes)
		default:
		}
		before := st.Current().Table(kinds.Dataplane, "m").Hash()
		if after := st.Current().Table(kinds.Dataplane, "m").Hash(); after != before {
			t.Fatal("the table's hash changed")
		}
	})
}

func TestTablesAreSharedAndSorted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, s := following(t)
		for _, n := range []string{"c", "a", "b"} {
			create(t, s, dataplane(n, 80))
		}
		synctest.Wait()
		one := st.Current()
		create(t, s, kinds.Zone.Make("", "z"))
		synctest.Wait()
		two := st.Current()
		if one.Table(kinds.Dataplane, "m") != two.Table(kinds.Dataplane, "m") {
			t.Fatal("an untouched table was copied")
		}
		var names []string
		for _, r := range two.Table(kinds.Dataplane, "m").Rows() {
			names = append(names, r.Meta.Name)
		}
		if fmt.Sprint(names) != "[a b c]" {
			t.Fatalf("rows are in the order %v", names)
		}
		if two.Table(kinds.Dataplane, "other") != model.EmptyTable {
			t.Fatal("a mesh without objects has a table")
		}
	})
}

func TestWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, s := following(t)
		synctest.Wait() // it may still have to see what was there at the start
		rev := st.Current().Rev
		got := make(chan error, 1)
		go func() { got <- st.WaitFor(t.Context(), rev+1) }()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("did not wait")
		default:
		}
		create(t, s, dataplane("a", 80))
		if err := <-got; err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkOneOfTenThousand(b *testing.B) {
	s := memory.New()
	st := state.New(s, slog.New(slog.DiscardHandler), time.Now)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	if _, err := s.Create(ctx, kinds.Mesh.Make("", "m")); err != nil {
		b.Fatal(err)
	}
	var last *model.Object
	for i := range 10_000 {
		o, err := s.Create(ctx, dataplane(fmt.Sprintf("dp-%05d", i), 80))
		if err != nil {
			b.Fatal(err)
		}
		last = o
	}
	go func() { _ = st.Run(ctx) }()
	<-st.Ready()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		rev := st.Current().Rev
		o := last.Clone()
		o.Spec = dataplane("x", uint32(i%60000+1)).Spec
		var err error
		if last, err = s.Update(ctx, o); err != nil {
			b.Fatal(err)
		}
		if err := st.WaitFor(ctx, rev+1); err != nil {
			b.Fatal(err)
		}
	}
}
