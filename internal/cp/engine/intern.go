package engine

import (
	"runtime"
	"sync"
	"weak"

	"weft/internal/cp/xds"
)

// intern makes proxies with equal resources share one copy. It holds them
// weakly: a resource that no set holds any more is collected.
type intern struct {
	mu   sync.Mutex
	seen map[resourceID]weak.Pointer[xds.Resource]
}

type resourceID struct {
	t xds.Type
	v xds.Version
}

func newIntern() *intern { return &intern{seen: map[resourceID]weak.Pointer[xds.Resource]{}} }

// of returns the shared copy of a resource. The name is part of the body, so
// type and version identify it.
func (in *intern) of(r *xds.Resource) *xds.Resource {
	id := resourceID{r.Type, r.Version}
	in.mu.Lock()
	defer in.mu.Unlock()
	if w, ok := in.seen[id]; ok {
		if have := w.Value(); have != nil {
			return have
		}
	}
	w := weak.Make(r)
	in.seen[id] = w
	runtime.AddCleanup(r, in.forget, forgotten{id, w})
	return r
}

type forgotten struct {
	id resourceID
	w  weak.Pointer[xds.Resource]
}

func (in *intern) forget(f forgotten) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.seen[f.id] == f.w {
		delete(in.seen, f.id)
	}
}
