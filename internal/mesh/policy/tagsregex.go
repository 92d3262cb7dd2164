package policy

import (
	"maps"
	"slices"
	"strings"

	"weft/internal/mesh/ir"
)

// TagsRegex matches the header with a client's tags, &k=v1,v2&&k2=v3&, if the
// client has all of the given ones.
func TagsRegex(tags map[string]string) ir.ValueMatch {
	var b strings.Builder
	b.WriteString(".*")
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		b.WriteString("&" + k + "=") // a dot in a key fits any character, as it always did
		if tags[k] == "*" {
			b.WriteString(".*")
			continue
		}
		// A dot is all that is special in a regular expression among the
		// characters that tags may have.
		b.WriteString("[^&]*" + strings.ReplaceAll(tags[k], ".", `\.`) + "[,&].*")
	}
	return ir.ValueMatch{Type: ir.MatchRegex, Name: "x-kuma-tags", Value: b.String()}
}
