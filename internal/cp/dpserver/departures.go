package dpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"weft/internal/cp/insight"
	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// departures deletes the objects of proxies that registered themselves and left,
// after a delay in which they may come back, here or at another control plane.
type departures struct {
	store    store.Store
	streams  *streams
	instance string
	delay    time.Duration
	log      *slog.Logger
	now      func() time.Time
	poke     chan struct{} // 1 slot

	mu    sync.Mutex
	queue []departure // in order of due: all have the same delay
}

type departure struct {
	key model.Key
	due time.Time
}

// add notes that a proxy left.
func (d *departures) add(key model.Key) {
	d.mu.Lock()
	d.queue = append(d.queue, departure{key, d.now().Add(d.delay)})
	d.mu.Unlock()
	select {
	case d.poke <- struct{}{}:
	default:
	}
}

// retryPause is the wait before another try when the store is away.
const retryPause = time.Second

// run deletes until ctx ends. What is left then stays: the proxies of a control
// plane that goes down go elsewhere.
func (d *departures) run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := time.Hour
		d.mu.Lock()
		if len(d.queue) > 0 {
			wait = d.queue[0].due.Sub(d.now())
		}
		d.mu.Unlock()
		timer.Reset(max(wait, 0))
		select {
		case <-ctx.Done():
			return nil
		case <-d.poke:
			continue
		case <-timer.C:
		}
		key, ok := d.next()
		if !ok {
			continue
		}
		if err := d.delete(ctx, key); err != nil && ctx.Err() == nil {
			d.log.Warn("delete the object of a proxy that left; trying again", "proxy", key.String(), "error", err)
			d.mu.Lock()
			d.queue = append(d.queue, departure{key, d.now().Add(d.delay + retryPause)})
			d.mu.Unlock()
		}
	}
}

// next takes the departure that is due.
func (d *departures) next() (model.Key, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) == 0 || d.now().Before(d.queue[0].due) {
		return model.Key{}, false
	}
	key := d.queue[0].key
	d.queue = d.queue[1:]
	return key, true
}

// delete deletes the object of a proxy, unless it came back.
func (d *departures) delete(ctx context.Context, key model.Key) error {
	release, ok := d.streams.away(key)
	if !ok {
		return nil
	}
	defer release()
	kind := insight.KindFor(key.Kind)
	o, err := d.store.Get(ctx, kind.Key(key.Mesh, key.Name))
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return fmt.Errorf("look up insight of %s: %w", key, err)
	default:
		if last := insight.LastInstance(o); last != "" && last != d.instance {
			return nil // it went on at another control plane
		}
	}
	if err := d.store.Delete(ctx, key); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	d.log.Info("proxy left; its object is deleted", "proxy", key.String())
	return nil
}
