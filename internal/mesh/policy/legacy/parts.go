package legacy

import "weft/internal/mesh/model"

// Whole returns the policies in force on a proxy as a whole.
func (m *Matched) Whole() []*model.Object {
	var out []*model.Object
	for _, o := range []*model.Object{m.trace, m.template} {
		if o != nil {
			out = append(out, o)
		}
	}
	return out
}

// OnInbound returns the policies in force on an inbound with the tags, the
// strongest of a kind first: one permission, all faults and limits.
func (m *Matched) OnInbound(tags map[string]string) []*model.Object {
	var out []*model.Object
	for _, k := range []*model.Kind{TrafficPermission, FaultInjection, RateLimit} {
		list := m.inbound(k, tags)
		sortCandidates(list)
		if k == TrafficPermission && len(list) > 1 {
			list = list[:1]
		}
		for _, c := range list {
			out = append(out, c.object)
		}
	}
	return out
}

// OnOutbound returns the policies in force on the ports on which a service is
// called: where requests go, how long they may take, and how many there may be.
func (m *Matched) OnOutbound(service string) []*model.Object {
	return m.strongest(service, TrafficRoute, Timeout, RateLimit)
}

// OnService returns the policies in force on what leads to a service, whichever
// port it is called on.
func (m *Matched) OnService(service string) []*model.Object {
	return m.strongest(service, TrafficLog, HealthCheck, CircuitBreaker, Retry)
}

func (m *Matched) strongest(service string, ks ...*model.Kind) []*model.Object {
	var out []*model.Object
	for _, k := range ks {
		if o := m.outbound(k, service); o != nil {
			out = append(out, o)
		}
	}
	return out
}
