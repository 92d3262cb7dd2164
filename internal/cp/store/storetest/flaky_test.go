package storetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/cp/store/storetest"
	"weft/internal/mesh/model"
)

// A Flaky that is there is a store like any other.
func TestFlakyConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Place {
		return storetest.Place{Open: func() (store.Store, error) { return storetest.NewFlaky(memory.New()), nil }}
	})
}

func TestFlakyOutage(t *testing.T) {
	ctx := t.Context()
	inner := memory.New()
	f := storetest.NewFlaky(inner)
	w, err := f.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if b, err := w.Next(ctx); err != nil || !b.Full || len(b.Events) != 0 {
		t.Fatalf("first batch: %v %v", b, err)
	}
	got := make(chan store.Batch)
	go func() {
		b, err := w.Next(ctx)
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	f.Down()
	f.Down()
	if _, err := f.Create(ctx, storetest.NewLoose("a", 1)); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("create while away: %v", err)
	}
	if err := f.Ping(ctx); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("ping while away: %v", err)
	}
	if _, err := inner.Create(ctx, storetest.NewLoose("by another one", 1)); err != nil {
		t.Fatal(err)
	}
	select {
	case b := <-got:
		t.Fatalf("a batch came while the store was away: %v", b)
	case <-time.After(20 * time.Millisecond):
	}
	f.Up()
	if b := <-got; !b.Full || len(b.Events) != 1 {
		t.Fatalf("batch after the outage: %v", b)
	}
}

func TestFlakyFaults(t *testing.T) {
	ctx := t.Context()
	f := storetest.NewFlaky(memory.New())
	f.LoseAnswers(1)
	if _, err := f.Create(ctx, storetest.NewLoose("a", 1)); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("create with lost answer: %v", err)
	}
	if _, err := f.Create(ctx, storetest.NewLoose("a", 1)); !errors.Is(err, store.ErrExists) {
		t.Fatalf("create again: %v, want ErrExists since the first one happened", err)
	}
	f.Fault(func(operation string, key model.Key) error {
		if operation == "delete" && key.Name == "a" {
			return store.ErrConflict
		}
		return nil
	})
	if err := f.Delete(ctx, storetest.Loose.Key("", "a")); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("delete: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := f.Get(short, storetest.Loose.Key("", "a")); err != nil {
		t.Fatal(err)
	}
}
