package config

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"weft/internal/mesh/model"
)

func required(v *model.Violations, s string) {
	if s == "" {
		v.Add("must not be empty")
	}
}

func oneOf(v *model.Violations, s string, allowed ...string) {
	if slices.Contains(allowed, s) {
		return
	}
	var names []string
	for _, a := range allowed {
		if a != "" {
			names = append(names, a)
		}
	}
	v.Add("%q is not possible; use %s", s, strings.Join(names, " or "))
}

func between(v *model.Violations, n, lo, hi int) {
	if n < lo || n > hi {
		v.Add("%d must be between %d and %d", n, lo, hi)
	}
}

// port checks a port to listen on; 0 leaves the choice to the system.
func port(v *model.Violations, n int) { between(v, n, 0, 65535) }

func atLeast(v *model.Violations, n, lo int) {
	if n < lo {
		v.Add("%d must be at least %d", n, lo)
	}
}

func notNegative(v *model.Violations, n int) { atLeast(v, n, 0) }

func positive(v *model.Violations, d time.Duration) {
	if d <= 0 {
		v.Add("%s must be longer than nothing", d)
	}
}

func pair(v *model.Violations, certKey, cert, keyKey, key string) {
	if cert == "" && key != "" {
		v.At(certKey).Add("must be set because %s is", keyKey)
	}
	if cert != "" && key == "" {
		v.At(keyKey).Add("must be set because %s is", certKey)
	}
}

// listenHost accepts addresses and names; empty means all interfaces.
func listenHost(v *model.Violations, s string) {
	if s == "" || s == "localhost" {
		return
	}
	if _, err := netip.ParseAddr(s); err != nil {
		v.Add("%q is not an IP address to listen on, such as 0.0.0.0 or 127.0.0.1", s)
	}
}

func cidr(v *model.Violations, s string) {
	if _, err := netip.ParsePrefix(s); err != nil {
		v.Add("%q is not a range of addresses, such as 240.0.0.0/4", s)
	}
}

func absolutePath(v *model.Violations, s string) {
	if !strings.HasPrefix(s, "/") || strings.ContainsAny(s, "?#{} ") {
		v.Add("%q must be a path that begins with a slash", s)
	}
}

func webURL(v *model.Violations, s string) {
	if s == "" {
		return
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		v.Add("%q must be an http or https URL", s)
	}
}
