// Package diagnostics serves what those who operate a control plane ask it:
// whether it is ready and alive, its metrics and, if the settings allow, its
// profiles (port 5680). It also holds the metrics that describe the process and
// the HTTP servers. Components report to it; it knows none of them.
package diagnostics

import (
	"slices"
	"sync"
)

// Readiness collects whether the components of a control plane are ready.
// Safe for concurrent use.
type Readiness struct {
	mu    sync.Mutex
	parts []*Component
}

// Component is a part of the control plane that reports when it is ready.
type Component struct {
	name  string
	owner *Readiness
	ready bool // guarded by owner.mu
}

// Register adds a component, which is not ready yet. All components should be
// registered before the server starts.
func (r *Readiness) Register(name string) *Component {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &Component{name: name, owner: r}
	r.parts = append(r.parts, c)
	return c
}

// Set reports whether the component is ready; it may change its mind.
func (c *Component) Set(ready bool) {
	c.owner.mu.Lock()
	defer c.owner.mu.Unlock()
	c.ready = ready
}

// Pending returns the names of the components that are not ready, sorted.
func (r *Readiness) Pending() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, c := range r.parts {
		if !c.ready {
			out = append(out, c.name)
		}
	}
	slices.Sort(out)
	return out
}

// Ready tells whether there are components and all are ready.
func (r *Readiness) Ready() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.parts) > 0 && !slices.ContainsFunc(r.parts, func(c *Component) bool { return !c.ready })
}
