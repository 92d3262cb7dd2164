package identity

import (
	"slices"
	"time"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// fleet is what is known about the certificates of all proxies of a mesh.
type fleet struct {
	t    model.Tables
	mesh string
	now  time.Time
}

func fleetOf(t model.Tables, mesh string, now time.Time) *fleet { return &fleet{t, mesh, now} }

// each calls f for every proxy that ever connected and has certificates of the mesh:
// its own, and egresses. present tells whether it is connected, or was a moment ago.
func (f *fleet) each(do func(name string, m *kinds.DataplaneMTLS, present bool)) {
	f.own(do)
	for _, row := range f.t.Table(kinds.ZoneEgressInsight, "").Rows() {
		if i := model.Spec[kinds.ZoneProxyInsightSpec](row.Object); i.MTLS[f.mesh] != nil {
			do("ZoneEgress "+row.Meta.Name, i.MTLS[f.mesh], i.Online() || f.lately(i.Latest()))
		}
	}
}

// own is each for the mesh's own proxies.
func (f *fleet) own(do func(name string, m *kinds.DataplaneMTLS, present bool)) {
	for _, row := range f.t.Table(kinds.DataplaneInsight, f.mesh).Rows() {
		if i := model.Spec[kinds.DataplaneInsightSpec](row.Object); i.MTLS != nil {
			do(row.Meta.Name, i.MTLS, i.Online() || f.lately(i.Latest()))
		}
	}
}

func (f *fleet) lately(s *kinds.DiscoverySubscription) bool {
	return s != nil && s.DisconnectTime != nil && f.now.Sub(s.DisconnectTime.Time) < absence
}

// distrust lists the proxies that do not accept certificates of an authority.
func (f *fleet) distrust(id string) []string {
	var out []string
	f.each(func(name string, m *kinds.DataplaneMTLS, present bool) {
		if present && !slices.Contains(m.SupportedAuthorities, id) {
			out = append(out, name)
		}
	})
	return out
}

func (f *fleet) allTrust(id string) bool { return len(f.distrust(id)) == 0 }

// notAt lists the proxies with mutual TLS that have not come to a stage of leaving it.
// An egress takes no part in leaving: it lets go when the mesh is without.
func (f *fleet) notAt(stage kinds.LeavingStage) []string {
	var out []string
	f.own(func(name string, m *kinds.DataplaneMTLS, present bool) {
		if present && m.Leaving != stage {
			out = append(out, name)
		}
	})
	return out
}

// secured tells whether some proxy that is present has mutual TLS.
func (f *fleet) secured() bool {
	found := false
	f.each(func(_ string, _ *kinds.DataplaneMTLS, present bool) { found = found || present })
	return found
}

// issuedByOthers lists the proxies whose certificate is not of the authority.
func (f *fleet) issuedByOthers(id string) []string {
	var out []string
	f.each(func(name string, m *kinds.DataplaneMTLS, present bool) {
		if m.IssuedAuthority != id && f.counts(m, present) {
			out = append(out, name)
		}
	})
	return out
}

// uses tells whether some proxy may show a certificate of the authority.
func (f *fleet) uses(id string) bool {
	used := false
	f.each(func(_ string, m *kinds.DataplaneMTLS, present bool) {
		used = used || m.IssuedAuthority == id && f.counts(m, present)
	})
	return used
}

// counts tells whether a proxy's certificate may be shown to others: that of one
// which lost its control plane is good until it ends.
func (f *fleet) counts(m *kinds.DataplaneMTLS, present bool) bool {
	end := m.CertificateExpirationTime
	return present || end == nil || f.now.Before(end.Time)
}

// plain lists the services of which some proxy has a configuration without TLS:
// all that have one if among is nil, else those among them.
func (f *fleet) plain(among []string) []string {
	insights := f.t.Table(kinds.DataplaneInsight, f.mesh)
	var out []string
	for _, row := range f.t.Table(kinds.Dataplane, f.mesh).Rows() {
		i, ok := insights.Get(row.Meta.Name)
		if !ok || model.Spec[kinds.DataplaneInsightSpec](i.Object).MTLS != nil {
			continue // never connected, so its first configuration is yet to come; or it has a certificate
		}
		for _, s := range model.Spec[kinds.DataplaneSpec](row.Object).Services() {
			if among == nil || slices.Contains(among, s) {
				out = append(out, s)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
