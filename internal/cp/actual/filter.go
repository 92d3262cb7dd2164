// Package actual stands between state and view: it replaces what proxies declare
// by what is true now, so that everything behind it stays a pure function of
// tables.
//
//   - Addresses that are host names are replaced by the addresses that they
//     resolve to. The last good answer stays when a name cannot be resolved.
//   - Inbounds of proxies that were connected and are gone count as not ready,
//     until the proxies return.
//
// Rows are replaced, never objects in the store: who reads from the Filter must
// not write Dataplanes back.
//
//	state ── Tap ─► Filter ─┬─► snapshots ─► engine, services
//	          names ─► DNS ─┤
//	         clock ─────────┘
package actual

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weft/internal/cp/state"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Deps is what a filter needs.
type Deps struct {
	State *state.State
	// Lookup resolves a host name, as net.Resolver.LookupNetIP does for "ip".
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// TTL is how long an answer holds before the name is resolved again.
	TTL time.Duration
	// Instance is the id of this control plane, Alone says that there is no other.
	Instance string
	Alone    bool
	// Grace is how long a proxy may be away before it counts as gone.
	Grace time.Duration
	Log   *slog.Logger
	Now   func() time.Time
}

// Filter is the stage. It is a state.Feed: who follows it sees what is true.
type Filter struct {
	*state.Feed
	d    Deps
	poke chan struct{} // 1 slot: there is something new to resolve or wait for

	mu       sync.Mutex
	raw      *state.Snapshot
	presence *presence
	names    *names
	places   map[place]*amended
}

// place is where a table stands.
type place struct {
	kind *model.Kind
	mesh string
}

// amended is a table with some rows replaced.
type amended struct {
	from, to *model.Table
	// hosts are the names that rows of the table need, by row.
	hosts map[string][]string
	// put are the replaced rows.
	put map[string]model.Row
}

// New returns a filter, which taps the state; the state must not run yet. Run
// makes it resolve names and notice who is gone.
func New(d Deps) *Filter {
	f := &Filter{
		Feed: state.NewFeed(), d: d, poke: make(chan struct{}, 1),
		presence: newPresence(d, d.Now()), names: newNames(d),
		places: map[place]*amended{},
	}
	d.State.Tap(f.apply)
	return f
}

// apply takes a snapshot over.
func (f *Filter) apply(u state.Update) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.d.Now()
	first := f.raw == nil
	f.raw = u.Snapshot
	f.presence.follow(f.raw, now)
	keys := f.amend()
	f.hand(keys, u, first)
	f.wake()
}

// refresh amends the same snapshot anew, because something is known now that was
// not when it came.
func (f *Filter) refresh() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.raw == nil {
		return
	}
	now := f.d.Now()
	f.presence.pass(now)
	if keys := f.amend(); len(keys) > 0 {
		snap := *f.raw
		snap.At = now
		f.hand(keys, state.Update{Snapshot: &snap}, false)
	}
}

// hand publishes a snapshot with the amended tables. The caller holds f.mu.
func (f *Filter) hand(keys []model.Key, u state.Update, first bool) {
	snap := u.Snapshot
	for p, a := range f.places {
		if a.to != a.from {
			snap = snap.With(p.kind, p.mesh, a.to)
		}
	}
	f.Put(snap)
	changes := u.Changes.And(keys...)
	if len(changes.Keys) > 0 || first {
		f.Publish(state.Update{Snapshot: snap, Changes: changes})
	}
}

func (f *Filter) wake() {
	select {
	case f.poke <- struct{}{}:
	default:
	}
}

// amend brings the amended tables up to date and returns the keys of rows that
// are different though their objects are the same. The caller holds f.mu.
func (f *Filter) amend() []model.Key {
	var keys []model.Key
	seen := map[place]bool{}
	for _, p := range f.wanted() {
		seen[p] = true
		a := f.places[p]
		if a == nil {
			a = &amended{from: model.EmptyTable, to: model.EmptyTable, hosts: map[string][]string{}, put: map[string]model.Row{}}
			f.places[p] = a
		}
		keys = append(keys, f.amendTable(p, a)...)
	}
	maps.DeleteFunc(f.places, func(p place, a *amended) bool {
		if !seen[p] {
			f.names.release(a.hosts)
		}
		return !seen[p]
	})
	f.presence.turned, f.names.turned = nil, nil
	return keys
}

// wanted returns the places of all tables that hold proxies.
func (f *Filter) wanted() []place {
	out := []place{{kinds.ZoneIngress, ""}, {kinds.ZoneEgress, ""}}
	for _, mesh := range f.raw.Meshes() {
		out = append(out, place{kinds.Dataplane, mesh})
	}
	return out
}

// amendTable amends one table: the rows that are different, and those about whose
// name or presence something new is known.
func (f *Filter) amendTable(p place, a *amended) []model.Key {
	t := f.raw.Table(p.kind, p.mesh)
	touched := map[string]bool{}
	var keys []model.Key
	t.Diff(a.from, func(old, now model.Row) {
		if now.Object == nil {
			f.drop(a, old.Meta.Name)
			return
		}
		if hosts := hostsOf(now.Object); len(hosts) > 0 || a.hosts[now.Meta.Name] != nil {
			f.names.use(hosts) // first, so that names in both keep their addresses
			f.drop(a, now.Meta.Name)
			if len(hosts) > 0 {
				a.hosts[now.Meta.Name] = hosts
			}
		}
		touched[now.Meta.Name] = true
	})
	if p.kind == kinds.Dataplane {
		for _, k := range f.presence.turned {
			if _, ok := t.Get(k.name); ok && k.mesh == p.mesh && !touched[k.name] {
				touched[k.name] = true
				keys = append(keys, p.kind.Key(p.mesh, k.name))
			}
		}
	}
	if len(f.names.turned) > 0 {
		for name, hosts := range a.hosts {
			if !touched[name] && slices.ContainsFunc(hosts, func(h string) bool { return f.names.turned[h] }) {
				touched[name] = true
				keys = append(keys, p.kind.Key(p.mesh, name))
			}
		}
	}
	if t == a.from && len(touched) == 0 {
		return nil
	}
	a.from = t
	for name := range touched {
		row, _ := t.Get(name)
		if now := f.amendRow(p, row); now.Object != row.Object {
			a.put[name] = now
		} else {
			delete(a.put, name)
		}
	}
	a.to = t.With(slices.Collect(maps.Values(a.put)), nil)
	return keys
}

// drop forgets what is known of a row.
func (f *Filter) drop(a *amended, name string) {
	f.names.release(map[string][]string{name: a.hosts[name]})
	delete(a.hosts, name)
	delete(a.put, name)
}

// amendRow returns a row as it is now, the same row if it is as declared.
func (f *Filter) amendRow(p place, row model.Row) model.Row {
	gone := p.kind == kinds.Dataplane && f.presence.gone(p.mesh, row.Meta.Name)
	now, marks := resolved(row.Object, f.names.address), ""
	if gone {
		if o := notReady(now); o != now {
			now, marks = o, "gone"
		}
	}
	if now == row.Object {
		return row
	}
	for _, h := range hostsOf(row.Object) {
		marks += " " + f.names.address(h)
	}
	return model.Row{Object: now, Hash: model.Fold(row.Hash, model.HashOf([]byte(marks)))}
}

// Tables returns other tables, such as those of a preview, as they would be with
// what is known now.
func (f *Filter) Tables(t model.Tables) model.Tables { return &amendedTables{f, t} }

type amendedTables struct {
	f *Filter
	t model.Tables
}

// Table implements model.Tables.
func (x *amendedTables) Table(kind *model.Kind, mesh string) *model.Table {
	t := x.t.Table(kind, mesh)
	p := place{kind, mesh}
	switch kind {
	case kinds.Dataplane:
	case kinds.ZoneIngress, kinds.ZoneEgress:
		p.mesh = ""
	default:
		return t
	}
	x.f.mu.Lock()
	defer x.f.mu.Unlock()
	if a := x.f.places[p]; a != nil && (a.from == t || a.to == t) {
		return a.to
	}
	var put []model.Row
	for _, row := range t.Rows() {
		if now := x.f.amendRow(p, row); now.Object != row.Object {
			put = append(put, now)
		}
	}
	return t.With(put, nil)
}

// Run resolves names and notices who is gone, until ctx ends.
func (f *Filter) Run(ctx context.Context) error {
	var lookups sync.WaitGroup
	defer lookups.Wait()
	slots := make(chan struct{}, maxLookups)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		f.mu.Lock()
		now := f.d.Now()
		due := f.names.due(now, cap(slots)-len(slots))
		next := earlier(f.names.next, f.presence.next)
		f.mu.Unlock()
		for _, host := range due {
			slots <- struct{}{} // there is room: only this loop takes slots
			lookups.Go(func() {
				f.lookup(ctx, host)
				<-slots
				f.wake()
			})
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = max(next.Sub(f.d.Now()), 0)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-f.poke:
		case <-timer.C:
			f.refresh()
		}
	}
}

// earlier returns the earlier of two times, of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
