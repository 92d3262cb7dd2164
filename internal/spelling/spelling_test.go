package spelling

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"web", "web", 0}, {"", "web", 3}, {"web", "wed", 1}, {"web", "webs", 1},
		{"backend", "bakend", 1}, {"orders", "odrers", 1}, {"kitten", "sitting", 3},
		{"port", "prot", 1}, {"port", "ptro", 2}, {"ab", "ba", 1}, {"abab", "baba", 2}, {"ca", "abc", 3},
	} {
		for _, swap := range []bool{false, true} {
			a, b := c.a, c.b
			if swap {
				a, b = b, a
			}
			if got := Distance(a, b); got != c.want {
				t.Errorf("%q and %q: %d, want %d", a, b, got, c.want)
			}
		}
	}
}
