package xds

import (
	"slices"
	"strings"
	"time"
)

// Next returns the response to send now; false if there is none.
func (m *Machine) Next(now time.Time) (*Response, bool) {
	if m.target == nil {
		return nil, false
	}
	m.wake = time.Time{}
	for t := range NumTypes {
		if r := m.nextOf(t, now); r != nil {
			m.opt.Reporter.Sent(t)
			return r, true
		}
	}
	if len(m.lingering) > 0 {
		// That listeners and routes need nothing more was found after the clusters
		// were looked at, which may have waited for just that.
		if r := m.nextOf(Cluster, now); r != nil {
			m.opt.Reporter.Sent(Cluster)
			return r, true
		}
	}
	m.reportHolding()
	return nil, false
}

// reportHolding tells which secrets the client has accepted, if that changed.
func (m *Machine) reportHolding() {
	st := &m.types[Secret]
	listeners := m.types[Listener].seen && m.accepted(Listener, m.seq)
	h := Holding{Listeners: st.seen && listeners, Stage: m.holding.Stage}
	if listeners && m.types[Cluster].seen && m.accepted(Cluster, m.seq) && m.accepted(Route, m.seq) {
		h.Stage = m.target.Stage
	}
	for name := range st.names {
		res := m.target.byType[Secret][name]
		if res != nil && st.sent[name].ver == short(res.Version) && !st.flying(res) {
			h.Secrets = append(h.Secrets, res)
		}
	}
	slices.SortFunc(h.Secrets, byName)
	h.Serving = listeners && (len(m.target.byType[Secret]) == 0 || len(st.names) > 0 && len(h.Secrets) == len(st.names))
	if h.Listeners == m.holding.Listeners && h.Serving == m.holding.Serving && h.Stage == m.holding.Stage && slices.Equal(h.Secrets, m.holding.Secrets) {
		return
	}
	m.holding = h
	m.opt.Reporter.Holds(h)
}

// flying tells whether the client has not confirmed a resource yet.
func (st *typeState) flying(res *Resource) bool {
	for i := range st.flights {
		if slices.Contains(st.flights[i].items, res) {
			return true
		}
	}
	return false
}

// nextOf returns the next response of a type; nil = none now.
func (m *Machine) nextOf(t Type, now time.Time) *Response {
	st := &m.types[t]
	if !st.seen {
		return nil
	}
	m.settleClaim(t)
	if !m.busy(t, now) {
		m.complete(st)
		return nil
	}
	if (t == Listener || t == Route) && !m.clustersReady(now) {
		return nil
	}
	if group := m.nextSuspects(t); group != nil {
		return m.send(t, group, nil, now, true)
	}
	if m.whole(t) {
		return m.nextWhole(t, now)
	}
	return m.nextPart(t, now)
}

// whole tells whether responses hold everything that the client should have.
func (m *Machine) whole(t Type) bool { return !m.delta && m.types[t].wildcard }

// busy tells whether there may be something to send.
func (m *Machine) busy(t Type, now time.Time) bool {
	st := &m.types[t]
	if t == Cluster {
		m.releaseLingering(now)
	}
	return st.scan || st.answer || len(st.touched) > 0 || len(st.suspects) > 0 || len(st.rejected) > 0
}

// complete notes that the client was sent all of the target.
func (m *Machine) complete(st *typeState) {
	st.since = time.Time{}
	if n := len(st.flights); n > 0 {
		st.flights[n-1].covers = m.seq
	} else {
		st.acked = m.seq
	}
}

// settleClaim compares what a state-of-the-world client brought along with the
// target: if it is the same, nothing has to be sent again.
//
// The claim is the version of the last response. A client that since dropped a
// resource and wanted it again, and lost its stream before it came, claims too
// much. For endpoints, the bulk, this moment of a few milliseconds is accepted;
// the other resources that are asked by name are few and sent again.
func (m *Machine) settleClaim(t Type) {
	st := &m.types[t]
	if st.claim == "" {
		return
	}
	claim := parseVersion(st.claim)
	st.claim = ""
	if t != Endpoints && !st.wildcard {
		return
	}
	var all []*Resource
	sum := uint64(0)
	each := func(res *Resource) {
		all = append(all, res)
		sum += mix(short(res.Version))
	}
	if st.wildcard {
		for _, res := range m.target.byType[t] {
			each(res)
		}
	} else {
		for name := range st.names {
			if res := m.want(t, name); res != nil {
				each(res)
			}
		}
	}
	if claim == 0 || sum != claim {
		return
	}
	for _, res := range all {
		st.set(res.Name, held{short(res.Version), res})
		delete(st.touched, res.Name)
		if _, hungry := m.starving[res.Name]; hungry && t == Endpoints {
			st.touched[res.Name] = struct{}{}
		}
	}
	st.scan, st.answer = false, false
}

// clustersReady tells whether the client answered all the clusters that it was
// sent, or had long enough to do so. Clusters come first in Next, so whatever
// could be sent of them is under way. Those that are kept back hold up nothing.
func (m *Machine) clustersReady(now time.Time) bool {
	c := &m.types[Cluster]
	ready := true
	for i := range c.flights {
		ready = ready && c.flights[i].waived
	}
	if ready {
		m.gated = time.Time{}
		return true
	}
	if m.gated.IsZero() {
		m.gated = now
	}
	if until := m.gated.Add(m.opt.WarmWait); now.Before(until) {
		m.wakeAt(until)
		return false
	}
	m.gated = time.Time{}
	for i := range c.flights {
		c.flights[i].waived = true
	}
	return true
}

// releaseLingering marks the clusters whose users are gone for removal.
func (m *Machine) releaseLingering(now time.Time) {
	for name, l := range m.lingering {
		// Looked at again when the grace is over: a client that reconnects names
		// its listeners only after its clusters.
		if !m.accepted(Listener, l.seq) || !m.accepted(Route, l.seq) {
			l.due = time.Time{}
			continue
		}
		if l.due.IsZero() {
			l.due = now.Add(l.grace)
		}
		if now.Before(l.due) {
			m.wakeAt(l.due)
			continue
		}
		m.types[Cluster].touched[name] = struct{}{}
	}
}

func (m *Machine) accepted(t Type, seq uint64) bool {
	st := &m.types[t]
	return !st.seen || st.acked >= seq && len(st.rejected) == 0
}

// removable tells whether a name that the target does not hold may be removed.
func (m *Machine) removable(t Type, name string, now time.Time) bool {
	if t != Cluster {
		return true
	}
	l := m.lingering[name]
	return l == nil || !l.due.IsZero() && !now.Before(l.due)
}

// nextPart returns a response with what differs; nil = nothing.
func (m *Machine) nextPart(t Type, now time.Time) *Response {
	st := &m.types[t]
	var d diff
	if st.scan {
		m.dropUnwanted(t)
		m.scan(t, &d, now)
	} else {
		for name := range st.touched {
			m.compare(t, name, &d, now)
		}
		for name := range st.rejected {
			m.compare(t, name, &d, now)
		}
	}
	slices.SortFunc(d.put, m.order)
	slices.Sort(d.gone)
	// A name may have been both touched and rejected.
	d.put = slices.CompactFunc(d.put, func(a, b *Resource) bool { return a == b })
	d.gone = slices.Compact(d.gone)
	if n := m.fitting(d.put); n < len(d.put) {
		d.put = d.put[:n:n]
	} else {
		st.scan = false
		clear(st.touched)
	}
	if !m.delta {
		// The older protocol cannot say that these are gone.
		for _, name := range d.gone {
			m.toldGone(t, name)
		}
		d.gone = nil
	}
	if len(d.put) == 0 && len(d.gone) == 0 && !st.answer {
		if !d.kept {
			m.complete(st)
		}
		return nil
	}
	return m.send(t, d.put, d.gone, now, false)
}

// fitting returns how many of the resources go into one response.
func (m *Machine) fitting(rs []*Resource) int {
	size := 0
	for i, r := range rs {
		size += len(r.Body) + len(r.Name) + 100
		if size > m.opt.ChunkBytes && i > 0 {
			return i
		}
	}
	return len(rs)
}

func byName(a, b *Resource) int { return strings.Compare(a.Name, b.Name) }

// order is the one in which a client is told of resources of a type.
func (m *Machine) order(a, b *Resource) int {
	if last := m.opt.LastListener; a.Type == Listener && (a.Name == last) != (b.Name == last) {
		if a.Name == last {
			return 1
		}
		return -1
	}
	return byName(a, b)
}

// diff is what a response tells.
type diff struct {
	put  []*Resource
	gone []string
	kept bool // something is kept back
}

// scan compares everything of a type.
func (m *Machine) scan(t Type, d *diff, now time.Time) {
	st := &m.types[t]
	if st.wildcard {
		for name := range m.target.byType[t] {
			m.compare(t, name, d, now)
		}
		for name := range st.sent {
			if m.target.byType[t][name] == nil {
				m.compare(t, name, d, now)
			}
		}
		return
	}
	for name := range st.names {
		m.compare(t, name, d, now)
	}
}

// compare adds to the response what the client should be told about a name.
func (m *Machine) compare(t Type, name string, d *diff, now time.Time) {
	st := &m.types[t]
	if name == "" || !m.subscribed(t, name) {
		return
	}
	h, holds := st.sent[name]
	res := m.want(t, name)
	if res == nil {
		m.compareGone(t, name, holds, d, now)
		return
	}
	delete(st.absent, name)
	ver := short(res.Version)
	if h.ver == ver && (t != Endpoints || !m.hungry(name)) {
		return
	}
	if _, wait := st.suspect[name]; wait {
		d.kept = true
		return
	}
	if m.keptBack(st, name, ver, now) {
		d.kept = true
		return
	}
	d.put = append(d.put, res)
}

func (m *Machine) hungry(name string) bool {
	_, ok := m.starving[name]
	return ok
}

// compareGone handles a name that the target does not hold.
func (m *Machine) compareGone(t Type, name string, holds bool, d *diff, now time.Time) {
	st := &m.types[t]
	_, asked := st.absent[name]
	switch {
	case t == Endpoints && holds && m.lingering[name] != nil:
		// Its cluster is still there; so are the endpoints that it had.
	case holds && (st.wildcard || t == Endpoints || t == Runtime):
		if m.removable(t, name, now) {
			d.gone = append(d.gone, name)
		}
	case asked:
		// Envoy warms a cluster until it hears of its endpoints, or that there are none.
		d.gone = append(d.gone, name)
	}
	// Routes and secrets that are gone are no news: the client unsubscribes when
	// the listener or cluster that named them is gone.
}

func (m *Machine) subscribed(t Type, name string) bool {
	st := &m.types[t]
	if st.wildcard {
		return true
	}
	_, ok := st.names[name]
	return ok
}

// dropUnwanted forgets rejections of what the target does not hold any more.
func (m *Machine) dropUnwanted(t Type) {
	st := &m.types[t]
	for name := range st.rejected {
		if name != "" && m.want(t, name) == nil {
			delete(st.rejected, name)
		}
	}
}

// nextWhole returns a response with everything, if anything differs.
func (m *Machine) nextWhole(t Type, now time.Time) *Response {
	st := &m.types[t]
	target := m.target.byType[t]
	all := make([]*Resource, 0, len(target))
	changed := st.answer
	sum := uint64(0)
	for name, res := range target {
		all = append(all, res)
		sum += mix(short(res.Version))
		changed = changed || st.sent[name].ver != short(res.Version)
	}
	var gone []string
	for name, h := range st.sent {
		if target[name] != nil {
			continue
		}
		if h.res != nil && !m.removable(t, name, now) {
			all = append(all, h.res)
			sum += mix(short(h.res.Version))
			continue
		}
		gone = append(gone, name)
		changed = true
	}
	if changed && m.keptBack(st, "", sum, now) {
		return nil
	}
	st.scan = false
	clear(st.touched)
	if !changed {
		m.complete(st)
		return nil
	}
	slices.SortFunc(all, m.order)
	return m.send(t, all, gone, now, false)
}

// send notes that the client is told of put and gone, and returns the response.
func (m *Machine) send(t Type, put []*Resource, gone []string, now time.Time, probe bool) *Response {
	st := &m.types[t]
	for _, res := range put {
		m.told(t, res)
	}
	for _, name := range gone {
		m.toldGone(t, name)
	}
	if len(st.flights) >= maxFlights {
		st.flights = slices.Delete(st.flights, 0, 1)
	}
	r := &Response{
		Delta: m.delta, Type: t, Nonce: m.nextNonce(), Resources: put, Identifier: m.opt.Identifier, since: st.since,
	}
	if m.delta {
		r.Removed = gone
	} else {
		r.Version = formatVersion(st.sum)
	}
	st.flights = append(st.flights, flight{
		nonce: r.Nonce, items: put, sum: st.sum, probe: probe, since: st.since, sent: now,
	})
	st.answer, st.since = false, time.Time{}
	return r
}

// told notes that the client is told of a resource. A new or changed cluster
// needs its endpoints again, at once.
func (m *Machine) told(t Type, res *Resource) {
	st := &m.types[t]
	ver := short(res.Version)
	if t == Endpoints {
		delete(m.starving, res.Name)
		delete(st.absent, res.Name)
	}
	if t == Cluster && st.sent[res.Name].ver != ver {
		m.starving[res.Name] = struct{}{}
		if eds := &m.types[Endpoints]; m.subscribed(Endpoints, res.Name) {
			eds.touched[res.Name] = struct{}{}
			if m.delta {
				eds.absent[res.Name] = struct{}{}
			}
		}
	}
	st.set(res.Name, held{ver, res})
}

func (m *Machine) toldGone(t Type, name string) {
	m.forget(t, name)
	if t != Cluster {
		return
	}
	// The endpoints went with the cluster; they are sent again if it comes back.
	eds := &m.types[Endpoints]
	eds.drop(name)
	m.follow(name)
}
