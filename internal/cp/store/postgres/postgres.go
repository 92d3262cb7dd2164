// Package postgres keeps objects in PostgreSQL, for several control planes on
// one database. Its tables are those of version 2.10, so a database can be taken
// over as it is.
//
// Writes are single statements; those that wait at the same time travel in one
// round trip and share one commit. Reads ask the database. Watches are fed by
// NOTIFY, see follower. All methods are safe for concurrent use.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// Options say how to open a Store.
type Options struct {
	Config Config
	// Kinds returns the kind of that name, nil if there is none. Objects of other
	// kinds stay in the database, unseen.
	Kinds func(name string) *model.Kind
	// Codec encrypts what is kept; nil = store.Plain.
	Codec store.Codec
	// Log is where the store tells what it met; nil = nowhere.
	Log *slog.Logger
	// OperationTimeout bounds every call, so that a database that does not answer
	// holds nobody for ever; 0 = 15 s.
	OperationTimeout time.Duration
	// Reconcile is how often a watching store compares all versions with the
	// database, in case a notification got lost; 0 = 1 min.
	Reconcile time.Duration
}

// Store implements store.Store.
type Store struct {
	o       Options
	pool    *pgxpool.Pool
	replica *pgxpool.Pool // nil = none
	mirror  *store.Mirror // what watchers know; filled from the first Watch on
	line    *store.Line[*write]

	ctx    context.Context //nolint:containedctx // because the store's goroutines live as long as the store
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	following sync.Once
	closing   sync.Once
}

// Open connects to a database that was migrated.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Kinds == nil {
		return nil, errors.New("open postgres store: kinds must be given")
	}
	if o.Codec == nil {
		o.Codec = store.Plain{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OperationTimeout == 0 {
		o.OperationTimeout = 15 * time.Second
	}
	if o.Reconcile == 0 {
		o.Reconcile = time.Minute
	}
	if o.Config.MaxListQueryElements == 0 {
		o.Config.MaxListQueryElements = 500
	}
	s := &Store{o: o, mirror: store.NewMirror(), line: store.NewLine[*write]()}
	if err := s.connect(ctx); err != nil {
		return nil, fmt.Errorf("open store in %s: %w", o.Config, err)
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for range committers {
		s.tasks.Go(func() { s.line.Serve(maxGroup, s.commit) })
	}
	return s, nil
}

func (s *Store) connect(ctx context.Context) error {
	c := s.o.Config
	if err := c.Validate(); err != nil {
		return err
	}
	var err error
	if s.pool, err = newPool(ctx, c, c.Host, c.Port); err != nil {
		return err
	}
	err = s.once(ctx, func(ctx context.Context) error { return checkSchema(ctx, s.pool) })
	if err == nil && c.ReadReplica.Host != "" {
		s.replica, err = newPool(ctx, c, c.ReadReplica.Host, c.ReadReplica.Port)
	}
	if err != nil {
		s.pool.Close()
	}
	return err
}

func newPool(ctx context.Context, c Config, host string, port int) (*pgxpool.Pool, error) {
	pc, err := c.pool(host, port)
	if err != nil {
		return nil, err
	}
	var pool *pgxpool.Pool
	if c.MaxIdleConnections > 0 {
		pc.AfterRelease = func(*pgx.Conn) bool {
			return pool.Stat().IdleConns() < int32(c.MaxIdleConnections)
		}
	}
	pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), pc)
	return pool, err
}

// columns are those of an object, in the order of scan.
const columns = `type, mesh, name, version, creation_time, modification_time,
	coalesce(spec, ''), coalesce(labels, '{}'), status`

// row is an object as the database keeps it.
type row struct {
	key               model.Key
	version           int64
	created, modified time.Time
	record            store.Record
}

func scan(r pgx.CollectableRow) (row, error) {
	var w row
	err := r.Scan(&w.key.Kind, &w.key.Mesh, &w.key.Name, &w.version, &w.created, &w.modified,
		&w.record.Spec, &w.record.Labels, &w.record.Status)
	return w, err
}

// setMeta sets what the database decides. Its versions start anywhere from 0, and
// 0 means "not stored" in an object.
func setMeta(m *model.Meta, version int64, created, modified time.Time) {
	m.Version, m.Created, m.Modified = uint64(version)+1, created.UTC(), modified.UTC()
}

func (s *Store) object(r row) (*model.Object, error) {
	kind := s.o.Kinds(r.key.Kind)
	if kind == nil {
		return nil, fmt.Errorf("%w: its kind %s is not known", store.ErrUnreadable, r.key.Kind)
	}
	o, err := r.record.Decode(s.o.Codec, kind, r.key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUnreadable, err)
	}
	setMeta(&o.Meta, r.version, r.created, r.modified)
	return o, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key model.Key) (*model.Object, error) {
	rows, err := s.read(ctx, "SELECT "+columns+" FROM resources WHERE name = $1 AND mesh = $2 AND type = $3", key.Name, key.Mesh, key.Kind)
	if err == nil && len(rows) == 0 {
		err = store.ErrNotFound
	}
	var o *model.Object
	if err == nil {
		o, err = s.object(rows[0])
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return o, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, kind *model.Kind, mesh string) ([]*model.Object, error) {
	rows, err := s.read(ctx, "SELECT "+columns+" FROM resources WHERE type = $1 AND ($2 = '' OR mesh = $2)", kind.Name, mesh)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", kind.Name, err)
	}
	out := make([]*model.Object, 0, len(rows))
	for _, r := range rows {
		o, err := s.object(r)
		if err != nil {
			s.o.Log.Error("stored object cannot be read, it is left out of a list", "key", r.key.String(), "error", err)
			continue
		}
		out = append(out, o)
	}
	// Here, because the order of the database depends on its locale.
	slices.SortFunc(out, func(a, b *model.Object) int { return a.Key().Compare(b.Key()) })
	return out, nil
}

// read returns the rows of a query from the replica, where the caller allowed
// that and it is its turn, or else from the primary.
func (s *Store) read(ctx context.Context, sql string, args ...any) ([]row, error) {
	for _, a := range args {
		if t, ok := a.(string); ok && !storable(t) {
			return nil, nil // no object can have it, and the database would refuse the question
		}
	}
	if s.replica != nil && store.StaleAllowed(ctx) && rand.IntN(100) < s.o.Config.ReadReplica.Ratio {
		rows, err := s.readFrom(ctx, s.replica, sql, args)
		if err == nil || ctx.Err() != nil {
			return rows, err
		}
		s.o.Log.Warn("read replica does not answer, asking the primary", "error", err)
	}
	var rows []row
	err := s.retry(ctx, func(ctx context.Context) (err error) {
		rows, err = query(ctx, s.pool, sql, args)
		return err
	})
	return rows, err
}

func (s *Store) readFrom(ctx context.Context, pool *pgxpool.Pool, sql string, args []any) (rows []row, err error) {
	err = s.once(ctx, func(ctx context.Context) (err error) {
		rows, err = query(ctx, pool, sql, args)
		return err
	})
	return rows, err
}

func query(ctx context.Context, q querier, sql string, args []any) ([]row, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	return s.once(ctx, s.pool.Ping)
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context) (store.Watch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w, err := s.mirror.Watch()
	if err != nil {
		return nil, err
	}
	s.following.Do(func() {
		f := &follower{s: s, log: s.o.Log}
		s.tasks.Go(func() { f.run(s.ctx) })
	})
	return w, nil
}

// Close implements store.Store. It waits for the writes under way.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.line.Close()
		s.following.Do(func() {}) // too late to start
		s.mirror.Close()
		s.cancel()
		s.tasks.Wait()
		s.pool.Close()
		if s.replica != nil {
			s.replica.Close()
		}
	})
	return nil
}
