package cp

import (
	"context"
	"fmt"
	"net/netip"

	"weft/internal/cp/insight"
	"weft/internal/cp/vip"
	"weft/internal/logging"
)

// leaderTasks registers what must be done by one instance only.
func (p *parts) leaderTasks() error {
	on := p.elector.OnLeader
	on("cluster id", p.cluster.ensure)
	defaultsReady := p.readiness.Register("defaults")
	if p.Store.Type == "postgres" {
		// Another instance may lead and have made them; nobody can wait for that.
		defaultsReady.Set(true)
	}
	on("default objects", func(ctx context.Context) error {
		if err := p.maker.Ensure(ctx); err != nil {
			return err
		}
		defaultsReady.Set(true)
		return nil
	})
	if p.IsGlobal() {
		return nil
	}
	cidr, err := netip.ParsePrefix(p.DNSServer.CIDR)
	if err != nil {
		return fmt.Errorf("dnsServer.CIDR: %w", err)
	}
	on("virtual addresses", (&vip.Task{
		Store: p.store, State: p.state, Zone: p.zone(), CIDR: cidr, Log: logging.Named(p.log, "vip"), Now: p.host.Now,
	}).Run)
	on("dead connections", (&insight.Finalizer{
		Store: p.store, IdleTimeout: p.Config.Metrics.Dataplane.IdleTimeout, Log: logging.Named(p.log, "insight"), Now: p.host.Now,
	}).Run)
	on("collector", (&insight.Collector{
		Store: p.store, Dataplanes: p.Runtime.Universal.DataplaneCleanupAge, ZoneProxies: p.Runtime.Universal.ZoneResourceCleanupAge,
		Log: logging.Named(p.log, "insight"), Now: p.host.Now,
	}).Run)
	return nil
}
