package rest

import (
	"context"
	"time"

	"weft/internal/mesh/model"
)

// written is what was written last over this API. Snapshots are a moment behind
// the store, and have changes in its order: who has this has all before it.
type written struct {
	object  *model.Object
	deleted bool
}

// wrote notes a write for settle.
func (s *Server) wrote(o *model.Object, deleted bool) { s.last.Store(&written{o, deleted}) }

// settling is how long a page waits for what was written before it was asked for.
const settling = time.Second

// settle waits, for a moment at most, until the snapshot has what was written
// here, so that who has just written sees the effect.
func (s *Server) settle(ctx context.Context) {
	w := s.last.Load()
	if w == nil {
		return
	}
	s.await(ctx, settling, func() bool { return w.seenIn(s.Tables()) })
	s.last.CompareAndSwap(w, nil) // once is enough
}

// seenIn tells whether the tables have the write, or a later one of the object.
func (w *written) seenIn(t model.Tables) bool {
	row, ok := t.Table(w.object.Kind, w.object.Meta.Mesh).Get(w.object.Meta.Name)
	switch {
	case !ok:
		return w.deleted
	case w.deleted:
		return row.Meta.Created.After(w.object.Meta.Created) // made anew
	default:
		return row.Meta.Version >= w.object.Meta.Version || row.Meta.Created.After(w.object.Meta.Created)
	}
}

// await waits until something holds; false if that takes too long.
func (s *Server) await(ctx context.Context, limit time.Duration, holds func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}
