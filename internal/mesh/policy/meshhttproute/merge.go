package meshhttproute

import (
	"weft/internal/mesh/policy"
)

// merge merges by the rules' matches: rules of stronger policies come first, and
// of rules with equal matches the stronger fills in what it lacks from the
// weaker. Within one policy the earlier rule is the stronger one.
func merge(cs []policy.Contribution[Conf]) *Conf {
	out := &Conf{}
	at := map[string]int{}
	for i := len(cs) - 1; i >= 0; i-- {
		from := policy.SourceOf(cs[i].Object)
		for _, r := range cs[i].Conf.Rules {
			r.backends, r.filters = from, from
			key := HashMatches(r.Matches)
			j, known := at[key]
			if !known {
				at[key] = len(out.Rules)
				out.Rules = append(out.Rules, r)
				continue
			}
			strong := &out.Rules[j]
			if strong.Default.Filters == nil {
				strong.Default.Filters, strong.filters = r.Default.Filters, from
			}
			if strong.Default.BackendRefs == nil {
				strong.Default.BackendRefs, strong.backends = r.Default.BackendRefs, from
			}
		}
	}
	return out
}
