package xds

import (
	"fmt"
	"slices"
	"time"
)

// LimitError is the error for a client that asks for more than it may.
type LimitError struct{ what string }

// Error says which limit was exceeded.
func (e *LimitError) Error() string { return e.what }

// Request takes in what the client says. An error ends the stream.
func (m *Machine) Request(r *Request, now time.Time) error {
	st := &m.types[r.Type]
	first := !st.seen
	st.seen = true
	if r.Nonce != "" && !first {
		m.confirm(r, now)
	}
	if m.delta {
		return m.subscribeDelta(r, first)
	}
	return m.subscribeSotW(r, first)
}

// subscribeDelta applies the changes of a delta client's subscriptions.
func (m *Machine) subscribeDelta(r *Request, first bool) error {
	st := &m.types[r.Type]
	if first {
		// Older clients ask for everything by naming nothing in the first request.
		if len(r.Subscribe) == 0 && r.Type.wildcard() {
			m.subscribeAll(r.Type, len(r.Have) == 0)
		}
		if len(r.Have) > m.opt.MaxNames {
			return &LimitError{fmt.Sprintf("the client brings along %d %s resources; at most %d are possible", len(r.Have), r.Type, m.opt.MaxNames)}
		}
	}
	for _, name := range r.Subscribe {
		if name == "*" {
			if r.Type.wildcard() {
				m.subscribeAll(r.Type, len(r.Have) == 0)
			}
			continue
		}
		if err := m.subscribe(r.Type, name); err != nil {
			return err
		}
	}
	for _, name := range r.Unsubscribe {
		if name == "*" {
			m.unsubscribeAll(r.Type)
			continue
		}
		m.unsubscribe(r.Type, name)
	}
	if first {
		for name, version := range r.Have {
			if _, named := st.names[name]; named || st.wildcard {
				st.set(name, held{ver: parseVersion(version)})
			}
		}
		if r.Type == Cluster && m.target != nil {
			m.updateLingering(m.opt.RemovalGrace)
		}
	}
	return nil
}

// subscribeSotW applies the whole of a state-of-the-world client's interest.
func (m *Machine) subscribeSotW(r *Request, first bool) error {
	st := &m.types[r.Type]
	if first {
		st.claim = r.Version
	} else if st.same(r.Names) {
		return nil // the usual confirmation
	}
	if len(r.Names) > 0 {
		st.named = true
	}
	all := false
	now := make(map[string]struct{}, len(r.Names))
	for _, name := range r.Names {
		if name == "*" {
			all = r.Type.wildcard()
			continue
		}
		now[name] = struct{}{}
	}
	if r.Type.wildcard() && !st.named {
		all = true
	}
	switch {
	case all && !st.wildcard:
		m.subscribeAll(r.Type, true)
	case !all && st.wildcard:
		m.unsubscribeAll(r.Type)
	}
	for name := range st.names {
		if _, ok := now[name]; !ok {
			m.unsubscribe(r.Type, name)
		}
	}
	for name := range now {
		if _, ok := st.names[name]; ok {
			continue
		}
		if err := m.subscribe(r.Type, name); err != nil {
			return err
		}
	}
	return nil
}

// same tells whether the names are those of before.
func (st *typeState) same(names []string) bool {
	if len(names) != len(st.names) || st.wildcard && len(names) > 0 {
		return false
	}
	for _, name := range names {
		if _, ok := st.names[name]; !ok {
			return false
		}
	}
	return true
}

// subscribeAll makes the client hear of everything. answer asks for a response
// even if there is nothing, which a starting Envoy waits for.
func (m *Machine) subscribeAll(t Type, answer bool) {
	st := &m.types[t]
	st.wildcard, st.scan = true, true
	st.answer = st.answer || answer
}

func (m *Machine) unsubscribeAll(t Type) {
	st := &m.types[t]
	st.wildcard = false
	for name := range st.sent {
		if _, named := st.names[name]; !named {
			m.forget(t, name)
		}
	}
}

// subscribe makes the client hear of one name. A name that is subscribed again
// is sent again: the client has forgotten it.
func (m *Machine) subscribe(t Type, name string) error {
	st := &m.types[t]
	if _, again := st.names[name]; !again {
		if len(st.names) >= m.opt.MaxNames {
			return &LimitError{fmt.Sprintf("the client subscribes to more than %d %s resources", m.opt.MaxNames, t)}
		}
		if st.bytes += len(name); st.bytes > m.opt.MaxNameBytes {
			return &LimitError{fmt.Sprintf("the names of the %s resources that the client subscribes to are longer than %d bytes in sum", t, m.opt.MaxNameBytes)}
		}
		st.names[name] = struct{}{}
	}
	st.named = true
	st.doubt(name)
	st.touched[name] = struct{}{}
	if t == Endpoints {
		m.follow(name)
		if m.delta {
			st.absent[name] = struct{}{}
		}
	}
	return nil
}

func (m *Machine) unsubscribe(t Type, name string) {
	st := &m.types[t]
	if _, ok := st.names[name]; !ok {
		return
	}
	delete(st.names, name)
	st.bytes -= len(name)
	if t == Endpoints {
		m.unfollow(name)
	}
	if !st.wildcard {
		m.forget(t, name)
		return
	}
	// Everything still includes it, and the protocol wants to hear that again.
	st.doubt(name)
	st.touched[name] = struct{}{}
}

// forget removes every trace of a name that the client does not hold any more.
func (m *Machine) forget(t Type, name string) {
	st := &m.types[t]
	st.drop(name)
	delete(st.touched, name)
	delete(st.absent, name)
	delete(st.rejected, name)
	if t == Cluster {
		delete(m.lingering, name)
		delete(m.starving, name)
	}
}

// confirm handles the part of a request that answers a response.
func (m *Machine) confirm(r *Request, now time.Time) {
	st := &m.types[r.Type]
	i := -1
	for k := range st.flights {
		if st.flights[k].nonce == r.Nonce {
			i = k
			break
		}
	}
	if i < 0 {
		return // older than what is remembered
	}
	f := st.flights[i]
	// Responses are handled in order, so those before it were handled too.
	for _, earlier := range st.flights[:i] {
		st.acked = max(st.acked, earlier.covers)
	}
	st.flights = slices.Delete(st.flights, 0, i+1)
	if r.Rejected {
		m.reject(r, f, now)
		return
	}
	st.acked = max(st.acked, f.covers)
	if !f.probe {
		st.nacks = 0
	}
	delete(st.rejected, "")
	for _, res := range f.items {
		if st.rejected[res.Name] != nil {
			delete(st.rejected, res.Name)
			st.touched[res.Name] = struct{}{} // something newer may have been kept back
		}
	}
	m.opt.Reporter.Acked(Delivery{Type: r.Type, Changed: f.since, Sent: f.sent, Acked: now})
}
