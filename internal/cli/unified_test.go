package cli

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestUnified applies differences of random texts, as patch does.
func TestUnified(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func() []string {
		out := make([]string, r.IntN(40))
		for i := range out {
			out[i] = string(rune('a' + r.IntN(4)))
		}
		return out
	}
	for range 2000 {
		old := text()
		now := slices.Clone(old)
		for range r.IntN(4) { // mostly equal texts, so that there are several hunks
			at := r.IntN(len(now) + 1)
			now = slices.Insert(now, at, "x")
			if len(now) > 3 && r.IntN(2) == 0 {
				cut := r.IntN(len(now) - 2)
				now = slices.Delete(now, cut, cut+2)
			}
		}
		diff := unified("name", old, now)
		if got := patched(t, old, diff); !slices.Equal(got, now) {
			t.Fatalf("%q to %q:\n%s\ngives %q", old, now, diff, got)
		}
	}
	if d := unified("n", []string{"a"}, []string{"a"}); d != "" {
		t.Errorf("equal texts differ: %q", d)
	}
	long := make([]string, 5000)
	for i := range long {
		long[i] = fmt.Sprint(i)
	}
	other := slices.Clone(long)
	slices.Reverse(other)
	if got := patched(t, long, unified("n", long, other)); !slices.Equal(got, other) {
		t.Error("long texts that have nothing in common are not replaced")
	}
}

func patched(t *testing.T, old []string, diff string) []string {
	t.Helper()
	var out []string
	at := 0
	for _, l := range strings.Split(strings.TrimSuffix(diff, "\n"), "\n") {
		switch {
		case l == "", strings.HasPrefix(l, "---"), strings.HasPrefix(l, "+++"):
		case strings.HasPrefix(l, "@@"):
			var from, count, to, others int
			if _, err := fmt.Sscanf(l, "@@ -%d,%d +%d,%d @@", &from, &count, &to, &others); err != nil {
				t.Fatal(err)
			}
			if count > 0 {
				from--
			}
			out = append(out, old[at:from]...)
			at = from
		case l[0] == '+':
			out = append(out, l[1:])
		default:
			if old[at] != l[1:] {
				t.Fatalf("line %d is %q, the difference has %q", at, old[at], l)
			}
			if at++; l[0] == ' ' {
				out = append(out, l[1:])
			}
		}
	}
	return append(out, old[at:]...)
}
