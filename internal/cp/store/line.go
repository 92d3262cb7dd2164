package store

import (
	"context"
	"sync"
	"sync/atomic"
)

// Line is where writes wait for their turn, to be done in groups: under load
// many share one flush to the disk, and a lone one waits for nobody. Its length
// is bounded by the number of callers, since every one waits for its own.
type Line[T any] struct {
	mu     sync.Mutex
	turn   *sync.Cond // waiting or closed changed
	queue  []*place[T]
	closed bool
}

// The states of a place in the line.
const (
	waiting int32 = iota
	taken
	abandoned
)

type place[T any] struct {
	item  T
	state atomic.Int32
	done  chan error
}

// NewLine returns an empty Line.
func NewLine[T any]() *Line[T] {
	l := &Line[T]{}
	l.turn = sync.NewCond(&l.mu)
	return l
}

// Do queues a write and waits for its end. If ctx ends before its turn it is not
// done; once it is under way, Do waits for the outcome.
func (l *Line[T]) Do(ctx context.Context, item T) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p := &place[T]{item: item, done: make(chan error, 1)}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.queue = append(l.queue, p)
	l.mu.Unlock()
	l.turn.Signal()
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		if p.state.CompareAndSwap(waiting, abandoned) {
			return ctx.Err()
		}
		return <-p.done
	}
}

// Serve calls f with groups of at most limit writes, and answers each with its
// error, until the Line is closed and empty. It may run several times at once.
func (l *Line[T]) Serve(limit int, f func(group []T) []error) {
	for {
		places := l.next(limit)
		if places == nil {
			return
		}
		group := make([]T, 0, len(places))
		live := places[:0]
		for _, p := range places {
			if p.state.CompareAndSwap(waiting, taken) {
				group, live = append(group, p.item), append(live, p)
			}
		}
		if len(group) == 0 {
			continue
		}
		for i, err := range f(group) {
			live[i].done <- err
		}
	}
}

// next waits for the next group; nil = closed and empty.
func (l *Line[T]) next(limit int) []*place[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 {
		if l.closed {
			return nil
		}
		l.turn.Wait()
	}
	n := min(len(l.queue), limit)
	group := l.queue[:n:n]
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
	} else {
		l.turn.Signal() // for another one who serves
	}
	return group
}

// Close refuses further writes; those that wait are still done.
func (l *Line[T]) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.turn.Broadcast()
}
