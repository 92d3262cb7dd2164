// Package state turns the store's changes into immutable snapshots: a table per
// kind and mesh, shared between snapshots as long as nothing in it changed. A
// write that changes nothing a proxy depends on (status, insight, resync) ends
// here: it makes no new snapshot. The engine and the leader tasks read from it.
package state

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// Snapshot is all objects of one moment; immutable.
type Snapshot struct {
	// Rev is the store revision that the snapshot includes.
	Rev uint64
	// At is when the oldest change since the snapshot before was received.
	At     time.Time
	tables map[place]*model.Table
}

// place is where a table stands: mesh is "" for kinds of global scope.
type place struct{ kind, mesh string }

// Table returns the kind's table in a mesh (mesh is ignored for global kinds).
func (s *Snapshot) Table(kind *model.Kind, mesh string) *model.Table {
	if kind.Scope == model.Global {
		mesh = ""
	}
	if t := s.tables[place{kind.Name, mesh}]; t != nil {
		return t
	}
	return model.EmptyTable
}

// Meshes returns the names of all meshes that any object of the snapshot names, sorted.
func (s *Snapshot) Meshes() []string {
	seen := map[string]bool{}
	for p, t := range s.tables {
		if p.kind == "Mesh" {
			for _, r := range t.Rows() {
				seen[r.Meta.Name] = true
			}
		}
		if p.mesh != "" {
			seen[p.mesh] = true
		}
	}
	out := make([]string, 0, len(seen))
	for m := range seen {
		out = append(out, m)
	}
	slices.Sort(out)
	return out
}

// Changes says what differs between two snapshots.
type Changes struct {
	// Keys of objects that were added, changed or removed, sorted.
	Keys []model.Key
	// Global is true when a kind of global scope other than Mesh is among them:
	// every mesh may depend on it.
	Global bool
	meshes map[string]bool
}

// Meshes returns the meshes in which something changed, sorted; a Mesh object
// counts for itself.
func (c Changes) Meshes() []string {
	out := make([]string, 0, len(c.meshes))
	for m := range c.meshes {
		out = append(out, m)
	}
	slices.Sort(out)
	return out
}

// Update is a snapshot with what led to it.
type Update struct {
	*Snapshot
	Changes Changes
}

// State follows a store. Create it with New, start Run once, read from
// Current at any time, or follow with Updates.
type State struct {
	*Feed
	store store.Store
	log   *slog.Logger
	now   func() time.Time
	taps  []func(Update)
}

// New returns a State that follows s. now is the clock of Snapshot.At.
func New(s store.Store, log *slog.Logger, now func() time.Time) *State {
	return &State{Feed: NewFeed(), store: s, log: log, now: now}
}

// Tap calls f with every snapshot, in order and also where no changes came with
// it, before anybody else sees it. f must not block. Tap must be called before Run.
func (s *State) Tap(f func(Update)) { s.taps = append(s.taps, f) }

// Run follows the store until ctx ends. A store that cannot be watched for a
// while is tried again; the last snapshot stays current meanwhile.
func (s *State) Run(ctx context.Context) error {
	store.Follow(ctx, s.store, s.log, time.Second, s.apply)
	return nil
}

// apply makes the next snapshot from a batch and publishes it if it differs.
func (s *State) apply(b store.Batch) {
	at := s.now()
	old := s.Current()
	next, changes := old.next(b)
	next.At = at
	for _, f := range s.taps {
		f(Update{next, changes})
	}
	s.Put(next)
	if len(changes.Keys) > 0 || b.Full {
		s.Publish(Update{next, changes})
	}
}

// edit is what happens to one table.
type edit struct {
	put  []model.Row
	gone []string
}

// next returns the snapshot after a batch. Objects whose content hash is equal
// to before do not count as changed.
func (s *Snapshot) next(b store.Batch) (*Snapshot, Changes) {
	edits := map[place]*edit{}
	at := func(k model.Key) *edit {
		p := place{k.Kind, k.Mesh}
		if edits[p] == nil {
			edits[p] = &edit{}
		}
		return edits[p]
	}
	changes := Changes{meshes: map[string]bool{}}
	note := func(k model.Key) { changes.note(k) }
	for _, e := range b.Events {
		before, had := s.row(e.Key)
		switch {
		case e.Object == nil && had:
			at(e.Key).gone = append(at(e.Key).gone, e.Key.Name)
			note(e.Key)
		case e.Object != nil:
			row := model.Row{Object: e.Object, Hash: model.ContentHash(e.Object)}
			at(e.Key).put = append(at(e.Key).put, row)
			if !had || before.Hash != row.Hash {
				note(e.Key)
			}
		}
	}
	if b.Full {
		s.dropAbsent(b, at, note)
	}
	next := &Snapshot{Rev: b.Rev, tables: make(map[place]*model.Table, len(s.tables)+len(edits))}
	for p, t := range s.tables {
		next.tables[p] = t
	}
	for p, e := range edits {
		t := s.tables[p]
		if t == nil {
			t = model.EmptyTable
		}
		if t = t.With(e.put, e.gone); t.Len() == 0 {
			delete(next.tables, p)
		} else {
			next.tables[p] = t
		}
	}
	slices.SortFunc(changes.Keys, model.Key.Compare)
	changes.Keys = slices.Compact(changes.Keys)
	return next, changes
}

func (s *Snapshot) row(k model.Key) (model.Row, bool) {
	t := s.tables[place{k.Kind, k.Mesh}]
	if t == nil {
		return model.Row{}, false
	}
	return t.Get(k.Name)
}

// dropAbsent removes what a full batch does not hold.
func (s *Snapshot) dropAbsent(b store.Batch, at func(model.Key) *edit, note func(model.Key)) {
	present := make(map[model.Key]bool, len(b.Events))
	for _, e := range b.Events {
		present[e.Key] = e.Object != nil
	}
	for p, t := range s.tables {
		for _, r := range t.Rows() {
			k := model.Key{Kind: p.kind, Mesh: p.mesh, Name: r.Meta.Name}
			if !present[k] {
				at(k).gone = append(at(k).gone, k.Name)
				note(k)
			}
		}
	}
}

func (c *Changes) note(k model.Key) {
	c.Keys = append(c.Keys, k)
	switch {
	case k.Mesh != "":
		c.meshes[k.Mesh] = true
	case k.Kind == "Mesh":
		c.meshes[k.Name] = true
	default:
		c.Global = true
	}
}

// String lists the changes, for logs.
func (c Changes) String() string {
	parts := make([]string, len(c.Keys))
	for i, k := range c.Keys {
		parts[i] = k.String()
	}
	return strings.Join(parts, ", ")
}
