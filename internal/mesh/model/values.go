package model

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Struct is a free-form JSON object inside a Flat kind. It must not be changed
// once its object was stored.
type Struct map[string]any

// String hides the content: it may hold keys and passwords.
func (Struct) String() string { return "[free-form object]" }

// GoString hides the content.
func (Struct) GoString() string { return "[free-form object]" }

// LogValue hides the content.
func (Struct) LogValue() slog.Value { return slog.StringValue("[free-form object]") }

// StructOf returns the free-form form of a value with json tags.
func StructOf(v any) (Struct, error) {
	b, err := EncodeSpec(v)
	if err != nil {
		return nil, err
	}
	var s Struct
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("make a free-form object of %T: %w", v, err)
	}
	return s, nil
}

// Duration is a length of time in SpecBlock kinds: a string in Go's syntax, "1h30m".
type Duration time.Duration

// Std returns the duration as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns the form that is printed in objects.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns the form that is printed in objects.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON accepts a string in Go's syntax.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf(`must be a duration in a string like "1h30m" or "500ms"`)
	}
	n, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf(`%q is not a duration; write it like "1h30m" or "500ms"`, s)
	}
	*d = Duration(n)
	return nil
}

// ProtoDuration is a length of time in Flat kinds: seconds with an "s", "1.500s".
// Every notation of Go is accepted.
type ProtoDuration time.Duration

// Std returns the duration as the standard library's type.
func (d ProtoDuration) Std() time.Duration { return time.Duration(d) }

// String returns seconds with 0, 3, 6 or 9 digits after the point.
func (d ProtoDuration) String() string {
	n := time.Duration(d)
	sign := ""
	u := uint64(n)
	if n < 0 {
		sign, u = "-", -u
	}
	return sign + strconv.FormatUint(u/1e9, 10) + fraction(int(u%1e9)) + "s"
}

// fraction returns ".xxx", ".xxxxxx", ".xxxxxxxxx" or nothing.
func fraction(nanos int) string {
	if nanos == 0 {
		return ""
	}
	s := fmt.Sprintf(".%09d", nanos)
	s = strings.TrimSuffix(s, "000")
	return strings.TrimSuffix(s, "000")
}

// MarshalText returns the form that is printed in objects.
func (d ProtoDuration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON accepts a string.
func (d *ProtoDuration) UnmarshalJSON(b []byte) error {
	var g Duration
	if err := g.UnmarshalJSON(b); err != nil {
		return err
	}
	*d = ProtoDuration(g)
	return nil
}

// Timestamp is a moment in Flat kinds: RFC 3339 in UTC with 0, 3, 6 or 9 digits.
type Timestamp struct{ time.Time }

// At returns a pointer to the moment as a Timestamp.
func At(t time.Time) *Timestamp { return &Timestamp{t.UTC()} }

// MarshalJSON returns the moment as a string.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	u := t.UTC()
	return []byte(`"` + u.Format("2006-01-02T15:04:05") + fraction(u.Nanosecond()) + `Z"`), nil
}

// UnmarshalJSON accepts RFC 3339 with any offset.
func (t *Timestamp) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf(`must be a time in a string like "2006-01-02T15:04:05Z"`)
	}
	p, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf(`%q is not a time; write it like "2006-01-02T15:04:05Z"`, s)
	}
	t.Time = p.UTC()
	return nil
}
