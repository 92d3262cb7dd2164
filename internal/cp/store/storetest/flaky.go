package storetest

import (
	"context"
	"fmt"
	"sync"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// Flaky is a store that goes away and comes back on command, as a database does
// whose server restarts. While it is away, calls fail with store.ErrUnavailable
// and watches are silent; when it is back, watches go on with a Full batch.
type Flaky struct {
	inner store.Store

	mu      sync.Mutex
	outages int           // how often it came back
	back    chan struct{} // closed while it is there
	gone    chan struct{} // closed while it is away
	fault   func(operation string, key model.Key) error
	lose    int // answers of writes to be lost
}

// NewFlaky returns a Flaky in front of a store, which it closes.
func NewFlaky(inner store.Store) *Flaky {
	f := &Flaky{inner: inner, back: make(chan struct{}), gone: make(chan struct{})}
	close(f.back)
	return f
}

// down tells whether it is away; f.mu is held.
func (f *Flaky) down() bool {
	select {
	case <-f.gone:
		return true
	default:
		return false
	}
}

// Down makes the store go away.
func (f *Flaky) Down() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.down() {
		close(f.gone)
		f.back = make(chan struct{})
	}
}

// Up brings it back.
func (f *Flaky) Up() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down() {
		f.outages++
		f.gone = make(chan struct{})
		close(f.back)
	}
}

// Fault sets a function that is asked before every call: an error that it
// returns is the call's result. The operations are create, update, delete, get,
// list, watch and ping. nil = no faults.
func (f *Flaky) Fault(fault func(operation string, key model.Key) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// LoseAnswers makes the next n writes happen, but fail with store.ErrUnavailable
// for the caller: the connection broke before the answer came.
func (f *Flaky) LoseAnswers(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose = n
}

var errDown = fmt.Errorf("%w: it was made to go away", store.ErrUnavailable)

func (f *Flaky) check(operation string, key model.Key) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down() {
		return fmt.Errorf("%s %s: %w", operation, key, errDown)
	}
	if f.fault != nil {
		return f.fault(operation, key)
	}
	return nil
}

// answer replaces the result of a write that succeeded, if it is to be lost.
func (f *Flaky) answer(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.lose > 0 {
		f.lose--
		return fmt.Errorf("%w: the answer was lost", store.ErrUnavailable)
	}
	return err
}

// Create implements store.Store.
func (f *Flaky) Create(ctx context.Context, o *model.Object) (*model.Object, error) {
	return f.put(ctx, "create", o, f.inner.Create)
}

// Update implements store.Store.
func (f *Flaky) Update(ctx context.Context, o *model.Object) (*model.Object, error) {
	return f.put(ctx, "update", o, f.inner.Update)
}

func (f *Flaky) put(ctx context.Context, operation string, o *model.Object, do func(context.Context, *model.Object) (*model.Object, error)) (*model.Object, error) {
	if err := store.Check(o); err != nil {
		return nil, err
	}
	if err := f.check(operation, o.Key()); err != nil {
		return nil, err
	}
	out, err := do(ctx, o)
	if err := f.answer(err); err != nil {
		return nil, err
	}
	return out, nil
}

// Delete implements store.Store.
func (f *Flaky) Delete(ctx context.Context, key model.Key) error {
	if err := f.check("delete", key); err != nil {
		return err
	}
	return f.answer(f.inner.Delete(ctx, key))
}

// Get implements store.Store.
func (f *Flaky) Get(ctx context.Context, key model.Key) (*model.Object, error) {
	if err := f.check("get", key); err != nil {
		return nil, err
	}
	return f.inner.Get(ctx, key)
}

// List implements store.Store.
func (f *Flaky) List(ctx context.Context, kind *model.Kind, mesh string) ([]*model.Object, error) {
	if err := f.check("list", model.Key{Kind: kind.Name, Mesh: mesh}); err != nil {
		return nil, err
	}
	return f.inner.List(ctx, kind, mesh)
}

// Watch implements store.Store.
func (f *Flaky) Watch(ctx context.Context) (store.Watch, error) {
	if err := f.check("watch", model.Key{}); err != nil {
		return nil, err
	}
	w, err := f.inner.Watch(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return &flakyWatch{f: f, inner: w, outages: f.outages}, nil
}

// Ping implements store.Store.
func (f *Flaky) Ping(ctx context.Context) error {
	if err := f.check("ping", model.Key{}); err != nil {
		return err
	}
	return f.inner.Ping(ctx)
}

// Close implements store.Store.
func (f *Flaky) Close() error { return f.inner.Close() }

// gate returns a channel that is closed when the store is there, one that is
// closed when it goes away, and how often it came back.
func (f *Flaky) gate() (back, gone <-chan struct{}, outages int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.back, f.gone, f.outages
}

type flakyWatch struct {
	f *Flaky

	mu      sync.Mutex
	inner   store.Watch
	outages int // as many as the inner watch has seen
	closed  bool
}

// Next implements store.Watch.
func (w *flakyWatch) Next(ctx context.Context) (store.Batch, error) {
	for {
		back, gone, outages := w.f.gate()
		select {
		case <-ctx.Done():
			return store.Batch{}, ctx.Err()
		case <-back:
		}
		inner, err := w.at(ctx, outages)
		if err != nil {
			return store.Batch{}, err
		}
		there, cancel := context.WithCancel(ctx)
		stop := make(chan struct{})
		go func() {
			defer cancel()
			select {
			case <-gone:
			case <-stop:
			}
		}()
		b, err := inner.Next(there)
		close(stop)
		select {
		case <-gone: // what came meanwhile is told by the Full batch later
		default:
			return b, err
		}
	}
}

// at returns the inner watch, a new one after an outage.
func (w *flakyWatch) at(ctx context.Context, outages int) (store.Watch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || outages == w.outages {
		return w.inner, nil
	}
	fresh, err := w.f.inner.Watch(ctx)
	if err != nil {
		return nil, err
	}
	w.inner.Close()
	w.inner, w.outages = fresh, outages
	return fresh, nil
}

// Close implements store.Watch.
func (w *flakyWatch) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.inner.Close()
}
