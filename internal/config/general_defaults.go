package config

import "time"

func defaultGeneral() General {
	return General{
		DNSCacheTTL:                   10 * time.Second,
		TLSVersions:                   defaultTLSVersions(),
		ResilientComponentBaseBackoff: 5 * time.Second,
		ResilientComponentMaxBackoff:  time.Minute,
	}
}

func defaultMADS() MonitoringAssignmentServer {
	return MonitoringAssignmentServer{
		Port: 5676, APIVersions: []string{"v1"},
		AssignmentRefreshInterval: time.Second, DefaultFetchTimeout: 30 * time.Second,
		ServerTLS: defaultServerTLS(),
	}
}

func defaultMetrics() Metrics {
	return Metrics{
		Dataplane: MetricsDataplane{SubscriptionLimit: 2, IdleTimeout: 5 * time.Minute},
		Zone:      MetricsZone{SubscriptionLimit: 10, IdleTimeout: 5 * time.Minute},
		Mesh: MetricsMesh{
			MinResyncInterval: time.Second, FullResyncInterval: 20 * time.Second,
			BufferSize: 1000, EventProcessors: 1,
		},
		ControlPlane: MetricsControlPlane{ReportResourcesCount: true},
	}
}

func defaultDNSServer() DNSServer {
	return DNSServer{Domain: "mesh", CIDR: "240.0.0.0/4", ServiceVIPEnabled: true, ServiceVIPPort: 80}
}

func defaultExperimental() Experimental {
	return Experimental{
		KubeOutboundsAsVIPs:   true,
		KDSEventBasedWatchdog: KDSWatchdog{FlushInterval: 5 * time.Second, FullResyncInterval: time.Minute},
	}
}

func defaultPolicies() Policies {
	return Policies{PluginPoliciesEnabled: []string{
		"meshaccesslogs", "meshcircuitbreakers", "meshfaultinjections", "meshhealthchecks", "meshhttproutes",
		"meshloadbalancingstrategies", "meshmetrics", "meshpassthroughs", "meshproxypatches", "meshratelimits",
		"meshretries", "meshtcproutes", "meshtimeouts", "meshtlses", "meshtraces", "meshtrafficpermissions",
	}}
}

func defaultCoreResources() CoreResources {
	return CoreResources{
		Enabled: []string{"hostnamegenerators", "meshexternalservices", "meshmultizoneservices", "meshservices"},
		Status: CoreResourcesStatus{
			MeshMultiZoneServiceInterval: 5 * time.Second,
			MeshServiceInterval:          5 * time.Second,
		},
	}
}

func defaultIPAM() IPAM {
	return IPAM{
		MeshService:          IPAMRange{CIDR: "241.0.0.0/8"},
		MeshExternalService:  IPAMRange{CIDR: "242.0.0.0/8"},
		MeshMultiZoneService: IPAMRange{CIDR: "243.0.0.0/8"},
		AllocationInterval:   5 * time.Second,
		KnownInternalCIDRs: []string{
			"10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "fc00::/7", "fd00::/8", "127.0.0.1/32", "::1/128",
		},
	}
}

func defaultMeshService() MeshService {
	return MeshService{GenerationInterval: 2 * time.Second, DeletionGracePeriod: time.Hour}
}
