package envoy

import (
	"runtime"
	"sync"
	"weak"

	"weft/internal/cp/xds"
	"weft/internal/mesh/model"
)

// Memo remembers listeners and clusters by what they were made from, so that a
// thousand proxies that call one service cost one listener and one cluster, and
// what a proxy has for itself is not made again because of something else. It holds
// them weakly: what no proxy has any more is forgotten. It is safe for concurrent
// use; nil remembers nothing.
type Memo struct {
	mu   sync.Mutex
	seen map[memoKey]weak.Pointer[xds.Resource]
}

// memoKey is the hash of what a resource was made from.
type memoKey struct {
	typ  xds.Type
	from model.Hash
}

// NewMemo returns an empty Memo.
func NewMemo() *Memo { return &Memo{seen: map[memoKey]weak.Pointer[xds.Resource]{}} }

// find returns what was made, or nil.
func (m *Memo) find(typ xds.Type, from model.Hash) *xds.Resource {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen[memoKey{typ, from}].Value()
}

// keep remembers what was made.
func (m *Memo) keep(typ xds.Type, from model.Hash, r *xds.Resource) {
	k, w := memoKey{typ, from}, weak.Make(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen[k] = w
	runtime.AddCleanup(r, m.forget, memoEntry{k, w})
}

type memoEntry struct {
	key memoKey
	w   weak.Pointer[xds.Resource]
}

func (m *Memo) forget(e memoEntry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen[e.key] == e.w {
		delete(m.seen, e.key)
	}
}
