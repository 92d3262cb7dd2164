package sqlite

import (
	"fmt"

	"weft/internal/cp/store"
)

// maxGroup bounds how many writes share one transaction, and with it how long
// the last to come waits for the others.
const maxGroup = 512

// write is the only writer. It takes all that wait, so that under load many
// writes share one flush to the disk, while a lone one waits for nobody.
func (s *Store) write() {
	defer close(s.done)
	for {
		group, more, closed := s.next()
		switch {
		case len(group) > 0:
			s.commit(group)
		case closed:
			return
		case !more:
			<-s.ping
		}
	}
}

func (s *Store) next() (group []*op, more, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.queue), maxGroup)
	for _, o := range s.queue[:n] {
		if o.state.CompareAndSwap(waiting, taken) {
			group = append(group, o)
		}
	}
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return group, len(s.queue) > 0, s.closed
}

// commit makes a group durable, then visible, then answers.
func (s *Store) commit(group []*op) {
	results, err := s.try(group)
	for i, o := range group {
		if err != nil {
			o.done <- fmt.Errorf("write to sqlite store %q: %w: %w", s.o.Path, store.ErrUnavailable, explain(err))
			continue
		}
		o.done <- results[i]
	}
}

// try returns the results of the writes, or why none of them was done.
func (s *Store) try(group []*op) ([]error, error) {
	if s.file == nil {
		if err := s.reopen(); err != nil {
			return nil, err
		}
		s.o.Log.Info("sqlite store is open again", "path", s.o.Path)
	}
	draft := s.mirror.Draft(s.o.Now())
	results := make([]error, len(group))
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
		return nil, err
	}
	draft.Commit()
	return results, nil
}
