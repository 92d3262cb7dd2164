// Package summary counts: what is in a mesh and how well it is. The results are
// derived from the tables of one moment whenever somebody asks, so they are
// never stale and cost nothing while nobody does. Functions are pure.
package summary

import (
	"time"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// proxy is a Dataplane with what is known of its connection.
type proxy struct {
	spec    *kinds.DataplaneSpec
	insight *kinds.DataplaneInsightSpec // nil = never connected
	status  kinds.Status
}

// proxies lists the Dataplanes of a mesh.
func proxies(t model.Tables, mesh string) []proxy {
	insights := t.Table(kinds.DataplaneInsight, mesh)
	rows := t.Table(kinds.Dataplane, mesh).Rows()
	out := make([]proxy, 0, len(rows))
	for _, r := range rows {
		p := proxy{spec: model.Spec[kinds.DataplaneSpec](r.Object)}
		if i, ok := insights.Get(r.Meta.Name); ok {
			p.insight = model.Spec[kinds.DataplaneInsightSpec](i.Object)
		}
		p.status = kinds.DataplaneStatus(p.spec, p.insight)
		out = append(out, p)
	}
	return out
}

// count adds a proxy to a statistic.
func count(s *kinds.DataplaneStat, status kinds.Status) {
	s.Total++
	switch status {
	case kinds.StatusOnline:
		s.Online++
	case kinds.StatusOffline:
		s.Offline++
	case kinds.StatusPartiallyDegraded:
		s.PartiallyDegraded++
	}
}

func countIn(m *map[string]kinds.DataplaneStat, key string, status kinds.Status) {
	if *m == nil {
		*m = map[string]kinds.DataplaneStat{}
	}
	s := (*m)[key]
	count(&s, status)
	(*m)[key] = s
}

// Mesh sums up a mesh. all are the kinds to count. now is when it is asked.
func Mesh(t model.Tables, all []*model.Kind, mesh *model.Object, now time.Time) *model.Object {
	spec := &kinds.MeshInsightSpec{}
	services := map[string]bool{}
	for _, p := range proxies(t, mesh.Meta.Name) {
		count(&spec.Dataplanes, p.status)
		countByType(&spec.DataplanesByType, p)
		countVersions(&spec.DPVersions, p)
		countMTLS(&spec.MTLS, p)
		for _, s := range p.spec.Services() {
			services[s] = true
		}
	}
	spec.Services.Internal = uint32(len(services))
	spec.Services.External = uint32(t.Table(kinds.ExternalService, mesh.Meta.Name).Len())
	spec.Services.Total = spec.Services.Internal + spec.Services.External
	for _, k := range all {
		n := t.Table(k, mesh.Meta.Name).Len()
		if k.Scope != model.InMesh || n == 0 || k.ReadOnly {
			continue
		}
		put(&spec.Resources, k.Name, n)
		if k.Policy != nil {
			put(&spec.Policies, k.Name, n)
		}
	}
	o := kinds.MeshInsight.Make("", mesh.Meta.Name)
	o.Meta.Created, o.Meta.Modified = mesh.Meta.Created, now
	o.Spec = spec
	return o
}

func put(m *map[string]kinds.CountStat, key string, n int) {
	if *m == nil {
		*m = map[string]kinds.CountStat{}
	}
	(*m)[key] = kinds.CountStat{Total: uint32(n)}
}

func countByType(s *kinds.DataplanesByType, p proxy) {
	switch {
	case p.spec.IsBuiltinGateway():
		count(&s.GatewayBuiltin, p.status)
		count(&s.Gateway, p.status)
	case p.spec.IsDelegatedGateway():
		count(&s.GatewayDelegated, p.status)
		count(&s.Gateway, p.status)
	default:
		count(&s.Standard, p.status)
	}
}

func countVersions(s *kinds.MeshDPVersions, p proxy) {
	dp, envoy := "unknown", "unknown"
	if p.insight != nil {
		if sub := p.insight.Latest(); sub != nil && sub.Version != nil {
			if v := sub.Version.KumaDP; v != nil && v.Version != "" {
				dp = v.Version
			}
			if v := sub.Version.Envoy; v != nil && v.Version != "" {
				envoy = v.Version
			}
		}
	}
	countIn(&s.KumaDP, dp, p.status)
	countIn(&s.Envoy, envoy, p.status)
}

func countMTLS(s *kinds.MeshMTLSStat, p proxy) {
	if p.insight == nil || p.insight.MTLS == nil {
		return
	}
	countIn(&s.IssuedBackends, p.insight.MTLS.IssuedBackend, p.status)
	for _, b := range p.insight.MTLS.SupportedBackends {
		countIn(&s.SupportedBackends, b, p.status)
	}
}
