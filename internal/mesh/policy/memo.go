package policy

import (
	"sync"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// Memo remembers merged confs under the hashes of what they were merged from,
// so that a thousand proxies with the same policies share one conf. It is safe
// for concurrent use and bounded: when it is full the older half goes.
type Memo struct {
	mu       sync.RWMutex
	now, old map[memoKey]*merged
}

// memoLimit bounds each half of a Memo.
const memoLimit = 20_000

// NewMemo returns an empty Memo.
func NewMemo() *Memo { return &Memo{now: map[memoKey]*merged{}} }

type memoKey struct {
	policy *Policy
	parts  model.Hash
}

// merged is a conf with where it comes from.
type merged struct {
	conf    any // *C
	origins []ir.Origin
	refs    []ref
}

// get returns what is remembered under the key, or makes it.
func (m *Memo) get(k memoKey, make func() *merged) *merged {
	m.mu.RLock()
	v := m.now[k]
	if v == nil {
		v = m.old[k]
	}
	m.mu.RUnlock()
	if v != nil {
		return v
	}
	v = make()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.now) >= memoLimit {
		m.old, m.now = m.now, map[memoKey]*merged{}
	}
	m.now[k] = v
	return v
}
