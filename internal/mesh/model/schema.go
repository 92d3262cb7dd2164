package model

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Schema is the subset of JSON Schema that describes specs: in OpenAPI, in CRDs
// and for checking input. It is derived from Go structs with SchemaOf.
type Schema struct {
	Type        string `json:"type,omitempty"`
	Format      string `json:"format,omitempty"`
	Description string `json:"description,omitempty"`

	Properties           map[string]*Schema `json:"properties,omitempty"`
	Required             []string           `json:"required,omitempty"`
	AdditionalProperties *Schema            `json:"additionalProperties,omitempty"`
	Items                *Schema            `json:"items,omitempty"`

	Enum      []string `json:"enum,omitempty"`
	Default   any      `json:"default,omitempty"`
	Minimum   *float64 `json:"minimum,omitempty"`
	Maximum   *float64 `json:"maximum,omitempty"`
	MinLength *int     `json:"minLength,omitempty"`
	MaxLength *int     `json:"maxLength,omitempty"`
	MinItems  *int     `json:"minItems,omitempty"`
	MaxItems  *int     `json:"maxItems,omitempty"`
	Pattern   string   `json:"pattern,omitempty"`

	// PreserveUnknown allows any content; IntOrString a number or a string.
	PreserveUnknown bool `json:"x-kubernetes-preserve-unknown-fields,omitempty"`
	IntOrString     bool `json:"x-kubernetes-int-or-string,omitempty"`
	// ListMapKeys are the fields that tell the elements of a list apart, which
	// Kubernetes uses when it merges lists.
	ListMapKeys []string `json:"x-kubernetes-list-map-keys,omitempty"`

	pattern *regexp.Regexp
}

// Schematic is implemented by types whose JSON form is not that of their Go kind.
type Schematic interface {
	JSONSchema() *Schema
}

// JSONSchema says that a duration is a string.
func (Duration) JSONSchema() *Schema { return &Schema{Type: "string"} }

// JSONSchema says that a duration is a string.
func (ProtoDuration) JSONSchema() *Schema { return &Schema{Type: "string"} }

// JSONSchema says that a timestamp is a string.
func (Timestamp) JSONSchema() *Schema { return &Schema{Type: "string", Format: "date-time"} }

// JSONSchema says that a Struct may hold anything.
func (Struct) JSONSchema() *Schema { return &Schema{Type: "object", PreserveUnknown: true} }

// schemaMemo remembers the pure function SchemaOf.
var schemaMemo sync.Map // reflect.Type → *Schema

// SchemaOf returns the schema of a Go type. Names come from json tags, rules
// from schema tags, a comma separated list of:
//
//	required                       the field must be there
//	enum=A|B                       allowed values; in Flat kinds A:0|B:3 gives numbers (default 0, 1, …)
//	default=x                      value of an absent field (SpecBlock kinds); JSON for other than scalars
//	min=1 max=65535                bounds of numbers
//	minLength=1 maxLength=63       bounds of strings
//	minItems=1 maxItems=2          bounds of lists
//	format=int64                   as in OpenAPI
//	any                            free content
//	listMapKeys=name|port          fields that tell the elements of a list apart
//	pattern=^[a-z,]+$              must be the last one, since it may hold commas
//
// On a list of strings enum speaks about the elements. The result is shared:
// the caller must not change it. SchemaOf panics for tags that cannot be read,
// which is a programming error.
func SchemaOf(t reflect.Type) *Schema {
	if s, ok := schemaMemo.Load(t); ok {
		return s.(*Schema)
	}
	s, _ := schemaMemo.LoadOrStore(t, deriveSchema(t, nil))
	return s.(*Schema)
}

// SpecSchema returns the schema of the kind's spec.
func (k *Kind) SpecSchema() *Schema { return SchemaOf(reflect.TypeOf(k.New()).Elem()) }

// StatusSchema returns the schema of the kind's status, or nil.
func (k *Kind) StatusSchema() *Schema {
	if k.NewStatus == nil {
		return nil
	}
	return SchemaOf(reflect.TypeOf(k.NewStatus()).Elem())
}

func deriveSchema(t reflect.Type, above []reflect.Type) *Schema {
	if s, ok := reflect.New(t).Interface().(Schematic); ok {
		return s.JSONSchema()
	}
	switch t {
	case reflect.TypeFor[json.RawMessage]():
		return &Schema{PreserveUnknown: true}
	case reflect.TypeFor[[]byte]():
		return &Schema{Type: "string", Format: "byte"}
	case reflect.TypeFor[time.Time]():
		return &Schema{Type: "string", Format: "date-time"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return deriveSchema(t.Elem(), above)
	case reflect.Interface:
		return &Schema{PreserveUnknown: true}
	case reflect.Bool:
		return &Schema{Type: "boolean"}
	case reflect.String:
		return &Schema{Type: "string"}
	case reflect.Float32, reflect.Float64:
		return &Schema{Type: "number"}
	case reflect.Int64, reflect.Uint64:
		return &Schema{Type: "integer", Format: "int64"}
	case reflect.Int, reflect.Uint:
		return &Schema{Type: "integer"}
	case reflect.Int8, reflect.Uint8, reflect.Int16, reflect.Uint16, reflect.Int32, reflect.Uint32:
		return &Schema{Type: "integer", Format: "int32"}
	case reflect.Slice:
		return &Schema{Type: "array", Items: deriveSchema(t.Elem(), above)}
	case reflect.Map:
		return &Schema{Type: "object", AdditionalProperties: deriveSchema(t.Elem(), above)}
	case reflect.Struct:
		return deriveStruct(t, above)
	}
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return &Schema{Type: "string"}
	}
	panic(fmt.Sprintf("model: no schema for type %s", t))
}

func deriveStruct(t reflect.Type, above []reflect.Type) *Schema {
	if slices.Contains(above, t) { // a type that holds itself: not spelled out further
		return &Schema{Type: "object", PreserveUnknown: true}
	}
	above = append(slices.Clip(above), t)
	s := &Schema{Type: "object", Properties: map[string]*Schema{}}
	for name, f := range fieldsOf(t) {
		p := deriveSchema(t.FieldByIndex(f.index).Type, above)
		s.Properties[name] = f.opt.refine(p, t.String()+"."+name)
		if f.opt.required {
			s.Required = append(s.Required, name)
		}
	}
	slices.Sort(s.Required)
	if len(s.Properties) == 0 {
		s.Properties = nil
	}
	return s
}

// schemaTag is a parsed schema tag.
type schemaTag struct {
	required, any bool
	opts          []string // "key=value"
}

func parseSchemaTag(tag string) schemaTag {
	var t schemaTag
	for tag != "" {
		var part string
		if strings.HasPrefix(tag, "pattern=") {
			part, tag = tag, ""
		} else {
			part, tag, _ = strings.Cut(tag, ",")
		}
		switch part {
		case "":
		case "required":
			t.required = true
		case "any":
			t.any = true
		default:
			t.opts = append(t.opts, part)
		}
	}
	return t
}

// enumNumbers returns the names of an enum and their protobuf numbers.
func (t schemaTag) enumNumbers() (names []string, nums []int) {
	for _, o := range t.opts {
		list, ok := strings.CutPrefix(o, "enum=")
		if !ok {
			continue
		}
		for i, e := range strings.Split(list, "|") {
			name, num, numbered := strings.Cut(e, ":")
			if numbered {
				n, err := strconv.Atoi(num)
				if err != nil {
					panic(fmt.Sprintf("model: schema tag %q: %v", o, err))
				}
				i = n
			}
			names, nums = append(names, name), append(nums, i)
		}
	}
	return names, nums
}

// refine returns the schema with the rules of the tag added.
func (t schemaTag) refine(s *Schema, where string) *Schema {
	c := *s
	if t.any {
		c = Schema{PreserveUnknown: true}
	}
	for _, o := range t.opts {
		key, val, _ := strings.Cut(o, "=")
		if err := c.set(key, val, t); err != nil {
			panic(fmt.Sprintf("model: schema tag of %s: %q: %v", where, o, err))
		}
	}
	return &c
}

func (s *Schema) set(key, val string, t schemaTag) error {
	switch key {
	case "min":
		return setNumber(&s.Minimum, val)
	case "max":
		return setNumber(&s.Maximum, val)
	case "minLength":
		return setCount(&s.MinLength, val)
	case "maxLength":
		return setCount(&s.MaxLength, val)
	case "minItems":
		return setCount(&s.MinItems, val)
	case "maxItems":
		return setCount(&s.MaxItems, val)
	case "format":
		s.Format = val
	case "listMapKeys":
		s.ListMapKeys = strings.Split(val, "|")
	case "pattern":
		s.Pattern = val
		p, err := regexp.Compile(val)
		s.pattern = p
		return err
	case "enum":
		names, _ := t.enumNumbers()
		if s.Items == nil {
			s.Enum = names
			return nil
		}
		items := *s.Items
		items.Enum = names
		s.Items = &items
	case "default":
		if s.Type == "string" {
			s.Default = val
			return nil
		}
		d, err := parseTree([]byte(val))
		s.Default = d
		return err
	default:
		return fmt.Errorf("unknown rule")
	}
	return nil
}

func setNumber(to **float64, val string) error {
	n, err := strconv.ParseFloat(val, 64)
	*to = &n
	return err
}

func setCount(to **int, val string) error {
	n, err := strconv.Atoi(val)
	*to = &n
	return err
}
