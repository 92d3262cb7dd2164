package engine

import (
	"context"
	"sync"
	"time"
)

// queue holds dirty proxies: each at most once, in order of arrival. A proxy
// that becomes dirty while it is being built comes again afterwards, and is
// never built by two workers at once.
type queue struct {
	mu     sync.Mutex
	cond   *sync.Cond
	list   []*proxy
	dirty  map[*proxy]bool
	busy   map[*proxy]bool
	closed bool
	quiet  chan struct{} // closed when nothing is dirty or busy; nil then
}

func newQueue() *queue {
	q := &queue{dirty: map[*proxy]bool{}, busy: map[*proxy]bool{}}
	q.cond = sync.NewCond(&q.mu)
	return q
}

func (q *queue) add(p *proxy, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.dirty[p] {
		return
	}
	q.dirty[p] = true
	p.at = at
	if q.quiet == nil {
		q.quiet = make(chan struct{})
	}
	if !q.busy[p] {
		q.list = append(q.list, p)
		q.cond.Signal()
	}
}

// take waits for a proxy, which comes with the time of its oldest change; nil =
// the queue was closed.
func (q *queue) take() (*proxy, time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.list) == 0 && !q.closed {
		q.cond.Wait()
	}
	if q.closed {
		return nil, time.Time{}
	}
	p := q.list[0]
	q.list[0] = nil
	q.list = q.list[1:]
	delete(q.dirty, p)
	q.busy[p] = true
	return p, p.at
}

func (q *queue) done(p *proxy) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.busy, p)
	if q.dirty[p] {
		q.list = append(q.list, p)
		q.cond.Signal()
	}
	if len(q.dirty) == 0 && len(q.busy) == 0 && q.quiet != nil {
		close(q.quiet)
		q.quiet = nil
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.cond.Broadcast()
}

// idle waits until nothing is dirty or being built.
func (q *queue) idle(ctx context.Context) error {
	for {
		q.mu.Lock()
		ch := q.quiet
		q.mu.Unlock()
		if ch == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ch:
		}
	}
}
