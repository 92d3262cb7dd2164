package config

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is text that must not be shown: however it is printed, logged or put
// into JSON, something else appears. string(s) gives the text itself.
type Secret string

const hidden = "[redacted]"

// Redacted is what GET /config shows.
func (Secret) Redacted() string { return "*****" }

// String returns [redacted].
func (Secret) String() string { return hidden }

// GoString returns [redacted].
func (Secret) GoString() string { return hidden }

// Format prints [redacted] for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue returns [redacted].
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText returns asterisks.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.Redacted()), nil }
