package model

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decodeBlock reads one block of a SpecBlock kind: defaults of the schema, then
// its rules, then the struct. What breaks a rule is added to v; the error is for
// values that pass the schema and still cannot be read.
func (k *Kind) decodeBlock(name string, tree any, to any, v *Violations) error {
	s := SchemaOf(reflect.TypeOf(to).Elem())
	tree = s.ApplyDefaults(tree)
	before := len(v.List())
	s.Check(tree, v.At(name))
	if len(v.List()) > before {
		return nil
	}
	return decoder{}.value(tree, reflect.ValueOf(to).Elem(), name, field{})
}

// ApplyDefaults returns the parsed JSON value with the defaults of absent fields
// filled in. null counts as absent. The argument may be changed.
func (s *Schema) ApplyDefaults(tree any) any {
	switch t := tree.(type) {
	case map[string]any:
		for name, p := range s.Properties {
			if v := t[name]; v != nil {
				t[name] = p.ApplyDefaults(v)
				continue
			}
			delete(t, name)
			if p.Default != nil {
				t[name] = p.ApplyDefaults(cloneTree(p.Default))
			}
		}
		if s.AdditionalProperties != nil {
			for name, v := range t {
				t[name] = s.AdditionalProperties.ApplyDefaults(v)
			}
		}
	case []any:
		if s.Items != nil {
			for i, v := range t {
				t[i] = s.Items.ApplyDefaults(v)
			}
		}
	}
	return tree
}

// cloneTree copies a default, so that no two objects share a part that a later
// ApplyDefaults may change.
func cloneTree(tree any) any {
	switch t := tree.(type) {
	case map[string]any:
		out := make(map[string]any, len(t))
		for k, v := range t {
			out[k] = cloneTree(v)
		}
		return out
	case []any:
		out := make([]any, len(t))
		for i, v := range t {
			out[i] = cloneTree(v)
		}
		return out
	}
	return tree
}

// Check adds what breaks the schema in a parsed JSON value. Fields that the
// schema does not know are fine. Order: by path.
func (s *Schema) Check(tree any, v *Violations) {
	if s.PreserveUnknown && s.Type == "" {
		return
	}
	if s.IntOrString {
		switch tree.(type) {
		case string, json.Number:
		default:
			v.Add("must be a number or a string, not %s", typeName(tree))
		}
		return
	}
	switch s.Type {
	case "object":
		s.checkObject(tree, v)
	case "array":
		s.checkArray(tree, v)
	case "string":
		s.checkString(tree, v)
	case "boolean":
		if _, ok := tree.(bool); !ok {
			v.Add("must be true or false, not %s", typeName(tree))
		}
	case "integer", "number":
		s.checkNumber(tree, v)
	}
}

func (s *Schema) checkObject(tree any, v *Violations) {
	m, ok := tree.(map[string]any)
	if !ok {
		v.Add("must be an object, not %s", typeName(tree))
		return
	}
	for _, name := range s.Required {
		if m[name] == nil {
			v.At(name).Add("is required")
		}
	}
	for _, name := range sortedKeys(m) {
		switch p := s.Properties[name]; {
		case m[name] == nil && p != nil:
		case p != nil:
			p.Check(m[name], v.At(name))
		case s.AdditionalProperties != nil:
			s.AdditionalProperties.Check(m[name], v.At(Q(name)))
		}
	}
}

func (s *Schema) checkArray(tree any, v *Violations) {
	l, ok := tree.([]any)
	if !ok {
		v.Add("must be a list, not %s", typeName(tree))
		return
	}
	if s.MinItems != nil && len(l) < *s.MinItems {
		v.Add("must have at least %s", count(*s.MinItems, "element"))
	}
	if s.MaxItems != nil && len(l) > *s.MaxItems {
		v.Add("must have at most %s", count(*s.MaxItems, "element"))
	}
	if s.Items == nil {
		return
	}
	for i, e := range l {
		s.Items.Check(e, v.At(i))
	}
}

func (s *Schema) checkString(tree any, v *Violations) {
	t, ok := tree.(string)
	if !ok {
		v.Add("must be a string, not %s", typeName(tree))
		return
	}
	if s.Enum != nil && !slices.Contains(s.Enum, t) {
		v.Add("%q is not possible here; use one of %s", t, strings.Join(s.Enum, ", "))
		return
	}
	n := utf8.RuneCountInString(t)
	if s.MinLength != nil && n < *s.MinLength {
		v.Add("must be at least %s long", count(*s.MinLength, "character"))
	}
	if s.MaxLength != nil && n > *s.MaxLength {
		v.Add("must be at most %s long", count(*s.MaxLength, "character"))
	}
	if s.pattern != nil && !s.pattern.MatchString(t) {
		v.Add("%q does not match the pattern %s", t, s.Pattern)
	}
}

func (s *Schema) checkNumber(tree any, v *Violations) {
	n, ok := tree.(json.Number)
	if !ok {
		v.Add("must be a number, not %s", typeName(tree))
		return
	}
	if s.Type == "integer" {
		if _, err := (decoder{}).integer(n, ""); err != nil {
			v.Add("must be a whole number, not %s", n)
			return
		}
	}
	f, err := n.Float64()
	if err != nil {
		v.Add("%s is too large", n)
		return
	}
	if s.Minimum != nil && f < *s.Minimum {
		v.Add("must be at least %s", bound(*s.Minimum))
	}
	if s.Maximum != nil && f > *s.Maximum {
		v.Add("must be at most %s", bound(*s.Maximum))
	}
}

func bound(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
