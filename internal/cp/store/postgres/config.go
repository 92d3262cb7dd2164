package postgres

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TLSMode says how the connection is protected.
type TLSMode string

// The modes. What libpq calls them stands behind.
const (
	Disable    TLSMode = "disable"    // disable; the same as ""
	VerifyNone TLSMode = "verifyNone" // require: encrypted, to whomever
	VerifyCA   TLSMode = "verifyCa"   // verify-ca: to a server with a certificate of our CA
	VerifyFull TLSMode = "verifyFull" // verify-full: and with the right host name
)

// Config says how to reach the database: the group store.postgres of the
// configuration. It prints without the password.
type Config struct {
	Host     string
	Port     int
	User     string
	Password string
	DBName   string
	// ConnectionTimeout bounds the making of one connection; 0 = 5 s.
	ConnectionTimeout time.Duration

	MaxConnectionIdleTime       time.Duration // 0 = 30 min
	MaxConnectionLifetime       time.Duration // 0 = 1 h
	MaxConnectionLifetimeJitter time.Duration
	HealthCheckInterval         time.Duration // 0 = 30 s
	MinOpenConnections          int
	MaxOpenConnections          int // 0 = 50
	MaxIdleConnections          int // 0 = as many as may be open
	// MaxListQueryElements bounds how many objects one query asks for by name; 0 = 500.
	MaxListQueryElements int

	TLS         TLS
	ReadReplica ReadReplica
}

// TLS is the group store.postgres.tls.
type TLS struct {
	Mode       TLSMode
	CertPath   string // of the client, with KeyPath
	KeyPath    string
	CAPath     string
	DisableSNI bool
}

// ReadReplica is the group store.postgres.readReplica. Only reads whose caller
// allowed answers of a moment ago (store.AllowStale) go there.
type ReadReplica struct {
	Host  string // empty = there is none
	Port  int
	Ratio int // of 100 such reads
}

// LogValue keeps the password out of logs.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String names the database without the password.
func (c Config) String() string {
	return fmt.Sprintf("postgres %s@%s/%s tls=%s", c.User, net.JoinHostPort(c.Host, strconv.Itoa(c.Port)), c.DBName, c.TLS.Mode)
}

// GoString is String: also %#v must not show the password.
func (c Config) GoString() string { return c.String() }

// Validate returns everything that is wrong with the configuration. The paths
// are relative to store.postgres.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	for _, f := range []struct{ field, value string }{{"host", c.Host}, {"user", c.User}, {"dbName", c.DBName}} {
		if f.value == "" {
			bad(f.field, "must not be empty")
		}
	}
	if c.Password == "" && c.TLS.CertPath == "" {
		bad("password", "must not be empty, unless a client certificate is given")
	}
	if strings.Contains(c.Host, ",") {
		bad("host", "must be one host")
	}
	port := func(field string, n int) {
		if n < 1 || n > math.MaxUint16 {
			bad(field, "must be between 1 and 65535, not %d", n)
		}
	}
	port("port", c.Port)
	for _, f := range []struct {
		field string
		n     int
	}{{"minOpenConnections", c.MinOpenConnections}, {"maxOpenConnections", c.MaxOpenConnections}, {"maxIdleConnections", c.MaxIdleConnections}, {"maxListQueryElements", c.MaxListQueryElements}} {
		if f.n < 0 || f.n > math.MaxInt32 {
			bad(f.field, "must be between 0 and %d, not %d", math.MaxInt32, f.n)
		}
	}
	if open := c.maxOpen(); c.MinOpenConnections > open {
		bad("minOpenConnections", "must not be greater than maxOpenConnections, which is %d", open)
	}
	for _, f := range []struct {
		field string
		d     time.Duration
	}{
		{"connectionTimeout", c.ConnectionTimeout},
		{"maxConnectionIdleTime", c.MaxConnectionIdleTime},
		{"maxConnectionLifetime", c.MaxConnectionLifetime},
		{"maxConnectionLifetimeJitter", c.MaxConnectionLifetimeJitter},
		{"healthCheckInterval", c.HealthCheckInterval},
	} {
		if f.d < 0 {
			bad(f.field, "must not be negative")
		}
	}
	if c.ReadReplica.Host != "" {
		port("readReplica.port", c.ReadReplica.Port)
		if c.ReadReplica.Ratio < 0 || c.ReadReplica.Ratio > 100 {
			bad("readReplica.ratio", "must be between 0 and 100, not %d", c.ReadReplica.Ratio)
		}
	}
	return errors.Join(append(errs, c.TLS.problems()...)...)
}

func (t TLS) problems() []error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("tls.%s: %s", field, fmt.Sprintf(format, args...)))
	}
	switch t.Mode {
	case Disable, VerifyNone, "":
	case VerifyCA, VerifyFull:
		if t.CAPath == "" {
			bad("caPath", "must be given in mode %s", t.Mode)
		}
	default:
		bad("mode", "must be one of %s, %s, %s, %s, not %q", Disable, VerifyNone, VerifyCA, VerifyFull, t.Mode)
	}
	switch {
	case t.CertPath != "" && t.KeyPath == "":
		bad("keyPath", "must be given together with tls.certPath")
	case t.CertPath == "" && t.KeyPath != "":
		bad("certPath", "must be given together with tls.keyPath")
	}
	if t.Mode == Disable || t.Mode == "" {
		return errs
	}
	for _, f := range []struct{ field, path string }{{"certPath", t.CertPath}, {"keyPath", t.KeyPath}, {"caPath", t.CAPath}} {
		if f.path == "" {
			continue
		}
		if _, err := os.Stat(f.path); err != nil {
			bad(f.field, "%v", err)
		}
	}
	return errs
}

func (c Config) maxOpen() int {
	if c.MaxOpenConnections == 0 {
		return 50
	}
	return c.MaxOpenConnections
}

func orElse(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

// pool returns the settings of a pool for the server at host and port.
func (c Config) pool(host string, port int) (*pgxpool.Config, error) {
	security, err := c.TLS.config(host)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", c, err)
	}
	// TLS is set below; without a word about it here the driver would look around.
	q := url.Values{"sslmode": {"disable"}, "application_name": {"kuma-cp"}}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(c.User, c.Password),
		Host: net.JoinHostPort(host, strconv.Itoa(port)), Path: "/" + c.DBName,
	}
	if strings.HasPrefix(host, "/") { // a directory of unix sockets
		q.Set("host", host)
		q.Set("port", strconv.Itoa(port))
		u.Host = ""
	}
	u.RawQuery = q.Encode()
	p, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", c, err)
	}
	p.ConnConfig.TLSConfig, p.ConnConfig.Fallbacks = security, nil
	p.ConnConfig.ConnectTimeout = orElse(c.ConnectionTimeout, 5*time.Second)
	// A server that became read-only has been replaced as the primary: drop the
	// connection, and look again where the host name leads.
	fatal := p.ConnConfig.OnPgError
	p.ConnConfig.OnPgError = func(c *pgconn.PgConn, e *pgconn.PgError) bool {
		return e.Code != readOnly && fatal(c, e)
	}
	// Columns are timestamps without zone, in UTC.
	p.ConnConfig.RuntimeParams["timezone"] = "UTC"
	p.MaxConns, p.MinConns = int32(c.maxOpen()), int32(c.MinOpenConnections)
	p.MaxConnIdleTime = orElse(c.MaxConnectionIdleTime, 30*time.Minute)
	p.MaxConnLifetime = orElse(c.MaxConnectionLifetime, time.Hour)
	p.MaxConnLifetimeJitter = c.MaxConnectionLifetimeJitter
	p.HealthCheckPeriod = orElse(c.HealthCheckInterval, 30*time.Second)
	p.PingTimeout = p.ConnConfig.ConnectTimeout
	return p, nil
}
