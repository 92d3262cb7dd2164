package postgres_test

import (
	"context"
	"testing"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// patience is how long tests wait for something to happen.
const patience = 30 * time.Second

// consumer holds what a watch told.
type consumer struct {
	w   store.Watch
	now map[model.Key]*model.Object
}

func watch(t testing.TB, s store.Store) *consumer {
	t.Helper()
	w, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return &consumer{w: w, now: map[model.Key]*model.Object{}}
}

// until takes batches until the condition holds.
func (c *consumer) until(t testing.TB, cond func(now map[model.Key]*model.Object) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !cond(c.now) {
		b, err := c.w.Next(ctx)
		if err != nil {
			t.Fatalf("waited in vain, knowing %v: %v", c.now, err)
		}
		if b.Full {
			clear(c.now)
		}
		for _, e := range b.Events {
			if e.Object == nil {
				delete(c.now, e.Key)
			} else {
				c.now[e.Key] = e.Object
			}
		}
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
