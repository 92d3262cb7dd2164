package cp

import (
	"context"
	"fmt"
	"net/netip"
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
func (p *parts) leaderTasks() error {
	on := p.elector.OnLeader
	on("cluster id", p.cluster.ensure)
	on("default objects", p.maker.Ensure)
	on("encryption", (&sealed.Resealer{Store: p.store, Codec: p.codec, Log: logging.Named(p.log, "store")}).Run)
	if !p.IsFederatedZone() {
		on("certificate authorities", p.keeper.Run)
	}
	if p.IsGlobal() {
		return nil
	}
	on("envoy admin authority", p.admin.Ensure)
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
	services, err := p.servicesTask()
	if err != nil {
		return err
	}
	on("services", services.Run)
	on("dead connections", (&insight.Finalizer{
		Store: p.store, IdleTimeout: p.Metrics.Dataplane.IdleTimeout, Log: logging.Named(p.log, "insight"), Now: p.host.Now,
	}).Run)
	on("collector", (&insight.Collector{
		Store: p.store, Dataplanes: p.Runtime.Universal.DataplaneCleanupAge, ZoneProxies: p.Runtime.Universal.ZoneResourceCleanupAge,
		Log: logging.Named(p.log, "insight"), Now: p.host.Now,
	}).Run)
	return nil
}

// servicesTask keeps the services that are objects. Which parts of it run follows
// from the kinds that are enabled.
func (p *parts) servicesTask() (*services.Task, error) {
	enabled := func(kind *model.Kind) bool { return slices.Contains(p.CoreResources.Enabled, kind.Plural) }
	t := &services.Task{
		Settings: services.Settings{
			Zone:      p.zone(),
			Generate:  p.Environment == config.Universal && enabled(kinds.MeshService),
			Addresses: enabled(kinds.MeshService), Hostnames: enabled(kinds.HostnameGenerator),
			GracePeriod: p.MeshService.DeletionGracePeriod, Log: logging.Named(p.log, "services"),
		},
		Store: p.store, Snapshots: p.actual, Now: p.host.Now, Metrics: p.metrics,
	}
	ranges := []struct {
		path, text string
		to         *netip.Prefix
	}{
		{"ipam.meshService.cidr", p.IPAM.MeshService.CIDR, &t.MeshServices},
		{"ipam.meshExternalService.cidr", p.IPAM.MeshExternalService.CIDR, &t.ExternalServices},
		{"ipam.meshMultiZoneService.cidr", p.IPAM.MeshMultiZoneService.CIDR, &t.MeshMultiZoneServices},
	}
	for i, r := range ranges {
		cidr, err := netip.ParsePrefix(r.text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.path, err)
		}
		for _, o := range ranges[:i] {
			if o.to.Overlaps(cidr) {
				return nil, fmt.Errorf("%s: %s overlaps with %s of %s, so that two services could get one address; give each a range of its own", r.path, cidr, o.to, o.path)
			}
		}
		*r.to = cidr
	}
	return t, nil
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
	has := func(rows []model.Row, prefix string) bool {
		return slices.ContainsFunc(rows, func(r model.Row) bool { return strings.HasPrefix(r.Meta.Name, prefix) })
	}
	if !p.IsGlobal() && !has(t.Table(kinds.GlobalSecret, "").Rows(), envoyadmin.SecretName) {
		return false // a proxy gets its admin certificate when it connects
	}
	if p.Defaults.SkipTenantResources {
		return true
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
