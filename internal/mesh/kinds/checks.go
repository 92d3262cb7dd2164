package kinds

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"weft/internal/mesh/model"
)

func checkPort(port int64, v *model.Violations) {
	if port < 1 || port > 65535 {
		v.Add("port must be between 1 and 65535, not %d", port)
	}
}

// checkOneOf accepts "" too, which stands for the default.
func checkOneOf(value string, v *model.Violations, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		v.Add("%q is not possible here; use one of %s", value, strings.Join(allowed, ", "))
	}
}

var hostPattern = regexp.MustCompile(`^[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*$`)

// isHost tells whether s can be looked up in DNS. Underscores are not allowed
// in host names by the letter of RFC 1123, but they are in use.
func isHost(s string) bool {
	if len(s) > 253 || !hostPattern.MatchString(s) {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) > 63 {
			return false
		}
	}
	return true
}

func isIPOrHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == ""
	}
	return isHost(s)
}

var dnsLabel = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)

// warnDNSName warns about names that cannot be a label of a DNS name (RFC 1035),
// although hostnames are made from them.
func warnDNSName(o *model.Object) []string {
	n := o.DisplayName()
	if len(n) <= 63 && dnsLabel.MatchString(n) {
		return nil
	}
	return []string{fmt.Sprintf("the name %q of this %s is no DNS label (RFC 1035), so hostnames made from it may not work; "+
		"use lower case letters, digits and '-', begin with a letter and end with a letter or digit", n, o.Kind.Name)}
}

// CheckRegex wants a regular expression in RE2 syntax, which Envoy uses, too.
func CheckRegex(text string, v *model.Violations) {
	if text == "" {
		v.Add("must not be empty")
	} else if _, err := regexp.Compile(text); err != nil {
		v.Add("is no regular expression in RE2 syntax: %v", err)
	}
}
