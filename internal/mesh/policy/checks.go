package policy

import (
	"net"
	"net/netip"
	"regexp"
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

var filePathForm = regexp.MustCompile(`^(/[^/\x00]+)+$|^[a-zA-Z]:\\[^\x00]+$`)

// CheckFilePath adds a violation unless the text is the absolute path of a file.
func CheckFilePath(path string, v *model.Violations) {
	if !filePathForm.MatchString(path) {
		v.Add("%q is not the path of a file; write it like /var/log/access.log", path)
	}
}

// CheckEndpoint adds a violation unless the text is a host with or without a port.
func CheckEndpoint(s string, v *model.Violations) {
	if _, _, ok := Endpoint(s); !ok {
		v.Add("%q is no address; write it like collector.example.org:4317", s)
	}
}

// answers are the status codes that a proxy can answer with.
var answers = map[uint32]bool{
	100: true, 200: true, 201: true, 202: true, 203: true, 204: true, 205: true, 206: true, 207: true, 208: true, 226: true,
	300: true, 301: true, 302: true, 303: true, 304: true, 305: true, 307: true, 308: true,
	400: true, 401: true, 402: true, 403: true, 404: true, 405: true, 406: true, 407: true, 408: true, 409: true,
	410: true, 411: true, 412: true, 413: true, 414: true, 415: true, 416: true, 417: true, 421: true, 422: true,
	423: true, 424: true, 426: true, 428: true, 429: true, 431: true,
	500: true, 501: true, 502: true, 503: true, 504: true, 505: true, 506: true, 507: true, 508: true, 510: true, 511: true,
}

// CheckAnswer adds a violation unless a proxy can answer with the status code.
func CheckAnswer(status *uint32, v *model.Violations) {
	if status != nil && !answers[*status] {
		v.Add("%d is no status code that a proxy can answer with; use one like 429 or 503", *status)
	}
}

var hostForm = regexp.MustCompile(`^[a-zA-Z0-9_]([a-zA-Z0-9._-]*[a-zA-Z0-9_.])?$`)

// Endpoint splits "host", "host:port" or "[v6]:port"; port is 0 if there is none.
// ok is false if it is none of these.
func Endpoint(s string) (host string, port uint32, ok bool) {
	host = s
	if h, p, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", 0, false
		}
		host, port = h, uint32(n)
	} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	} else if strings.Contains(s, ":") {
		return "", 0, false
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return host, port, a.Zone() == ""
	}
	if len(host) > 253 || !hostForm.MatchString(host) {
		return "", 0, false
	}
	return host, port, true
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
