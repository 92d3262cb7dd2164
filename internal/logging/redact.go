package logging

import (
	"crypto"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

const hidden = "[redacted]"

// secretKeys are words in attribute keys whose values are never shown as text.
var secretKeys = []string{"password", "passwd", "secret", "token", "authorization", "private_key", "credential", "api_key"}

// harmlessEnds are ends of keys that contain such a word but name something else: an id, a file, a count.
var harmlessEnds = []string{"_id", "_ids", "_file", "_path", "_name", "_type", "_kind", "_key_id", "_count", "_expires"}

var (
	jwtText = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}\.eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*`)
	keyText = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)
)

// redact is a slog ReplaceAttr that hides values by type, by key and by form.
// It is the last line of defence: secrets should have types that hide themselves.
func redact(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindAny:
		return slog.Attr{Key: a.Key, Value: redactAny(a.Key, a.Value.Any())}
	case slog.KindDuration:
		return slog.String(a.Key, a.Value.Duration().String())
	case slog.KindString:
		return slog.String(a.Key, redactText(a.Key, a.Value.String()))
	}
	return a
}

func redactAny(key string, v any) slog.Value {
	switch v := v.(type) {
	case crypto.Signer, tls.Certificate, *tls.Certificate, *tls.Config, http.Header:
		return slog.StringValue(hidden)
	case []byte:
		if isSecretKey(key) {
			return slog.StringValue(hidden)
		}
		return slog.StringValue(redactText(key, string(v)))
	case error:
		return slog.StringValue(redactText(key, v.Error()))
	case fmt.Stringer:
		return slog.StringValue(redactText(key, v.String()))
	case string:
		return slog.StringValue(redactText(key, v))
	}
	if isSecretKey(key) {
		return slog.StringValue(hidden)
	}
	return slog.AnyValue(v)
}

func redactText(key, s string) string {
	if s != "" && isSecretKey(key) {
		return hidden
	}
	return scrub(s)
}

// scrub hides private keys and signed tokens within a text. The cheap tests come
// first because nearly no line holds either.
func scrub(s string) string {
	if strings.Contains(s, "PRIVATE KEY") {
		s = keyText.ReplaceAllString(s, hidden)
	}
	if strings.Contains(s, "eyJ") {
		s = jwtText.ReplaceAllString(s, hidden)
	}
	return s
}

func isSecretKey(key string) bool {
	k := strings.ToLower(strings.ReplaceAll(key, "-", "_"))
	if !slices.ContainsFunc(secretKeys, func(w string) bool { return strings.Contains(k, w) }) {
		return false
	}
	return !slices.ContainsFunc(harmlessEnds, func(end string) bool { return strings.HasSuffix(k, end) })
}
