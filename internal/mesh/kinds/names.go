package kinds

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"weft/internal/mesh/model"
)

var lifetime = regexp.MustCompile(`^([0-9]+)(y|w|d|h|m|s|ms)$`)

// ParseLifetime reads a length of time as certificates have it in a Mesh: one
// number and one of the units y (365 days), w, d, h, m, s, ms; or 0.
func ParseLifetime(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	m := lifetime.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is no length of time; write one number and one unit of y, w, d, h, m, s, ms, such as 30d", s)
	}
	units := map[string]time.Duration{
		"y": 365 * 24 * time.Hour, "w": 7 * 24 * time.Hour, "d": 24 * time.Hour,
		"h": time.Hour, "m": time.Minute, "s": time.Second, "ms": time.Millisecond,
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64/int64(units[m[2]]) {
		return 0, fmt.Errorf("%q is too long; the longest possible time is 292y", s)
	}
	return time.Duration(n) * units[m[2]], nil
}

// checkAddress wants an IP address or DNS name that others can connect to; v is
// positioned at the field.
func checkAddress(address string, v *model.Violations) {
	ip, err := netip.ParseAddr(address)
	switch {
	case address == "":
		v.Add("the address must not be empty; give an IP address or a DNS name")
	case err == nil && ip.Unmap().IsUnspecified():
		v.Add("%s means every address of a machine; give one that others can connect to", address)
	case !isIPOrHost(address):
		v.Add("%q is neither an IP address nor a DNS name", address)
	}
}

// checkIP wants an IP address; v is positioned at the field.
func checkIP(address string, v *model.Violations) {
	if ip, err := netip.ParseAddr(address); err != nil || ip.Zone() != "" {
		v.Add("%q is no IP address", address)
	}
}
