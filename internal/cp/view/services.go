package view

import (
	"cmp"
	"maps"
	"slices"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// service is a group of proxies with the same value of kuma.io/service.
type service struct {
	members   []*member // sorted by name
	dest      *Destination
	endpoints *endpoints
}

// endpoints is the list of a destination's endpoints with its hash.
type endpoints struct {
	list []ir.Endpoint
	hash model.Hash
}

// noEndpoints is the list of destinations without any.
var noEndpoints = newEndpoints(nil)

// newEndpoints sorts a list by address and port and keeps it.
func newEndpoints(list []ir.Endpoint) *endpoints {
	slices.SortStableFunc(list, func(a, b ir.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port))
	})
	var h digest
	for i := range list {
		h.endpoint(&list[i])
	}
	return &endpoints{list: list, hash: h.sum()}
}

// services are the groups of a mesh by service. It is immutable.
type services map[string]*service

// next returns the services after Dataplanes changed. facts decides what an
// endpoint looks like to others.
func (s services) next(changes []change, f *facts) services {
	if len(changes) == 0 {
		return s
	}
	touched := map[string]map[*member]bool{} // service → members; true = in, false = out
	note := func(m *member, in bool) {
		if m == nil {
			return
		}
		for _, name := range m.services {
			if touched[name] == nil {
				touched[name] = map[*member]bool{}
			}
			touched[name][m] = in
		}
	}
	for _, c := range changes {
		note(c.old, false)
		note(c.now, true)
	}
	n := maps.Clone(s)
	if n == nil {
		n = services{}
	}
	for name, ms := range touched {
		var old *service
		if old = s[name]; old == nil {
			old = &service{}
		}
		list := replaceMembers(old.members, ms)
		if len(list) == 0 {
			delete(n, name)
			continue
		}
		n[name] = newService(name, list, f, old)
	}
	return n
}

// replaceMembers returns the sorted list without those that are out and with
// those that are in.
func replaceMembers(list []*member, ms map[*member]bool) []*member {
	out := make([]*member, 0, len(list)+len(ms))
	for _, m := range list {
		if _, gone := ms[m]; !gone {
			out = append(out, m)
		}
	}
	for m, in := range ms {
		if in {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, compareMembers)
	return out
}

// newService describes a service. What is equal is taken from old.
func newService(name string, list []*member, f *facts, old *service) *service {
	s := &service{members: list}
	protocol, first := ir.ProtocolUnknown, true
	var eps []ir.Endpoint
	for _, m := range list {
		for i := range m.inbounds {
			p := &m.inbounds[i]
			if p.service != name || !p.healthy {
				continue
			}
			eps = append(eps, f.local(p.endpoint))
			if first {
				protocol, first = p.protocol, false
				continue
			}
			protocol = ir.CommonProtocol(protocol, p.protocol)
		}
	}
	s.endpoints = newEndpoints(eps)
	if old.endpoints != nil && old.endpoints.hash == s.endpoints.hash {
		s.endpoints = old.endpoints
	}
	s.dest = (&Destination{
		Destination: ir.Destination{Mesh: f.mesh, Name: name},
		Protocol:    protocol,
		Identities:  []string{name},
		TLSReady:    f.tls.ready(name),
	}).seal()
	if old.dest != nil && old.dest.hash == s.dest.hash {
		s.dest = old.dest
	}
	return s
}

// facts are what endpoints of a mesh depend on beside their Dataplanes.
type facts struct {
	mesh, zone string
	// localityAware puts endpoints of other zones behind those of the own zone.
	localityAware bool
	mtls          bool
	zoneEgress    bool
	// tls tells which services speak the mesh's TLS.
	tls *tlsState
}

// tlsState tells which services can be talked to with TLS where plain text is
// accepted too. nil = it is not known yet, then none.
type tlsState struct {
	plain   []string
	leaving kinds.LeavingStage
}

func (s *tlsState) ready(service string) bool {
	if s == nil {
		return false
	}
	_, plain := slices.BinarySearch(s.plain, service)
	return !plain
}

// nextTLSState returns the state that a mesh's trust tells, which is old if nothing
// differs, so that states can be compared by their address.
func nextTLSState(trust *kinds.MeshTrust, old *tlsState) *tlsState {
	switch {
	case trust == nil:
		return nil
	case old != nil && slices.Equal(old.plain, trust.Plain) && old.leaving == trust.Leaving:
		return old
	}
	return &tlsState{trust.Plain, trust.Leaving}
}

func (f *facts) local(e ir.Endpoint) ir.Endpoint {
	if f.localityAware && e.Zone != f.zone {
		e.Priority = 1
	}
	return e
}
