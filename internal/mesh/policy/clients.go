package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"weft/internal/mesh/model"
)

// subset is the set of clients or destinations that an item selects by tags.
type subset map[string]string

// subsetOf returns the subset of an item; ok is false for kinds that have none.
func subsetOf(t TargetRef) (subset, bool) {
	switch t.Kind {
	case RefMesh:
		return subset{}, true
	case RefMeshSubset:
		return t.Tags, true
	case RefMeshService:
		return subset{model.TagService: t.Name}, true
	case RefMeshServiceSubset:
		s := subset{model.TagService: t.Name}
		for k, v := range t.Tags {
			s[k] = v
		}
		return s, true
	}
	return nil, false
}

// intersects tells whether one client can be in both subsets.
func (s subset) intersects(o subset) bool {
	for k, v := range s {
		if w, ok := o[k]; ok && v != w {
			return false
		}
	}
	return true
}

// contains tells whether all clients with these tags are in the subset.
func (s subset) contains(tags []TagMatch) bool {
	for k, v := range s {
		found := false
		for _, t := range tags {
			found = found || (t.Key == k && !t.Not && t.Value == v)
		}
		if !found {
			return false
		}
	}
	return true
}

// clientRules partitions clients by the tags that the items speak of, so that
// one rule holds for each client (policies.md 1.8). The refs are in ascending
// precedence.
func clientRules(p *Policy, refs []ref) []clientRule {
	var subs []subset // parallel to used
	var used []ref
	for _, r := range refs {
		if s, ok := subsetOf(r.item().ref); ok {
			subs, used = append(subs, s), append(used, r)
		}
	}
	var out []clientRule
	seen := map[string]bool{}
	for _, tags := range combinations(subs) {
		k := tagsKey(tags)
		if seen[k] {
			continue
		}
		seen[k] = true
		var in []ref
		for i, s := range subs {
			if s.contains(tags) {
				in = append(in, used[i])
			}
		}
		if len(in) == 0 {
			continue
		}
		m := mergeRefs(p, in)
		out = append(out, clientRule{tags: tags, conf: m.conf, origins: m.origins})
	}
	slices.SortStableFunc(out, func(a, b clientRule) int { return positives(b.tags) - positives(a.tags) })
	return out
}

func positives(tags []TagMatch) int {
	n := 0
	for _, t := range tags {
		if !t.Not {
			n++
		}
	}
	return n
}

func tagsKey(tags []TagMatch) string {
	var b strings.Builder
	for _, t := range tags {
		b.WriteString(t.Key)
		b.WriteByte(0)
		b.WriteString(t.Value)
		if t.Not {
			b.WriteByte(1)
		}
		b.WriteByte(0)
	}
	return b.String()
}

// combinations returns, for each group of subsets that can hold for one client,
// all ways to have or not to have their tags.
func combinations(subs []subset) [][]TagMatch {
	var out [][]TagMatch
	for _, group := range cliques(subs) {
		values := map[string][]string{}
		for _, i := range group {
			for k, v := range subs[i] {
				if !slices.Contains(values[k], v) {
					values[k] = append(values[k], v)
				}
			}
		}
		combos := [][]TagMatch{nil}
		for _, k := range slices.Sorted(maps.Keys(values)) {
			slices.Sort(values[k])
			combos = extend(combos, k, values[k])
		}
		out = append(out, combos...)
	}
	return out
}

// extend adds to each combination each of the values, and none of them.
func extend(combos [][]TagMatch, key string, values []string) [][]TagMatch {
	var out [][]TagMatch
	for _, c := range combos {
		for _, v := range values {
			out = append(out, append(slices.Clone(c), TagMatch{Key: key, Value: v}))
		}
		no := slices.Clone(c)
		for _, v := range values {
			no = append(no, TagMatch{Key: key, Value: v, Not: true})
		}
		out = append(out, no)
	}
	return out
}

// cliques returns the largest groups of subsets of which every two can hold for
// one client, as lists of ascending indexes.
func cliques(subs []subset) [][]int {
	var nodes []int // distinct subsets
	for i, s := range subs {
		dup := false
		for _, j := range nodes {
			dup = dup || maps.Equal(subs[j], s)
		}
		if !dup {
			nodes = append(nodes, i)
		}
	}
	g := graph{subs: subs}
	g.grow(nil, nodes, nil)
	slices.SortFunc(g.found, func(a, b []int) int { return -compareInts(a, b) })
	return g.found
}

func compareInts(a, b []int) int { return slices.CompareFunc(a, b, cmp.Compare[int]) }

type graph struct {
	subs  []subset
	found [][]int
}

// grow is the algorithm of Bron and Kerbosch with a pivot: in is a clique, may
// are the nodes that can extend it, not those that were tried before.
func (g *graph) grow(in, may, not []int) {
	if len(may) == 0 {
		if len(not) == 0 {
			c := slices.Clone(in)
			slices.Sort(c)
			g.found = append(g.found, c)
		}
		return
	}
	pivot := g.pivot(may, not)
	for _, n := range slices.Clone(may) {
		if n != pivot && g.subs[pivot].intersects(g.subs[n]) {
			continue
		}
		g.grow(append(slices.Clone(in), n), g.near(may, n), g.near(not, n))
		may = slices.DeleteFunc(slices.Clone(may), func(x int) bool { return x == n })
		not = append(slices.Clone(not), n)
	}
}

func (g *graph) pivot(may, not []int) int {
	best, most := -1, -1
	for _, list := range [][]int{may, not} {
		for _, n := range list {
			if c := len(g.near(may, n)); c > most {
				best, most = n, c
			}
		}
	}
	return best
}

// near returns the nodes of list that have an edge to n.
func (g *graph) near(list []int, n int) []int {
	var out []int
	for _, x := range list {
		if x != n && g.subs[x].intersects(g.subs[n]) {
			out = append(out, x)
		}
	}
	return out
}
