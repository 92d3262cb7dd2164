// Package services maintains the services of a zone that are objects: it makes
// MeshServices from Dataplanes, and writes what the zone knows about
// MeshServices, MeshMultiZoneServices and MeshExternalServices into them: state,
// identities, counts, hostnames and virtual addresses.
//
// One task of the leader does it all, so that a service is complete with its
// first write and nobody fights about versions:
//
//	snapshot ─► follow: what is different? ─► plan: how shall all services be? ─► write the differences
//
// Planning is pure but for what it remembers (which proxies a service has, what
// templates gave, who has which address), and costs in proportion to the
// services, not to the proxies. It runs within milliseconds of a change; nothing
// is written that is not different.
package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"weft/internal/cp/state"
	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Settings say what the task does.
type Settings struct {
	// Zone is the name of this zone.
	Zone string
	// Generate makes MeshServices from Dataplanes. On Kubernetes they are made
	// from Services.
	Generate bool
	// GracePeriod is how long a generated MeshService stays without proxies.
	GracePeriod time.Duration
	// Hostnames evaluates hostname generators, Addresses gives out virtual
	// addresses of the ranges.
	Hostnames, Addresses                                  bool
	MeshServices, MeshMultiZoneServices, ExternalServices netip.Prefix
	Log                                                   *slog.Logger
}

// Snapshots are what the task follows: what proxies declare (*state.State), or
// better what is true of them (*actual.Filter).
type Snapshots interface {
	Ready() <-chan struct{}
	Current() *state.Snapshot
	// Changed returns a channel that is closed when another snapshot is current.
	Changed(s *state.Snapshot) <-chan struct{}
}

// Task is the leader's. Its fields must be set before Run.
type Task struct {
	Settings
	Store     store.Store
	Snapshots Snapshots
	Now       func() time.Time
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// retryPause is the wait before another try when the store is away.
const retryPause = time.Second

// writers is how many objects are written side by side, so that a store can put
// them into one transaction or round trip.
const writers = 8

// Run follows the snapshots until ctx ends.
func (t *Task) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-t.Snapshots.Ready():
	}
	passes := t.passes()
	r := &run{Task: t, meshes: map[string]*mesh{}}
	for ctx.Err() == nil {
		start := t.Now()
		snap := t.Snapshots.Current()
		next, err := r.pass(ctx, snap)
		if err != nil && ctx.Err() == nil {
			t.Log.Warn("services could not be brought up to date, trying again", "error", err)
			next = earlier(next, t.Now().Add(retryPause))
		}
		passes.Observe(float64(t.Now().Sub(start)) / float64(time.Millisecond))
		r.wait(ctx, snap, next)
	}
	return nil
}

// passes is the metric of 2.10 for the time that keeping services takes.
func (t *Task) passes() prometheus.Summary {
	s := prometheus.NewSummary(prometheus.SummaryOpts{
		Name:       "component_ms_status_updater",
		Help:       "Time of one look at the services that are objects, with the writes that it led to, in milliseconds.",
		Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001},
	})
	if t.Metrics == nil {
		return s
	}
	if err := t.Metrics.Register(s); err != nil { // this instance led before
		var again prometheus.AlreadyRegisteredError
		if errors.As(err, &again) {
			if old, ok := again.ExistingCollector.(prometheus.Summary); ok {
				return old
			}
		}
	}
	return s
}

// run is one term as the leader.
type run struct {
	*Task
	meshes     map[string]*mesh
	pools      *pools
	generators *model.Table
	gs         []generator
}

// pass brings everything up to date with a snapshot. It returns when another one
// is due though nothing changes, zero = never.
func (r *run) pass(ctx context.Context, snap *state.Snapshot) (next time.Time, err error) {
	now := r.Now()
	r.follow(snap, now)
	if r.pools == nil {
		if r.pools, err = r.openPools(ctx, now); err != nil {
			return time.Time{}, err
		}
	}
	var errs []error
	for _, m := range r.meshes {
		if m.dirty {
			errs = append(errs, r.update(ctx, m, now))
		}
		next = earlier(next, m.again)
	}
	return next, errors.Join(errs...)
}

// follow moves all meshes to a newer snapshot.
func (r *run) follow(t model.Tables, now time.Time) {
	table := t.Table(kinds.HostnameGenerator, "")
	if r.generators == nil || table.Hash() != r.generators.Hash() {
		r.generators, r.gs = table, generatorsOf(table)
		for _, m := range r.meshes {
			m.dirty, m.named = true, [3]map[string]naming{}
		}
	}
	rows := t.Table(kinds.Mesh, "")
	for _, row := range rows.Rows() {
		m := r.meshes[row.Meta.Name]
		if m == nil {
			m = newMesh(row.Meta.Name, &r.Settings)
			r.meshes[m.name] = m
		}
		m.follow(row, t, now)
	}
	for name := range r.meshes {
		if _, ok := rows.Get(name); !ok {
			delete(r.meshes, name)
		}
	}
	if r.pools != nil {
		r.pools.keep(r.exists, now)
	}
}

// exists tells whether there is a service with that key.
func (r *run) exists(k model.Key) bool {
	m := r.meshes[k.Mesh]
	if m == nil {
		return false
	}
	for i, kind := range serviceKinds {
		if kind.Name == k.Kind {
			return m.shelves[i].objects[k.Name] != nil
		}
	}
	return false
}

// update plans one mesh and writes the differences.
func (r *run) update(ctx context.Context, m *mesh, now time.Time) error {
	writes := m.plan(r.gs, r.pools, now)
	if len(writes) == 0 {
		return nil
	}
	// What was not written is planned again; what was may have consequences, for
	// which the next snapshot comes.
	m.dirty = true
	if err := r.pools.save(ctx, r.Store); err != nil {
		return err
	}
	stored := make([]*model.Object, len(writes))
	errs := make([]error, len(writes))
	var g errgroup.Group
	g.SetLimit(writers)
	for i, w := range writes {
		g.Go(func() error {
			stored[i], errs[i] = r.write(ctx, w)
			return nil
		})
	}
	_ = g.Wait()
	for i, w := range writes {
		if errs[i] != nil {
			continue
		}
		k := kindOf(w)
		m.shelves[k].wrote(w.was, stored[i], now)
		if w.was == nil || w.now == nil {
			m.named[k] = nil // its place among the others is known only now
		}
	}
	return r.failures(m, writes, errs)
}

// kindOf returns the index of an object's kind among serviceKinds.
func kindOf(w write) int {
	for i, k := range serviceKinds {
		if k.Name == w.key().Kind {
			return i
		}
	}
	panic(fmt.Sprintf("services: %s is no service", w.key())) // plan makes no others
}

// write writes one object; nil = it is deleted.
func (r *run) write(ctx context.Context, w write) (*model.Object, error) {
	var out *model.Object
	var err error
	switch {
	case w.was == nil:
		out, err = r.Store.Create(ctx, w.now)
	case w.now == nil:
		err = r.Store.Delete(ctx, w.was.Key())
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
	default:
		out, err = r.Store.Update(ctx, w.now)
	}
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", w.key(), err)
	}
	return out, nil
}

// failures returns what went wrong, apart from writes that somebody else was
// faster with: the snapshots will tell.
func (r *run) failures(m *mesh, writes []write, errs []error) error {
	var out []error
	for i, err := range errs {
		switch {
		case err == nil:
		case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrExists), errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrOwnerMissing):
			r.Log.Debug("a service was changed by somebody else; it is looked at again", "object", writes[i].key().String(), "error", err)
			m.wakeAt(r.Now().Add(retryPause))
		default:
			out = append(out, err)
		}
	}
	return errors.Join(out...)
}

// wait waits for another snapshot, or until a time.
func (r *run) wait(ctx context.Context, snap *state.Snapshot, at time.Time) {
	pause := time.Hour
	if !at.IsZero() {
		pause = at.Sub(r.Now())
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-r.Snapshots.Changed(snap):
	case <-timer.C:
	}
}

// earlier returns the earlier of two times, of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
