package kinds

import (
	"strings"

	"weft/internal/mesh/model"
)

// DataSource says where a Flat kind finds a certificate, key or the like;
// exactly one field is set.
type DataSource struct {
	// Name of a Secret of the same mesh.
	Secret *string `json:"secret,omitempty"`
	// Path on the machine of the control plane.
	File *string `json:"file,omitempty"`
	// The data, in base64.
	Inline *SecretBytes `json:"inline,omitempty"`
	// The data as text.
	InlineString *SecretText `json:"inlineString,omitempty"`
}

// Check adds what is wrong with a data source; v is positioned at it.
func (s *DataSource) Check(v *model.Violations) {
	if s == nil {
		v.Add("is missing: say where the data is with secret, file, inline or inlineString")
		return
	}
	set := 0
	for _, f := range []struct {
		name       string
		set, empty bool
	}{
		{"secret", s.Secret != nil, s.Secret != nil && *s.Secret == ""},
		{"file", s.File != nil, s.File != nil && *s.File == ""},
		{"inline", s.Inline != nil, s.Inline != nil && len(*s.Inline) == 0},
		{"inlineString", s.InlineString != nil, s.InlineString != nil && *s.InlineString == ""},
	} {
		if f.set {
			set++
		}
		if f.empty {
			v.At(f.name).Add("must not be empty")
		}
	}
	switch {
	case set == 0:
		v.Add("says nothing: set one of secret, file, inline or inlineString")
	case set > 1:
		v.Add("says more than one thing: set only one of secret, file, inline or inlineString")
	}
}

// SecretName returns the name of the Secret that is referred to, or "".
func (s *DataSource) SecretName() string {
	if s == nil || s.Secret == nil {
		return ""
	}
	return *s.Secret
}

// Literal returns the data if the source holds it itself.
func (s *DataSource) Literal() ([]byte, bool) {
	switch {
	case s == nil:
		return nil, false
	case s.Inline != nil:
		return *s.Inline, true
	case s.InlineString != nil:
		return []byte(*s.InlineString), true
	}
	return nil, false
}

// String names the place without showing data that is given inline.
func (s *DataSource) String() string {
	switch {
	case s == nil:
		return "nothing"
	case s.Secret != nil:
		return "secret " + *s.Secret
	case s.File != nil:
		return "file " + strings.TrimSpace(*s.File)
	}
	return "inline data"
}
