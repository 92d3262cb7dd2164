// Package config holds the settings of kuma-cp: one tree of plain structs whose
// tags give the key in files, the KUMA_* variable and, by comments, the reference
// documentation. Load fills it from defaults, a file and the environment,
// Validate checks it, Complete fills in what follows from other settings.
//
// Keys, variables and defaults are those of 2.10 apart from a few deliberate
// differences, listed in docs/compatibility.md. A Config is not changed after
// Complete and may then be read by everybody.
package config

// Config is everything that can be set for kuma-cp.
type Config struct {
	// Environment in which the control plane and its proxies run: `universal` or `kubernetes`.
	Environment string `json:"environment" env:"KUMA_ENVIRONMENT"`
	// Mode of the control plane: `zone` or `global`; `standalone` is the older name of a zone without a global control plane.
	Mode string `json:"mode" env:"KUMA_MODE"`

	Store           Store                      `json:"store" env:"KUMA_STORE"`
	BootstrapServer BootstrapServer            `json:"bootstrapServer" env:"KUMA_BOOTSTRAP_SERVER"`
	MADS            MonitoringAssignmentServer `json:"monitoringAssignmentServer" env:"KUMA_MONITORING_ASSIGNMENT_SERVER" unused:"kuma-cp does not serve monitoring assignments yet"`
	XDSServer       XDSServer                  `json:"xdsServer" env:"KUMA_XDS_SERVER"`
	APIServer       APIServer                  `json:"apiServer" env:"KUMA_API_SERVER"`
	Runtime         Runtime                    `json:"runtime" env:"KUMA_RUNTIME"`
	Defaults        Defaults                   `json:"defaults" env:"KUMA_DEFAULTS"`
	Metrics         Metrics                    `json:"metrics" env:"KUMA_METRICS"`
	Reports         Reports                    `json:"reports" env:"KUMA_REPORTS" unused:"nothing is ever reported to anybody"`
	General         General                    `json:"general" env:"KUMA_GENERAL"`
	DNSServer       DNSServer                  `json:"dnsServer" env:"KUMA_DNS_SERVER"`
	Multizone       Multizone                  `json:"multizone" env:"KUMA_MULTIZONE"`
	Diagnostics     Diagnostics                `json:"diagnostics" env:"KUMA_DIAGNOSTICS"`
	DPServer        DPServer                   `json:"dpServer" env:"KUMA_DP_SERVER"`
	InterCP         InterCP                    `json:"interCp" env:"KUMA_INTER_CP" unused:"control planes meet in their store only"`
	Access          Access                     `json:"access" env:"KUMA_ACCESS"`
	Experimental    Experimental               `json:"experimental" env:"KUMA_EXPERIMENTAL"`
	Proxy           Proxy                      `json:"proxy" env:"KUMA_PROXY"`
	Tracing         Tracing                    `json:"tracing" env:"KUMA_TRACING" unused:"kuma-cp sends no traces yet"`
	EventBus        EventBus                   `json:"eventBus" env:"KUMA_EVENT_BUS" unused:"no event is ever lost"`
	Policies        Policies                   `json:"policies" env:"KUMA"`
	CoreResources   CoreResources              `json:"coreResources" env:"KUMA_CORE_RESOURCES"`
	IPAM            IPAM                       `json:"ipam" env:"KUMA_IPAM"`
	MeshService     MeshService                `json:"meshService" env:"KUMA_MESH_SERVICE"`

	set map[string]bool // paths that a file or variable gave
}

// Values of Config.Environment, Config.Mode and Store.Type.
const (
	Universal  = "universal"
	Kubernetes = "kubernetes"

	ModeZone       = "zone"
	ModeGlobal     = "global"
	modeStandalone = "standalone"

	StoreSQLite     = "sqlite"
	StorePostgres   = "postgres"
	StoreMemory     = "memory"
	StoreKubernetes = "kubernetes"
)

// IsGlobal tells whether this is a global control plane, which serves zones and
// no proxies.
func (c *Config) IsGlobal() bool { return c.Mode == ModeGlobal }

// IsFederatedZone tells whether this is a zone below a global control plane.
func (c *Config) IsFederatedZone() bool {
	return !c.IsGlobal() && c.Multizone.Zone.GlobalAddress != ""
}

// Default returns the settings that hold when nothing is set.
func Default() *Config {
	return &Config{
		Environment:     Universal,
		Mode:            ModeZone,
		Store:           defaultStore(),
		BootstrapServer: defaultBootstrapServer(),
		MADS:            defaultMADS(),
		XDSServer:       defaultXDSServer(),
		APIServer:       defaultAPIServer(),
		Runtime:         Runtime{Kubernetes: defaultRuntimeKubernetes(), Universal: defaultRuntimeUniversal()},
		Metrics:         defaultMetrics(),
		General:         defaultGeneral(),
		DNSServer:       defaultDNSServer(),
		Multizone:       defaultMultizone(),
		Diagnostics:     Diagnostics{ServerPort: 5680, ServerTLS: defaultServerTLS()},
		DPServer:        defaultDPServer(),
		InterCP:         defaultInterCP(),
		Access:          defaultAccess(),
		Experimental:    defaultExperimental(),
		Proxy:           Proxy{Gateway: ProxyGateway{GlobalDownstreamMaxConnections: 50000}},
		EventBus:        EventBus{BufferSize: 100},
		Policies:        defaultPolicies(),
		CoreResources:   defaultCoreResources(),
		IPAM:            defaultIPAM(),
		MeshService:     defaultMeshService(),
	}
}
