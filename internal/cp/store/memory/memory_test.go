package memory_test

import (
	"testing"
	"time"

	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/cp/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Place {
		return storetest.Place{Open: func() (store.Store, error) { return memory.New(), nil }}
	})
}

func TestClock(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 6789, time.FixedZone("x", 3600))
	s := memory.New(memory.WithClock(func() time.Time { return at }))
	o, err := s.Create(t.Context(), storetest.NewLoose("a", 1))
	if err != nil {
		t.Fatal(err)
	}
	if want := at.Truncate(time.Microsecond).UTC(); o.Meta.Created != want || o.Meta.Modified != want {
		t.Fatalf("created %v, modified %v, want %v", o.Meta.Created, o.Meta.Modified, want)
	}
	// A clock that jumps back changes what is shown and nothing else.
	at = at.Add(-time.Hour)
	if o, err = s.Update(t.Context(), o); err != nil || !o.Meta.Modified.Before(o.Meta.Created) {
		t.Fatalf("update after a jump: %v %v", o, err)
	}
}

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, func(*testing.B) store.Store { return memory.New() })
}
