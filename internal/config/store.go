package config

import (
	"path/filepath"
	"time"
)

// Store says where objects are kept.
type Store struct {
	// Where objects are kept: `sqlite` (a file; one control plane), `postgres` (several control planes may share it), `memory` (everything is lost at the end) or `kubernetes` (only and always with environment kubernetes).
	Type       string          `json:"type" env:"TYPE"`
	SQLite     SQLite          `json:"sqlite" env:"SQLITE"`
	Kubernetes KubernetesStore `json:"kubernetes" env:"KUBERNETES" unused:"kuma-cp does not run on Kubernetes yet"`
	Postgres   Postgres        `json:"postgres" env:"POSTGRES"`
	Cache      StoreCache      `json:"cache" env:"CACHE" unused:"nothing is remembered that could be out of date"`
	Upsert     Upsert          `json:"upsert" env:"UPSERT" unused:"a write that lost a race is tried again at once"`
	// If true, objects that others still need may be deleted: a Mesh with data planes, a Zone that is online, a Secret in use.
	UnsafeDelete bool            `json:"unsafeDelete" env:"UNSAFE_DELETE"`
	Encryption   StoreEncryption `json:"encryption" env:"ENCRYPTION"`
}

// StoreEncryption says with what secrets are encrypted in the database of the
// store types sqlite and postgres. On Kubernetes that is the API server's task.
type StoreEncryption struct {
	// File with keys: one in a line, as `<id>:<base64 of 32 bytes>`; lines that begin with `#` are comments. The first key encrypts, all of them decrypt. To exchange a key put the new one in front, restart, and take the old one away when the log says that nothing needs it. Make a key with `openssl rand -base64 32`.
	KeyFile string `json:"keyFile" env:"KEY_FILE"`
	// The keys themselves, in the same form; a comma may stand for a line break. Either this or keyFile.
	Keys Secret `json:"keys" env:"KEYS"`
}

// SQLite are the settings of store type sqlite.
type SQLite struct {
	// File of the database. A relative path starts at general.workDir. It is created if it does not exist; only its owner can read it.
	Path string `json:"path" env:"PATH"`
}

// File returns the path of the database file: relative ones start at workDir.
func (s SQLite) File(workDir string) string {
	if filepath.IsAbs(s.Path) {
		return s.Path
	}
	return filepath.Join(workDir, s.Path)
}

// KubernetesStore are the settings of store type kubernetes.
type KubernetesStore struct {
	// Namespace of the control plane, in which objects of global scope are kept.
	SystemNamespace string `json:"systemNamespace" env:"SYSTEM_NAMESPACE"`
}

// Postgres are the settings of store type postgres.
type Postgres struct {
	// Host name or IP address of the database.
	Host string `json:"host" env:"HOST"`
	// Port of the database.
	Port int `json:"port" env:"PORT"`
	// User of the database.
	User string `json:"user" env:"USER"`
	// Password of the user.
	Password Secret `json:"password" env:"PASSWORD"`
	// Name of the database.
	DBName string `json:"dbName" env:"DB_NAME"`
	// Driver; only `pgx` exists.
	DriverName string `json:"driverName" env:"DRIVER_NAME"`
	// Seconds that connecting may take; 0 = no limit.
	ConnectionTimeout int `json:"connectionTimeout" env:"CONNECTION_TIMEOUT"`
	// An idle connection is closed after this time.
	MaxConnectionIdleTime time.Duration `json:"maxConnectionIdleTime" env:"MAX_CONNECTION_IDLE_TIME"`
	// A connection is renewed after this time.
	MaxConnectionLifetime time.Duration `json:"maxConnectionLifetime" env:"MAX_CONNECTION_LIFETIME"`
	// Random time added to maxConnectionLifetime, so that not all connections are renewed at once.
	MaxConnectionLifetimeJitter time.Duration `json:"maxConnectionLifetimeJitter" env:"MAX_CONNECTION_LIFETIME_JITTER"`
	// How often idle connections are checked.
	HealthCheckInterval time.Duration `json:"healthCheckInterval" env:"HEALTH_CHECK_INTERVAL"`
	// Connections that are kept open even if unused.
	MinOpenConnections int `json:"minOpenConnections" env:"MIN_OPEN_CONNECTIONS"`
	// Most open connections; 0 = no limit.
	MaxOpenConnections int `json:"maxOpenConnections" env:"MAX_OPEN_CONNECTIONS"`
	// Most connections that are kept open while nobody needs them; 0 = no limit.
	MaxIdleConnections int `json:"maxIdleConnections" env:"MAX_IDLE_CONNECTIONS"`
	// Most objects that one query asks for by name; 0 = 500.
	MaxListQueryElements int         `json:"maxListQueryElements" env:"MAX_LIST_QUERY_ELEMENTS"`
	TLS                  PostgresTLS `json:"tls" env:"TLS"`
	ReadReplica          ReadReplica `json:"readReplica" env:"READ_REPLICA"`
}

// Values of PostgresTLS.Mode.
const (
	PostgresTLSDisable    = "disable"
	PostgresTLSVerifyNone = "verifyNone"
	PostgresTLSVerifyCA   = "verifyCa"
	PostgresTLSVerifyFull = "verifyFull"
)

// PostgresTLS says how the connection to the database is protected.
type PostgresTLS struct {
	// `disable`, `verifyNone` (encrypted, the server is not verified), `verifyCa` (its certificate is) or `verifyFull` (its name too).
	Mode string `json:"mode" env:"MODE"`
	// Client certificate (PEM file); together with keyPath.
	CertPath string `json:"certPath" env:"CERT_PATH"`
	// Key of the client certificate (PEM file).
	KeyPath string `json:"keyPath" env:"KEY_PATH"`
	// Certificate authority of the server (PEM file); needed for verifyCa and verifyFull.
	CAPath string `json:"caPath" env:"CA_PATH"`
	// If true, the host name is not told to the server when TLS begins (SNI).
	DisableSSLSNI bool `json:"disableSSLSNI" env:"DISABLE_SSLSNI"`
}

// ReadReplica is a second database that answers lists of the API, which may then be
// a moment old.
type ReadReplica struct {
	// Host of the replica; empty = none.
	Host string `json:"host" env:"HOST"`
	// Port of the replica.
	Port int `json:"port" env:"PORT"`
	// Percentage of the lists that the replica answers.
	Ratio int `json:"ratio" env:"RATIO"`
}

// StoreCache was 2.10's cache of reads.
type StoreCache struct {
	// If true, 2.10 remembered answers of the store.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// How long it remembered them.
	ExpirationTime time.Duration `json:"expirationTime" env:"EXPIRATION_TIME"`
}

// Upsert says how often the control plane's own read-change-write cycles are tried again.
type Upsert struct {
	// First wait after a conflict; it doubles each time.
	ConflictRetryBaseBackoff time.Duration `json:"conflictRetryBaseBackoff" env:"CONFLICT_RETRY_BASE_BACKOFF"`
	// Most tries.
	ConflictRetryMaxTimes int `json:"conflictRetryMaxTimes" env:"CONFLICT_RETRY_MAX_TIMES"`
	// Random share of the wait, in percent.
	ConflictRetryJitterPercent int `json:"conflictRetryJitterPercent" env:"CONFLICT_RETRY_JITTER_PERCENT"`
}

func defaultStore() Store {
	return Store{
		Type:       StoreSQLite,
		SQLite:     SQLite{Path: "kuma-cp.db"},
		Kubernetes: KubernetesStore{SystemNamespace: "kuma-system"},
		Postgres: Postgres{
			Host: "127.0.0.1", Port: 15432, User: "kuma", Password: "kuma", DBName: "kuma",
			DriverName:                  "pgx",
			ConnectionTimeout:           5,
			MaxConnectionIdleTime:       30 * time.Minute,
			MaxConnectionLifetime:       time.Hour,
			MaxConnectionLifetimeJitter: time.Minute,
			HealthCheckInterval:         30 * time.Second,
			MaxOpenConnections:          50,
			MaxIdleConnections:          50,
			TLS:                         PostgresTLS{Mode: PostgresTLSDisable},
			ReadReplica:                 ReadReplica{Port: 5432, Ratio: 100},
		},
		Cache: StoreCache{Enabled: true, ExpirationTime: time.Second},
		Upsert: Upsert{
			ConflictRetryBaseBackoff:   200 * time.Millisecond,
			ConflictRetryMaxTimes:      10,
			ConflictRetryJitterPercent: 30,
		},
	}
}
