package config

import (
	"time"

	"weft/internal/mesh/model"
)

// interval is a setting of which neither zero nor less makes sense, or (zeroOK)
// of which zero means "at once" or "off".
type interval struct {
	path   string
	value  time.Duration
	zeroOK bool
}

func (c *Config) validateIntervals(v *model.Violations) {
	for _, i := range c.intervals() {
		if i.zeroOK {
			if i.value < 0 {
				v.At(i.path).Add("%s must not be negative", i.value)
			}
			continue
		}
		positive(v.At(i.path), i.value)
	}
}

func (c *Config) intervals() []interval {
	pg, hds, mesh := c.Store.Postgres, c.DPServer.HDS, c.Metrics.Mesh
	global, zone := c.Multizone.Global.KDS, c.Multizone.Zone
	kube := c.Runtime.Kubernetes
	return []interval{
		{"store.postgres.maxConnectionIdleTime", pg.MaxConnectionIdleTime, true},
		{"store.postgres.maxConnectionLifetime", pg.MaxConnectionLifetime, true},
		{"store.postgres.maxConnectionLifetimeJitter", pg.MaxConnectionLifetimeJitter, true},
		{"store.postgres.healthCheckInterval", pg.HealthCheckInterval, true},
		{"store.cache.expirationTime", c.Store.Cache.ExpirationTime, true},
		{"store.upsert.conflictRetryBaseBackoff", c.Store.Upsert.ConflictRetryBaseBackoff, false},
		{"bootstrapServer.params.xdsConnectTimeout", c.BootstrapServer.Params.XDSConnectTimeout, false},
		{"monitoringAssignmentServer.assignmentRefreshInterval", c.MADS.AssignmentRefreshInterval, false},
		{"monitoringAssignmentServer.defaultFetchTimeout", c.MADS.DefaultFetchTimeout, true},
		{"xdsServer.dataplaneConfigurationRefreshInterval", c.XDSServer.DataplaneConfigurationRefreshInterval, false},
		{"xdsServer.dataplaneStatusFlushInterval", c.XDSServer.DataplaneStatusFlushInterval, false},
		{"xdsServer.nackBackoff", c.XDSServer.NACKBackoff, true},
		{"xdsServer.dataplaneDeregistrationDelay", c.XDSServer.DataplaneDeregistrationDelay, true},
		{"runtime.kubernetes.marshalingCacheExpirationTime", kube.MarshalingCacheExpirationTime, true},
		{"runtime.kubernetes.leaderElection.leaseDuration", kube.LeaderElection.LeaseDuration, false},
		{"runtime.kubernetes.leaderElection.renewDeadline", kube.LeaderElection.RenewDeadline, false},
		{"runtime.kubernetes.injector.sidecarContainer.drainTime", kube.Injector.SidecarContainer.DrainTime, true},
		{"runtime.universal.dataplaneCleanupAge", c.Runtime.Universal.DataplaneCleanupAge, false},
		{"runtime.universal.zoneResourceCleanupAge", c.Runtime.Universal.ZoneResourceCleanupAge, false},
		{"runtime.universal.vipRefreshInterval", c.Runtime.Universal.VIPRefreshInterval, false},
		{"metrics.dataplane.idleTimeout", c.Metrics.Dataplane.IdleTimeout, false},
		{"metrics.zone.idleTimeout", c.Metrics.Zone.IdleTimeout, false},
		{"metrics.mesh.minResyncInterval", mesh.MinResyncInterval, false},
		{"metrics.mesh.fullResyncInterval", mesh.FullResyncInterval, false},
		{"metrics.mesh.minResyncTimeout", mesh.MinResyncTimeout, true},
		{"metrics.mesh.maxResyncTimeout", mesh.MaxResyncTimeout, true},
		{"general.dnsCacheTTL", c.General.DNSCacheTTL, true},
		{"general.resilientComponentBaseBackoff", c.General.ResilientComponentBaseBackoff, false},
		{"multizone.global.kds.refreshInterval", global.RefreshInterval, false},
		{"multizone.global.kds.zoneInsightFlushInterval", global.ZoneInsightFlushInterval, false},
		{"multizone.global.kds.msgSendTimeout", global.MsgSendTimeout, false},
		{"multizone.global.kds.nackBackoff", global.NACKBackoff, true},
		{"multizone.global.kds.responseBackoff", global.ResponseBackoff, true},
		{"multizone.global.kds.zoneHealthCheck.pollInterval", global.ZoneHealthCheck.PollInterval, true},
		{"multizone.global.kds.zoneHealthCheck.timeout", global.ZoneHealthCheck.Timeout, true},
		{"multizone.zone.kds.refreshInterval", zone.KDS.RefreshInterval, false},
		{"multizone.zone.kds.msgSendTimeout", zone.KDS.MsgSendTimeout, false},
		{"multizone.zone.kds.nackBackoff", zone.KDS.NACKBackoff, true},
		{"multizone.zone.kds.responseBackoff", zone.KDS.ResponseBackoff, true},
		{"multizone.zone.ingressUpdateInterval", zone.IngressUpdateInterval, true},
		{"dpServer.readHeaderTimeout", c.DPServer.ReadHeaderTimeout, false},
		{"dpServer.hds.interval", hds.Interval, false},
		{"dpServer.hds.refreshInterval", hds.RefreshInterval, false},
		{"dpServer.hds.checkDefaults.timeout", hds.CheckDefaults.Timeout, false},
		{"dpServer.hds.checkDefaults.interval", hds.CheckDefaults.Interval, false},
		{"dpServer.hds.checkDefaults.noTrafficInterval", hds.CheckDefaults.NoTrafficInterval, false},
		{"interCp.catalog.heartbeatInterval", c.InterCP.Catalog.HeartbeatInterval, false},
		{"interCp.catalog.writerInterval", c.InterCP.Catalog.WriterInterval, false},
		{"coreResources.status.meshMultiZoneServiceInterval", c.CoreResources.Status.MeshMultiZoneServiceInterval, false},
		{"coreResources.status.meshServiceInterval", c.CoreResources.Status.MeshServiceInterval, false},
		{"ipam.allocationInterval", c.IPAM.AllocationInterval, false},
		{"meshService.generationInterval", c.MeshService.GenerationInterval, false},
		{"meshService.deletionGracePeriod", c.MeshService.DeletionGracePeriod, true},
	}
}
