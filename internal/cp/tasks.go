package cp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/config"
	"weft/internal/cp/identity"
	"weft/internal/cp/insight"
	"weft/internal/cp/vip"
	"weft/internal/logging"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// leaderTasks registers what must be done by one instance only.
func (p *parts) leaderTasks() error {
	on := p.elector.OnLeader
	on("cluster id", p.cluster.ensure)
	on("default objects", p.maker.Ensure)
	if !p.IsFederatedZone() {
		on("certificate authorities", p.keeper.Run)
	}
	if p.IsGlobal() {
		return nil
	}
	hold := identity.HoldAlone
	if p.IsFederatedZone() {
		hold = identity.HoldZones
	}
	on("trust", (&identity.Switcher{
		Store: p.store, State: p.state, Authorities: p.identities, Hold: hold, Log: logging.Named(p.log, "identity"), Now: p.host.Now,
	}).Run)
	cidr, err := netip.ParsePrefix(p.DNSServer.CIDR)
	if err != nil {
		return fmt.Errorf("dnsServer.CIDR: %w", err)
	}
	on("virtual addresses", (&vip.Task{
		Store: p.store, State: p.state, Zone: p.zone(), CIDR: cidr, Log: logging.Named(p.log, "vip"), Now: p.host.Now,
	}).Run)
	on("dead connections", (&insight.Finalizer{
		Store: p.store, IdleTimeout: p.Metrics.Dataplane.IdleTimeout, Log: logging.Named(p.log, "insight"), Now: p.host.Now,
	}).Run)
	on("collector", (&insight.Collector{
		Store: p.store, Dataplanes: p.Runtime.Universal.DataplaneCleanupAge, ZoneProxies: p.Runtime.Universal.ZoneResourceCleanupAge,
		Log: logging.Named(p.log, "insight"), Now: p.host.Now,
	}).Run)
	return nil
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

func (p *parts) hasDefaults(t model.Tables) bool {
	if p.Defaults.SkipTenantResources {
		return true
	}
	has := func(rows []model.Row, prefix string) bool {
		return slices.ContainsFunc(rows, func(r model.Row) bool { return strings.HasPrefix(r.Meta.Name, prefix) })
	}
	a := p.APIServer.Authn
	if a.Type == config.AuthnTokens && a.Tokens.BootstrapAdminToken && !has(t.Table(kinds.GlobalSecret, "").Rows(), "admin-user-token") {
		return false
	}
	if p.Defaults.SkipMeshCreation || p.IsFederatedZone() {
		return true
	}
	_, mesh := t.Table(kinds.Mesh, "").Get(model.DefaultMesh)
	return mesh && has(t.Table(kinds.Secret, model.DefaultMesh).Rows(), "dataplane-token-signing-key-"+model.DefaultMesh)
}
