package xds

import "time"

// rejection is a version of a resource that the client could not use.
type rejection struct {
	ver   uint64
	retry time.Time
	delay time.Duration
}

// reject handles a response that the client could not use. What it holds of the
// resources in it is not known then: a client may have taken the good ones. A
// response with several is sent again in parts, so that a bad resource keeps
// nobody else from being updated; one that is known to be bad is kept back, and
// tried again ever more seldom, because the cause may lie with the client (a
// port in use).
func (m *Machine) reject(r *Request, f flight, now time.Time) {
	t := r.Type
	st := &m.types[t]
	names := make([]string, len(f.items))
	for i, res := range f.items {
		names[i] = res.Name
	}
	m.opt.Reporter.Rejected(Rejection{Type: t, Names: names, Message: r.Error, Sent: f.sent, At: now})
	if !f.probe {
		if st.nacks++; st.nacks > 1 {
			st.holdTill = now.Add(m.opt.NackBackoff)
		}
	}
	if m.whole(t) {
		for _, res := range f.items {
			m.doubtful(st, res)
		}
		m.keepBack(st, "", f.sum, now)
		st.scan = true
		return
	}
	current := make([]*Resource, 0, len(f.items))
	for _, res := range f.items {
		if m.doubtful(st, res) {
			current = append(current, res)
		}
	}
	switch {
	case len(current) == 0:
	case len(f.items) == 1:
		m.keepBack(st, current[0].Name, short(current[0].Version), now)
		st.touched[current[0].Name] = struct{}{}
	default:
		half := len(current) / 2
		st.suspectGroup(current[:half])
		st.suspectGroup(current[half:])
	}
}

func (st *typeState) suspectGroup(group []*Resource) {
	if len(group) == 0 {
		return
	}
	st.suspects = append(st.suspects, group)
	if st.suspect == nil {
		st.suspect = map[string]struct{}{}
	}
	for _, res := range group {
		st.suspect[res.Name] = struct{}{}
	}
}

// doubtful notes that the client may or may not hold a resource that was
// rejected; false if something newer was sent since.
func (m *Machine) doubtful(st *typeState, res *Resource) bool {
	h, ok := st.sent[res.Name]
	if !ok || h.res != res {
		return false
	}
	st.doubt(res.Name)
	return true
}

func (m *Machine) keepBack(st *typeState, name string, ver uint64, now time.Time) {
	rej := st.rejected[name]
	if rej == nil || rej.ver != ver {
		rej = &rejection{ver: ver, delay: m.opt.NackBackoff}
		st.rejected[name] = rej
	} else {
		rej.delay = min(2*rej.delay, MaxNackBackoff)
	}
	rej.retry = now.Add(rej.delay)
}

// keptBack tells whether a version under a name must not be sent now.
func (m *Machine) keptBack(st *typeState, name string, ver uint64, now time.Time) bool {
	rej := st.rejected[name]
	if rej == nil {
		return false
	}
	till := rej.retry
	if rej.ver != ver {
		till = st.holdTill
	}
	if now.Before(till) {
		m.wakeAt(till)
		return true
	}
	return false
}

// nextSuspects returns the next part of refused responses. What is not wanted
// any more, or was sent otherwise, is left out.
func (m *Machine) nextSuspects(t Type) []*Resource {
	st := &m.types[t]
	for len(st.suspects) > 0 {
		group := st.suspects[0]
		st.suspects = st.suspects[1:]
		keep := make([]*Resource, 0, len(group))
		for _, res := range group {
			delete(st.suspect, res.Name)
			if m.want(t, res.Name) == res && st.sent[res.Name].ver == 0 && m.subscribed(t, res.Name) {
				keep = append(keep, res)
			} else {
				st.touched[res.Name] = struct{}{}
			}
		}
		if len(keep) > 0 {
			return keep
		}
	}
	st.suspects = nil
	return nil
}
