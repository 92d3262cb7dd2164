package policy

import (
	"regexp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// HeaderMatch compares a header.
type HeaderMatch struct {
	// Type of the comparison.
	Type string `json:"type,omitempty" schema:"enum=Exact|Present|RegularExpression|Absent|Prefix,default=Exact"`
	// Name of the header, in lower case.
	Name string `json:"name" schema:"required,minLength=1,maxLength=256,pattern=^[a-z0-9!#$%&'*+\\-.^_\\x60|~]+$"`
	// Value to compare with. Not with the types Present and Absent.
	Value string `json:"value,omitempty"`
}

// Match returns the comparison as the IR wants it.
func (h HeaderMatch) Match() ir.ValueMatch {
	t := ir.MatchType(h.Type)
	if t == "" {
		t = ir.MatchExact
	}
	return ir.ValueMatch{Type: t, Name: h.Name, Value: h.Value}
}

// CheckRegex adds a violation unless the text is a regular expression.
func CheckRegex(text string, v *model.Violations) {
	if _, err := regexp.Compile(text); err != nil {
		v.Add("is no regular expression (RE2): %v", err)
	}
}

// CheckMatches adds what is wrong with the values of the comparisons.
func CheckMatches(hs []HeaderMatch, v *model.Violations) {
	for i, h := range hs {
		if h.Match().Type == ir.MatchRegex {
			CheckRegex(h.Value, v.At(i, "value"))
		}
	}
}

// Matches returns the comparisons as the IR wants them.
func Matches(hs []HeaderMatch) []ir.ValueMatch {
	var out []ir.ValueMatch
	for _, h := range hs {
		out = append(out, h.Match())
	}
	return out
}

// HeaderValue is a header with its value.
type HeaderValue struct {
	// Name of the header, in lower case.
	Name string `json:"name" schema:"required,minLength=1,maxLength=256,pattern=^[a-z0-9!#$%&'*+\\-.^_\\x60|~]+$"`
	// Value of the header.
	Value string `json:"value" schema:"required"`
}

// HeaderAdditions are headers to set or to add.
type HeaderAdditions struct {
	// Set replaces the values of these headers.
	Set []HeaderValue `json:"set,omitempty" schema:"maxItems=16,listMapKeys=name"`
	// Add appends to the values of these headers.
	Add []HeaderValue `json:"add,omitempty" schema:"maxItems=16,listMapKeys=name"`
}

// Change returns the additions as the IR wants them.
func (a *HeaderAdditions) Change() ir.HeaderChange {
	if a == nil {
		return ir.HeaderChange{}
	}
	return ir.HeaderChange{Set: Headers(a.Set), Add: Headers(a.Add)}
}

// Headers returns header values as the IR wants them.
func Headers(hs []HeaderValue) []ir.Header {
	var out []ir.Header
	for _, h := range hs {
		out = append(out, ir.Header(h))
	}
	return out
}
