package xds

import (
	"sync"
	"sync/atomic"
	"time"
)

// Set is everything that one proxy should hold; immutable once published.
// Endpoint lists are not part of it by value but by Live reference, because
// they change on their own and are shared by all proxies that see them alike.
type Set struct {
	// Changed is when the newest change that the set includes was made; zero if
	// that is not known. It only serves to measure how long a change takes.
	Changed time.Time
	// Stage is told back by Holding when the client has accepted the set.
	Stage string

	byType [NumTypes]map[string]*Resource
	live   map[string]*Live
}

// NewSet returns a set of resources and of live endpoint lists by cluster name,
// which is also the name of the list. Of two resources of one type and name the
// later wins.
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

// With returns a set in which the resources given are all there are of a type,
// and which shares everything else.
func (s *Set) With(t Type, resources []*Resource) *Set {
	n := *s
	n.byType[t] = make(map[string]*Resource, len(resources))
	for _, r := range resources {
		n.byType[t][r.Name] = r
	}
	return &n
}

// Of returns the resources of a type by name; the caller must not change it.
// Endpoints are in Live.
func (s *Set) Of(t Type) map[string]*Resource { return s.byType[t] }

// same tells whether two sets hold the same of a type.
func (s *Set) same(o *Set, t Type) bool {
	if len(s.byType[t]) != len(o.byType[t]) {
		return false
	}
	for name, r := range s.byType[t] {
		if other := o.byType[t][name]; other == nil || other.Version != r.Version {
			return false
		}
	}
	return true
}

// Live returns the endpoint lists by name; the caller must not change it.
func (s *Set) Live() map[string]*Live { return s.live }

// Watcher is told that a live resource has a new value. Changed is called with
// the Live locked: it must neither block nor call Watch, Unwatch or Store.
type Watcher interface{ Changed(l *Live) }

// Live is a resource that changes on its own clock; its name stays. It is safe
// for concurrent use.
type Live struct {
	current atomic.Pointer[liveValue]

	mu       sync.Mutex
	watchers map[Watcher]struct{}
}

type liveValue struct {
	res *Resource
	at  time.Time
}

// NewLive returns a live resource with its first value.
func NewLive(r *Resource) *Live {
	l := &Live{watchers: make(map[Watcher]struct{})}
	l.current.Store(&liveValue{res: r})
	return l
}

// Load returns the current value.
func (l *Live) Load() *Resource { return l.current.Load().res }

// Store sets the value and tells the watchers, unless the version is the same.
func (l *Live) Store(r *Resource) { l.StoreAt(r, time.Time{}) }

// StoreAt is Store with the time of the change, to measure how long it takes.
func (l *Live) StoreAt(r *Resource, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Load().Version == r.Version {
		return
	}
	l.current.Store(&liveValue{res: r, at: at})
	for w := range l.watchers {
		w.Changed(l)
	}
}

// Watch adds a watcher; the caller must Unwatch it. A value that was stored
// before Watch returned may not be announced: Load it after Watch.
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
