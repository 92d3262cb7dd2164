package summary

import (
	"fmt"
	"maps"
	"slices"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Naming says how internal services are addressed.
type Naming struct {
	Domain  string
	VIPPort uint32
}

// Address returns where an internal service is reached.
func (n Naming) Address(service string) string {
	return fmt.Sprintf("%s.%s:%d", service, n.Domain, n.VIPPort)
}

// tally is a service while it is counted.
type tally struct {
	kinds.ServiceSummary
	stat  kinds.ServiceDataplaneStat
	zones map[string]bool
}

// Services sums up the services of a mesh that are known by their tag.
func Services(t model.Tables, mesh string, n Naming) map[string]kinds.ServiceSummary {
	all := map[string]*tally{}
	at := func(name string, typ kinds.ServiceType) *tally {
		s := all[name]
		if s == nil {
			s = &tally{zones: map[string]bool{}}
			s.ServiceType = typ
			all[name] = s
		}
		return s
	}
	for _, p := range proxies(t, mesh) {
		if g := p.spec.Gateway(); g != nil {
			typ := kinds.ServiceGatewayDelegated
			if p.spec.IsBuiltinGateway() {
				typ = kinds.ServiceGatewayBuiltin
			}
			at(g.Tags[model.TagService], typ).add(p, g.Tags)
		}
		seen := map[string]bool{}
		for _, in := range p.spec.Inbounds() {
			if in.Ignored() {
				continue
			}
			s := at(in.Service(), kinds.ServiceInternal)
			if seen[in.Service()] { // one proxy counts once, however many ports it has
				s.zones[in.Tags[model.TagZone]] = true
				continue
			}
			seen[in.Service()] = true
			s.add(p, in.Tags)
		}
	}
	for _, r := range t.Table(kinds.ExternalService, mesh).Rows() {
		spec := model.Spec[kinds.ExternalServiceSpec](r.Object)
		s := at(spec.Tags[model.TagService], kinds.ServiceExternal)
		if s.ServiceType == kinds.ServiceExternal && s.AddressPort == "" && spec.Networking != nil {
			s.AddressPort = spec.Networking.Address
		}
		s.zones[spec.Tags[model.TagZone]] = true
	}
	out := make(map[string]kinds.ServiceSummary, len(all))
	for name, s := range all {
		out[name] = s.finish(name, n)
	}
	return out
}

func (s *tally) add(p proxy, tags map[string]string) {
	s.zones[tags[model.TagZone]] = true
	s.stat.Total++
	if p.status == kinds.StatusOnline {
		s.stat.Online++
	} else {
		s.stat.Offline++
	}
	if p.insight != nil && p.insight.MTLS != nil {
		if s.IssuedBackends == nil {
			s.IssuedBackends = map[string]uint32{}
		}
		s.IssuedBackends[p.insight.MTLS.IssuedBackend]++
	}
}

func (s *tally) finish(name string, n Naming) kinds.ServiceSummary {
	delete(s.zones, "")
	s.Zones = slices.Sorted(maps.Keys(s.zones))
	s.Dataplanes = &s.stat
	switch {
	case s.ServiceType == kinds.ServiceExternal:
		s.Status = kinds.ServiceStatusNotAvailable
	case s.stat.Online == 0:
		s.Status = kinds.ServiceStatusOffline
	case s.stat.Online == s.stat.Total:
		s.Status = kinds.ServiceStatusOnline
	default:
		s.Status = kinds.ServiceStatusPartiallyDegraded
	}
	if s.ServiceType == kinds.ServiceInternal {
		s.AddressPort = n.Address(name)
	}
	return s.ServiceSummary
}
