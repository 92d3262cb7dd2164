package kinds

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"weft/internal/mesh/model"
)

// Secret is a value that belongs to a mesh: a certificate, a key, a list of
// revoked tokens. Other objects refer to it by name through data sources.
var Secret = &model.Kind{
	Name: "Secret", Plural: "secrets", One: "secret", Many: "secrets",
	Display: "Secret", DisplayPlural: "Secrets",
	Scope: model.InMesh, Shape: model.Flat,
	Flow: model.GlobalToZone | model.GlobalWrites | model.ZoneWrites | model.KeepsName,
	// A changed certificate has to reach the proxies whose data sources name it.
	Feeds:     model.FeedsSpec,
	AdminOnly: true,
	New:       func() any { return new(SecretSpec) },
}

// GlobalSecret is a value that belongs to no mesh: signing keys of tokens of
// users and zones, certificate authorities of the control plane.
var GlobalSecret = &model.Kind{
	Name: "GlobalSecret", Plural: "global-secrets", One: "global-secret", Many: "global-secrets",
	Display: "Global Secret", DisplayPlural: "Global Secrets",
	Scope: model.Global, Shape: model.Flat,
	Flow:      model.GlobalToZone | model.GlobalWrites | model.ZoneWrites | model.KeepsName,
	Feeds:     model.FeedsNothing,
	AdminOnly: true,
	New:       func() any { return new(SecretSpec) },
}

// SecretSpec holds the value of a Secret or GlobalSecret.
type SecretSpec struct {
	// Value of the secret, in base64.
	Data SecretBytes `json:"data,omitzero"`
}

// LogValue keeps the value out of logs.
func (SecretSpec) LogValue() slog.Value { return slog.StringValue(redacted) }

// SecretBytes are bytes that must not be shown: however they are printed or
// logged, [redacted] appears. Only JSON, which is how objects are stored and
// answered, holds them, in base64. nil means absent, which differs from empty.
type SecretBytes []byte

const redacted = "[redacted]"

// String returns [redacted].
func (SecretBytes) String() string { return redacted }

// GoString returns [redacted].
func (SecretBytes) GoString() string { return redacted }

// LogValue returns [redacted].
func (SecretBytes) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format prints [redacted] for every verb, so that %d or %x cannot leak either.
func (SecretBytes) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// JSONSchema says that the bytes are base64 in a string.
func (SecretBytes) JSONSchema() *model.Schema { return &model.Schema{Type: "string", Format: "byte"} }

// MarshalJSON writes base64, or null if the bytes are absent.
func (s SecretBytes) MarshalJSON() ([]byte, error) { return json.Marshal([]byte(s)) }

// UnmarshalJSON reads base64 of the standard or the URL alphabet, with or
// without padding; line breaks are ignored. The error does not quote the value.
func (s *SecretBytes) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		*s = nil
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("must be a string with base64")
	}
	data, err := decodeBase64(text)
	if err != nil {
		return fmt.Errorf("must be base64: %w", err)
	}
	*s = data
	return nil
}

// decodeBase64 accepts what the protobuf JSON mapping accepts for bytes.
// It never returns nil without an error.
func decodeBase64(text string) ([]byte, error) {
	clean := strings.TrimRight(strings.NewReplacer("\r", "", "\n", "").Replace(text), "=")
	enc := base64.RawStdEncoding
	if strings.ContainsAny(clean, "-_") {
		enc = base64.RawURLEncoding
	}
	data := make([]byte, enc.DecodedLen(len(clean)))
	n, err := enc.Decode(data, []byte(clean))
	if err != nil {
		return nil, err // a CorruptInputError: it tells the position only
	}
	return data[:n], nil
}

// SecretText is text that must not be shown, such as a private key in PEM: like
// SecretBytes it prints as [redacted] everywhere but in JSON.
type SecretText string

// String returns [redacted].
func (SecretText) String() string { return redacted }

// GoString returns [redacted].
func (SecretText) GoString() string { return redacted }

// LogValue returns [redacted].
func (SecretText) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format prints [redacted] for every verb.
func (SecretText) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }
