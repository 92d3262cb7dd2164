package policy

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// CheckPositive adds a violation if the duration is given and not above 0.
func CheckPositive(d *model.Duration, v *model.Violations) {
	if d != nil && *d <= 0 {
		v.Add("%s makes no sense: give a duration above 0, or leave it out", d)
	}
}

// CheckNotNegative adds a violation if the duration is given and below 0.
func CheckNotNegative(d *model.Duration, v *model.Violations) {
	if d != nil && *d < 0 {
		v.Add("%s makes no sense: give 0 or more, or leave it out", d)
	}
}

// CheckAboveZero adds a violation if the number is given and not above 0.
func CheckAboveZero[N int32 | uint32 | int64](n *N, v *model.Violations) {
	if n != nil && *n <= 0 {
		v.Add("%d makes no sense: give a number above 0, or leave it out", *n)
	}
}

// CheckStatus adds a violation unless the number is an HTTP status code.
func CheckStatus(n int32, v *model.Violations) {
	if n < 100 || n > 599 {
		v.Add("%d is no HTTP status code: they are from 100 to 599", n)
	}
}

// CheckPort adds a violation unless the number is a port.
func CheckPort(n int64, v *model.Violations) {
	if n < 1 || n > 65535 {
		v.Add("%d is no port: they are from 1 to 65535", n)
	}
}

// CheckFilePath adds a violation unless the text can be the path of a file.
func CheckFilePath(path string, v *model.Violations) {
	if path == "" || strings.ContainsRune(path, 0) || strings.HasSuffix(path, "/") {
		v.Add("%q is not the path of a file; write it like /var/log/access.log", path)
	}
}

// Endpoint splits "host", "host:port", "[v6]:port" or an URL's authority; port is
// 0 if there is none. ok is false if it is neither.
func Endpoint(s string) (host string, port uint32, ok bool) {
	if s == "" || strings.ContainsAny(s, " \t\r\n") {
		return "", 0, false
	}
	u, err := url.Parse("//" + s)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return "", 0, false
	}
	if p := u.Port(); p != "" {
		n, err := parsePort(p)
		if err != nil {
			return "", 0, false
		}
		port = n
	}
	return u.Hostname(), port, true
}

func parsePort(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint32(n), err
}

// Std returns the duration as the IR wants it.
func Std(d *model.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	t := d.Std()
	return &t
}

// StdOr returns the duration, or another where it is absent.
func StdOr(d *model.Duration, or time.Duration) *time.Duration {
	if d == nil {
		return &or
	}
	return Std(d)
}

// Percent returns the number as the IR wants it, nil where it is absent.
func Percent(n *Number) *ir.Percent {
	if n == nil {
		return nil
	}
	p := ir.Percent(n.Value())
	return &p
}
