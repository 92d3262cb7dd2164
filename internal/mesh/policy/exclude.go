package policy

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"weft/internal/mesh/kinds"
)

// Exclude returns the sets of tags that take clients away from item i: those of
// the stronger items for whose conf beats holds. A client is meant if it has the
// tags of item i and does not have all tags of one of the sets. covered is true
// if no client is left.
//
// This is exact for any items and needs one pass, whereas spelling out all
// combinations of tags that clients may have grows exponentially.
func Exclude[C any](items []ClientItem[C], i int, beats func(c *C) bool) (except []map[string]string, covered bool) {
	own := items[i].Tags
	for _, it := range items[i+1:] {
		if !beats(it.Conf) {
			continue
		}
		if containsAll(own, it.Tags) {
			return nil, true
		}
		if !slices.ContainsFunc(except, func(m map[string]string) bool { return maps.Equal(m, it.Tags) }) {
			except = append(except, it.Tags)
		}
	}
	return except, false
}

// containsAll tells whether tags have all wanted pairs; the value "*" stands for
// any.
func containsAll(tags, want map[string]string) bool {
	for k, v := range want {
		if w, ok := tags[k]; !ok || v != kinds.MatchAll && w != v {
			return false
		}
	}
	return true
}

// BySpecificity returns the indexes of the items, those with more tags first, as
// proxies list them.
func BySpecificity[C any](items []ClientItem[C]) []int {
	out := make([]int, len(items))
	for i := range out {
		out[i] = i
	}
	slices.SortFunc(out, func(a, b int) int {
		return cmp.Or(len(items[b].Tags)-len(items[a].Tags), strings.Compare(strconv.Itoa(b), strconv.Itoa(a)))
	})
	return out
}
