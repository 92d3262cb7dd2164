package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"time"
)

// Malformed is the error for a document that is not JSON, or that holds a value
// of another JSON type than the field wants. What is well formed but breaks a
// rule of its kind is *Invalid.
type Malformed struct {
	// Kind is the kind that was expected; may be empty.
	Kind string
	// Field is the path of the value; empty for the document as a whole.
	Field string
	// Message says what is wrong and what was expected.
	Message string
}

// Error returns "invalid Kind object: field: message".
func (e *Malformed) Error() string {
	s := "invalid object: "
	if e.Kind != "" {
		s = "invalid " + e.Kind + " object: "
	}
	if e.Field != "" {
		s += e.Field + ": "
	}
	return s + e.Message
}

// Head is the identity that a document claims.
type Head struct {
	Type, Mesh, Name string
}

// MarshalJSON returns the REST form of the object.
func (o *Object) MarshalJSON() ([]byte, error) { return Encode(o) }

// Encode returns the REST form of an object: type, mesh, name, times and labels,
// then the spec's fields on the same level (Flat) or the blocks spec and status.
// The mesh of a global object is never printed; a zero time is.
func Encode(o *Object) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(512)
	head := struct {
		Type     string            `json:"type"`
		Mesh     string            `json:"mesh,omitempty"`
		Name     string            `json:"name"`
		Created  time.Time         `json:"creationTime"`
		Modified time.Time         `json:"modificationTime"`
		Labels   map[string]string `json:"labels,omitempty"`
	}{o.Kind.Name, o.Meta.Mesh, o.Meta.Name, o.Meta.Created.UTC(), o.Meta.Modified.UTC(), o.Meta.Labels}
	if o.Kind.Scope == Global {
		head.Mesh = ""
	}
	if err := appendJSON(&b, head); err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Key(), err)
	}
	var err error
	if o.Kind.Shape == Flat {
		err = appendInline(&b, o.Spec)
	} else {
		err = appendField(&b, "spec", o.Spec)
		if err == nil && o.Status != nil {
			err = appendField(&b, "status", o.Status)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Key(), err)
	}
	return b.Bytes(), nil
}

// EncodeSpec returns the JSON form of a spec or status alone, not escaped for HTML.
func EncodeSpec(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := appendJSON(&b, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// appendJSON writes v without HTML escapes, which would change what users wrote,
// and without the newline that Encoder adds.
func appendJSON(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1)
	return nil
}

// appendInline adds the fields of spec to the object that b ends with.
func appendInline(b *bytes.Buffer, spec any) error {
	end := b.Len() - 1 // the closing brace of what is there
	b.Truncate(end)
	if err := appendJSON(b, spec); err != nil {
		return err
	}
	if b.Bytes()[end] != '{' {
		return fmt.Errorf("spec of type %T is no JSON object", spec)
	}
	if b.Len() == end+2 { // "{}": nothing to add
		b.Truncate(end)
		b.WriteByte('}')
		return nil
	}
	b.Bytes()[end] = ','
	return nil
}

// appendField adds one field to the object that b ends with.
func appendField(b *bytes.Buffer, name string, v any) error {
	b.Truncate(b.Len() - 1)
	b.WriteString(`,"` + name + `":`)
	if err := appendJSON(b, v); err != nil {
		return err
	}
	b.WriteByte('}')
	return nil
}

// PeekHead returns the identity in a document of the REST form without looking
// at the rest. Absent fields are empty.
func PeekHead(data []byte) (Head, error) {
	tree, err := parseObject(data)
	if err != nil {
		return Head{}, err
	}
	return headOf(tree)
}

// Decode returns the object that a document of the REST form describes. Times
// in the document are ignored; they are the store's. Errors are *Malformed, or
// *Invalid with all violations of the kind's schema. Decode does not validate
// (see package admit) and accepts a document whose type names another kind
// only for Flat kinds, where the caller compares Head (as 2.10 does).
func (k *Kind) Decode(data []byte) (*Object, error) {
	tree, err := parseObject(data)
	if err == nil {
		var o *Object
		if o, err = k.fromTree(tree); err == nil {
			return o, nil
		}
	}
	var bad *Malformed
	if errors.As(err, &bad) {
		bad.Kind = k.Name
	}
	return nil, err
}

func (k *Kind) fromTree(tree map[string]any) (*Object, error) {
	head, err := headOf(tree)
	if err != nil {
		return nil, err
	}
	labels, err := labelsOf(tree["labels"])
	if err != nil {
		return nil, err
	}
	if k.Shape == SpecBlock && k.Scope == InMesh && head.Mesh == "" {
		head.Mesh = DefaultMesh
	}
	o := k.Make(head.Mesh, head.Name)
	o.Meta.Labels = labels
	if k.Shape == Flat {
		return o, decodeProto(tree, o.Spec)
	}
	return o, k.decodeBlocks(tree, o, head)
}

// decodeBlocks reads the blocks spec and status of a SpecBlock kind.
func (k *Kind) decodeBlocks(tree map[string]any, o *Object, head Head) error {
	var v Violations
	switch head.Type {
	case k.Name:
	case "":
		v.Add("type is missing: write %q", k.Name)
	default:
		v.Add("type is %q, but this is the place of %q", head.Type, k.Name)
	}
	if tree["name"] == nil { // an empty one is refused like any other bad name
		v.Add("name is missing: every object needs one")
	}
	spec, ok := tree["spec"]
	if !ok || spec == nil {
		spec = map[string]any{}
	}
	if err := k.decodeBlock("spec", spec, o.Spec, &v); err != nil {
		return err
	}
	if status := tree["status"]; status != nil && o.Status != nil {
		if err := k.decodeBlock("status", status, o.Status, &v); err != nil {
			return err
		}
	}
	return v.Err()
}

// UnknownFields returns the paths of fields in a document of the REST form that
// the kind does not have, in order. The API ignores them; people who misspelt a
// field want to know. The document must be one that Decode accepts.
func (k *Kind) UnknownFields(data []byte) ([]string, error) {
	tree, err := parseObject(data)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"type", "name", "labels", "creationTime", "modificationTime"} {
		delete(tree, name)
	}
	if k.Scope == InMesh {
		delete(tree, "mesh")
	}
	var out []string
	note := func(path string) { out = append(out, path) }
	o := k.Make("", "")
	if k.Shape == Flat {
		err = decoder{proto: true, unknown: note}.value(tree, reflect.ValueOf(o.Spec).Elem(), "", field{})
		return out, err
	}
	for _, name := range sortedKeys(tree) {
		var to any
		switch {
		case name == "spec":
			to = o.Spec
		case name == "status" && o.Status != nil:
			to = o.Status
		default:
			note(unknownPath("", name))
			continue
		}
		if err := (decoder{unknown: note}).value(tree[name], reflect.ValueOf(to).Elem(), name, field{}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func headOf(tree map[string]any) (Head, error) {
	var h Head
	for _, f := range []struct {
		name string
		to   *string
	}{{"type", &h.Type}, {"mesh", &h.Mesh}, {"name", &h.Name}} {
		switch s := tree[f.name].(type) {
		case nil:
		case string:
			*f.to = s
		default:
			return h, &Malformed{Field: f.name, Message: "must be a string, not " + typeName(s)}
		}
	}
	return h, nil
}

func labelsOf(v any) (map[string]string, error) {
	if v == nil {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, &Malformed{Field: "labels", Message: "must be an object of strings, not " + typeName(v)}
	}
	if len(m) == 0 {
		return nil, nil
	}
	labels := make(map[string]string, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		s, ok := m[k].(string)
		if !ok && m[k] != nil { // in YAML a label without a value is null
			return nil, &Malformed{Field: joinPath("labels", []any{Q(k)}), Message: "must be a string, not " + typeName(m[k])}
		}
		labels[k] = s
	}
	return labels, nil
}

// parseObject reads one JSON object; numbers stay exact.
func parseObject(data []byte) (map[string]any, error) {
	tree, err := parseTree(data)
	if err != nil {
		return nil, err
	}
	m, ok := tree.(map[string]any)
	if !ok {
		return nil, &Malformed{Message: "must be a JSON object, not " + typeName(tree)}
	}
	return m, nil
}

func parseTree(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, &Malformed{Message: jsonProblem(err, len(data))}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, &Malformed{Message: "there is more text after the JSON object; send one object"}
	}
	return tree, nil
}

func jsonProblem(err error, size int) string {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF):
		return "the document is empty; a JSON object was expected"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("the document is not complete JSON: it ends after %d bytes", size)
	case errors.As(err, &syntax):
		return fmt.Sprintf("the document is not JSON: byte %d: %v", syntax.Offset, err)
	}
	return "the document is not JSON: " + err.Error()
}

// typeName is the JSON type of a parsed value, with its article.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case json.Number, float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("%T", v)
}
