package insight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// captured is what is to be written about a proxy.
type captured struct {
	subs []capturedSub
	mtls *mtls
}

type capturedSub struct {
	from *Subscription
	spec kinds.DiscoverySubscription
	rev  uint64
}

// capture takes a copy of what is known about a proxy.
func (r *Recorder) capture(key model.Key) (captured, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.proxies[key]
	if rec == nil {
		return captured{}, false
	}
	c := captured{mtls: rec.mtls}
	for _, s := range rec.subs {
		s.mu.Lock()
		c.subs = append(c.subs, capturedSub{from: s, spec: s.spec, rev: s.rev})
		s.dirty = false
		s.mu.Unlock()
	}
	return c, true
}

// settle forgets closed connections that were written, and marks the proxy again
// if something changed meanwhile or nothing was written.
func (r *Recorder) settle(key model.Key, c captured, written bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.proxies[key]
	if !written {
		r.mark(key, true)
		return
	}
	for _, w := range c.subs {
		w.from.mu.Lock()
		changed := w.from.rev != w.rev
		w.from.mu.Unlock()
		if changed {
			r.mark(key, w.from.closedSince(w))
		} else if w.spec.DisconnectTime != nil {
			rec.subs = slices.DeleteFunc(rec.subs, func(s *Subscription) bool { return s == w.from })
		}
	}
	if len(rec.subs) == 0 {
		delete(r.proxies, key)
	}
}

// closedSince tells whether the connection was closed after it was captured.
func (s *Subscription) closedSince(w capturedSub) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spec.DisconnectTime != nil && w.spec.DisconnectTime == nil
}

// tries is how often a write is repeated when somebody else was faster.
const tries = 10

// store writes what was captured into the proxy's insight, which another instance
// may be writing too.
func (r *Recorder) store(ctx context.Context, key model.Key, c captured) error {
	kind := KindFor(key.Kind)
	if kind == nil {
		return fmt.Errorf("%s has no insight", key)
	}
	id := kind.Key(key.Mesh, key.Name)
	for n := 1; ; n++ {
		err := r.storeOnce(ctx, kind, id, c)
		again := errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNotFound)
		if !again || n == tries {
			return err
		}
	}
}

func (r *Recorder) storeOnce(ctx context.Context, kind *model.Kind, id model.Key, c captured) error {
	old, err := r.d.Store.Get(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		o := kind.Make(id.Mesh, id.Name)
		r.merge(o, c)
		if _, err := r.d.Store.Create(ctx, o); err != nil {
			return fmt.Errorf("create %s: %w", id, err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("load %s: %w", id, err)
	}
	o := old.Clone()
	o.Spec = model.CopyValue(old.Spec)
	r.merge(o, c)
	if _, err := r.d.Store.Update(ctx, o); err != nil {
		return fmt.Errorf("update %s: %w", id, err)
	}
	return nil
}

// merge puts what was captured into an insight, whose spec nobody else has.
func (r *Recorder) merge(o *model.Object, c captured) {
	subs := Subscriptions(o)
	for _, w := range c.subs {
		*subs = put(*subs, w.spec)
	}
	*subs = trim(*subs, r.keep())
	if c.mtls == nil || !r.knows(*subs) {
		return
	}
	switch spec := o.Spec.(type) {
	case *kinds.DataplaneInsightSpec:
		spec.MTLS = c.mtls.values[o.Meta.Mesh]
	case *kinds.ZoneProxyInsightSpec:
		spec.MTLS = c.mtls.values
	}
}

// knows tells whether what this instance knows of a proxy is the newest: it is
// not while the newest connection is to another instance, which knows more.
func (r *Recorder) knows(subs []kinds.DiscoverySubscription) bool {
	if len(subs) == 0 {
		return true
	}
	newest := &subs[len(subs)-1]
	return newest.ControlPlaneInstanceID == r.d.Instance || !newest.Online()
}

// put replaces the connection of the same id, or adds it where it belongs by its
// time and ends those before. It is not always the newest: when this instance
// wrote late, the proxy may have gone on at another one meanwhile, and that
// connection must not be ended.
func put(subs []kinds.DiscoverySubscription, s kinds.DiscoverySubscription) []kinds.DiscoverySubscription {
	for i := range subs {
		if subs[i].ID == s.ID {
			if subs[i].DisconnectTime != nil && s.DisconnectTime == nil {
				// Another instance saw the proxy later, or took this one for dead
				// although it is not; the newest connection decides.
				if i < len(subs)-1 {
					s.DisconnectTime = subs[i].DisconnectTime
				}
			}
			subs[i] = s
			return subs
		}
	}
	at := len(subs)
	for at > 0 && connectedAt(subs[at-1]).After(connectedAt(s)) {
		at--
	}
	for i := range subs[:at] {
		if subs[i].DisconnectTime == nil {
			subs[i].DisconnectTime = s.ConnectTime
		}
	}
	return slices.Insert(subs, at, s)
}

func connectedAt(s kinds.DiscoverySubscription) time.Time {
	if s.ConnectTime == nil {
		return time.Time{}
	}
	return s.ConnectTime.Time
}

// trim keeps n connections: those that are open before those that ended, the
// newer before the older.
func trim(subs []kinds.DiscoverySubscription, n int) []kinds.DiscoverySubscription {
	for len(subs) > n {
		i := slices.IndexFunc(subs, func(s kinds.DiscoverySubscription) bool { return !s.Online() })
		subs = slices.Delete(subs, max(i, 0), max(i, 0)+1)
	}
	return subs
}

// LastInstance returns the control plane at which a proxy is connected, else the
// one at which it was last; "" = it never was. Whose connection is noted last does
// not tell: clocks of instances differ.
func LastInstance(o *model.Object) string {
	var last *kinds.DiscoverySubscription
	subs := *Subscriptions(o)
	for i := range subs {
		s := &subs[i]
		if last == nil || s.Online() || (!last.Online() && !endedAt(s).Before(endedAt(last))) {
			last = s
		}
	}
	if last == nil {
		return ""
	}
	return last.ControlPlaneInstanceID
}

func endedAt(s *kinds.DiscoverySubscription) time.Time {
	if s.DisconnectTime == nil {
		return time.Time{}
	}
	return s.DisconnectTime.Time
}

// KindFor returns the kind of the insight of a kind of proxy, or nil.
func KindFor(proxy string) *model.Kind {
	switch proxy {
	case kinds.Dataplane.Name:
		return kinds.DataplaneInsight
	case kinds.ZoneIngress.Name:
		return kinds.ZoneIngressInsight
	case kinds.ZoneEgress.Name:
		return kinds.ZoneEgressInsight
	}
	return nil
}

// Subscriptions returns the connections in a proxy's insight.
func Subscriptions(o *model.Object) *[]kinds.DiscoverySubscription {
	switch spec := o.Spec.(type) {
	case *kinds.DataplaneInsightSpec:
		return &spec.Subscriptions
	case *kinds.ZoneProxyInsightSpec:
		return &spec.Subscriptions
	}
	return new([]kinds.DiscoverySubscription)
}
