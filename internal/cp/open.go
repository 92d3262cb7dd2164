package cp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"weft/internal/config"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/cp/store/postgres"
	"weft/internal/cp/store/sealed"
	"weft/internal/cp/store/sqlite"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// openStore opens the store that the settings name, with the elector that goes
// with it: control planes that share a database elect a leader, one that has
// its data for itself always leads.
func (p *parts) openStore(ctx context.Context, log *slog.Logger) (store.Store, store.Elector, error) {
	c, codec := p.Config, p.codec
	alone := store.NewElector(store.Alone, log)
	switch c.Store.Type {
	case config.StoreMemory:
		return memory.New(), alone, nil
	case config.StoreSQLite:
		s, err := sqlite.Open(ctx, sqlite.Options{Path: c.Store.SQLite.File(c.General.WorkDir), Kinds: p.set.Kind, Codec: codec, Log: log})
		if err != nil {
			return nil, nil, err
		}
		if err := readable(ctx, s, codec); err != nil {
			return nil, nil, errors.Join(err, s.Close())
		}
		return s, alone, nil
	case config.StorePostgres:
		s, err := postgres.Open(ctx, postgres.Options{Config: postgresConfig(c.Store.Postgres), Kinds: p.set.Kind, Codec: codec, Log: log})
		if err != nil {
			return nil, nil, err
		}
		if err := readable(ctx, s, codec); err != nil {
			return nil, nil, errors.Join(err, s.Close())
		}
		e, err := s.NewElector(postgres.Election{Owner: p.instance})
		if err == nil {
			err = p.metrics.Register(s.Collector())
		}
		if err != nil {
			return nil, nil, errors.Join(err, s.Close())
		}
		return s, e, nil
	}
	return nil, nil, fmt.Errorf("store.type %q cannot be used: kuma-cp does not run on Kubernetes yet; use environment universal with store sqlite, postgres or memory", c.Store.Type)
}

// newCodec returns what encrypts secrets with the keys of the settings.
func newCodec(e config.StoreEncryption) (*sealed.Codec, error) {
	text, from := []byte(e.Keys), "store.encryption.keys"
	if e.KeyFile != "" {
		var err error
		if text, err = os.ReadFile(e.KeyFile); err != nil {
			return nil, fmt.Errorf("store.encryption.keyFile: %w", err)
		}
		from = "store.encryption.keyFile " + e.KeyFile
	}
	keys, err := sealed.ParseKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	if len(keys) == 0 && (e.KeyFile != "" || e.Keys != "") {
		return nil, fmt.Errorf("%s holds no key; write one as <id>:<base64 of 32 bytes>", from)
	}
	return sealed.New(keys), nil
}

// readable returns an error if there are secrets that no key opens: without them
// the control plane would take itself for a new one.
func readable(ctx context.Context, s store.Store, codec *sealed.Codec) error {
	for _, k := range []*model.Kind{kinds.Secret, kinds.GlobalSecret} {
		if _, err := s.List(ctx, k, ""); err != nil {
			return fmt.Errorf("read stored secrets: %w", err)
		}
	}
	return codec.Lost()
}

func postgresConfig(p config.Postgres) postgres.Config {
	return postgres.Config{
		Host: p.Host, Port: p.Port, User: p.User, Password: string(p.Password), DBName: p.DBName,
		ConnectionTimeout:     time.Duration(p.ConnectionTimeout) * time.Second,
		MaxConnectionIdleTime: p.MaxConnectionIdleTime, MaxConnectionLifetime: p.MaxConnectionLifetime,
		MaxConnectionLifetimeJitter: p.MaxConnectionLifetimeJitter, HealthCheckInterval: p.HealthCheckInterval,
		MinOpenConnections: p.MinOpenConnections, MaxOpenConnections: p.MaxOpenConnections,
		MaxIdleConnections: p.MaxIdleConnections, MaxListQueryElements: p.MaxListQueryElements,
		TLS: postgres.TLS{
			Mode: postgres.TLSMode(p.TLS.Mode), CertPath: p.TLS.CertPath, KeyPath: p.TLS.KeyPath,
			CAPath: p.TLS.CAPath, DisableSNI: p.TLS.DisableSSLSNI,
		},
		ReadReplica: postgres.ReadReplica{Host: p.ReadReplica.Host, Port: p.ReadReplica.Port, Ratio: p.ReadReplica.Ratio},
	}
}

// Migrate brings the database of the settings to the schema of this version
// (kuma-cp migrate up) and returns a sentence about what was done.
func Migrate(ctx context.Context, c *config.Config, version string) (string, error) {
	switch c.Store.Type {
	case config.StorePostgres:
	case config.StoreSQLite:
		return "nothing to do: the sqlite store upgrades its file when it opens it", nil
	default:
		return "", fmt.Errorf("store.type %q has no schema to migrate", c.Store.Type)
	}
	m, err := postgres.Migrate(ctx, postgresConfig(c.Store.Postgres))
	if err != nil {
		return "", err
	}
	if !m.Changed {
		return "DB has already been migrated for Kuma " + version, nil
	}
	return "DB has been migrated for Kuma " + version, nil
}
