package store

import (
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"weft/internal/mesh/model"
)

// Draft collects writes that become visible together or not at all. It applies
// the rules of Store (existence, versions, owners) on top of a Mirror, so that
// a store has only to make the resulting changes durable before Commit. Who
// opens a Draft must be the only writer until Commit; a Draft that is not wanted
// any more is simply dropped.
type Draft struct {
	m       *Mirror
	now     time.Time
	version uint64
	over    map[model.Key]Change
	changes []Change
}

// Draft starts a set of writes that happen at the given time.
func (m *Mirror) Draft(now time.Time) *Draft {
	m.mu.RLock()
	defer m.mu.RUnlock()
	// Microseconds, without monotonic part: what every store can keep.
	return &Draft{m: m, now: now.UTC().Truncate(time.Microsecond).Round(0), version: m.version, over: map[model.Key]Change{}}
}

// Changes returns what the writes amount to, in order.
func (d *Draft) Changes() []Change { return d.changes }

// Commit makes the changes visible.
func (d *Draft) Commit() { d.m.Apply(d.changes) }

// Create adds an object and returns the copy to be stored.
func (d *Draft) Create(o *model.Object) (*model.Object, error) {
	key := o.Key()
	if _, ok := d.lookup(key); ok {
		return nil, fmt.Errorf("create %s: %w", key, ErrExists)
	}
	owner, err := d.owner(o)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", key, err)
	}
	return d.put(o, d.now, owner), nil
}

// Update replaces an object and returns the copy to be stored.
func (d *Draft) Update(o *model.Object) (*model.Object, error) {
	key := o.Key()
	old, ok := d.lookup(key)
	switch {
	case !ok:
		return nil, fmt.Errorf("update %s: %w", key, ErrNotFound)
	case old.Object == nil:
		return nil, fmt.Errorf("update %s: %w", key, ErrUnreadable)
	case old.Object.Meta.Version != o.Meta.Version:
		return nil, fmt.Errorf("update %s: %w", key, ErrConflict)
	}
	owner, err := d.owner(o)
	if err != nil {
		return nil, fmt.Errorf("update %s: %w", key, err)
	}
	return d.put(o, old.Object.Meta.Created, owner), nil
}

func (d *Draft) put(o *model.Object, created time.Time, owner model.Key) *model.Object {
	// Versions are never given twice, so an update that read an object which
	// was deleted and made again in between is a conflict too.
	d.version++
	c := *o
	c.Meta.Created, c.Meta.Modified, c.Meta.Version = created, d.now, d.version
	d.add(Change{Key: c.Key(), Object: &c, Owner: owner})
	return &c
}

// Delete removes an object and, recursively, what it owns.
func (d *Draft) Delete(key model.Key) error {
	if _, ok := d.lookup(key); !ok {
		return fmt.Errorf("delete %s: %w", key, ErrNotFound)
	}
	// Owned before owner, so that a reader of single changes never sees an orphan.
	doomed := []model.Key{key}
	seen := map[model.Key]bool{key: true}
	for i := 0; i < len(doomed); i++ {
		for _, k := range d.ownedBy(doomed[i]) {
			if !seen[k] {
				seen[k] = true
				doomed = append(doomed, k)
			}
		}
	}
	for _, k := range slices.Backward(doomed) {
		d.add(Change{Key: k, Gone: true})
	}
	return nil
}

func (d *Draft) add(c Change) {
	d.over[c.Key] = c
	d.changes = append(d.changes, c)
}

// owner returns the owner's key, zero if there is none.
func (d *Draft) owner(o *model.Object) (model.Key, error) {
	owner, ok := o.Kind.Ownership(o)
	if !ok || owner == o.Key() {
		return model.Key{}, nil
	}
	if _, ok := d.lookup(owner); !ok {
		return model.Key{}, fmt.Errorf("%w: %s", ErrOwnerMissing, owner)
	}
	return owner, nil
}

func (d *Draft) lookup(k model.Key) (Change, bool) {
	if c, ok := d.over[k]; ok {
		return c, !c.Gone
	}
	d.m.mu.RLock()
	defer d.m.mu.RUnlock()
	n := d.m.node(k)
	if n == nil {
		return Change{}, false
	}
	return Change{Key: k, Object: n.object, Owner: n.owner}, true
}

func (d *Draft) ownedBy(owner model.Key) []model.Key {
	var out []model.Key
	d.m.mu.RLock()
	for n := range maps.Keys(d.m.owned[owner]) {
		if _, changed := d.over[n.key]; !changed {
			out = append(out, n.key)
		}
	}
	d.m.mu.RUnlock()
	for k, c := range d.over {
		if !c.Gone && c.Owner == owner {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, model.Key.Compare)
	return out
}

// Lengths that every store can keep; postgres sets them.
const (
	maxName = 253
	maxMesh = 100
)

// Check tells whether an object can be kept by every store: it has a kind, a
// spec, a name and, according to the kind's scope, a mesh, and its texts are
// valid UTF-8 without NUL. All makers call it before a write. It is a guard
// against programming errors and hostile peers; what users may write is decided
// by package admit.
func Check(o *model.Object) error {
	if o == nil || o.Kind == nil || o.Spec == nil {
		return fmt.Errorf("store an object: it must have a kind and a spec")
	}
	fail := func(what string) error { return fmt.Errorf("store %q: %s", o.Key().String(), what) }
	switch n := utf8.RuneCountInString; {
	case o.Meta.Name == "":
		return fail("name must not be empty")
	case n(o.Meta.Name) > maxName:
		return fail(fmt.Sprintf("name must not be longer than %d characters", maxName))
	case n(o.Meta.Mesh) > maxMesh:
		return fail(fmt.Sprintf("mesh must not be longer than %d characters", maxMesh))
	case o.Kind.Scope == model.Global && o.Meta.Mesh != "":
		return fail("mesh must be empty, the kind is global")
	case o.Kind.Scope == model.InMesh && o.Meta.Mesh == "":
		return fail("mesh must not be empty")
	case !text(o.Meta.Name) || !text(o.Meta.Mesh):
		return fail("name and mesh must be UTF-8 text without NUL characters")
	}
	for k, v := range o.Meta.Labels {
		if !text(k) || !text(v) {
			return fail(fmt.Sprintf("label %q must be UTF-8 text without NUL characters", k))
		}
	}
	return nil
}

func text(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return false
		}
	}
	return utf8.ValidString(s)
}
