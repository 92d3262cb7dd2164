package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// looksLikeJSON tells whether the first value is an object or list in brackets.
func looksLikeJSON(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 0 && (data[0] == '{' || data[0] == '[')
}

// errNotJSON says that the text is no JSON; it may be YAML.
var errNotJSON = errors.New("not JSON")

// parseJSON reads objects one after the other. It is apart from YAML, of which
// JSON is nearly a subset, because YAML takes offence at tabs.
func parseJSON(data []byte) ([]Document, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	r := reader{dec: dec, data: data, line: 1, budget: MaxNodes}
	var docs []Document
	for {
		r.document, r.lines = len(docs)+1, map[string]int{}
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, errNotJSON
		}
		value, err := r.value(tok, "", 0)
		if err != nil {
			return nil, err
		}
		d, err := newDocument(r.document, value, r.lines)
		if err != nil {
			return nil, err
		}
		docs = append(docs, *d)
	}
}

// reader builds values from tokens and notes where they are.
type reader struct {
	dec      *json.Decoder
	data     []byte
	document int
	budget   int
	lines    map[string]int

	offset, line int // the line at offset
}

// here returns the line of the token that was read last.
func (r *reader) here() int {
	end := int(r.dec.InputOffset())
	r.line += bytes.Count(r.data[r.offset:end], []byte("\n"))
	r.offset = end
	return r.line
}

func (r *reader) fail(format string, args ...any) error {
	return &Error{Document: r.document, Line: r.line, Message: fmt.Sprintf(format, args...)}
}

func (r *reader) value(tok json.Token, path string, depth int) (any, error) {
	line := r.here()
	if _, ok := r.lines[path]; !ok {
		r.lines[path] = line
	}
	if r.budget--; r.budget < 0 {
		return nil, r.fail("the file has more than %d values; split it", MaxNodes)
	}
	if depth > MaxDepth {
		return nil, r.fail("values are nested more than %d deep", MaxDepth)
	}
	switch tok {
	case json.Delim('{'):
		return r.object(path, depth)
	case json.Delim('['):
		return r.list(path, depth)
	}
	return tok, nil
}

func (r *reader) object(path string, depth int) (any, error) {
	out := map[string]any{}
	for r.dec.More() {
		tok, err := r.dec.Token()
		if err != nil {
			return nil, errNotJSON
		}
		key, ok := tok.(string)
		if !ok {
			return nil, errNotJSON
		}
		sub := keyPath(path, key)
		r.lines[sub] = r.here()
		if _, ok := out[key]; ok {
			return nil, r.fail("the key %q is there twice", key)
		}
		if tok, err = r.dec.Token(); err != nil {
			return nil, errNotJSON
		}
		if out[key], err = r.value(tok, sub, depth+1); err != nil {
			return nil, err
		}
	}
	return out, r.end()
}

func (r *reader) list(path string, depth int) (any, error) {
	out := []any{}
	for r.dec.More() {
		tok, err := r.dec.Token()
		if err != nil {
			return nil, errNotJSON
		}
		v, err := r.value(tok, itemPath(path, len(out)), depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, r.end()
}

// end reads the closing bracket.
func (r *reader) end() error {
	if _, err := r.dec.Token(); err != nil {
		return errNotJSON
	}
	return nil
}
