package loader

import (
	"slices"
	"strings"
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
		if d := distance(strings.ToLower(name), strings.ToLower(k), least); d < least {
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

// distance counts the letters to insert, drop, replace or swap with the
// neighbour to get from a to b. It returns most or more as soon as it is sure.
func distance(a, b string, most int) int {
	if len(a)-len(b) >= most || len(b)-len(a) >= most {
		return most
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		if slices.Min(cur) >= most {
			return most
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
