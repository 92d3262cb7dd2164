package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/model"
)

// generator holds what all outputs are made from.
type generator struct {
	kinds []*model.Kind
	docs  *comments
}

// tree is a part of a YAML document; its keys are written in alphabetical order.
type tree = map[string]any

// schemaWriter turns schemas into trees and adds the comments of the Go types
// that they come from.
type schemaWriter struct {
	docs *comments
	// components, if not nil, collects named structs, which are then referred to.
	components tree
	// crd writes what Kubernetes understands, else OpenAPI.
	crd bool
}

// write returns the schema s of type t. description overrides the type's own.
func (w *schemaWriter) write(s *model.Schema, t reflect.Type, description string) (tree, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if w.components != nil && t.Kind() == reflect.Struct && s.Type == "object" && s.Properties != nil {
		return w.refer(s, t, description)
	}
	out := w.plain(s)
	if description != "" {
		out["description"] = description
	}
	return out, w.inner(out, s, t)
}

// refer puts the schema of a struct among the components and returns a reference.
func (w *schemaWriter) refer(s *model.Schema, t reflect.Type, description string) (tree, error) {
	name := componentName(t)
	if _, done := w.components[name]; !done {
		w.components[name] = tree{} // ends recursion
		doc, err := w.docs.typeDoc(t)
		if err != nil {
			return nil, err
		}
		out := w.plain(s)
		if doc != "" {
			out["description"] = doc
		}
		if err := w.inner(out, s, t); err != nil {
			return nil, err
		}
		w.components[name] = out
	}
	ref := tree{"$ref": "#/components/schemas/" + name}
	if description != "" {
		ref["description"] = description
	}
	return ref, nil
}

// inner adds properties, items and values, whose schemas come from parts of t.
func (w *schemaWriter) inner(out tree, s *model.Schema, t reflect.Type) error {
	switch {
	case s.Properties != nil && t.Kind() == reflect.Struct:
		props := tree{}
		for _, f := range jsonFields(t) {
			doc, err := w.docs.fieldDoc(t, f.StructField)
			if err != nil {
				return err
			}
			if props[f.name], err = w.write(s.Properties[f.name], f.Type, doc); err != nil {
				return err
			}
		}
		out["properties"] = props
	case s.Items != nil && t.Kind() == reflect.Slice:
		items, err := w.write(s.Items, t.Elem(), "")
		out["items"] = items
		return err
	case s.AdditionalProperties != nil && t.Kind() == reflect.Map:
		values, err := w.write(s.AdditionalProperties, t.Elem(), "")
		out["additionalProperties"] = values
		return err
	}
	return nil
}

// plain returns the schema without its parts.
func (w *schemaWriter) plain(s *model.Schema) tree {
	c := *s
	c.Properties, c.Items, c.AdditionalProperties = nil, nil, nil
	if !w.crd {
		c.PreserveUnknown, c.IntOrString, c.ListMapKeys = false, false, nil
	}
	b, err := json.Marshal(&c)
	if err != nil {
		panic(fmt.Sprintf("gen: schema %+v: %v", c, err)) // a default without JSON form
	}
	var out tree
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		panic(fmt.Sprintf("gen: schema %s: %v", b, err))
	}
	out = numbers(out).(tree)
	if s.Type == "integer" && s.Enum != nil { // tags hold text
		out["enum"] = integers(s.Enum)
	}
	if w.crd && s.ListMapKeys != nil {
		out["x-kubernetes-list-type"] = "map"
	}
	if s.IntOrString {
		key := "oneOf"
		if w.crd {
			key = "anyOf"
		}
		out[key] = []any{tree{"type": "integer"}, tree{"type": "string"}}
	}
	if s.PreserveUnknown && !w.crd && s.Type == "object" {
		out["additionalProperties"] = true
	}
	return out
}

func integers(list []string) []any {
	out := make([]any, len(list))
	for i, e := range list {
		n, err := strconv.Atoi(e)
		if err != nil {
			panic(fmt.Sprintf("gen: enum of numbers holds %q", e)) // a wrong tag
		}
		out[i] = n
	}
	return out
}

// numbers turns JSON numbers into ints where they are whole.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f)
		}
		return f
	case map[string]any:
		for k, e := range v {
			v[k] = numbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = numbers(e)
		}
	}
	return v
}

// jsonField is a struct field with its JSON name.
type jsonField struct {
	reflect.StructField
	name string
}

// jsonFields returns the fields in the order of the source, embedded ones inlined.
func jsonFields(t reflect.Type) []jsonField {
	var out []jsonField
	for _, sf := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if !sf.IsExported() || name == "-" || (sf.Anonymous && name == "") {
			continue
		}
		if name == "" {
			name = sf.Name
		}
		out = append(out, jsonField{sf, name})
	}
	return out
}

// componentName is the name of a struct in OpenAPI: the type's own in package
// kinds, with the package's name in front elsewhere.
func componentName(t reflect.Type) string {
	pkg := t.PkgPath()[strings.LastIndex(t.PkgPath(), "/")+1:]
	name := typeArgs(t.Name())
	if pkg == "kinds" {
		return name
	}
	return upperFirst(pkg) + name
}

// typeArgs turns Item[weft/internal/mesh/policy/meshtimeout.Conf] into
// ItemMeshtimeoutConf.
func typeArgs(name string) string {
	base, args, generic := strings.Cut(strings.TrimSuffix(name, "]"), "[")
	if !generic {
		return base
	}
	for arg := range strings.SplitSeq(args, ",") {
		arg = arg[strings.LastIndex(arg, "/")+1:]
		for part := range strings.SplitSeq(arg, ".") {
			base += upperFirst(strings.Map(letters, part))
		}
	}
	return base
}

func letters(r rune) rune {
	if unicode.IsLetter(r) || unicode.IsDigit(r) {
		return r
	}
	return -1
}

func upperFirst(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// specType is the struct of a kind's spec.
func specType(k *model.Kind) reflect.Type { return reflect.TypeOf(k.New()).Elem() }

// statusType is the struct of a kind's status, or nil.
func statusType(k *model.Kind) reflect.Type {
	if k.NewStatus == nil {
		return nil
	}
	return reflect.TypeOf(k.NewStatus()).Elem()
}

// kindDoc returns what a kind is: the comment of its descriptor, or for a policy
// that of its package, which begins with the package's name.
func (g *generator) kindDoc(k *model.Kind) (string, error) {
	p, err := g.docs.of(specType(k).PkgPath())
	if err != nil {
		return "", err
	}
	if doc := p.vars[k.Name]; doc != "" {
		return doc, nil
	}
	if rest, ok := strings.CutPrefix(p.doc, "Package "+p.name+" "); ok {
		rest, _, _ = strings.Cut(rest, "\n")
		return k.Name + " " + rest, nil
	}
	return "", fmt.Errorf("%s: neither the descriptor nor the package of %s has a comment that says what it is", k.Name, specType(k))
}

// blockDoc returns the comment of the struct of a block, without its Go name,
// which nobody outside of the sources knows.
func (c *comments) blockDoc(t reflect.Type) (string, error) {
	doc, err := c.typeDoc(t)
	if rest, ok := strings.CutPrefix(doc, plainName(t)+" "); ok {
		doc = upperFirst(rest)
	}
	return doc, err
}

// marshal writes YAML with an indent of two.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

const header = "# Generated by tools/gen from the kinds in the catalog. Do not edit.\n"
