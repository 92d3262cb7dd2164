package config

import "time"

// Multizone are the settings of global control planes and their zones.
type Multizone struct {
	Global MultizoneGlobal `json:"global" env:"GLOBAL" unused:"zones do not connect to a global control plane yet"`
	Zone   MultizoneZone   `json:"zone" env:"ZONE"`
}

// MultizoneGlobal are settings of mode global.
type MultizoneGlobal struct {
	KDS GlobalKDS `json:"kds" env:"KDS"`
}

// GlobalKDS is the port to which zones connect.
type GlobalKDS struct {
	// Port to listen on.
	GRPCPort int `json:"grpcPort" env:"GRPC_PORT"`
	// How often 2.10 looked for changes to send.
	RefreshInterval time.Duration `json:"refreshInterval" env:"REFRESH_INTERVAL"`
	// How often the status of a zone is written at most.
	ZoneInsightFlushInterval time.Duration `json:"zoneInsightFlushInterval" env:"ZONE_INSIGHT_FLUSH_INTERVAL"`
	// If true, the port uses TLS.
	TLSEnabled bool `json:"tlsEnabled" env:"TLS_ENABLED"`
	ServerTLS
	// Largest message, in bytes.
	MaxMsgSize int `json:"maxMsgSize" env:"MAX_MSG_SIZE"`
	// How long sending a message may take.
	MsgSendTimeout time.Duration `json:"msgSendTimeout" env:"MSG_SEND_TIMEOUT"`
	// Wait after a rejected message.
	NACKBackoff time.Duration `json:"nackBackoff" env:"NACK_BACKOFF"`
	// Wait after an acknowledged message.
	ResponseBackoff time.Duration   `json:"responseBackoff" env:"RESPONSE_BACKOFF"`
	Labels          KDSLabels       `json:"labels" env:"LABELS"`
	Tracing         KDSTracing      `json:"tracing" env:"TRACING"`
	ZoneHealthCheck ZoneHealthCheck `json:"zoneHealthCheck" env:"ZONE_HEALTH_CHECK"`
}

// KDSLabels says which labels stay behind.
type KDSLabels struct {
	// Labels that start with one of these are not sent.
	SkipPrefixes []string `json:"skipPrefixes,omitempty" env:"SKIP_PREFIXES"`
}

// KDSTracing switches tracing of the connections to zones.
type KDSTracing struct {
	// If true, they are traced when tracing is on.
	Enabled bool `json:"enabled" env:"ENABLED"`
}

// ZoneHealthCheck is how global finds out that a zone does not answer.
type ZoneHealthCheck struct {
	// How often zones are checked; 0 = never.
	PollInterval time.Duration `json:"pollInterval" env:"POLL_INTERVAL"`
	// A zone that was silent this long is disconnected; 0 = never.
	Timeout time.Duration `json:"timeout" env:"TIMEOUT"`
}

// MultizoneZone are settings of mode zone.
type MultizoneZone struct {
	// Name of the zone.
	Name string `json:"name" env:"NAME"`
	// Address of the global control plane, `grpcs://host:port` (`grpc://` is not encrypted); empty = there is none.
	GlobalAddress string  `json:"globalAddress,omitempty" env:"GLOBAL_ADDRESS"`
	KDS           ZoneKDS `json:"kds" env:"KDS" unused:"zones do not connect to a global control plane yet"`
	// If true, objects need no label kuma.io/origin with the value zone.
	DisableOriginLabelValidation bool `json:"disableOriginLabelValidation,omitempty" env:"DISABLE_ORIGIN_LABEL_VALIDATION"`
	// How often 2.10 updated the services behind an ingress.
	IngressUpdateInterval time.Duration `json:"ingressUpdateInterval" env:"INGRESS_UPDATE_INTERVAL" unused:"zone ingresses are not served yet"`
}

// ZoneKDS is the connection to the global control plane.
type ZoneKDS struct {
	// How often 2.10 looked for changes to send.
	RefreshInterval time.Duration `json:"refreshInterval" env:"REFRESH_INTERVAL"`
	// Certificate authority of the global control plane (PEM file); empty = those of the system.
	RootCAFile string `json:"rootCaFile" env:"ROOT_CA_FILE"`
	// If true, the certificate of the global control plane is not verified.
	TLSSkipVerify bool `json:"tlsSkipVerify" env:"TLS_SKIP_VERIFY"`
	// Largest message, in bytes.
	MaxMsgSize int `json:"maxMsgSize" env:"MAX_MSG_SIZE"`
	// How long sending a message may take.
	MsgSendTimeout time.Duration `json:"msgSendTimeout" env:"MSG_SEND_TIMEOUT"`
	// Wait after a rejected message.
	NACKBackoff time.Duration `json:"nackBackoff" env:"NACK_BACKOFF"`
	// Wait after an acknowledged message.
	ResponseBackoff time.Duration `json:"responseBackoff" env:"RESPONSE_BACKOFF"`
	Labels          KDSLabels     `json:"labels" env:"LABELS"`
}

// InterCP are the settings of the connections between control planes on one store.
type InterCP struct {
	Catalog InterCPCatalog `json:"catalog" env:"CATALOG"`
	Server  InterCPServer  `json:"server" env:"SERVER"`
}

// InterCPCatalog is the list of the control planes on one store.
type InterCPCatalog struct {
	// Address under which the others reach this instance; empty = the first that is not loopback.
	InstanceAddress string `json:"instanceAddress" env:"INSTANCE_ADDRESS"`
	// How often an instance reports to the leader.
	HeartbeatInterval time.Duration `json:"heartbeatInterval" env:"HEARTBEAT_INTERVAL"`
	// How often the leader writes the list.
	WriterInterval time.Duration `json:"writerInterval" env:"WRITER_INTERVAL"`
}

// InterCPServer is the port for other control planes.
type InterCPServer struct {
	// Port to listen on.
	Port int `json:"port" env:"PORT"`
	TLSVersions
}

func defaultMultizone() Multizone {
	const maxMsgSize = 10 << 20
	return Multizone{
		Global: MultizoneGlobal{KDS: GlobalKDS{
			GRPCPort:                 5685,
			RefreshInterval:          time.Second,
			ZoneInsightFlushInterval: 10 * time.Second,
			TLSEnabled:               true,
			ServerTLS:                defaultServerTLS(),
			MaxMsgSize:               maxMsgSize,
			MsgSendTimeout:           time.Minute,
			NACKBackoff:              5 * time.Second,
			Tracing:                  KDSTracing{Enabled: true},
		}},
		Zone: MultizoneZone{
			Name: "default",
			KDS: ZoneKDS{
				RefreshInterval: time.Second, MaxMsgSize: maxMsgSize,
				MsgSendTimeout: time.Minute, NACKBackoff: 5 * time.Second,
			},
			IngressUpdateInterval: time.Second,
		},
	}
}

func defaultInterCP() InterCP {
	return InterCP{
		Catalog: InterCPCatalog{HeartbeatInterval: 5 * time.Second, WriterInterval: 15 * time.Second},
		Server:  InterCPServer{Port: 5683, TLSVersions: defaultTLSVersions()},
	}
}
