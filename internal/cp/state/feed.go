package state

import (
	"context"
	"slices"
	"sync"

	"weft/internal/mesh/model"
)

// Feed hands snapshots on: the newest one to whoever asks or waits, and what
// changed to one consumer. State is one; a stage behind it has its own.
type Feed struct {
	out chan Update

	mu      sync.Mutex
	current *Snapshot
	ready   chan struct{} // closed at the first snapshot
	wake    chan struct{} // closed and replaced at each snapshot
}

// NewFeed returns a feed with an empty snapshot.
func NewFeed() *Feed {
	return &Feed{
		out:     make(chan Update, 1),
		current: &Snapshot{tables: map[place]*model.Table{}},
		ready:   make(chan struct{}),
		wake:    make(chan struct{}),
	}
}

// Ready is closed when the first snapshot is there.
func (f *Feed) Ready() <-chan struct{} { return f.ready }

// Current returns the newest snapshot; never nil.
func (f *Feed) Current() *Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

// Updates delivers snapshots to the one consumer, the engine. While it is busy
// updates are merged into one, so it never falls behind by more than one.
func (f *Feed) Updates() <-chan Update { return f.out }

// WaitFor waits until a snapshot includes the revision.
func (f *Feed) WaitFor(ctx context.Context, rev uint64) error {
	for {
		f.mu.Lock()
		cur, ch := f.current.Rev, f.wake
		f.mu.Unlock()
		if cur >= rev {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ch:
		}
	}
}

// Changed returns a channel that is closed when another snapshot than s is current.
func (f *Feed) Changed(s *Snapshot) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current != s {
		done := make(chan struct{})
		close(done)
		return done
	}
	return f.wake
}

// Put makes a snapshot the current one. Only the feed's maker calls it.
func (f *Feed) Put(s *Snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = s
	select {
	case <-f.ready:
	default:
		close(f.ready)
	}
	close(f.wake)
	f.wake = make(chan struct{})
}

// Publish hands an update over; one that was not taken yet is merged. Only the
// feed's maker calls it, from one goroutine at a time.
func (f *Feed) Publish(u Update) {
	for {
		select {
		case f.out <- u:
			return
		default:
		}
		select {
		case before := <-f.out:
			u.Changes = before.Changes.merge(u.Changes)
			if before.At.Before(u.At) {
				snap := *u.Snapshot
				snap.At = before.At
				u.Snapshot = &snap
			}
		default:
		}
	}
}

// With returns a snapshot in which a kind's table in a mesh is another one.
func (s *Snapshot) With(kind *model.Kind, mesh string, t *model.Table) *Snapshot {
	if kind.Scope == model.Global {
		mesh = ""
	}
	next := &Snapshot{Rev: s.Rev, At: s.At, tables: make(map[place]*model.Table, len(s.tables)+1)}
	for p, old := range s.tables {
		next.tables[p] = old
	}
	next.tables[place{kind.Name, mesh}] = t
	return next
}

// And returns the changes with more keys.
func (c Changes) And(keys ...model.Key) Changes {
	out := Changes{Keys: slices.Clone(c.Keys), Global: c.Global, meshes: map[string]bool{}}
	for m := range c.meshes {
		out.meshes[m] = true
	}
	for _, k := range keys {
		out.note(k)
	}
	slices.SortFunc(out.Keys, model.Key.Compare)
	out.Keys = slices.Compact(out.Keys)
	return out
}

func (c Changes) merge(o Changes) Changes {
	out := c.And(o.Keys...)
	out.Global = c.Global || o.Global
	return out
}
