package legacy

import (
	"slices"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// index holds the older policies of one kind, and finds those that may select a
// proxy without a look at the others. It is immutable.
type index struct {
	table *model.Table
	hash  model.Hash // of the policies, and when and as what they were made
	// sources and destinations find policies on connections by the tags of an
	// end; subjects find those on proxies.
	sources, destinations, subjects side
}

// side finds rows of a table by tags.
type side struct {
	// any rows have a selector with nothing that could be looked up.
	any   []int
	byTag map[tag][]int
}

type tag struct{ key, value string }

// connected is what the policies on connections have in common.
type connected interface{ ends() *Connections }

func (c *Connections) ends() *Connections { return c }

// newIndex returns the index of a table, prev if that is of the same table.
func newIndex(k *model.Kind, t *model.Table, prev *index) *index {
	if prev != nil && prev.table == t {
		return prev
	}
	x := &index{table: t}
	hs := []model.Hash{t.Hash()}
	for i, row := range t.Rows() {
		hs = append(hs, born(row))
		if spec, ok := row.Spec.(connected); ok {
			x.sources.file(i, spec.ends().Sources)
			x.destinations.file(i, spec.ends().Destinations)
		} else {
			x.subjects.file(i, subjects(k, row.Object))
		}
	}
	x.hash = model.Fold(hs...)
	return x
}

// subjects are the selectors of a policy on proxies.
func subjects(k *model.Kind, o *model.Object) []kinds.Selector {
	if k == TrafficTrace {
		return model.Spec[TrafficTraceSpec](o).Selectors
	}
	return model.Spec[kinds.ProxyTemplateSpec](o).Selectors
}

// file puts a row where a look-up of tags that it may select comes by.
func (s *side) file(row int, selectors []kinds.Selector) {
	anything := len(selectors) == 0
	for i := range selectors {
		key, value := policy.Rarest(selectors[i].Match)
		if key == "" {
			anything = true
			continue
		}
		if s.byTag == nil {
			s.byTag = map[tag][]int{}
		}
		s.byTag[tag{key, value}] = append(s.byTag[tag{key, value}], row)
	}
	if anything {
		s.any = append(s.any, row)
	}
}

// rows returns the rows that may select one of the tag sets, in their order.
func (s *side) rows(tagSets ...map[string]string) []int {
	out := s.any
	for _, set := range tagSets {
		for k, v := range set {
			if found := s.byTag[tag{k, v}]; len(found) > 0 {
				out = append(out[:len(out):len(out)], found...)
			}
		}
	}
	if len(out) > len(s.any) {
		slices.Sort(out)
		out = slices.Compact(out)
	}
	return out
}
