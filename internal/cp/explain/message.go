package explain

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"weft/internal/mesh/ir"
)

// message is a request as routes see it.
type message struct {
	method, path string // path without the query
	headers      http.Header
	query        []parameter
}

// parameter is one of a query, not decoded: Envoy compares what was sent.
type parameter struct{ name, value string }

// someRequestID stands for the number that the proxy gives to a request.
const someRequestID = "00000000-0000-4000-8000-000000000000"

// messageOf returns what routes of an outbound see of a request. bad says why
// the proxy answers 400 before it looks at them.
func messageOf(h *ir.HTTP, t *target, q Request) (m *message, bad string) {
	m = &message{method: cmp.Or(q.Method, http.MethodGet), path: t.path, headers: q.Headers.Clone(), query: parametersOf(t.url.RawQuery)}
	if m.headers == nil {
		m.headers = http.Header{}
	}
	if !h.RawPath {
		m.path = normalize(t.path)
	}
	if strings.Contains(t.path, "%00") {
		bad = "the path holds the character %00"
	}
	// What is there for matches even if the client did not send it.
	for name, value := range map[string]string{"Host": t.authority(), "X-Forwarded-Proto": "http", "X-Request-Id": someRequestID} {
		if len(m.headers.Values(name)) == 0 {
			m.headers.Set(name, value)
		}
	}
	return m, bad
}

// authority is what clients send as host.
func (t *target) authority() string {
	if t.port == 0 || t.implied {
		return t.host
	}
	return net.JoinHostPort(t.host, strconv.FormatUint(uint64(t.port), 10))
}

// parametersOf takes a query apart as Envoy does: at each &, without decoding.
func parametersOf(raw string) []parameter {
	var out []parameter
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		out = append(out, parameter{name, value})
	}
	return out
}

// parameter returns the first of a name: Envoy looks at no other.
func (m *message) parameter(name string) (value string, has bool) {
	i := slices.IndexFunc(m.query, func(p parameter) bool { return p.name == name })
	if i < 0 {
		return "", false
	}
	return m.query[i].value, true
}

// normalize returns a path as Envoy does with normalize_path: escapes of
// characters that need none are undone, some others are escaped, a backslash is
// a slash, and dot segments are gone, also those with parameters ("..;x") if the
// dots are not escaped. Slashes are not merged. A test compares it with Envoy.
func normalize(path string) string {
	raw := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range raw {
		if dots, _, has := strings.Cut(s, ";"); has && (dots == "." || dots == "..") {
			raw[i] = dots
		}
	}
	segments := strings.Split(respell(strings.Join(raw, "/")), "/")
	var out []string
	for i, s := range segments {
		switch s {
		case "..":
			out = out[:max(0, len(out)-1)]
		case ".":
		default:
			out = append(out, s)
			continue
		}
		if i == len(segments)-1 {
			out = append(out, "") // "/a/." is "/a/"
		}
	}
	return "/" + strings.Join(out, "/")
}

// respell undoes escapes that are not needed and adds those that are.
func respell(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '%' && i+2 < len(path):
			n, err := strconv.ParseUint(path[i+1:i+3], 16, 8)
			if err == nil && unreserved(byte(n)) {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
			b.WriteByte(c)
		case c == '\\':
			b.WriteByte('/')
		case strings.IndexByte("\"<>^`{|}", c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unreserved tells whether a character stands for itself in every part of a URL
// (RFC 3986, 2.3).
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
