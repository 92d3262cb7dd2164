package sqlite

import (
	"errors"
	"fmt"
)

// applicationID marks the file as ours in its header ("weft").
const applicationID = 0x77656674

// migrations lead from one schema version to the next; PRAGMA user_version
// counts those that were done. Never change one, add another.
var migrations = []string{
	// Times are microseconds since 1970 in UTC; an object without owner has ''
	// three times; sum is explained at row.sum.
	`CREATE TABLE objects (
		kind       TEXT    NOT NULL,
		mesh       TEXT    NOT NULL,
		name       TEXT    NOT NULL,
		version    INTEGER NOT NULL,
		created    INTEGER NOT NULL,
		modified   INTEGER NOT NULL,
		owner_kind TEXT    NOT NULL,
		owner_mesh TEXT    NOT NULL,
		owner_name TEXT    NOT NULL,
		labels     TEXT    NOT NULL,
		spec       TEXT    NOT NULL,
		status     TEXT    NOT NULL,
		sum        INTEGER,
		PRIMARY KEY (kind, mesh, name)
	) STRICT`,
}

// migrate checks the file and brings its schema up to date.
func (f *file) migrate() error {
	id, err := f.number("PRAGMA application_id")
	if err != nil {
		return err
	}
	version, err := f.number("PRAGMA user_version")
	if err != nil {
		return err
	}
	tables, err := f.number("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return err
	}
	switch empty := id == 0 && version == 0 && tables == 0; {
	case !empty && id != applicationID:
		return errForeign
	case version > int64(len(migrations)):
		return fmt.Errorf("the file was written by a newer version: its schema is %d, this version knows %d; run the newer version, or give another path", version, len(migrations))
	case !empty && version < 1:
		return fmt.Errorf("%w (schema version %d)", errDamaged, version)
	case !empty:
		if err := f.check(); err != nil {
			return err
		}
	}
	// Also when there is nothing to do: it takes the lock now.
	if err := f.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := f.advance(version); err != nil {
		return errors.Join(err, f.exec("ROLLBACK"))
	}
	return f.exec("COMMIT")
}

func (f *file) advance(version int64) error {
	if version == int64(len(migrations)) {
		return nil
	}
	for _, m := range migrations[version:] {
		if err := f.exec(m); err != nil {
			return err
		}
	}
	if err := f.exec(fmt.Sprintf("PRAGMA user_version = %d", len(migrations))); err != nil {
		return err
	}
	return f.exec(fmt.Sprintf("PRAGMA application_id = %d", applicationID))
}

// check looks for damage of the file's structure.
func (f *file) check() error {
	var result string
	if err := f.conn.QueryRowContext(f.ctx, "PRAGMA integrity_check(1)").Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return fmt.Errorf("%w (%s)", errDamaged, result)
	}
	return nil
}
