package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// SchemaVersion is the migration that the database must be at. It is the last
// one of version 2.10, whose schema is ours: a database can be taken over, and
// given back.
const SchemaVersion = 1710856785

// Errors about the schema that callers branch on.
var (
	ErrNotMigrated = errors.New(`database is not migrated. Run "kuma-cp migrate up" to bring it to the newest schema`)
	ErrNewer       = errors.New("database was migrated by a newer version")
)

// migrationLock serializes migrations ("weft-mig" in ASCII).
const migrationLock = 0x776566742d6d6967

// schema makes everything on an empty database.
const schema = `
CREATE TABLE resources (
	name              varchar(253) NOT NULL,
	mesh              varchar(100) NOT NULL,
	type              varchar(100) NOT NULL,
	version           integer      NOT NULL,
	spec              text,
	creation_time     timestamp    NOT NULL DEFAULT now(),
	modification_time timestamp    NOT NULL DEFAULT now(),
	owner_name        varchar(253),
	owner_mesh        varchar(100),
	owner_type        varchar(100),
	labels            jsonb        DEFAULT '{}'::jsonb,
	status            jsonb        NOT NULL DEFAULT '{}'::jsonb,
	PRIMARY KEY (name, mesh, type),
	FOREIGN KEY (owner_name, owner_mesh, owner_type) REFERENCES resources (name, mesh, type) ON DELETE CASCADE
);
CREATE INDEX resources_owner ON resources (owner_name, owner_mesh, owner_type);

CREATE FUNCTION resources_notify() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
	IF TG_OP = 'DELETE' THEN r := OLD; ELSE r := NEW; END IF;
	PERFORM pg_notify('resource_events', json_build_object(
		'action', TG_OP,
		'data', json_build_object('name', r.name, 'mesh', r.mesh, 'type', r.type),
		'version', r.version)::text);
	RETURN NULL;
END
$$;
CREATE TRIGGER resources_notify AFTER INSERT OR UPDATE OR DELETE ON resources
	FOR EACH ROW EXECUTE FUNCTION resources_notify();

CREATE TABLE locks (
	name                  varchar(255) PRIMARY KEY,
	record_version_number bigint,
	data                  bytea,
	owner                 varchar(255)
);
CREATE SEQUENCE locks_rvn CYCLE;
`

// additions are what we like to have beside the schema of 2.10, which does not
// mind. They must be repeatable.
const additions = `
CREATE INDEX IF NOT EXISTS weft_resources_type ON resources (type, mesh);
`

// Migrated tells what Migrate did.
type Migrated struct {
	Version int64
	// Changed is false if the schema was up to date before.
	Changed bool
}

// Migrate brings the database to SchemaVersion: it makes everything on an empty
// database and recognises one that 2.10 migrated. It may run at several places
// at once.
func Migrate(ctx context.Context, c Config) (Migrated, error) {
	done, err := migrate(ctx, c)
	if err != nil {
		return Migrated{}, fmt.Errorf("migrate %s: %w", c, unavailable(ctx, err))
	}
	return done, nil
}

func migrate(ctx context.Context, c Config) (Migrated, error) {
	if err := c.Validate(); err != nil {
		return Migrated{}, err
	}
	p, err := c.pool(c.Host, c.Port)
	if err != nil {
		return Migrated{}, err
	}
	conn, err := pgx.ConnectConfig(ctx, p.ConnConfig)
	if err != nil {
		return Migrated{}, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing) // everything is committed or given up
	}()
	done := Migrated{Version: SchemaVersion}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
			return err
		}
		switch err := checkSchema(ctx, tx); {
		case errors.Is(err, errEmpty):
			done.Changed = true
			if err := create(ctx, tx); err != nil {
				return err
			}
		case err != nil:
			return err
		}
		_, err := tx.Exec(ctx, additions)
		return err
	})
	return done, err
}

func create(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, schema); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)"); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "INSERT INTO schema_migrations (version, dirty) VALUES ($1, false)", int64(SchemaVersion))
	return err
}

// errEmpty means that nothing was ever migrated here.
var errEmpty = fmt.Errorf("%w", ErrNotMigrated)

// querier is what a pool, a connection and a transaction have in common.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// checkSchema returns nil if the schema is the one that this version works with.
func checkSchema(ctx context.Context, q querier) error {
	var tracked, resources bool
	err := q.QueryRow(ctx, "SELECT to_regclass('schema_migrations') IS NOT NULL, to_regclass('resources') IS NOT NULL").Scan(&tracked, &resources)
	if err != nil {
		return err
	}
	version, dirty := int64(0), false
	if tracked {
		err := q.QueryRow(ctx, "SELECT version, dirty FROM schema_migrations ORDER BY version DESC LIMIT 1").Scan(&version, &dirty)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
	}
	switch {
	case version == 0 && resources:
		return errors.New(`the database has a table "resources" but no record of migrations: give kuma-cp a database of its own`)
	case version == 0:
		return errEmpty
	case version > SchemaVersion:
		return fmt.Errorf("%w: its migration version is %d, this version of kuma-cp knows %d. Run a newer version", ErrNewer, version, SchemaVersion)
	case dirty:
		return fmt.Errorf("migration %d of the database was interrupted: restore the database from a backup", version)
	case version < SchemaVersion:
		return fmt.Errorf("%w. Its migration version is %d, older than the %d of version 2.10: run the migration of 2.10 first", ErrNotMigrated, version, SchemaVersion)
	}
	return checkTables(ctx, q)
}

// checkTables makes sure that the version number tells the truth, so that a
// surprise shows at start and not at the first write.
func checkTables(ctx context.Context, q querier) error {
	for _, sql := range []string{
		"SELECT " + columns + ", owner_name, owner_mesh, owner_type FROM resources LIMIT 0",
		"SELECT name, record_version_number, data, owner FROM locks LIMIT 0",
	} {
		rows, err := q.Query(ctx, sql)
		if err == nil {
			rows.Close()
			err = rows.Err()
		}
		var pg *pgconn.PgError
		if errors.As(err, &pg) && strings.HasPrefix(pg.Code, "42") {
			return fmt.Errorf("the tables are not those of migration %d, restore the database from a backup: %w", SchemaVersion, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
