package config

import "time"

// Runtime are the settings of the two environments.
type Runtime struct {
	Kubernetes RuntimeKubernetes `json:"kubernetes" env:"KUBERNETES" unused:"kuma-cp does not run on Kubernetes yet"`
	Universal  RuntimeUniversal  `json:"universal" env:"UNIVERSAL"`
}

// RuntimeUniversal are settings of environment universal.
type RuntimeUniversal struct {
	// A Dataplane whose proxy has been away this long is deleted.
	DataplaneCleanupAge time.Duration `json:"dataplaneCleanupAge" env:"DATAPLANE_CLEANUP_AGE"`
	// A ZoneIngress or ZoneEgress whose proxy has been away this long is deleted.
	ZoneResourceCleanupAge time.Duration `json:"zoneResourceCleanupAge" env:"ZONE_RESOURCE_CLEANUP_AGE"`
	// How often 2.10 gave out virtual IPs.
	VIPRefreshInterval time.Duration `json:"vipRefreshInterval" env:"VIP_REFRESH_INTERVAL" unused:"virtual addresses are given out at once"`
}

// RuntimeKubernetes are settings of environment kubernetes.
type RuntimeKubernetes struct {
	// Name of the control plane's Service.
	ControlPlaneServiceName string `json:"controlPlaneServiceName" env:"CONTROL_PLANE_SERVICE_NAME"`
	// Deprecated, see allowedUsers: service account of the control plane, which may change what users may not.
	ServiceAccountName string `json:"serviceAccountName" env:"SERVICE_ACCOUNT_NAME"`
	// Further users that may change what only the control plane may.
	AllowedUsers        []string            `json:"allowedUsers,omitempty" env:"ALLOWED_USERS"`
	NodeTaintController NodeTaintController `json:"nodeTaintController" env:"NODE_TAINT_CONTROLLER"`
	AdmissionServer     AdmissionServer     `json:"admissionServer" env:"ADMISSION_SERVER"`
	Injector            Injector            `json:"injector" env:"INJECTOR"`
	// How long converted objects are remembered.
	MarshalingCacheExpirationTime time.Duration         `json:"marshalingCacheExpirationTime" env:"MARSHALING_CACHE_EXPIRATION_TIME"`
	ControllersConcurrency        ControllerConcurrency `json:"controllersConcurrency" env:"CONTROLLERS_CONCURRENCY"`
	ClientConfig                  KubernetesClient      `json:"clientConfig" env:"CLIENT_CONFIG"`
	LeaderElection                LeaderElection        `json:"leaderElection" env:"LEADER_ELECTION"`
	// If true, objects are not deleted together with their Mesh.
	SkipMeshOwnerReference bool `json:"skipMeshOwnerReference" env:"SKIP_MESH_OWNER_REFERENCE"`
	// If true, gateways may use TLS secrets of every namespace.
	SupportGatewaySecretsInAllNamespaces bool `json:"supportGatewaySecretsInAllNamespaces" env:"SUPPORT_GATEWAY_SECRETS_IN_ALL_NAMESPACES"`
}

// NodeTaintController keeps pods away from nodes on which the CNI is not ready.
type NodeTaintController struct {
	// If true, such nodes are tainted.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// Value of the label app on the pods of the CNI.
	CNIApp string `json:"cniApp" env:"CNI_APP"`
	// Namespace of the pods of the CNI.
	CNINamespace string `json:"cniNamespace" env:"CNI_NAMESPACE"`
}

// AdmissionServer are the settings of the webhooks.
type AdmissionServer struct {
	// IP address to listen on; empty = all.
	Address string `json:"address" env:"ADDRESS"`
	// Port to listen on.
	Port int `json:"port" env:"PORT"`
	// Folder with tls.crt and tls.key.
	CertDir string `json:"certDir" env:"CERT_DIR"`
}

// ControllerConcurrency says how many objects are handled at once.
type ControllerConcurrency struct {
	// Pods handled at once.
	PodController int `json:"podController" env:"POD_CONTROLLER"`
}

// KubernetesClient limits the requests to the Kubernetes API.
type KubernetesClient struct {
	// Requests per second.
	QPS int `json:"qps" env:"QPS"`
	// Requests that may be sent at once.
	BurstQPS int `json:"burstQps" env:"BURST_QPS"`
}

// LeaderElection are the times of the election by a Lease.
type LeaderElection struct {
	// How long others wait for a leader that is silent.
	LeaseDuration time.Duration `json:"leaseDuration" env:"LEASE_DURATION"`
	// How long a leader tries to renew its lease before it gives up.
	RenewDeadline time.Duration `json:"renewDeadline" env:"RENEW_DEADLINE"`
}

// Injector says how sidecars are put into pods.
type Injector struct {
	// If true, the CNI sets up traffic redirection, not an init container.
	CNIEnabled bool               `json:"cniEnabled" env:"CNI_ENABLED"`
	Exceptions InjectorExceptions `json:"exceptions"`
	// If true, HTTP probes are served by the sidecar without mutual TLS.
	VirtualProbesEnabled bool `json:"virtualProbesEnabled" env:"KUMA_RUNTIME_KUBERNETES_VIRTUAL_PROBES_ENABLED"`
	// Port of the sidecar for HTTP probes.
	VirtualProbesPort int `json:"virtualProbesPort" env:"KUMA_RUNTIME_KUBERNETES_VIRTUAL_PROBES_PORT"`
	// Port of the sidecar for HTTP, TCP and gRPC probes; 0 = off, the virtual probes are used.
	ApplicationProbeProxyPort int `json:"applicationProbeProxyPort" env:"KUMA_RUNTIME_KUBERNETES_APPLICATION_PROBE_PROXY_PORT"`
	// Certificate authority (PEM file) that sidecars trust for the control plane.
	CACertFile       string           `json:"caCertFile" env:"CA_CERT_FILE"`
	SidecarContainer SidecarContainer `json:"sidecarContainer" env:"SIDECAR_CONTAINER"`
	InitContainer    InitContainer    `json:"initContainer" env:"KUMA_INJECTOR_INIT_CONTAINER"`
	// Names of ContainerPatches for all pods.
	ContainerPatches []string       `json:"containerPatches" env:"CONTAINER_PATCHES"`
	SidecarTraffic   SidecarTraffic `json:"sidecarTraffic" env:"KUMA_RUNTIME_KUBERNETES_SIDECAR_TRAFFIC"`
	BuiltinDNS       BuiltinDNS     `json:"builtinDNS" env:"BUILTIN_DNS"`
	EBPF             EBPF           `json:"ebpf" env:"EBPF"`
	// Labels of Services' selectors that do not count when Services are matched with pods.
	IgnoredServiceSelectorLabels []string `json:"ignoredServiceSelectorLabels" env:"IGNORED_SERVICE_SELECTOR_LABELS"`
	// Labels of nodes that become tags of the proxies on them.
	NodeLabelsToCopy []string `json:"nodeLabelsToCopy" env:"NODE_LABELS_TO_COPY"`
	// ConfigMap with the settings of the transparent proxy; empty = they are put into annotations.
	TransparentProxyConfigMap string `json:"transparentProxyConfigMap" env:"TRANSPARENT_PROXY_CONFIGMAP_NAME"`
}

// InjectorExceptions name pods that get no sidecar.
type InjectorExceptions struct {
	// Labels, with their value or `*` for any, of pods that get no sidecar.
	Labels map[string]string `json:"labels" env:"KUMA_RUNTIME_KUBERNETES_EXCEPTIONS_LABELS"`
}

// SidecarContainer describes the container with kuma-dp.
type SidecarContainer struct {
	// Image of kuma-dp.
	Image string `json:"image" env:"IMAGE"`
	// Port to which incoming traffic is redirected.
	RedirectPortInbound int `json:"redirectPortInbound" env:"REDIRECT_PORT_INBOUND"`
	// Families of IP addresses that are redirected: `dualstack` or `ipv4`.
	IPFamilyMode string `json:"ipFamilyMode" env:"IP_FAMILY_MODE"`
	// Port to which outgoing traffic is redirected.
	RedirectPortOutbound int `json:"redirectPortOutbound" env:"REDIRECT_PORT_OUTBOUND"`
	// User id of the container.
	UID int64 `json:"uid" env:"UID"`
	// Group id of the container (the odd name of the variable is that of 2.10).
	GID int64 `json:"gid" env:"GUI"`
	// Deprecated, see bootstrapServer.params.adminPort.
	AdminPort int `json:"adminPort,omitempty" env:"ADMIN_PORT"`
	// How long a stopping sidecar waits for connections to end.
	DrainTime      time.Duration    `json:"drainTime" env:"DRAIN_TIME"`
	ReadinessProbe ReadinessProbe   `json:"readinessProbe" env:"READINESS_PROBE"`
	LivenessProbe  Probe            `json:"livenessProbe" env:"LIVENESS_PROBE"`
	StartupProbe   Probe            `json:"startupProbe" env:"STARTUP_PROBE"`
	Resources      SidecarResources `json:"resources" env:"KUMA_INJECTOR_SIDECAR_CONTAINER_RESOURCES"`
	// Further environment variables.
	EnvVars map[string]string `json:"envVars" env:"ENV_VARS"`
	// If true, the pod's other containers start after the sidecar is ready.
	WaitForDataplaneReady bool `json:"waitForDataplaneReady" env:"WAIT_FOR_DATAPLANE_READY"`
}

// Probe is a Kubernetes probe of the sidecar.
type Probe struct {
	// Seconds before the first probe.
	InitialDelaySeconds int32 `json:"initialDelaySeconds" env:"INITIAL_DELAY_SECONDS"`
	// Seconds that a probe may take.
	TimeoutSeconds int32 `json:"timeoutSeconds" env:"TIMEOUT_SECONDS"`
	// Seconds between probes.
	PeriodSeconds int32 `json:"periodSeconds" env:"PERIOD_SECONDS"`
	// Failures after which the probe counts as failed.
	FailureThreshold int32 `json:"failureThreshold" env:"FAILURE_THRESHOLD"`
}

// ReadinessProbe is the readiness probe of the sidecar.
type ReadinessProbe struct {
	Probe
	// Successes after which the probe counts as passed.
	SuccessThreshold int32 `json:"successThreshold" env:"SUCCESS_THRESHOLD"`
}

// SidecarResources are the resources of the sidecar.
type SidecarResources struct {
	Requests Quantities `json:"requests" env:"REQUESTS"`
	Limits   Quantities `json:"limits" env:"LIMITS"`
}

// Quantities are amounts in the notation of Kubernetes.
type Quantities struct {
	// CPU.
	CPU string `json:"cpu" env:"CPU"`
	// Memory.
	Memory string `json:"memory" env:"MEMORY"`
}

// InitContainer describes the container that sets up traffic redirection.
type InitContainer struct {
	// Image of the init container.
	Image string `json:"image" env:"IMAGE"`
}

// SidecarTraffic names traffic that does not go through the sidecar.
type SidecarTraffic struct {
	// Ports whose incoming traffic is not redirected.
	ExcludeInboundPorts []uint16 `json:"excludeInboundPorts" env:"EXCLUDE_INBOUND_PORTS"`
	// Ports whose outgoing traffic is not redirected.
	ExcludeOutboundPorts []uint16 `json:"excludeOutboundPorts" env:"EXCLUDE_OUTBOUND_PORTS"`
	// Addresses or CIDRs from which traffic is not redirected.
	ExcludeInboundIPs []string `json:"excludeInboundIPs" env:"EXCLUDE_INBOUND_IPS"`
	// Addresses or CIDRs to which traffic is not redirected.
	ExcludeOutboundIPs []string `json:"excludeOutboundIPs" env:"EXCLUDE_OUTBOUND_IPS"`
}

// BuiltinDNS is the DNS server in the sidecar.
type BuiltinDNS struct {
	// If true, DNS requests are answered by the sidecar.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// Port of the DNS server.
	Port int `json:"port" env:"PORT"`
	// If true, requests are logged.
	Logging bool `json:"logging,omitempty" env:"LOGGING"`
}

// EBPF is traffic redirection by eBPF.
type EBPF struct {
	// If true, eBPF is used and not iptables.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// Variable in which the init container finds the IP address of the pod.
	InstanceIPEnvVarName string `json:"instanceIPEnvVarName" env:"INSTANCE_IP_ENV_VAR_NAME"`
	// Path of the BPF file system.
	BPFFSPath string `json:"bpffsPath" env:"BPFFS_PATH"`
	// Path of cgroup2.
	CgroupPath string `json:"cgroupPath" env:"CGROUP_PATH"`
	// Network interface for the TC programs; empty = found out.
	TCAttachIface string `json:"tcAttachIface,omitempty" env:"TC_ATTACH_IFACE"`
	// Folder of the programs.
	ProgramsSourcePath string `json:"programsSourcePath" env:"PROGRAMS_SOURCE_PATH"`
}

func defaultRuntimeUniversal() RuntimeUniversal {
	return RuntimeUniversal{
		DataplaneCleanupAge:    72 * time.Hour,
		ZoneResourceCleanupAge: 72 * time.Hour,
		VIPRefreshInterval:     500 * time.Millisecond,
	}
}

func defaultRuntimeKubernetes() RuntimeKubernetes {
	return RuntimeKubernetes{
		ControlPlaneServiceName:       "kuma-control-plane",
		ServiceAccountName:            "system:serviceaccount:kuma-system:kuma-control-plane",
		NodeTaintController:           NodeTaintController{CNINamespace: "kube-system"},
		AdmissionServer:               AdmissionServer{Port: 5443},
		Injector:                      defaultInjector(),
		MarshalingCacheExpirationTime: 5 * time.Minute,
		ControllersConcurrency:        ControllerConcurrency{PodController: 10},
		ClientConfig:                  KubernetesClient{QPS: 100, BurstQPS: 100},
		LeaderElection:                LeaderElection{LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second},
	}
}

func defaultInjector() Injector {
	return Injector{
		Exceptions: InjectorExceptions{Labels: map[string]string{
			"openshift.io/build.name":            "*",
			"openshift.io/deployer-pod-for.name": "*",
		}},
		VirtualProbesEnabled:      true,
		VirtualProbesPort:         9000,
		ApplicationProbeProxyPort: 9001,
		SidecarContainer: SidecarContainer{
			Image:                "kuma/kuma-dp:latest",
			RedirectPortInbound:  15006,
			IPFamilyMode:         "dualstack",
			RedirectPortOutbound: 15001,
			UID:                  5678,
			GID:                  5678,
			DrainTime:            30 * time.Second,
			ReadinessProbe: ReadinessProbe{
				Probe:            Probe{InitialDelaySeconds: 1, TimeoutSeconds: 3, PeriodSeconds: 5, FailureThreshold: 12},
				SuccessThreshold: 1,
			},
			LivenessProbe: Probe{InitialDelaySeconds: 60, TimeoutSeconds: 3, PeriodSeconds: 5, FailureThreshold: 12},
			StartupProbe:  Probe{InitialDelaySeconds: 1, TimeoutSeconds: 3, PeriodSeconds: 5, FailureThreshold: 12},
			Resources: SidecarResources{
				Requests: Quantities{CPU: "50m", Memory: "64Mi"},
				Limits:   Quantities{CPU: "1000m", Memory: "512Mi"},
			},
		},
		InitContainer: InitContainer{Image: "kuma/kuma-init:latest"},
		BuiltinDNS:    BuiltinDNS{Enabled: true, Port: 15053},
		EBPF: EBPF{
			InstanceIPEnvVarName: "INSTANCE_IP", BPFFSPath: "/sys/fs/bpf", CgroupPath: "/sys/fs/cgroup",
			ProgramsSourcePath: "/tmp/kuma-ebpf",
		},
		NodeLabelsToCopy: []string{"topology.kubernetes.io/zone", "topology.kubernetes.io/region", "kubernetes.io/hostname"},
	}
}
