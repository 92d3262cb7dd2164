package insight

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Subscription is one connection of a proxy. Its methods are safe for concurrent
// use and never block.
type Subscription struct {
	r   *Recorder
	key model.Key

	mu    sync.Mutex
	spec  kinds.DiscoverySubscription
	rev   uint64 // grows with every change of spec
	dirty bool   // its proxy is marked to be written
}

// mtls is what the proxy's certificates look like.
type mtls struct {
	values map[string]*kinds.DataplaneMTLS // by mesh
	rev    uint64
}

// Stat selects counters of a subscription.
type Stat uint8

// The counters; what is none of the first four only counts in total.
const (
	StatOther Stat = iota
	StatCDS
	StatEDS
	StatLDS
	StatRDS
)

// Event is something that happened to a response.
type Event uint8

// The events.
const (
	Sent Event = iota
	Acknowledged
	Rejected
)

// Open notes that a proxy connected. key is the proxy's, not its insight's.
func (r *Recorder) Open(key model.Key, versions *kinds.ProxyVersions) *Subscription {
	now := r.now()
	s := &Subscription{r: r, key: key, rev: 1, spec: kinds.DiscoverySubscription{
		ID:                     uuid.NewString(),
		ControlPlaneInstanceID: r.d.Instance,
		ConnectTime:            model.At(now),
		Status:                 kinds.DiscoverySubscriptionStatus{LastUpdateTime: model.At(now)},
		Version:                versions,
	}}
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.proxies[key]
	if rec == nil {
		rec = &record{}
		r.proxies[key] = rec
	}
	for _, old := range rec.subs {
		old.end(now)
	}
	rec.subs = append(rec.subs, s)
	if n := len(rec.subs) - r.keep(); n > 0 {
		rec.subs = slices.Delete(rec.subs, 0, n)
	}
	r.mark(key, true)
	return s
}

// ID returns the UUID of the connection.
func (s *Subscription) ID() string { return s.spec.ID }

// Count counts an event.
func (s *Subscription) Count(stat Stat, e Event) {
	s.mu.Lock()
	st := &s.spec.Status
	count(&st.Total, e)
	switch stat {
	case StatCDS:
		count(&st.CDS, e)
	case StatEDS:
		count(&st.EDS, e)
	case StatLDS:
		count(&st.LDS, e)
	case StatRDS:
		count(&st.RDS, e)
	case StatOther:
	}
	marked := s.dirty
	s.touch()
	s.mu.Unlock()
	if marked {
		return
	}
	s.r.mu.Lock()
	s.r.mark(s.key, false)
	s.r.mu.Unlock()
}

func count(c *kinds.ResponseCounts, e Event) {
	switch e {
	case Sent:
		c.ResponsesSent++
	case Acknowledged:
		c.ResponsesAcknowledged++
	case Rejected:
		c.ResponsesRejected++
	}
}

// touch notes a change; s.mu is held.
func (s *Subscription) touch() {
	s.rev++
	s.dirty = true
	s.spec.Status.LastUpdateTime = model.At(s.r.now())
}

// Close notes that the proxy left.
func (s *Subscription) Close() {
	now := s.r.now()
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.end(now)
	s.r.mark(s.key, true)
}

// end sets the time of disconnection, if there is none yet.
func (s *Subscription) end(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spec.DisconnectTime == nil {
		s.spec.DisconnectTime = model.At(now)
		s.touch()
	}
}

// SetMTLS notes what the certificates of a connected proxy look like; nil = it
// has none. Others wait to hear whom it trusts, so that is written at once.
func (r *Recorder) SetMTLS(key model.Key, mesh string, m *kinds.DataplaneMTLS) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.proxies[key]
	if rec == nil {
		return
	}
	next := &mtls{values: map[string]*kinds.DataplaneMTLS{}, rev: 1}
	var before *kinds.DataplaneMTLS
	if rec.mtls != nil {
		maps.Copy(next.values, rec.mtls.values)
		next.rev, before = rec.mtls.rev+1, rec.mtls.values[mesh]
	}
	next.values[mesh] = m
	if m == nil {
		delete(next.values, mesh)
	}
	urgent := m == nil || !sameAuthorities(m, before)
	rec.mtls = next
	r.mark(key, urgent)
}

func sameAuthorities(a, b *kinds.DataplaneMTLS) bool {
	return b != nil && a.Leaving == b.Leaving && a.IssuedBackend == b.IssuedBackend && a.IssuedAuthority == b.IssuedAuthority &&
		slices.Equal(a.SupportedBackends, b.SupportedBackends) && slices.Equal(a.SupportedAuthorities, b.SupportedAuthorities)
}

// beats is in how many parts the heartbeat of all proxies is spread.
const beats = 30

// beatInterval is the time between two parts of the heartbeat: every connection
// shows a sign of life twice per idle timeout.
func (r *Recorder) beatInterval() time.Duration {
	return max(r.d.IdleTimeout/2/beats, 10*time.Millisecond)
}

// heartbeat makes the connections show a sign of life that are due.
func (r *Recorder) heartbeat() {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, rec := range r.proxies {
		for _, s := range rec.subs {
			if s.beat(now, r.d.IdleTimeout/2) {
				r.mark(key, false)
			}
		}
	}
}

// beat increases the generation if it is due.
func (s *Subscription) beat(now time.Time, every time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spec.DisconnectTime != nil {
		return false
	}
	due := uint32(now.Sub(s.spec.ConnectTime.Time) / every)
	if due <= s.spec.Generation {
		return false
	}
	s.spec.Generation = due
	s.rev++
	return true
}
