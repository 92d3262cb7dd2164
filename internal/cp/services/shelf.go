package services

import (
	"maps"
	"time"

	"weft/internal/mesh/model"
)

// shelf follows the objects of one kind in one mesh. What the task wrote itself
// counts at once, also while the snapshots do not show it yet.
type shelf struct {
	table   *model.Table
	objects map[string]*model.Object
	own     map[string]written
}

// written is an own write that snapshots may not show yet.
type written struct {
	over  uint64 // version of the object that it took the place of, 0 = there was none
	until time.Time
}

// patience is how long an own write counts that no snapshot shows: somebody may
// have deleted the object before one was made.
const patience = 5 * time.Second

func newShelf() *shelf {
	return &shelf{table: model.EmptyTable, objects: map[string]*model.Object{}, own: map[string]written{}}
}

// alteration is an object before and after; nil = was not, or is no more.
type alteration struct{ old, now *model.Object }

// name returns the name of the object.
func (a alteration) name() string {
	if a.now != nil {
		return a.now.Meta.Name
	}
	return a.old.Meta.Name
}

// renamed tells whether anything changed that hostnames are made of.
func (a alteration) renamed() bool {
	return a.old == nil || a.now == nil || !a.old.Meta.Created.Equal(a.now.Meta.Created) ||
		!maps.Equal(a.old.Meta.Labels, a.now.Meta.Labels)
}

// follow moves to a newer table and returns what is different.
func (s *shelf) follow(t *model.Table, now time.Time) []alteration {
	if t == s.table && len(s.own) == 0 {
		return nil
	}
	s.table = t
	var out []alteration
	seen := make(map[string]bool, t.Len())
	for _, row := range t.Rows() {
		name := row.Meta.Name
		if w, mine := s.own[name]; mine {
			if row.Meta.Version == w.over && now.Before(w.until) {
				seen[name] = s.objects[name] != nil
				continue
			}
			delete(s.own, name)
		}
		seen[name] = true
		if old := s.objects[name]; old != row.Object {
			s.objects[name] = row.Object
			if old == nil || old.Meta.Version != row.Meta.Version {
				out = append(out, alteration{old, row.Object})
			}
		}
	}
	for name, old := range s.objects {
		if seen[name] {
			continue
		}
		if w, mine := s.own[name]; mine && w.over == 0 && now.Before(w.until) {
			continue // created, and not in a snapshot yet
		}
		delete(s.own, name)
		delete(s.objects, name)
		out = append(out, alteration{old: old})
	}
	return out
}

// wrote notes an own write: prior became stored (nil = deleted).
func (s *shelf) wrote(prior, stored *model.Object, now time.Time) {
	w := written{until: now.Add(patience)}
	name := ""
	if prior != nil {
		w.over, name = prior.Meta.Version, prior.Meta.Name
	}
	if stored == nil {
		delete(s.objects, name)
	} else {
		name = stored.Meta.Name
		s.objects[name] = stored
	}
	s.own[name] = w
}
