package identity

import (
	"maps"
	"slices"
)

// names returns the URIs of a workload's certificate: one of SPIFFE for each
// service, then one for each value of each tag. Permissions compare them.
func names(mesh string, services []string, tags map[string][]string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range services {
		if s != "" && !seen[s] {
			seen[s] = true
			out = append(out, "spiffe://"+mesh+"/"+s)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		for _, v := range slices.Sorted(slices.Values(tags[k])) {
			if v != "" {
				out = append(out, "kuma://"+k+"/"+v)
			}
		}
	}
	return slices.Compact(out)
}
