package sqlite

import (
	"fmt"

	"weft/internal/cp/store"
)

// maxGroup bounds how many writes share one transaction, and with it how long
// the last to come waits for the others.
const maxGroup = 512

// commit makes a group of writes durable, then visible.
func (s *Store) commit(group []op) []error {
	results, err := s.try(group)
	if err != nil {
		err = fmt.Errorf("write to sqlite store %q: %w: %w", s.o.Path, store.ErrUnavailable, explain(err))
		for i := range results {
			results[i] = err
		}
	}
	return results
}

// try returns the results of the writes, or why none of them was done.
func (s *Store) try(group []op) ([]error, error) {
	results := make([]error, len(group))
	if s.file == nil {
		if err := s.reopen(); err != nil {
			return results, err
		}
		s.o.Log.Info("sqlite store is open again", "path", s.o.Path)
	}
	draft := s.mirror.Draft(s.o.Now())
	var rows []row
	for i, o := range group {
		before := len(draft.Changes())
		results[i] = o.apply(draft)
		for _, c := range draft.Changes()[before:] {
			rows = append(rows, rowOf(c, o.record))
		}
	}
	if len(rows) == 0 {
		return results, nil
	}
	known, err := s.file.write(rows)
	if err != nil {
		s.o.Log.Error("writing to the sqlite store broke", "path", s.o.Path, "error", err)
		if !known {
			// Whether the disk has it can be told only by reading it again.
			_ = s.file.close() // the write error says more
			s.file = nil
		}
		return results, err
	}
	draft.Commit()
	return results, nil
}
