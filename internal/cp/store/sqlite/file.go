package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/zeebo/xxh3"
	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// file is the open database. It has one connection, which one goroutine uses.
type file struct {
	ctx      context.Context //nolint:containedctx // because it never ends: statements are not to be interrupted
	db       *sql.DB
	conn     *sql.Conn
	put, del *sql.Stmt
}

// row is an object as the file keeps it.
type row struct {
	key               model.Key
	gone              bool
	version           uint64
	created, modified time.Time
	owner             model.Key // zero = none
	record            store.Record
}

func rowOf(c store.Change, r store.Record) row {
	if c.Gone {
		return row{key: c.Key, gone: true}
	}
	m := c.Object.Meta
	return row{key: c.Key, version: m.Version, created: m.Created, modified: m.Modified, owner: c.Owner, record: r}
}

// sum is kept with a row and compared at load, since SQLite's own check finds
// broken structure but not a flipped bit in a text. Setting the column to NULL
// by hand switches the comparison off for a row.
func (r row) sum() int64 {
	h := xxh3.New()
	var n [8]byte
	num := func(v uint64) {
		binary.LittleEndian.PutUint64(n[:], v)
		_, _ = h.Write(n[:]) // hashes do not fail
	}
	text := func(b []byte) {
		num(uint64(len(b)))
		_, _ = h.Write(b)
	}
	for _, s := range []string{r.key.Kind, r.key.Mesh, r.key.Name, r.owner.Kind, r.owner.Mesh, r.owner.Name} {
		text([]byte(s))
	}
	num(r.version)
	num(uint64(r.created.UnixMicro()))
	num(uint64(r.modified.UnixMicro()))
	text(r.record.Labels)
	text(r.record.Spec)
	text(r.record.Status)
	return int64(h.Sum64())
}

// openFile opens the database and brings its schema up to date.
func openFile(ctx context.Context, path string, lockWait time.Duration, log *slog.Logger) (*file, error) {
	if err := prepare(path, log); err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: "mode=rw"}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	f := &file{ctx: ctx, db: db}
	if err := f.setUp(lockWait); err != nil {
		_ = db.Close() // the first error says more
		return nil, explain(err)
	}
	return f, nil
}

// prepare makes the file readable for its owner only: it holds secrets. The file
// must not be opened and closed here, which would drop the locks of a Store that
// this process has on it already.
func prepare(path string, log *slog.Logger) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeFile(path)
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("it is a directory: give the path of a file")
	}
	if info.Mode().Perm()&0o077 != 0 {
		log.Warn("sqlite file was open to others, its mode is now 0600", "path", path, "mode", info.Mode().Perm().String())
		return os.Chmod(path, 0o600)
	}
	return nil
}

func makeFile(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync() // the name must survive a power cut too
}

func (f *file) setUp(lockWait time.Duration) (err error) {
	if f.conn, err = f.db.Conn(f.ctx); err != nil {
		return err
	}
	for _, pragma := range []string{
		fmt.Sprintf("busy_timeout = %d", lockWait.Milliseconds()),
		"locking_mode = EXCLUSIVE", // before WAL: a second process is refused, and no shared memory is needed
		"trusted_schema = OFF",
		"cell_size_check = ON",
		"secure_delete = ON", // nothing is left of what was deleted, or encrypted since
		"journal_mode = WAL",
		"synchronous = FULL", // flush at every commit
		"journal_size_limit = 67108864",
		"temp_store = MEMORY",
	} {
		if err := f.exec("PRAGMA " + pragma); err != nil {
			return err
		}
	}
	if err := f.migrate(); err != nil {
		return err
	}
	if f.put, err = f.conn.PrepareContext(f.ctx, putSQL); err == nil {
		f.del, err = f.conn.PrepareContext(f.ctx, delSQL)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err) // the table is not what its version says
	}
	return nil
}

func (f *file) exec(query string) error {
	_, err := f.conn.ExecContext(f.ctx, query)
	return err
}

func (f *file) number(query string) (n int64, err error) {
	err = f.conn.QueryRowContext(f.ctx, query).Scan(&n)
	return n, err
}

const (
	putSQL = `INSERT OR REPLACE INTO objects
	(kind, mesh, name, version, created, modified, owner_kind, owner_mesh, owner_name, labels, spec, status, sum)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	delSQL = `DELETE FROM objects WHERE kind = ? AND mesh = ? AND name = ?`
	allSQL = `SELECT kind, mesh, name, version, created, modified, owner_kind, owner_mesh, owner_name, labels, spec, status, sum
	FROM objects`
)

// write does all rows in one transaction. If it breaks, known tells whether the
// connection still works and nothing was kept.
func (f *file) write(rows []row) (known bool, err error) {
	if err := f.exec("BEGIN IMMEDIATE"); err != nil {
		return false, err
	}
	for _, r := range rows {
		if err := f.writeRow(r); err != nil {
			return f.exec("ROLLBACK") == nil, err
		}
	}
	if err := f.exec("COMMIT"); err != nil {
		_ = f.exec("ROLLBACK") // may be rolled back already
		return false, err
	}
	return true, nil
}

func (f *file) writeRow(r row) error {
	if r.gone {
		_, err := f.del.ExecContext(f.ctx, r.key.Kind, r.key.Mesh, r.key.Name)
		return err
	}
	_, err := f.put.ExecContext(f.ctx, r.key.Kind, r.key.Mesh, r.key.Name,
		int64(r.version), r.created.UnixMicro(), r.modified.UnixMicro(),
		r.owner.Kind, r.owner.Mesh, r.owner.Name,
		string(r.record.Labels), string(r.record.Spec), string(r.record.Status), r.sum())
	return err
}

// each calls fn for every row.
func (f *file) each(fn func(row) error) error {
	rows, err := f.conn.QueryContext(f.ctx, allSQL)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		var version, created, modified int64
		var sum sql.NullInt64
		err := rows.Scan(&r.key.Kind, &r.key.Mesh, &r.key.Name, &version, &created, &modified,
			&r.owner.Kind, &r.owner.Mesh, &r.owner.Name, &r.record.Labels, &r.record.Spec, &r.record.Status, &sum)
		if err != nil {
			return err
		}
		r.version, r.created, r.modified = uint64(version), time.UnixMicro(created).UTC(), time.UnixMicro(modified).UTC()
		if sum.Valid && sum.Int64 != r.sum() {
			return fmt.Errorf("%w: the checksum of %s does not match", errDamaged, r.key)
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (f *file) close() error {
	_ = f.put.Close() // closed with the connection in any case
	_ = f.del.Close()
	return errors.Join(f.conn.Close(), f.db.Close())
}

// Errors of opening that tell what to do.
var (
	errDamaged = errors.New("the file is damaged: restore it from a backup, or move it away to start with an empty store")
	errForeign = errors.New("the file is not a store of kuma-cp: give another path")
	errInUse   = errors.New("the file is in use by another process: stop that one, or give this one its own file")
)

// explain adds to SQLite's errors what they mean here.
func explain(err error) error {
	var e *driver.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case codes.SQLITE_BUSY, codes.SQLITE_LOCKED:
		return fmt.Errorf("%w (%w)", errInUse, err)
	case codes.SQLITE_CORRUPT:
		return fmt.Errorf("%w (%w)", errDamaged, err)
	case codes.SQLITE_NOTADB:
		return fmt.Errorf("%w (%w)", errForeign, err)
	case codes.SQLITE_FULL:
		return fmt.Errorf("the disk is full: make room (%w)", err)
	case codes.SQLITE_CANTOPEN, codes.SQLITE_READONLY, codes.SQLITE_PERM:
		return fmt.Errorf("the file and its directory must be writable for kuma-cp (%w)", err)
	}
	return err
}
