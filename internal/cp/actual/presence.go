package actual

import (
	"slices"
	"time"

	"weft/internal/cp/state"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

const (
	// orphanGrace is how long proxies may take to connect again after the control
	// plane that they were connected to went down: longer than the longest pause
	// that Envoy makes between tries.
	orphanGrace = time.Minute
	// sameMoment: connections that ended this close to the last sign of life of
	// their control plane ended because of it: it closes them one by one.
	sameMoment = 10 * time.Second
)

// presence knows which proxies are gone. A proxy is gone when it was connected
// once, all its connections ended, and it did not return within a grace time. A
// proxy that never was connected is there: others may have defined it.
//
// Why a connection ended follows from what became of the control plane at its
// other end. If that lives, the proxy left, and the short grace counts. If it
// went down at the same moment, the proxy is likely well and on its way to
// another instance, so that the long grace counts, from when this instance
// started at the earliest. The filter's mutex guards it.
type presence struct {
	d        Deps
	start    time.Time
	insights map[string]*model.Table // by mesh
	// signs are the last signs of life of control planes, open the numbers of
	// their connections.
	signs map[string]time.Time
	open  map[string]int
	away  map[proxyID]*absence
	next  time.Time // when somebody may count as gone, zero = never
	// turned are those who left or came since the last look.
	turned []proxyID
}

type proxyID struct{ mesh, name string }

// absence is a proxy that is not connected.
type absence struct {
	ended    time.Time
	instance string
	// open: the connection did not end, but the control plane at its other end
	// is none that lives.
	open bool
	gone bool
}

func newPresence(d Deps, start time.Time) *presence {
	return &presence{
		d: d, start: start, insights: map[string]*model.Table{},
		signs: map[string]time.Time{}, open: map[string]int{}, away: map[proxyID]*absence{},
	}
}

// gone tells whether a proxy is gone.
func (p *presence) gone(mesh, name string) bool {
	a := p.away[proxyID{mesh, name}]
	return a != nil && a.gone
}

// follow moves to a newer snapshot.
func (p *presence) follow(s *state.Snapshot, now time.Time) {
	seen := map[string]bool{}
	for _, mesh := range s.Meshes() {
		seen[mesh] = true
		before := p.insights[mesh]
		if before == nil {
			before = model.EmptyTable
		}
		p.move(mesh, before, s.Table(kinds.DataplaneInsight, mesh))
	}
	for mesh, before := range p.insights {
		if !seen[mesh] {
			p.move(mesh, before, model.EmptyTable)
			delete(p.insights, mesh)
		}
	}
	p.pass(now)
}

func (p *presence) move(mesh string, before, now *model.Table) {
	p.insights[mesh] = now
	now.Diff(before, func(was, is model.Row) {
		if was.Object != nil {
			p.note(was.Object, -1)
		}
		if is.Object == nil {
			p.set(proxyID{mesh, was.Meta.Name}, nil)
			return
		}
		p.note(is.Object, +1)
		p.set(proxyID{mesh, is.Meta.Name}, p.absenceOf(model.Spec[kinds.DataplaneInsightSpec](is.Object)))
	})
}

// note collects signs of life of control planes.
func (p *presence) note(insight *model.Object, count int) {
	for _, s := range model.Spec[kinds.DataplaneInsightSpec](insight).Subscriptions {
		if s.Online() {
			p.open[s.ControlPlaneInstanceID] += count
		}
		for _, t := range []*model.Timestamp{s.ConnectTime, s.DisconnectTime, s.Status.LastUpdateTime} {
			if t != nil && t.After(p.signs[s.ControlPlaneInstanceID]) {
				p.signs[s.ControlPlaneInstanceID] = t.Time
			}
		}
	}
}

// absenceOf returns nil for a proxy that is connected, or never was.
func (p *presence) absenceOf(spec *kinds.DataplaneInsightSpec) *absence {
	var last *absence
	for i := range spec.Subscriptions {
		s := &spec.Subscriptions[i]
		a := &absence{instance: s.ControlPlaneInstanceID}
		switch {
		case s.ConnectTime == nil:
			continue
		case s.DisconnectTime != nil:
			a.ended = s.DisconnectTime.Time
		case p.d.Alone && s.ControlPlaneInstanceID != p.d.Instance:
			a.open = true
		default:
			return nil
		}
		if last == nil || a.open || (!last.open && a.ended.After(last.ended)) {
			last = a
		}
	}
	return last
}

// set notes what is known of a proxy.
func (p *presence) set(id proxyID, a *absence) {
	old := p.away[id]
	wasGone := old != nil && old.gone
	if a == nil {
		delete(p.away, id)
		if wasGone {
			p.turned = append(p.turned, id)
			p.d.Log.Info("a proxy that was gone is back", "mesh", id.mesh, "proxy", id.name)
		}
		return
	}
	p.away[id] = a
	if a.gone = wasGone; wasGone && a.ended.After(old.ended) { // it was back for a moment
		a.gone = false
		p.turned = append(p.turned, id)
	}
}

// pass decides who is gone at a time.
func (p *presence) pass(now time.Time) {
	p.next = time.Time{}
	for id, a := range p.away {
		if a.gone {
			continue // until it is back, whatever becomes of its control plane
		}
		if at := p.goneAt(a); now.Before(at) {
			p.next = earlier(p.next, at)
			continue
		}
		a.gone = true
		p.turned = append(p.turned, id)
		p.d.Log.Info("a proxy is gone; its inbounds count as not ready", "mesh", id.mesh, "proxy", id.name, "since", a.ended)
	}
}

// goneAt returns when a proxy that is away counts as gone.
func (p *presence) goneAt(a *absence) time.Time {
	if a.open {
		return p.start.Add(orphanGrace)
	}
	lives := a.instance == p.d.Instance || (p.open[a.instance] > 0 && !p.d.Alone) ||
		p.signs[a.instance].After(a.ended.Add(sameMoment))
	if lives {
		return a.ended.Add(p.d.Grace)
	}
	if a.ended.Before(p.start) {
		return p.start.Add(orphanGrace)
	}
	return a.ended.Add(orphanGrace)
}

// notReady returns a proxy none of whose inbounds is ready; o itself if that is so
// already.
func notReady(o *model.Object) *model.Object {
	spec, ok := o.Spec.(*kinds.DataplaneSpec)
	if !ok || !slices.ContainsFunc(spec.Inbounds(), func(in kinds.Inbound) bool { return in.Healthy() }) {
		return o
	}
	s, n := *spec, *spec.Networking
	n.Inbound = slices.Clone(n.Inbound)
	for i := range n.Inbound {
		if in := &n.Inbound[i]; !in.Ignored() {
			in.State, in.Health = kinds.InboundNotReady, nil
		}
	}
	s.Networking = &n
	out := *o
	out.Spec = &s
	return &out
}
