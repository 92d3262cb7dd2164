package manifest

import (
	"strconv"
	"strings"
)

// A canonical path spells every key as ["key"] and every index as [0], so that
// it does not matter whether a key is a field of a struct or a key of a map.

func keyPath(path, key string) string    { return path + "[" + strconv.Quote(key) + "]" }
func itemPath(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// canonical joins segments, which are already in brackets.
func canonical(segs []string) string { return strings.Join(segs, "") }

// segments takes a path of violations apart: a.b["c"][0] → ["a"] ["b"] ["c"] [0].
func segments(path string) []string {
	var out []string
	for path != "" {
		switch path[0] {
		case '.':
			path = path[1:]
		case '[':
			end := closing(path)
			out = append(out, path[:end])
			path = path[end:]
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			out = append(out, keyPath("", path[:end]))
			path = path[end:]
		}
	}
	return out
}

// closing returns the position after the bracket that ends the segment at the
// start of path; brackets inside quotes do not count.
func closing(path string) int {
	quoted := false
	for i := 1; i < len(path); i++ {
		switch {
		case path[i] == '\\' && quoted:
			i++
		case path[i] == '"':
			quoted = !quoted
		case path[i] == ']' && !quoted:
			return i + 1
		}
	}
	return len(path)
}
