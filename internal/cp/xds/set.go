package xds

import "sync"

// Set is everything that one proxy should hold; immutable once published.
// Endpoint lists are not part of it by value but by Live reference, because
// they change on their own and are shared by all proxies that see them alike.
type Set struct {
	byType [NumTypes]map[string]*Resource
	live   map[string]*Live
}

// NewSet returns a set of resources and of live endpoint lists by cluster name.
// Of two resources of one type and name the later wins.
func NewSet(resources []*Resource, live map[string]*Live) *Set {
	s := &Set{live: live}
	for _, r := range resources {
		if s.byType[r.Type] == nil {
			s.byType[r.Type] = make(map[string]*Resource)
		}
		s.byType[r.Type][r.Name] = r
	}
	return s
}

// Of returns the resources of a type by name; the caller must not change it.
// Endpoints are in Live.
func (s *Set) Of(t Type) map[string]*Resource { return s.byType[t] }

// Live returns the endpoint lists by name; the caller must not change it.
func (s *Set) Live() map[string]*Live { return s.live }

// Watcher is told that a live resource has a new value. Changed must not block.
type Watcher interface{ Changed(l *Live) }

// Live is a resource that changes on its own clock. It is safe for concurrent use.
type Live struct {
	mu       sync.Mutex
	current  *Resource
	watchers map[Watcher]struct{}
}

// NewLive returns a live resource with its first value.
func NewLive(r *Resource) *Live {
	return &Live{current: r, watchers: make(map[Watcher]struct{})}
}

// Load returns the current value.
func (l *Live) Load() *Resource {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

// Store sets the value and tells the watchers, unless the version is the same.
func (l *Live) Store(r *Resource) {
	l.mu.Lock()
	if l.current.Version == r.Version {
		l.mu.Unlock()
		return
	}
	l.current = r
	ws := make([]Watcher, 0, len(l.watchers))
	for w := range l.watchers {
		ws = append(ws, w)
	}
	l.mu.Unlock()
	for _, w := range ws {
		w.Changed(l)
	}
}

// Watch adds a watcher; the caller must Unwatch it.
func (l *Live) Watch(w Watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers[w] = struct{}{}
}

// Unwatch removes a watcher.
func (l *Live) Unwatch(w Watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.watchers, w)
}

// Sink takes the sets of one proxy. Publish must not block: a stream keeps only
// the newest set that it has not looked at yet.
type Sink interface{ Publish(s *Set) }
