package store

import (
	"context"
	"fmt"
	"slices"
)

// watch is a consumer's position in the list of changes of a Mirror.
type watch struct {
	m *Mirror
	// ping has one slot: something may have changed since it was emptied.
	ping chan struct{}
	// The rest is guarded by m.mu.
	started bool   // the first batch was delivered
	seen    uint64 // revision up to which the consumer knows everything
	closed  bool
}

// Watch starts a watch. Its first batch is Full.
func (m *Mirror) Watch() (Watch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, fmt.Errorf("watch: %w", ErrClosed)
	}
	w := &watch{m: m, ping: make(chan struct{}, 1)}
	m.watchers[w] = struct{}{}
	return w, nil
}

// wake tells the watchers to look again.
func (m *Mirror) wake() {
	for w := range m.watchers {
		w.wake()
	}
}

func (w *watch) wake() {
	select {
	case w.ping <- struct{}{}:
	default:
	}
}

// Next implements Watch.
func (w *watch) Next(ctx context.Context) (Batch, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Batch{}, err
		}
		b, ok, err := w.take()
		if ok || err != nil {
			return b, err
		}
		select {
		case <-ctx.Done():
		case <-w.ping:
		}
	}
}

func (w *watch) take() (Batch, bool, error) {
	m := w.m
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case w.closed || m.closed:
		return Batch{}, false, fmt.Errorf("watch: %w", ErrClosed)
	case !m.loaded || w.started && w.seen == m.rev:
		return Batch{}, false, nil
	case !w.started:
		w.started, w.seen = true, m.rev
		return Batch{Rev: m.rev, Full: true, Events: m.all()}, true, nil
	}
	nodes := m.since(w.seen)
	w.seen = m.rev
	events := make([]Event, len(nodes))
	for i, n := range nodes {
		// An unreadable object is as good as gone for who watches.
		events[i] = Event{Key: n.key, Object: n.object}
		m.bury(n)
	}
	return Batch{Rev: m.rev, Events: events}, len(events) > 0, nil
}

// all returns every readable object, ordered by kind, mesh and name.
func (m *Mirror) all() []Event {
	var out []Event
	names := make([]string, 0, len(m.kinds))
	for name := range m.kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, n := range m.kinds[name].sorted {
			if n.object != nil {
				out = append(out, Event{Key: n.key, Object: n.object})
			}
		}
	}
	return out
}

// since returns the nodes that changed after a revision, oldest change first.
func (m *Mirror) since(rev uint64) []*node {
	var out []*node
	for n := m.newest; n != nil && n.rev > rev; n = n.prev {
		out = append(out, n)
	}
	slices.Reverse(out)
	return out
}

// bury forgets a deletion unless a watcher has still to hear of it.
func (m *Mirror) bury(n *node) {
	if m.graves[n.key] == n && !m.mourned(n) {
		delete(m.graves, n.key)
		m.unlink(n)
	}
}

// mourned tells whether a watcher knows the object that was deleted, and does
// not know that it was.
func (m *Mirror) mourned(n *node) bool {
	for w := range m.watchers {
		if w.started && n.born <= w.seen && w.seen < n.rev {
			return true
		}
	}
	return false
}

// Close implements Watch.
func (w *watch) Close() {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	delete(w.m.watchers, w)
	for _, n := range w.m.since(w.seen) {
		w.m.bury(n)
	}
	w.wake()
}
