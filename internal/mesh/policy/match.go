package policy

import "weft/internal/mesh/model"

// Match returns the policies that select a proxy. Who matches many proxies of a
// mesh makes the Indexes once and calls their Match.
func Match(ps []*Policy, f *Facts, tables model.Tables) *Matched {
	return NewIndexes(ps, f.Mesh, tables, nil).Match(f)
}
