package cp

import (
	"context"
	"slices"
	"strings"

	"weft/internal/config"
	"weft/internal/cp/envoyadmin"
	"weft/internal/cp/identity"
	"weft/internal/cp/insight"
	"weft/internal/cp/services"
	"weft/internal/cp/store/sealed"
	"weft/internal/cp/vip"
	"weft/internal/logging"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// leaderTasks registers what must be done by one instance only.
func (p *parts) leaderTasks() {
	on := p.elector.OnLeader
	on("cluster id", p.cluster.ensure)
	on("default objects", p.maker.Ensure)
	on("encryption", (&sealed.Resealer{Store: p.store, Codec: p.codec, Log: logging.Named(p.log, "store")}).Run)
	if !p.IsFederatedZone() {
		on("certificate authorities", p.keeper.Run)
	}
	if p.IsGlobal() {
		return
	}
	on("envoy admin authority", p.admin.Ensure)
	hold := identity.HoldAlone
	if p.IsFederatedZone() {
		hold = identity.HoldZones
	}
	on("trust", (&identity.Switcher{
		Store: p.store, State: p.state, Authorities: p.identities, Hold: hold, Log: logging.Named(p.log, "identity"), Now: p.host.Now,
	}).Run)
	on("virtual addresses", (&vip.Task{
		Store: p.store, State: p.state, Zone: p.zone(), CIDR: p.set.VIPs, Log: logging.Named(p.log, "vip"), Now: p.host.Now,
	}).Run)
	// Which parts of it run follows from the kinds that are enabled.
	set := p.set.Services
	set.Log = logging.Named(p.log, "services")
	on("services", (&services.Task{Settings: set, Store: p.store, Snapshots: p.actual, Now: p.host.Now, Metrics: p.metrics}).Run)
	on("dead connections", (&insight.Finalizer{
		Store: p.store, IdleTimeout: p.Metrics.Dataplane.IdleTimeout, Log: logging.Named(p.log, "insight"), Now: p.host.Now,
	}).Run)
	on("collector", (&insight.Collector{
		Store: p.store, Dataplanes: p.Runtime.Universal.DataplaneCleanupAge, ZoneProxies: p.Runtime.Universal.ZoneResourceCleanupAge,
		Log: logging.Named(p.log, "insight"), Now: p.host.Now,
	}).Run)
}

// awaitDefaults waits until the objects are there that every client counts on:
// the first mesh with its signing key, and the admin's token. Whoever leads makes
// them; another instance can only wait. It returns false if ctx ended before.
func (p *parts) awaitDefaults(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-p.state.Ready():
	}
	for {
		snap := p.state.Current()
		if p.hasDefaults(snap) {
			return true
		}
		if err := p.state.WaitFor(ctx, snap.Rev+1); err != nil {
			return false
		}
	}
}

// makesAdminToken tells whether control planes on this store make a token for the
// administrator.
func (p *parts) makesAdminToken() bool {
	a := p.APIServer.Authn
	return a.Type == config.AuthnTokens && a.Tokens.BootstrapAdminToken && !p.Defaults.SkipTenantResources
}

func (p *parts) hasDefaults(t model.Tables) bool {
	has := func(rows []model.Row, prefix string) bool {
		return slices.ContainsFunc(rows, func(r model.Row) bool { return strings.HasPrefix(r.Meta.Name, prefix) })
	}
	if !p.IsGlobal() && !has(t.Table(kinds.GlobalSecret, "").Rows(), envoyadmin.SecretName) {
		return false // a proxy gets its admin certificate when it connects
	}
	if p.Defaults.SkipTenantResources {
		return true
	}
	if p.makesAdminToken() && !has(t.Table(kinds.GlobalSecret, "").Rows(), "admin-user-token") {
		return false
	}
	if p.Defaults.SkipMeshCreation || p.IsFederatedZone() {
		return true
	}
	_, mesh := t.Table(kinds.Mesh, "").Get(model.DefaultMesh)
	return mesh && has(t.Table(kinds.Secret, model.DefaultMesh).Rows(), "dataplane-token-signing-key-"+model.DefaultMesh)
}
