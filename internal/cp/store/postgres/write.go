package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

const (
	// committers is how many groups of writes travel at a time. NOTIFY makes the
	// database commit one after the other anyway; the second one is on the way
	// meanwhile.
	committers = 2
	// maxGroup bounds how many writes share one commit.
	maxGroup = 128
	// maxTries is how often a write is tried that was in nobody's way but its own.
	maxTries = 5
)

// write is one statement that returns version, creation_time and
// modification_time of the row that it changed, or no row if it may not.
type write struct {
	sql  string
	args []any
	err  error

	version           int64
	created, modified time.Time
}

// The owner is locked against deletion while something is put below it; without
// this the foreign key would break the whole group of writes. An update that
// keeps its owner needs no lock, which matters for owners of thousands.
const ownerThere = `($7::text IS NULL OR EXISTS (
	SELECT 1 FROM resources o WHERE o.name = $7::text AND o.mesh = $8::text AND o.type = $9::text FOR KEY SHARE))`

const (
	result = ` RETURNING version, creation_time, modification_time`

	// The first version is a random number, so that an update by somebody who
	// saw an object that was deleted and made again in between is a conflict.
	createSQL = `INSERT INTO resources (name, mesh, type, version, spec, labels, status,
	creation_time, modification_time, owner_name, owner_mesh, owner_type)
	SELECT $1::text, $2::text, $3::text, floor(random() * 1073741824)::integer, $4::text, $5::jsonb, $6::jsonb,
	t, t, $7::text, $8::text, $9::text
	FROM (SELECT timezone('utc', clock_timestamp()) AS t) AS clock
	WHERE ` + ownerThere + `
	ON CONFLICT (name, mesh, type) DO NOTHING` + result

	updateSQL = `UPDATE resources SET version = version + 1, spec = $4::text, labels = $5::jsonb, status = $6::jsonb,
	modification_time = timezone('utc', clock_timestamp()), owner_name = $7::text, owner_mesh = $8::text, owner_type = $9::text
	WHERE name = $1 AND mesh = $2 AND type = $3 AND version::bigint = $10::bigint AND (
	(owner_name, owner_mesh, owner_type) IS NOT DISTINCT FROM ($7::text, $8::text, $9::text) OR ` + ownerThere + `)` + result

	deleteSQL = `DELETE FROM resources WHERE name = $1 AND mesh = $2 AND type = $3` + result
)

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, o *model.Object) (*model.Object, error) {
	return s.put(ctx, "create", o, func(ctx context.Context, found, owned bool) error {
		switch {
		case found:
			return store.ErrExists
		case !owned:
			return store.ErrOwnerMissing
		}
		return nil
	})
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, o *model.Object) (*model.Object, error) {
	return s.put(ctx, "update", o, func(ctx context.Context, found, owned bool) error {
		switch {
		case !found:
			return store.ErrNotFound
		case owned:
			return store.ErrConflict
		}
		// With the right version it is the owner that is missing.
		var version int64
		k := o.Key()
		err := s.pool.QueryRow(ctx, "SELECT version FROM resources WHERE name = $1 AND mesh = $2 AND type = $3", k.Name, k.Mesh, k.Kind).Scan(&version)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return store.ErrNotFound
		case err != nil:
			return err
		case uint64(version)+1 != o.Meta.Version:
			return store.ErrConflict
		}
		return store.ErrOwnerMissing
	})
}

// put writes an object. refused says why, if it may not be written; nil means
// that there is no reason any more.
func (s *Store) put(ctx context.Context, verb string, o *model.Object, refused func(ctx context.Context, found, owned bool) error) (*model.Object, error) {
	if err := store.Check(o); err != nil {
		return nil, err
	}
	r, err := store.Encode(s.o.Codec, o)
	if err != nil {
		return nil, err
	}
	w := &write{sql: createSQL, args: putArgs(o, r)}
	if verb == "update" {
		w.sql, w.args = updateSQL, append(w.args, int64(min(o.Meta.Version, 1<<62))-1)
	}
	for range maxTries {
		if err = s.line.Do(ctx, w); !errors.Is(err, errRefused) {
			break
		}
		if err = s.why(ctx, o, refused); err != nil {
			break
		}
		err = store.ErrUnavailable // it changes faster than we can look
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", verb, o.Key(), err)
	}
	c := *o
	setMeta(&c.Meta, w.version, w.created, w.modified)
	return &c, nil
}

func putArgs(o *model.Object, r store.Record) []any {
	status := r.Status
	if status == nil {
		status = []byte("{}")
	}
	k := o.Key()
	args := []any{k.Name, k.Mesh, k.Kind, string(r.Spec), string(r.Labels), string(status), nil, nil, nil}
	if owner, ok := o.Kind.Ownership(o); ok && owner != k {
		args[6], args[7], args[8] = owner.Name, owner.Mesh, owner.Kind
	}
	return args
}

// why finds out why a write was refused.
func (s *Store) why(ctx context.Context, o *model.Object, refused func(ctx context.Context, found, owned bool) error) error {
	return s.retry(ctx, func(ctx context.Context) error {
		const there = "EXISTS (SELECT 1 FROM resources WHERE name = $%d AND mesh = $%d AND type = $%d)"
		k := o.Key()
		owner, owned := o.Kind.Ownership(o)
		owned = owned && owner != k
		var found, ownerFound bool
		err := s.pool.QueryRow(ctx, "SELECT "+fmt.Sprintf(there, 1, 2, 3)+", "+fmt.Sprintf(there, 4, 5, 6),
			k.Name, k.Mesh, k.Kind, owner.Name, owner.Mesh, owner.Kind).Scan(&found, &ownerFound)
		if err != nil {
			return err
		}
		err = refused(ctx, found, !owned || ownerFound)
		if errors.Is(err, store.ErrOwnerMissing) {
			return fmt.Errorf("%w: %s", err, owner)
		}
		return err
	})
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key model.Key) error {
	err := errRefused
	if storable(key.Name) && storable(key.Mesh) && storable(key.Kind) {
		err = s.line.Do(ctx, &write{sql: deleteSQL, args: []any{key.Name, key.Mesh, key.Kind}})
	}
	if errors.Is(err, errRefused) {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// errRefused means that a write changed no row.
var errRefused = errors.New("no row was changed")

// commit sends a group of writes in one round trip, which is one transaction. If
// one of them breaks it, each gets a transaction of its own.
func (s *Store) commit(group []*write) []error {
	out := make([]error, len(group))
	err := s.insist(group)
	for i, w := range group {
		switch {
		case err == nil:
			out[i] = w.err
		case len(group) > 1 && undone(err):
			if out[i] = s.insist(group[i : i+1]); out[i] == nil {
				out[i] = w.err
			}
		default:
			out[i] = err
		}
	}
	return out
}

// insist sends again what met a deadlock or a dead connection.
func (s *Store) insist(group []*write) (err error) {
	for range maxTries {
		if err = s.send(group); err == nil || !again(err) {
			break
		}
	}
	return err
}

func (s *Store) send(group []*write) error {
	return s.bound(context.WithoutCancel(s.ctx), func(ctx context.Context) error {
		var b pgx.Batch
		for _, w := range group {
			b.Queue(w.sql, w.args...)
		}
		results := s.pool.SendBatch(ctx, &b)
		for _, w := range group {
			w.err = nil
			err := results.QueryRow().Scan(&w.version, &w.created, &w.modified)
			if errors.Is(err, pgx.ErrNoRows) {
				w.err = errRefused
			} else if err != nil {
				_ = results.Close() // says the same
				return err
			}
		}
		return results.Close()
	})
}
