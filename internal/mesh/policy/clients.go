package policy

import (
	"maps"
	"slices"
	"strconv"
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

// maxCombinations bounds what inspection spells out: the number of rules grows
// exponentially with the number of tags that items speak of.
const maxCombinations = 4096

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
// all ways to have or not to have their tags. ok is false if there are too many.
func combinations(subs []subset) (all [][]TagMatch, ok bool) {
	groups, ok := cliques(subs)
	if !ok {
		return nil, false
	}
	for _, group := range groups {
		tags := subset{} // of one key there is one value, else it were no group
		for _, i := range group {
			maps.Copy(tags, subs[i])
		}
		if len(tags) > 12 || len(all)+1<<len(tags) > maxCombinations {
			return nil, false
		}
		combos := [][]TagMatch{nil}
		for _, k := range slices.Sorted(maps.Keys(tags)) {
			combos = extend(combos, k, tags[k])
		}
		all = append(all, combos...)
	}
	return all, true
}

// extend adds the tag, and its negation, to each combination.
func extend(combos [][]TagMatch, key, value string) [][]TagMatch {
	var out [][]TagMatch
	for _, not := range []bool{false, true} {
		for _, c := range combos {
			out = append(out, append(slices.Clone(c), TagMatch{Key: key, Value: value, Not: not}))
		}
	}
	return out
}

// cliques returns the largest groups of subsets of which every two can hold for
// one client, as lists of ascending indexes. ok is false if there are too many.
func cliques(subs []subset) (groups [][]int, ok bool) {
	var nodes []int // distinct subsets
	seen := make(map[string]bool, len(subs))
	for i, s := range subs {
		if k := tagsKey(matchers(s)); !seen[k] {
			seen[k] = true
			nodes = append(nodes, i)
		}
	}
	g := graph{subs: subs}
	g.grow(nil, nodes, nil)
	if g.tooMuch() {
		return nil, false
	}
	slices.SortFunc(g.found, func(a, b []int) int { return strings.Compare(joinInts(b), joinInts(a)) })
	return g.found, true
}

func joinInts(list []int) string {
	var b strings.Builder
	for _, n := range list {
		b.WriteString(strconv.Itoa(n))
		b.WriteByte(',')
	}
	return b.String()
}

type graph struct {
	subs  []subset
	found [][]int
	steps int // comparisons of two subsets
}

// maxSteps bounds the search, a second or two: among thousands of subsets that go
// together it would take hours to find the first group.
const maxSteps = 40_000_000

func (g *graph) tooMuch() bool { return len(g.found) > maxCombinations || g.steps > maxSteps }

// grow is the algorithm of Bron and Kerbosch with a pivot: in is a clique, may
// are the nodes that can extend it, not those that were tried before.
func (g *graph) grow(in, may, not []int) {
	if g.tooMuch() {
		return
	}
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
			if g.tooMuch() {
				return best
			}
		}
	}
	return best
}

// near returns the nodes of list that have an edge to n.
func (g *graph) near(list []int, n int) []int {
	g.steps += len(list)
	var out []int
	for _, x := range list {
		if x != n && g.subs[x].intersects(g.subs[n]) {
			out = append(out, x)
		}
	}
	return out
}
