package xds

import (
	"runtime"
	"sync"
	"weak"
)

// Weak remembers resources by a key for as long as somebody holds them, so that
// equal ones are shared and those that nobody has any more are forgotten. It is
// safe for concurrent use.
type Weak[K comparable] struct {
	mu   sync.Mutex
	seen map[K]weak.Pointer[Resource]
}

// NewWeak returns an empty Weak.
func NewWeak[K comparable]() *Weak[K] { return &Weak[K]{seen: map[K]weak.Pointer[Resource]{}} }

// Find returns what is remembered under a key, or nil.
func (w *Weak[K]) Find(k K) *Resource {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[k].Value()
}

// Keep remembers a resource, unless there is one under the key already, and returns
// the one that is remembered.
func (w *Weak[K]) Keep(k K, r *Resource) *Resource {
	w.mu.Lock()
	defer w.mu.Unlock()
	if have := w.seen[k].Value(); have != nil {
		return have
	}
	p := weak.Make(r)
	w.seen[k] = p
	runtime.AddCleanup(r, w.forget, forgotten[K]{k, p})
	return r
}

type forgotten[K comparable] struct {
	key K
	p   weak.Pointer[Resource]
}

func (w *Weak[K]) forget(f forgotten[K]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[f.key] == f.p {
		delete(w.seen, f.key)
	}
}
