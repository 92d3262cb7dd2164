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

// each calls f for every proxy that ever connected. present tells whether it is
// connected, or was a moment ago.
func (f *fleet) each(do func(name string, i *kinds.DataplaneInsightSpec, present bool)) {
	for _, row := range f.t.Table(kinds.DataplaneInsight, f.mesh).Rows() {
		i := model.Spec[kinds.DataplaneInsightSpec](row.Object)
		do(row.Meta.Name, i, i.Online() || f.lately(i.Latest()))
	}
}

func (f *fleet) lately(s *kinds.DiscoverySubscription) bool {
	return s != nil && s.DisconnectTime != nil && f.now.Sub(s.DisconnectTime.Time) < absence
}

// distrust lists the proxies that do not accept certificates of an authority.
func (f *fleet) distrust(id string) []string {
	var out []string
	f.each(func(name string, i *kinds.DataplaneInsightSpec, present bool) {
		if present && i.MTLS != nil && !slices.Contains(i.MTLS.SupportedAuthorities, id) {
			out = append(out, name)
		}
	})
	return out
}

func (f *fleet) allTrust(id string) bool { return len(f.distrust(id)) == 0 }

// notAt lists the proxies with mutual TLS that have not come to a stage of leaving it.
func (f *fleet) notAt(stage kinds.LeavingStage) []string {
	var out []string
	f.each(func(name string, i *kinds.DataplaneInsightSpec, present bool) {
		if present && i.MTLS != nil && i.MTLS.Leaving != stage {
			out = append(out, name)
		}
	})
	return out
}

// secured tells whether some proxy that is present has mutual TLS.
func (f *fleet) secured() bool {
	found := false
	f.each(func(_ string, i *kinds.DataplaneInsightSpec, present bool) { found = found || present && i.MTLS != nil })
	return found
}

// issuedByOthers lists the proxies whose certificate is not of the authority.
func (f *fleet) issuedByOthers(id string) []string {
	var out []string
	f.each(func(name string, i *kinds.DataplaneInsightSpec, present bool) {
		if i.MTLS != nil && i.MTLS.IssuedAuthority != id && f.counts(i, present) {
			out = append(out, name)
		}
	})
	return out
}

// uses tells whether some proxy may show a certificate of the authority.
func (f *fleet) uses(id string) bool {
	used := false
	f.each(func(_ string, i *kinds.DataplaneInsightSpec, present bool) {
		used = used || i.MTLS != nil && i.MTLS.IssuedAuthority == id && f.counts(i, present)
	})
	return used
}

// counts tells whether a proxy's certificate may be shown to others: that of one
// which lost its control plane is good until it ends.
func (f *fleet) counts(i *kinds.DataplaneInsightSpec, present bool) bool {
	end := i.MTLS.CertificateExpirationTime
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
