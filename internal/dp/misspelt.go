package dp

import (
	"regexp"
	"slices"
	"strings"

	"weft/internal/spelling"
)

// serviceLink matches the variables that Kubernetes adds for each Service of
// a namespace; one called kuma-control-plane makes some that look like ours.
var serviceLink = regexp.MustCompile(`_(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

func isServiceLink(name, value string) bool {
	return serviceLink.MatchString(name) || (strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://"))
}

// Misspelt pairs each unknown KUMA_* variable that looks like one of ours with
// the name that was probably meant.
func Misspelt(options []Option, env map[string]string) map[string]string {
	known := make([]string, 0, len(options))
	for _, o := range options {
		if o.Env != "" {
			known = append(known, o.Env)
		}
	}
	found := map[string]string{}
	for name, value := range env {
		if !strings.HasPrefix(strings.ToUpper(name), "KUMA_") || slices.Contains(known, name) || isServiceLink(name, value) {
			continue
		}
		if meant := nearest(strings.ToUpper(name), known); meant != "" {
			found[name] = meant
		}
	}
	return found
}

// nearest returns the known name that differs from name by few letters, or
// that consists of the same words in another order or without underscores.
func nearest(name string, known []string) string {
	best, bestDistance := "", 1+min(4, len(name)/6)
	for _, k := range known {
		d := spelling.Distance(name, k)
		if sameWords(name, k) {
			d = min(d, 1)
		}
		if d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

func sameWords(a, b string) bool {
	if strings.ReplaceAll(a, "_", "") == strings.ReplaceAll(b, "_", "") {
		return true
	}
	x, y := strings.Split(a, "_"), strings.Split(b, "_")
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}
