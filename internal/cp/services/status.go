package services

import (
	"maps"
	"slices"
	"strings"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// local tells whether this zone keeps the status of a MeshService.
func local(o *model.Object) bool {
	origin := o.Label(model.LabelOrigin)
	return origin == "" || origin == model.OriginZone
}

// findings are what the proxies of a MeshService say about it.
type findings struct {
	identities []kinds.MeshServiceIdentity
	counts     kinds.DataplaneProxies
	certified  bool // all proxies
}

func findingsOf(members map[string]*proxy, ports []kinds.MeshServicePort) *findings {
	f := &findings{certified: true}
	names := map[string]bool{}
	for _, p := range members {
		f.counts.Total++
		if p.online {
			f.counts.Connected++
		}
		if p.healthy(ports) {
			f.counts.Healthy++
		}
		f.certified = f.certified && p.certified
		for _, s := range p.spec.Services() {
			names[s] = true
		}
	}
	for _, n := range slices.Sorted(maps.Keys(names)) {
		f.identities = append(f.identities, kinds.MeshServiceIdentity{Type: kinds.IdentityServiceTag, Value: n})
	}
	return f
}

// status brings state, identities and status of the local MeshServices up to date.
func (m *mesh) status(want map[string]*draft) {
	for name, d := range want {
		if !local(d.now) {
			continue
		}
		s := m.followed(name, d)
		f := s.findings
		state := kinds.ServiceUnavailable
		if f.counts.Healthy > 0 {
			state = kinds.ServiceAvailable
		}
		if spec := d.spec(); spec.State != state || !slices.Equal(spec.Identities, f.identities) {
			spec = d.newSpec()
			spec.State, spec.Identities = state, f.identities
		}
		st := d.serviceStatus()
		tls := kinds.TLSNotReady
		if m.mtls && (st.TLS.Status == kinds.TLSReady || f.certified) {
			tls = kinds.TLSReady
		}
		if st.TLS.Status != tls {
			d.newServiceStatus().TLS.Status = tls
			d.shaped = true
		}
		if st.DataplaneProxies != f.counts {
			d.newServiceStatus().DataplaneProxies = f.counts
		}
	}
}

// service is a MeshService with its proxies.
type service struct {
	spec     *kinds.MeshServiceSpec // selector and ports that the rest was found with
	members  map[string]*proxy
	findings *findings
}

// followed returns the proxies of a MeshService, found anew only if its selector
// is another one, and what they say.
func (m *mesh) followed(name string, d *draft) *service {
	spec := d.spec()
	s := m.services[name]
	if s == nil || !sameSelector(s.spec, spec) {
		s = &service{members: m.fleet.selected(spec)}
		m.services[name] = s
	}
	if s.findings == nil || (s.spec != spec && !slices.Equal(s.spec.Ports, spec.Ports)) {
		s.findings = findingsOf(s.members, spec.Ports)
	}
	s.spec = spec
	return s
}

func sameSelector(a, b *kinds.MeshServiceSpec) bool {
	if a == b {
		return true
	}
	refName := func(s *kinds.MeshServiceSpec) string {
		if s.Selector.DataplaneRef == nil {
			return ""
		}
		return s.Selector.DataplaneRef.Name
	}
	return refName(a) == refName(b) && maps.Equal(a.Selector.DataplaneTags, b.Selector.DataplaneTags)
}

// turned moves proxies that are different between the services.
func (m *mesh) turned(turns []turn) {
	for _, s := range m.services {
		for _, t := range turns {
			if t.old != nil {
				if name := t.old.row.Meta.Name; s.members[name] != nil {
					delete(s.members, name)
					s.findings = nil
				}
			}
			if t.now != nil {
				if name := t.now.row.Meta.Name; s.spec.Selects(name, t.now.spec) {
					s.members[name] = t.now
					s.findings = nil
				}
			}
		}
	}
}

// joined brings the lists of MeshServices that MeshMultiZoneServices join up to date.
func (m *mesh) joined(multi, services map[string]*draft) {
	for _, d := range multi {
		spec := model.Spec[kinds.MeshMultiZoneServiceSpec](d.now)
		var list []kinds.MatchedMeshService
		for _, s := range services {
			if spec.Selects(d.now, s.now) {
				list = append(list, kinds.MatchedMeshService{
					Name: s.now.DisplayName(), Namespace: s.now.Label(model.LabelK8sNamespace), Zone: s.now.Label(model.LabelZone), Mesh: m.name,
				})
			}
		}
		slices.SortFunc(list, func(a, b kinds.MatchedMeshService) int { return strings.Compare(sortKey(a), sortKey(b)) })
		st, _ := d.now.Status.(*kinds.MeshMultiZoneServiceStatus)
		if st == nil || !slices.Equal(st.MeshServices, list) {
			d.newStatus().(*kinds.MeshMultiZoneServiceStatus).MeshServices = list
			d.shaped = true
		}
	}
}

func sortKey(s kinds.MatchedMeshService) string {
	return strings.Join([]string{s.Name, s.Namespace, s.Zone, s.Mesh}, "/")
}
