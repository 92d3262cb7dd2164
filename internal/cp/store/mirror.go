package store

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"weft/internal/mesh/model"
)

// Mirror holds all objects of a store in memory and tells watchers what
// changed. It is the shared machinery of the stores: memory is little more than
// a Mirror, sqlite keeps one beside its file, postgres feeds one from
// notifications. Methods are safe for concurrent use, except that only one
// Draft may be open at a time.
//
// The nodes form a list ordered by the revision of their newest change, one
// node for each key. A watcher is a position in this list, so a slow one costs
// nothing but the deletions that it has still to hear of.
type Mirror struct {
	mu       sync.RWMutex
	rev      uint64
	version  uint64 // highest Meta.Version ever given or loaded
	loaded   bool
	closed   bool
	kinds    map[string]*shelf
	owned    map[model.Key]map[*node]struct{}
	graves   map[model.Key]*node // deleted, but a watcher has to hear of it
	oldest   *node
	newest   *node
	watchers map[*watch]struct{}
}

// Change says what is kept under a key from now on.
type Change struct {
	Key model.Key
	// Object is nil if Gone, or if what is stored cannot be read by this
	// version: such an entry keeps its key and its place below its owner.
	Object *model.Object
	// Owner is the object whose deletion deletes this one; zero = none.
	Owner model.Key
	Gone  bool
}

type node struct {
	key        model.Key
	object     *model.Object // nil = deleted or unreadable
	owner      model.Key
	born, rev  uint64
	prev, next *node
}

// shelf holds the nodes of one kind.
type shelf struct {
	byKey  map[model.Key]*node
	sorted []*node // by mesh, then name
}

func (s *shelf) find(k model.Key) (int, bool) {
	return slices.BinarySearchFunc(s.sorted, k, func(n *node, k model.Key) int {
		return cmp.Or(strings.Compare(n.key.Mesh, k.Mesh), strings.Compare(n.key.Name, k.Name))
	})
}

// NewMirror returns an empty Mirror. Its watchers wait until the first Load.
func NewMirror() *Mirror {
	return &Mirror{
		kinds:    map[string]*shelf{},
		owned:    map[model.Key]map[*node]struct{}{},
		graves:   map[model.Key]*node{},
		watchers: map[*watch]struct{}{},
	}
}

// Load makes all the complete content. Watchers get the difference to what was
// there before, so a store may call it after any gap.
func (m *Mirror) Load(all []Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	present := make(map[model.Key]bool, len(all))
	for _, c := range all {
		present[c.Key] = true
	}
	for _, s := range m.kinds {
		for _, n := range slices.Clone(s.sorted) {
			if !present[n.key] {
				m.apply(Change{Key: n.key, Gone: true})
			}
		}
	}
	for _, c := range all {
		if n := m.node(c.Key); n != nil && same(n.object, c.Object) && n.owner == c.Owner {
			continue
		}
		m.apply(c)
	}
	m.loaded = true
	m.wake()
}

// same tells whether two readings of a key are of the same write.
func same(a, b *model.Object) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Meta.Version == b.Meta.Version && a.Meta.Created.Equal(b.Meta.Created) && a.Meta.Modified.Equal(b.Meta.Modified)
}

// Apply takes over changes in order and tells the watchers, who see them all at
// once. Changes that repeat what is there are left out.
func (m *Mirror) Apply(changes []Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		n := m.node(c.Key)
		if n == nil && c.Gone || n != nil && !c.Gone && same(n.object, c.Object) && n.owner == c.Owner {
			continue
		}
		m.apply(c)
	}
	m.wake()
}

func (m *Mirror) apply(c Change) {
	m.rev++
	n := m.node(c.Key)
	switch {
	case c.Gone:
		m.remove(n)
		return
	case n == nil:
		n = m.insert(c.Key)
	default:
		m.unlink(n)
		m.disown(n)
	}
	n.object, n.owner, n.rev = c.Object, c.Owner, m.rev
	if c.Object != nil {
		m.version = max(m.version, c.Object.Meta.Version)
	}
	if c.Owner != (model.Key{}) {
		if m.owned[c.Owner] == nil {
			m.owned[c.Owner] = map[*node]struct{}{}
		}
		m.owned[c.Owner][n] = struct{}{}
	}
	m.link(n)
}

// insert puts a node for a new key on its shelf, or the one of its grave: who
// has not heard of the deletion yet just sees the new object.
func (m *Mirror) insert(k model.Key) *node {
	n := m.graves[k]
	if n != nil {
		delete(m.graves, k)
		m.unlink(n)
	} else {
		n = &node{key: k, born: m.rev}
	}
	s := m.kinds[k.Kind]
	if s == nil {
		s = &shelf{byKey: map[model.Key]*node{}}
		m.kinds[k.Kind] = s
	}
	s.byKey[k] = n
	i, _ := s.find(k)
	s.sorted = slices.Insert(s.sorted, i, n)
	return n
}

// remove takes a node from its shelf. It stays in the list as long as a watcher
// knows the object: deletions of what nobody saw would pile up without bound.
func (m *Mirror) remove(n *node) {
	s := m.kinds[n.key.Kind]
	delete(s.byKey, n.key)
	i, _ := s.find(n.key)
	s.sorted = slices.Delete(s.sorted, i, i+1)
	m.unlink(n)
	m.disown(n)
	n.object, n.rev = nil, m.rev
	if m.mourned(n) {
		m.graves[n.key] = n
		m.link(n)
	}
}

func (m *Mirror) disown(n *node) {
	if n.owner == (model.Key{}) {
		return
	}
	delete(m.owned[n.owner], n)
	if len(m.owned[n.owner]) == 0 {
		delete(m.owned, n.owner)
	}
	n.owner = model.Key{}
}

func (m *Mirror) link(n *node) {
	n.prev, n.next = m.newest, nil
	if m.newest != nil {
		m.newest.next = n
	} else {
		m.oldest = n
	}
	m.newest = n
}

func (m *Mirror) unlink(n *node) {
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		m.oldest = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		m.newest = n.prev
	}
	n.prev, n.next = nil, nil
}

func (m *Mirror) node(k model.Key) *node {
	if s := m.kinds[k.Kind]; s != nil {
		return s.byKey[k]
	}
	return nil
}

// Get returns the object, or ErrNotFound.
func (m *Mirror) Get(key model.Key) (*model.Object, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	switch n := m.node(key); {
	case m.closed:
		return nil, fmt.Errorf("get %s: %w", key, ErrClosed)
	case n == nil:
		return nil, fmt.Errorf("get %s: %w", key, ErrNotFound)
	case n.object == nil:
		return nil, fmt.Errorf("get %s: %w", key, ErrUnreadable)
	default:
		return n.object, nil
	}
}

// List returns the readable objects of a kind ordered by mesh, then name. mesh
// "" means all meshes.
func (m *Mirror) List(kind, mesh string) ([]*model.Object, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, fmt.Errorf("list %s: %w", kind, ErrClosed)
	}
	s := m.kinds[kind]
	if s == nil {
		return nil, nil
	}
	nodes := s.sorted
	if mesh != "" {
		from, _ := s.find(model.Key{Mesh: mesh})
		to := from
		for to < len(nodes) && nodes[to].key.Mesh == mesh {
			to++
		}
		nodes = nodes[from:to]
	}
	out := make([]*model.Object, 0, len(nodes))
	for _, n := range nodes {
		if n.object != nil {
			out = append(out, n.object)
		}
	}
	return out, nil
}

// Each calls f for every readable object, for a store that wants to compare
// what is mirrored with its data. f must not call the Mirror.
func (m *Mirror) Each(f func(o *model.Object)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, s := range m.kinds {
		for _, n := range s.sorted {
			if n.object != nil {
				f(n.object)
			}
		}
	}
}

// Ping returns ErrClosed after Close.
func (m *Mirror) Ping() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return ErrClosed
	}
	return nil
}

// Close ends all watches; everything fails with ErrClosed from then on.
func (m *Mirror) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.wake()
}
