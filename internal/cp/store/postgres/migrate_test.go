package postgres_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"weft/internal/cp/store"
	"weft/internal/cp/store/postgres"
	"weft/internal/cp/store/storetest"
	"weft/internal/mesh/model"
	"weft/internal/testkit/pgtest"
)

func TestMigrate(t *testing.T) {
	d := pgtest.Start(t)
	c := config(d)
	if _, err := postgres.Open(t.Context(), postgres.Options{Config: c, Kinds: storetest.Kinds}); !errors.Is(err, postgres.ErrNotMigrated) ||
		!strings.Contains(err.Error(), `database is not migrated. Run "kuma-cp migrate up"`) {
		t.Fatalf("open before migration: %v", err)
	}
	var changed atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			m, err := postgres.Migrate(t.Context(), c)
			if err != nil {
				t.Error(err)
			}
			if m.Version != postgres.SchemaVersion {
				t.Errorf("version %d", m.Version)
			}
			if m.Changed {
				changed.Add(1)
			}
		})
	}
	wg.Wait()
	if changed.Load() != 1 {
		t.Fatalf("%d of 4 migrations at once changed something, want 1", changed.Load())
	}
	open(t, c)
}

func TestMigrateRefuses(t *testing.T) {
	for _, c := range []struct {
		name, sql, want string
		is              error
	}{
		{"newer", "UPDATE schema_migrations SET version = 1900000000", "Run a newer version", postgres.ErrNewer},
		{"older", "UPDATE schema_migrations SET version = 1589041445", "run the migration of 2.10 first", postgres.ErrNotMigrated},
		{"interrupted", "UPDATE schema_migrations SET dirty = true", "restore the database from a backup", nil},
		{"table of somebody else", "DROP TABLE schema_migrations", "a database of its own", nil},
		{"column missing", "ALTER TABLE resources DROP COLUMN status", "the tables are not those of migration", nil},
		{"table missing", "DROP TABLE locks", "the tables are not those of migration", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := pgtest.Start(t)
			if _, err := postgres.Migrate(t.Context(), config(d)); err != nil {
				t.Fatal(err)
			}
			d.Exec(t, c.sql)
			_, err := postgres.Migrate(t.Context(), config(d))
			_, err2 := postgres.Open(t.Context(), postgres.Options{Config: config(d), Kinds: storetest.Kinds})
			for _, err := range []error{err, err2} {
				if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) || errors.Is(err, store.ErrUnavailable) {
					t.Errorf("got %v, want an error with %q", err, c.want)
				}
			}
		})
	}
}

// taken is a database as version 2.10 leaves it, after the description of its
// schema: its own names for trigger and indexes, and notifications that tell no
// version.
const taken = `
CREATE TABLE resources (
	name varchar(253) NOT NULL, mesh varchar(100) NOT NULL, type varchar(100) NOT NULL, version integer NOT NULL, spec text,
	creation_time timestamp DEFAULT now() NOT NULL, modification_time timestamp DEFAULT now() NOT NULL,
	owner_name varchar(253), owner_mesh varchar(100), owner_type varchar(100),
	labels jsonb DEFAULT '{}', status jsonb DEFAULT '{}' NOT NULL,
	PRIMARY KEY (name, mesh, type),
	FOREIGN KEY (owner_name, owner_mesh, owner_type) REFERENCES resources ON DELETE CASCADE);
CREATE INDEX idx_owner ON resources (owner_name, owner_mesh, owner_type);
CREATE FUNCTION notify_old() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE data json;
BEGIN
	IF TG_OP = 'DELETE' THEN data = row_to_json(OLD); ELSE data = row_to_json(NEW); END IF;
	PERFORM pg_notify('resource_events', json_build_object('action', TG_OP, 'data', json_build_object(
		'name', data->>'name', 'mesh', data->>'mesh', 'type', data->>'type'), 'tenantId', '')::text);
	RETURN NULL;
END $$;
CREATE TRIGGER notify_old AFTER INSERT OR UPDATE OR DELETE ON resources FOR EACH ROW EXECUTE PROCEDURE notify_old();
CREATE TABLE locks (name varchar(255) PRIMARY KEY, record_version_number bigint, data bytea, owner varchar(255));
CREATE SEQUENCE locks_rvn CYCLE OWNED BY locks.record_version_number;
CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL);
INSERT INTO schema_migrations VALUES (1710856785, false);
INSERT INTO resources (name, mesh, type, version, spec, creation_time, modification_time) VALUES
	('m', '', 'Mesh', 0, '{}', '2024-01-02 03:04:05.678901', '2024-01-02 03:04:06'),
	('b', '', 'Loose', 3, '{"count":3,"big":"4611686018427387905"}', '2024-01-02', '2024-01-03'),
	('what', '', 'FromTheFuture', 0, '{"a":1}', '2024-01-02', '2024-01-03'),
	('broken', '', 'Loose', 0, '{"count":"many"}', '2024-01-02', '2024-01-03');
INSERT INTO resources (name, mesh, type, version, spec, owner_name, owner_mesh, owner_type, labels, status) VALUES
	('t', 'm', 'Thing', 0, '{"count":1,"unknown":{}}', 'm', '', 'Mesh', '{"kuma.io/origin":"zone"}', '{"seen":2}'),
	('q', 'm', 'FromTheFuture', 0, '{}', 'm', '', 'Mesh', '{}', '{}');
`

func TestTakeOver(t *testing.T) {
	d := pgtest.Start(t)
	d.Exec(t, taken)
	c := config(d)
	if m, err := postgres.Migrate(t.Context(), c); err != nil || m.Changed {
		t.Fatalf("migrate: %v %v", m, err)
	}
	ctx := t.Context()
	s := open(t, c)
	seen := watch(t, s)

	m, err := s.Get(ctx, storetest.Mesh.Key("", "m"))
	if err != nil || m.Meta.Version != 1 || m.Meta.Created.Format("2006-01-02 15:04:05.999999999 MST") != "2024-01-02 03:04:05.678901 UTC" {
		t.Fatalf("mesh: %+v %v", m, err)
	}
	b, err := s.Get(ctx, storetest.Loose.Key("", "b"))
	if err != nil || *model.Spec[storetest.LooseSpec](b) != (storetest.LooseSpec{Count: 3, Big: 1<<62 + 1}) || b.Meta.Version != 4 {
		t.Fatalf("loose: %+v %v", b, err)
	}
	thing, err := s.Get(ctx, storetest.Thing.Key("m", "t"))
	if err != nil || model.Spec[storetest.ThingSpec](thing).Count != 1 || thing.Label("kuma.io/origin") != "zone" || model.Status[storetest.ThingStatus](thing).Seen != 2 {
		t.Fatalf("thing: %+v %v", thing, err)
	}
	broken := storetest.Loose.Key("", "broken")
	if _, err := s.Get(ctx, broken); !errors.Is(err, store.ErrUnreadable) {
		t.Fatalf("get of a broken row: %v", err)
	}
	if l, err := s.List(ctx, storetest.Loose, ""); err != nil || len(l) != 1 {
		t.Fatalf("list with a broken row: %v %v", l, err)
	}
	seen.until(t, func(now map[model.Key]*model.Object) bool { return len(now) == 3 })

	// Both sides write.
	up := thing.Clone()
	up.Spec = &storetest.ThingSpec{Count: 2}
	if _, err := s.Update(ctx, up); err != nil {
		t.Fatal(err)
	}
	d.Exec(t, `UPDATE resources SET spec = '{"count":4}', version = version + 1 WHERE name = 'b' AND version = 3`)
	d.Exec(t, `INSERT INTO resources (name, mesh, type, version, spec) VALUES ('new', '', 'Loose', 0, '{"count":9}')`)
	d.Exec(t, `UPDATE resources SET spec = '{"count":5}', version = version + 1 WHERE name = 'broken'`)
	seen.until(t, func(now map[model.Key]*model.Object) bool {
		return len(now) == 5 && model.Spec[storetest.ThingSpec](now[thing.Key()]).Count == 2 &&
			model.Spec[storetest.LooseSpec](now[b.Key()]).Count == 4 && now[broken] != nil
	})
	if _, err := s.Update(ctx, b); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("update of what the other side changed: %v", err)
	}
	// What nobody here knows is kept, and goes with its owner.
	count := func(sql string) (n int) {
		if err := d.Connect(t).QueryRow(ctx, sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count("SELECT count(*) FROM resources WHERE type = 'FromTheFuture'"); n != 2 {
		t.Fatalf("%d unknown objects are left, want 2", n)
	}
	if err := s.Delete(ctx, m.Key()); err != nil {
		t.Fatal(err)
	}
	seen.until(t, func(now map[model.Key]*model.Object) bool { return len(now) == 3 })
	if n := count("SELECT count(*) FROM resources WHERE mesh = 'm'"); n != 0 {
		t.Fatalf("%d objects of the mesh outlived it", n)
	}
}
