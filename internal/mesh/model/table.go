package model

import (
	"slices"
	"strings"
)

// Row is an object in a table, with the hash of what it feeds to proxies.
type Row struct {
	*Object
	Hash Hash
}

// Table is the immutable, sorted list of one kind's objects in one mesh (or of a
// global kind). A change makes a new table; unchanged tables are shared between
// snapshots, so "unchanged" is one comparison of hashes.
type Table struct {
	rows []Row // sorted by name
	hash Hash
}

// EmptyTable is the table without rows.
var EmptyTable = &Table{}

// NewTable returns a table of rows, which it sorts and keeps.
func NewTable(rows []Row) *Table {
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.Meta.Name, b.Meta.Name) })
	return seal(rows)
}

func seal(rows []Row) *Table {
	if len(rows) == 0 {
		return EmptyTable
	}
	var sum Hash
	for _, r := range rows {
		sum = sum.plus(r.Hash)
	}
	return &Table{rows: rows, hash: sum}
}

// Hash covers all rows; equal hashes mean that the tables feed proxies the same.
func (t *Table) Hash() Hash { return t.hash }

// Len returns the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Rows returns the rows sorted by name. The caller must not change the slice.
func (t *Table) Rows() []Row { return t.rows }

// Get returns the row with that name.
func (t *Table) Get(name string) (Row, bool) {
	i, ok := t.find(name)
	if !ok {
		return Row{}, false
	}
	return t.rows[i], true
}

func (t *Table) find(name string) (int, bool) {
	return slices.BinarySearchFunc(t.rows, name, func(r Row, n string) int { return strings.Compare(r.Meta.Name, n) })
}

// With returns a table in which rows are put (added or replaced by name) and
// the names in gone are absent. It sorts put. The cost is one copy of the rows.
func (t *Table) With(put []Row, gone []string) *Table {
	if len(put) == 0 && len(gone) == 0 {
		return t
	}
	slices.SortStableFunc(put, func(a, b Row) int { return strings.Compare(a.Meta.Name, b.Meta.Name) })
	drop := make(map[string]bool, len(gone))
	for _, n := range gone {
		drop[n] = true
	}
	rows := make([]Row, 0, len(t.rows)+len(put))
	i := 0
	for j, r := range put {
		if j+1 < len(put) && put[j+1].Meta.Name == r.Meta.Name {
			continue // the later of two wins
		}
		for ; i < len(t.rows) && t.rows[i].Meta.Name < r.Meta.Name; i++ {
			if !drop[t.rows[i].Meta.Name] {
				rows = append(rows, t.rows[i])
			}
		}
		if i < len(t.rows) && t.rows[i].Meta.Name == r.Meta.Name {
			i++
		}
		rows = append(rows, r)
	}
	for ; i < len(t.rows); i++ {
		if !drop[t.rows[i].Meta.Name] {
			rows = append(rows, t.rows[i])
		}
	}
	return seal(rows)
}

// Diff calls f for every row that is not the same object as in an older table,
// also where only parts changed that do not count in hashes. The object of old
// or now is nil where there is none. It costs one comparison per row.
func (t *Table) Diff(before *Table, f func(old, now Row)) {
	if t == before {
		return
	}
	i := 0
	for _, now := range t.rows {
		for ; i < len(before.rows) && before.rows[i].Meta.Name < now.Meta.Name; i++ {
			f(before.rows[i], Row{})
		}
		if i < len(before.rows) && before.rows[i].Meta.Name == now.Meta.Name {
			if before.rows[i].Object != now.Object {
				f(before.rows[i], now)
			}
			i++
			continue
		}
		f(Row{}, now)
	}
	for ; i < len(before.rows); i++ {
		f(before.rows[i], Row{})
	}
}

// Tables gives access to the tables of one moment; state.Snapshot implements
// it. mesh is ignored for kinds of global scope. A table without rows is
// EmptyTable, never nil.
type Tables interface {
	Table(kind *Kind, mesh string) *Table
}

// ObjectTables are the tables of some objects.
type ObjectTables map[objectTable]*Table

type objectTable struct{ kind, mesh string }

// NewTables returns the tables of objects.
func NewTables(objects ...*Object) ObjectTables {
	rows := map[objectTable][]Row{}
	for _, o := range objects {
		k := objectTable{o.Kind.Name, o.Meta.Mesh}
		rows[k] = append(rows[k], Row{Object: o, Hash: ContentHash(o)})
	}
	t := make(ObjectTables, len(rows))
	for k, r := range rows {
		t[k] = NewTable(r)
	}
	return t
}

// Table implements Tables.
func (t ObjectTables) Table(kind *Kind, mesh string) *Table {
	if kind.Scope == Global {
		mesh = ""
	}
	if x := t[objectTable{kind.Name, mesh}]; x != nil {
		return x
	}
	return EmptyTable
}
