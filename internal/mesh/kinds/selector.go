package kinds

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"weft/internal/mesh/model"
)

// Specificity is how specific a selector is, or several together.
type Specificity struct {
	Tags  int // number of tags
	Exact int // number of tags with another value than *
}

// SpecificityOf returns how specific the tags of a selector are.
func SpecificityOf(match map[string]string) Specificity {
	return Specificity{Tags: len(match), Exact: exact(match)}
}

// Compare is positive if s is the more specific one: more tags, then more exact ones.
func (s Specificity) Compare(o Specificity) int { return cmp.Or(s.Tags-o.Tags, s.Exact-o.Exact) }

// Plus returns the specificity of two selectors together.
func (s Specificity) Plus(o Specificity) Specificity {
	return Specificity{s.Tags + o.Tags, s.Exact + o.Exact}
}

// Matches tells whether the selector selects a set of tags.
func (s *Selector) Matches(tags map[string]string) bool { return MatchTags(s.Match, tags) }

// BestMatch returns how specific the most specific selector is that selects one
// of the tag sets. No selectors select everything, in the least specific way.
func BestMatch(selectors []Selector, tagSets ...map[string]string) (Specificity, bool) {
	if len(selectors) == 0 {
		return Specificity{}, true
	}
	var best Specificity
	found := false
	for i := range selectors {
		if !slices.ContainsFunc(tagSets, selectors[i].Matches) {
			continue
		}
		if s := SpecificityOf(selectors[i].Match); !found || s.Compare(best) > 0 {
			best, found = s, true
		}
	}
	return best, found
}

// CompareMatched orders two objects that match, the winner first: the more
// specific match, then the later creation, then the name.
func CompareMatched(a, b *model.Object, sa, sb Specificity) int {
	return cmp.Or(sb.Compare(sa), b.Meta.Created.Compare(a.Meta.Created), strings.Compare(a.Meta.Name, b.Meta.Name))
}

// MatchRules are the rules for tags of selectors: not empty, "*" allowed, and the
// service tag if it is mandatory.
func MatchRules(service bool) TagRules {
	return TagRules{Selector: true, NotEmpty: true, Service: service}
}

// CheckServiceSelectors adds what is wrong with selectors that may hold nothing
// but the tag kuma.io/service.
func CheckServiceSelectors(list []Selector, v *model.Violations) {
	if len(list) == 0 {
		v.Add("at least one selector is needed")
	}
	for i := range list {
		match, at := list[i].Match, v.At(i, "match")
		if len(match) == 0 {
			at.Add("at least one tag is needed")
			continue
		}
		if _, ok := match[model.TagService]; !ok || len(match) != 1 {
			at.Add("exactly one tag is possible here, and it must be %s", model.TagService)
		}
		MatchRules(false).Check(match, at)
		for _, k := range slices.Sorted(maps.Keys(match)) {
			if k != model.TagService {
				at.At(model.Q(k)).Add("the tag %q is not possible here; remove it", k)
			}
		}
	}
}

func exact(m map[string]string) int {
	n := 0
	for _, v := range m {
		if v != MatchAll {
			n++
		}
	}
	return n
}
