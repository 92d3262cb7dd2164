package loader

import (
	"strings"

	"weft/internal/spelling"
)

// didYouMean returns "; did you mean X?" or nothing.
func didYouMean(name string, known []string) string {
	best := closest(name, known)
	if best == "" {
		best = withMoreWords(name, known)
	}
	return suggestion(best)
}

func suggestion(name string) string {
	if name == "" {
		return ""
	}
	return "; did you mean " + name + "?"
}

// closest returns the known name with the fewest typing errors, "" if all differ
// in more than a fifth of their letters.
func closest(name string, known []string) string {
	best, least := "", max(1, len(name)/5)+1
	for _, k := range known {
		if len(k)-len(name) >= least || len(name)-len(k) >= least {
			continue // more letters are missing than that
		}
		if d := spelling.Distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// withMoreWords returns the shortest known name that has all words of name and
// more between them: KUMA_POSTGRES_HOST means KUMA_STORE_POSTGRES_HOST.
func withMoreWords(name string, known []string) string {
	best := ""
	for _, k := range known {
		if subsequence(words(name), words(k)) && (best == "" || len(k) < len(best)) {
			best = k
		}
	}
	return best
}

func words(name string) []string {
	return strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '_' || r == '.' })
}

func subsequence(short, long []string) bool {
	if len(short) < 2 { // one word alone says too little
		return false
	}
	for _, w := range long {
		if len(short) > 0 && short[0] == w {
			short = short[1:]
		}
	}
	return len(short) == 0
}
