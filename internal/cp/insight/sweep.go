package insight

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// proxyKinds are the kinds of proxies, each with its insight (KindFor).
var proxyKinds = []*model.Kind{kinds.Dataplane, kinds.ZoneIngress, kinds.ZoneEgress}

// Finalizer ends the connections of control planes that died: those whose
// generation does not move during a whole IdleTimeout. It runs on the leader.
type Finalizer struct {
	Store       store.Store
	IdleTimeout time.Duration
	Log         *slog.Logger
	Now         func() time.Time
}

// Run checks until ctx ends.
func (f *Finalizer) Run(ctx context.Context) error {
	seen := map[string]uint32{}
	return every(ctx, f.IdleTimeout, f.Log, "end dead connections", func(ctx context.Context) error {
		next, err := f.sweep(ctx, seen)
		if err != nil {
			return err
		}
		seen = next
		return nil
	})
}

// sweep ends the connections that are as seen before, and returns what it saw.
func (f *Finalizer) sweep(ctx context.Context, seen map[string]uint32) (map[string]uint32, error) {
	next := map[string]uint32{}
	for _, proxy := range proxyKinds {
		list, err := f.Store.List(ctx, KindFor(proxy.Name), "")
		if err != nil {
			return nil, fmt.Errorf("list insights of %s: %w", proxy.Name, err)
		}
		for _, o := range list {
			dead := false
			for _, s := range *Subscriptions(o) {
				if !s.Online() {
					continue
				}
				if g, ok := seen[s.ID]; ok && g == s.Generation {
					dead = true
				} else {
					next[s.ID] = s.Generation
				}
			}
			if !dead {
				continue
			}
			if err := f.end(ctx, o, seen); err != nil {
				return nil, err
			}
		}
	}
	return next, nil
}

func (f *Finalizer) end(ctx context.Context, old *model.Object, seen map[string]uint32) error {
	o := old.Clone()
	o.Spec = model.CopyValue(old.Spec)
	subs := *Subscriptions(o)
	for i := range subs {
		s := &subs[i]
		if g, ok := seen[s.ID]; ok && s.Online() && g == s.Generation {
			s.DisconnectTime = model.At(f.Now())
			f.Log.Info("connection shows no sign of life; it counts as closed",
				"proxy", o.Key().String(), "instance", s.ControlPlaneInstanceID)
		}
	}
	_, err := f.Store.Update(ctx, o)
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return nil // it shows a sign of life, or is gone
	}
	if err != nil {
		return fmt.Errorf("update %s: %w", o.Key(), err)
	}
	return nil
}

// Collector deletes proxies that are offline for long: on Universal nobody else
// does when a host is gone. It runs on the leader.
type Collector struct {
	Store store.Store
	// Dataplanes and ZoneProxies are the ages after which they are deleted.
	Dataplanes, ZoneProxies time.Duration
	Log                     *slog.Logger
	Now                     func() time.Time
}

// collectInterval is the time between two looks for proxies that are gone.
const collectInterval = time.Minute

// Run checks every minute until ctx ends.
func (c *Collector) Run(ctx context.Context) error {
	return every(ctx, collectInterval, c.Log, "delete proxies that are gone", c.Sweep)
}

// Sweep deletes the proxies that are offline for too long now.
func (c *Collector) Sweep(ctx context.Context) error {
	for _, proxy := range proxyKinds {
		age := c.ZoneProxies
		if proxy == kinds.Dataplane {
			age = c.Dataplanes
		}
		list, err := c.Store.List(ctx, KindFor(proxy.Name), "")
		if err != nil {
			return fmt.Errorf("list insights of %s: %w", proxy.Name, err)
		}
		for _, o := range list {
			if !c.expired(o, age) {
				continue
			}
			key := proxy.Key(o.Meta.Mesh, o.Meta.Name)
			if err := c.Store.Delete(ctx, key); err != nil && !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("delete %s: %w", key, err)
			}
			c.Log.Info("proxy is deleted, because it has been offline for long", "proxy", key.String(), "age", age)
		}
	}
	return nil
}

// expired tells whether the last connection ended longer ago than age.
func (c *Collector) expired(o *model.Object, age time.Duration) bool {
	subs := *Subscriptions(o)
	if len(subs) == 0 {
		return false
	}
	var last time.Time
	for i := range subs {
		if subs[i].DisconnectTime == nil {
			return false
		}
		if t := subs[i].DisconnectTime.Time; t.After(last) {
			last = t
		}
	}
	return c.Now().Sub(last) > age
}

// every calls f at intervals until ctx ends. A failure is logged and tried again
// at the next one.
func every(ctx context.Context, interval time.Duration, log *slog.Logger, what string, f func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := f(ctx); err != nil && ctx.Err() == nil {
			log.Warn("a task of the leader failed; trying again later", "task", what, "error", err)
		}
	}
}
