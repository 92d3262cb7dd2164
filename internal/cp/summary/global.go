package summary

import (
	"time"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Full counts what can be online, offline or in between.
type Full struct {
	Online            uint32 `json:"online"`
	Offline           uint32 `json:"offline"`
	PartiallyDegraded uint32 `json:"partiallyDegraded"`
	Total             uint32 `json:"total"`
}

// Online counts what is online or not.
type Online struct {
	Online uint32 `json:"online"`
	Total  uint32 `json:"total"`
}

// Total is a number of things.
type Total struct {
	Total uint32 `json:"total"`
}

// Global sums up everything that this control plane knows.
type Global struct {
	CreatedAt  time.Time        `json:"createdAt"`
	Services   GlobalServices   `json:"services"`
	Zones      GlobalZones      `json:"zones"`
	Dataplanes GlobalDataplanes `json:"dataplanes"`
	Policies   Total            `json:"policies"`
	Meshes     Total            `json:"meshes"`
	Resources  map[string]Total `json:"resources"`
}

// GlobalServices counts services by type.
type GlobalServices struct {
	Internal         Full  `json:"internal"`
	External         Total `json:"external"`
	GatewayBuiltin   Full  `json:"gatewayBuiltin"`
	GatewayDelegated Full  `json:"gatewayDelegated"`
}

// GlobalZones counts zones and their proxies.
type GlobalZones struct {
	ControlPlanes Online `json:"controlPlanes"`
	ZoneEgresses  Online `json:"zoneEgresses"`
	ZoneIngresses Online `json:"zoneIngresses"`
}

// GlobalDataplanes counts proxies by what they are.
type GlobalDataplanes struct {
	Standard         Full `json:"standard"`
	GatewayBuiltin   Full `json:"gatewayBuiltin"`
	GatewayDelegated Full `json:"gatewayDelegated"`
}

// Everything sums up all meshes.
func Everything(t model.Tables, all []*model.Kind, now time.Time) Global {
	g := Global{CreatedAt: now, Resources: map[string]Total{}}
	meshes := t.Table(kinds.Mesh, "").Rows()
	g.Meshes.Total = uint32(len(meshes))
	for _, m := range meshes {
		spec := model.Spec[kinds.MeshInsightSpec](Mesh(t, all, m.Object, now))
		g.Dataplanes.Standard.add(spec.DataplanesByType.Standard)
		g.Dataplanes.GatewayBuiltin.add(spec.DataplanesByType.GatewayBuiltin)
		g.Dataplanes.GatewayDelegated.add(spec.DataplanesByType.GatewayDelegated)
		for name, n := range spec.Resources {
			g.Resources[name] = Total{g.Resources[name].Total + n.Total}
		}
		for _, n := range spec.Policies {
			g.Policies.Total += n.Total
		}
		for _, s := range Services(t, m.Meta.Name, Naming{}) {
			g.Services.add(s)
		}
	}
	g.Zones = zones(t)
	return g
}

func (f *Full) add(s kinds.DataplaneStat) {
	f.Online += s.Online
	f.Offline += s.Offline
	f.PartiallyDegraded += s.PartiallyDegraded
	f.Total += s.Total
}

func (g *GlobalServices) add(s kinds.ServiceSummary) {
	f := &g.Internal
	switch s.ServiceType {
	case kinds.ServiceExternal:
		g.External.Total++
		return
	case kinds.ServiceGatewayBuiltin:
		f = &g.GatewayBuiltin
	case kinds.ServiceGatewayDelegated:
		f = &g.GatewayDelegated
	case kinds.ServiceInternal:
	}
	f.Total++
	switch s.Status {
	case kinds.ServiceStatusOnline:
		f.Online++
	case kinds.ServiceStatusPartiallyDegraded:
		f.PartiallyDegraded++
	case kinds.ServiceStatusOffline:
		f.Offline++
	case kinds.ServiceStatusNone, kinds.ServiceStatusNotAvailable:
	}
}

// zones counts those that have connected at least once.
func zones(t model.Tables) GlobalZones {
	var g GlobalZones
	for _, r := range t.Table(kinds.ZoneInsight, "").Rows() {
		g.ControlPlanes.count(model.Spec[kinds.ZoneInsightSpec](r.Object).Online())
	}
	for _, r := range t.Table(kinds.ZoneIngressInsight, "").Rows() {
		g.ZoneIngresses.count(model.Spec[kinds.ZoneProxyInsightSpec](r.Object).Online())
	}
	for _, r := range t.Table(kinds.ZoneEgressInsight, "").Rows() {
		g.ZoneEgresses.count(model.Spec[kinds.ZoneProxyInsightSpec](r.Object).Online())
	}
	return g
}

func (o *Online) count(online bool) {
	o.Total++
	if online {
		o.Online++
	}
}

// Kinds counts the objects of global scope by kind.
func Kinds(t model.Tables, all []*model.Kind) map[string]Total {
	out := map[string]Total{}
	for _, k := range all {
		if n := t.Table(k, "").Len(); n > 0 && k.Scope == model.Global && !k.ReadOnly && !k.Hidden {
			out[k.Name] = Total{uint32(n)}
		}
	}
	return out
}
