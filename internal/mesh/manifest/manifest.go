// Package manifest reads objects from files that people write: YAML or JSON,
// several documents in one file. Its errors name the document, the line and the
// field. kumactl and kuma-dp use it; the API takes JSON only and has no need of
// it. Functions are pure; a Document is immutable.
//
// Files may come from strangers, so their size, their depth and what aliases
// blow them up to are bounded.
package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"weft/internal/mesh/model"
)

// Bounds of what is read.
const (
	// MaxSize is the largest file, in bytes.
	MaxSize = 16 << 20
	// MaxNodes is the largest number of values in a file, with aliases resolved.
	MaxNodes = 500_000
	// MaxDepth is the deepest nesting of values.
	MaxDepth = 64
)

// Document is one document of a file.
type Document struct {
	// Number counts the documents of the file that are not empty, from 1.
	Number int
	// Line is where the document's first value is, from 1.
	Line int
	// Head is what the document says about its identity.
	Head model.Head
	// JSON is the document in JSON.
	JSON []byte

	lines map[string]int // by canonical path
}

// Error is one thing that is wrong with a file.
type Error struct {
	Document int // from 1
	Line     int // from 1; 0 = not known
	Field    string
	Message  string
}

// Error returns "document 2, line 7: field: message".
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "document %d", e.Document)
	if e.Line > 0 {
		fmt.Fprintf(&b, ", line %d", e.Line)
	}
	b.WriteString(": ")
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// Errors are all things that are wrong with a document.
type Errors []*Error

// Error returns one line for each.
func (e Errors) Error() string {
	parts := make([]string, len(e))
	for i, x := range e {
		parts[i] = x.Error()
	}
	return strings.Join(parts, "\n")
}

// Parse takes a file apart. Documents that are empty or hold comments only are
// left out. The error is *Error.
func Parse(data []byte) ([]Document, error) {
	if len(data) > MaxSize {
		return nil, &Error{Document: 1, Message: fmt.Sprintf("the file has %d bytes; at most %d are read", len(data), MaxSize)}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // byte order mark of some editors
	if looksLikeJSON(data) {
		docs, err := parseJSON(data)
		var e *Error
		if err == nil || errors.As(err, &e) {
			return docs, err
		}
		// Not JSON after all; YAML in flow style looks alike.
	}
	return parseYAML(data)
}

// newDocument makes a document from a parsed object.
func newDocument(number int, value any, lines map[string]int) (*Document, error) {
	line := lines[""]
	if _, ok := value.(map[string]any); !ok {
		return nil, &Error{Document: number, Line: line, Message: "must be an object with the fields type, name and so on"}
	}
	b, err := model.EncodeSpec(value)
	if err != nil {
		return nil, &Error{Document: number, Line: line, Message: "cannot be written as JSON: " + err.Error()}
	}
	d := &Document{Number: number, Line: line, JSON: b, lines: lines}
	if d.Head, err = model.PeekHead(b); err != nil {
		return nil, d.locate(err)
	}
	return d, nil
}

// Object returns the object that the document describes. find returns the kind
// for a type (catalog.Find). The error is Errors, with all that is wrong.
func (d *Document) Object(find func(name string) (*model.Kind, error)) (*model.Object, error) {
	if d.Head.Type == "" && d.has("apiVersion") && d.has("kind") {
		return nil, Errors{d.at("apiVersion", "this is an object of the Kubernetes API; apply it with kubectl, or write type and name instead of kind and metadata")}
	}
	kind, err := find(d.Head.Type)
	if err != nil {
		return nil, d.locate(err)
	}
	o, err := kind.Decode(d.JSON)
	if err != nil {
		return nil, d.locate(err)
	}
	return o, nil
}

// Unknown returns the fields of the document that the kind does not have, as
// errors with their lines; whether they are errors or warnings is the caller's
// choice. The document must be one that Object accepts.
func (d *Document) Unknown(kind *model.Kind) Errors {
	paths, err := kind.UnknownFields(d.JSON)
	if err != nil {
		return d.locate(err)
	}
	var out Errors
	for _, p := range paths {
		out = append(out, d.at(p, "there is no such field in "+kind.Name))
	}
	return out
}

// Locate returns the violations of an object that came from this document with
// their lines. Errors of other types become one without line.
func (d *Document) Locate(err error) Errors { return d.locate(err) }

func (d *Document) locate(err error) Errors {
	var malformed *model.Malformed
	var invalid *model.Invalid
	switch {
	case errors.As(err, &malformed):
		return Errors{d.at(malformed.Field, malformed.Message)}
	case errors.As(err, &invalid):
		var out Errors
		for _, v := range invalid.Violations {
			out = append(out, d.at(v.Field, v.Message))
		}
		return out
	}
	return Errors{{Document: d.Number, Line: d.Line, Message: err.Error()}}
}

func (d *Document) at(field, message string) *Error {
	return &Error{Document: d.Number, Line: d.LineOf(field), Field: field, Message: message}
}

func (d *Document) has(field string) bool {
	_, ok := d.lines[canonical(segments(field))]
	return ok
}

// LineOf returns the line of the value at a path such as a.b["c"][0], or of the
// nearest value around it that is there.
func (d *Document) LineOf(field string) int {
	segs := segments(field)
	for n := len(segs); n > 0; n-- {
		if line, ok := d.lines[canonical(segs[:n])]; ok {
			return line
		}
	}
	return d.Line
}
