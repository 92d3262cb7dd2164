package model

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// decoder fills structs from parsed JSON along their json tags. Compared with
// encoding/json it tells the path of what is wrong, and it knows the protobuf
// JSON mapping that Flat kinds follow: snake_case names, enums by number,
// numbers in strings. Unknown fields are reported to unknown, or ignored.
type decoder struct {
	proto   bool
	unknown func(path string)
}

// decodeProto fills what v points to by the protobuf JSON mapping.
func decodeProto(tree any, v any) error {
	return decoder{proto: true}.value(tree, reflect.ValueOf(v).Elem(), "", field{})
}

// DecodeProto fills the struct that v points to with a free-form block of a Flat
// kind, by the protobuf JSON mapping. Errors are *Malformed.
func DecodeProto(s Struct, v any) error {
	if s == nil {
		s = Struct{}
	}
	return decodeProto(map[string]any(s), v)
}

// field is what tags say about a struct field.
type field struct {
	name  string
	index []int
	// enum lists the names of a protobuf enum; nums their numbers.
	enum []string
	nums []int
	// opt is the schema tag.
	opt schemaTag
}

// fieldsMemo remembers the pure function fieldsOf, since reflection over tags
// costs more than the decoding.
var fieldsMemo sync.Map // reflect.Type → map[string]field

func fieldsOf(t reflect.Type) map[string]field {
	if m, ok := fieldsMemo.Load(t); ok {
		return m.(map[string]field)
	}
	m := make(map[string]field)
	for _, sf := range reflect.VisibleFields(t) {
		tag := sf.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		if !sf.IsExported() || name == "-" || (sf.Anonymous && name == "") {
			continue
		}
		if name == "" {
			name = sf.Name
		}
		f := field{name: name, index: sf.Index, opt: parseSchemaTag(sf.Tag.Get("schema"))}
		f.enum, f.nums = f.opt.enumNumbers()
		m[name] = f
	}
	fieldsMemo.Store(t, m)
	return m
}

func (d decoder) value(tree any, rv reflect.Value, path string, f field) error {
	if tree == nil {
		return nil // null = absent
	}
	if done, err := d.special(tree, rv, path); done {
		return err
	}
	switch rv.Kind() {
	case reflect.Pointer:
		n := reflect.New(rv.Type().Elem())
		if err := d.value(tree, n.Elem(), path, f); err != nil {
			return err
		}
		d.nameZero(n.Elem(), f)
		rv.Set(n)
		return nil
	case reflect.Struct:
		return d.object(tree, rv, path)
	case reflect.Map:
		return d.dict(tree, rv, path, f)
	case reflect.Slice:
		return d.list(tree, rv, path, f)
	case reflect.Interface:
		rv.Set(reflect.ValueOf(plain(tree)))
		return nil
	}
	return d.scalar(tree, rv, path, f)
}

// special handles types with a JSON form of their own.
func (d decoder) special(tree any, rv reflect.Value, path string) (bool, error) {
	if rv.Kind() == reflect.Pointer || !rv.CanAddr() {
		return false, nil
	}
	switch to := rv.Addr().Interface().(type) {
	case *Struct:
		m, ok := tree.(map[string]any)
		if !ok {
			return true, wrongType(path, "an object", tree)
		}
		*to = plain(m).(map[string]any)
		return true, nil
	case *[]byte:
		s, ok := tree.(string)
		if !ok {
			return true, wrongType(path, "a string in base64", tree)
		}
		b, err := decodeBase64(s)
		if err != nil {
			return true, &Malformed{Field: path, Message: "is not base64: " + err.Error()}
		}
		*to = b
		return true, nil
	case json.Unmarshaler:
		b, err := EncodeSpec(tree)
		if err == nil {
			err = to.UnmarshalJSON(b)
		}
		if err != nil {
			return true, &Malformed{Field: path, Message: err.Error()}
		}
		return true, nil
	}
	return false, nil
}

// decodeBase64 accepts the standard and the URL alphabet, with and without padding.
func decodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if strings.ContainsAny(s, "-_") {
		return base64.RawURLEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}

func (d decoder) object(tree any, rv reflect.Value, path string) error {
	m, ok := tree.(map[string]any)
	if !ok {
		return wrongType(path, "an object", tree)
	}
	fields := fieldsOf(rv.Type())
	for _, key := range sortedKeys(m) {
		f, known := fields[key]
		if !known && d.proto && strings.Contains(key, "_") {
			f, known = fields[lowerCamel(key)]
			if known && m[f.name] != nil {
				continue // the JSON name wins over the original one
			}
		}
		sub := joinPath(path, []any{key})
		if !known {
			if d.unknown != nil {
				d.unknown(unknownPath(path, key))
			}
			continue
		}
		if err := d.value(m[key], rv.FieldByIndex(f.index), sub, f); err != nil {
			return err
		}
	}
	return nil
}

// unknownPath is the path of a field that may have any name.
func unknownPath(path, key string) string {
	for _, c := range []byte(key) {
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return joinPath(path, []any{Q(key)})
		}
	}
	return joinPath(path, []any{key})
}

func (d decoder) dict(tree any, rv reflect.Value, path string, f field) error {
	m, ok := tree.(map[string]any)
	if !ok {
		return wrongType(path, "an object", tree)
	}
	if len(m) == 0 {
		return nil
	}
	out := reflect.MakeMapWithSize(rv.Type(), len(m))
	for _, key := range sortedKeys(m) {
		sub := joinPath(path, []any{Q(key)})
		if m[key] == nil && rv.Type().Elem().Kind() != reflect.Interface {
			return &Malformed{Field: sub, Message: "must not be null"}
		}
		e := reflect.New(rv.Type().Elem()).Elem()
		if err := d.value(m[key], e, sub, f); err != nil {
			return err
		}
		out.SetMapIndex(reflect.ValueOf(key).Convert(rv.Type().Key()), e)
	}
	rv.Set(out)
	return nil
}

func (d decoder) list(tree any, rv reflect.Value, path string, f field) error {
	l, ok := tree.([]any)
	if !ok {
		return wrongType(path, "a list", tree)
	}
	if len(l) == 0 && d.proto {
		return nil // the protobuf mapping does not tell empty from absent
	}
	out := reflect.MakeSlice(rv.Type(), len(l), len(l))
	for i, v := range l {
		sub := joinPath(path, []any{i})
		if v == nil && rv.Type().Elem().Kind() != reflect.Interface {
			return &Malformed{Field: sub, Message: "must not be null"}
		}
		if err := d.value(v, out.Index(i), sub, f); err != nil {
			return err
		}
		d.nameZero(out.Index(i), f)
	}
	rv.Set(out)
	return nil
}

// nameZero writes out the name of an enum's number 0 where presence matters:
// behind pointers and in lists.
func (d decoder) nameZero(rv reflect.Value, f field) {
	if d.proto && f.enum != nil && rv.Kind() == reflect.String && rv.Len() == 0 {
		rv.SetString(f.enum[0])
	}
}

func (d decoder) scalar(tree any, rv reflect.Value, path string, f field) error {
	switch rv.Kind() {
	case reflect.String:
		if d.proto && f.enum != nil {
			return setEnum(tree, rv, path, f)
		}
		s, ok := tree.(string)
		if !ok {
			return wrongType(path, "a string", tree)
		}
		rv.SetString(s)
	case reflect.Bool:
		b, ok := tree.(bool)
		if !ok {
			return wrongType(path, "true or false", tree)
		}
		rv.SetBool(b)
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64, reflect.Uint16, reflect.Uint8:
		n, err := d.integer(tree, path)
		if err != nil {
			return err
		}
		return setInteger(n, rv, path)
	case reflect.Float64, reflect.Float32:
		text, err := d.number(tree, path)
		if err != nil {
			return err
		}
		n, perr := strconv.ParseFloat(text, 64)
		if perr != nil || !isNumber(text) || n != n || n > 1e308 || n < -1e308 {
			return &Malformed{Field: path, Message: strconv.Quote(text) + " is not a finite number"}
		}
		rv.SetFloat(n)
	default:
		return &Malformed{Field: path, Message: "values of type " + rv.Type().String() + " cannot be read"}
	}
	return nil
}

// number returns the text of a number; the protobuf mapping allows strings.
func (d decoder) number(tree any, path string) (string, error) {
	switch t := tree.(type) {
	case json.Number:
		return t.String(), nil
	case float64:
		return strconv.FormatFloat(t, 'g', -1, 64), nil
	case string:
		if d.proto {
			return t, nil
		}
	}
	return "", wrongType(path, "a number", tree)
}

// integer accepts whole numbers in any JSON notation (80, 8e1, 80.0).
func (d decoder) integer(tree any, path string) (*big.Int, error) {
	text, err := d.number(tree, path)
	if err != nil {
		return nil, err
	}
	// Rat would compute 10^exponent for what a few bytes ask.
	if len(text) > 40 || bigExponent(text) {
		return nil, &Malformed{Field: path, Message: "is out of range"}
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok || !isNumber(text) || !r.IsInt() {
		return nil, &Malformed{Field: path, Message: strconv.Quote(text) + " is not a whole number"}
	}
	return r.Num(), nil
}

// isNumber tells whether a text is a number as JSON writes it: Go reads others,
// too, such as 0x50, 1_000 and 017.
func isNumber(text string) bool {
	return text != "" && (text[0] == '-' || '0' <= text[0] && text[0] <= '9') && json.Valid([]byte(text))
}

func bigExponent(text string) bool {
	i := strings.IndexAny(text, "eEpP")
	if i < 0 {
		return false
	}
	n, err := strconv.Atoi(strings.TrimPrefix(text[i+1:], "+"))
	return err == nil && (n > 30 || n < -30)
}

func setInteger(n *big.Int, rv reflect.Value, path string) error {
	if rv.CanUint() {
		if !n.IsUint64() || rv.OverflowUint(n.Uint64()) {
			return &Malformed{Field: path, Message: n.String() + " is out of range: whole numbers from 0 are possible"}
		}
		rv.SetUint(n.Uint64())
		return nil
	}
	if !n.IsInt64() || rv.OverflowInt(n.Int64()) {
		return &Malformed{Field: path, Message: n.String() + " is out of range"}
	}
	rv.SetInt(n.Int64())
	return nil
}

// setEnum accepts the name or the number. Number 0 is stored as "", so that it
// is omitted when printed like every default.
func setEnum(tree any, rv reflect.Value, path string, f field) error {
	i := -1
	switch t := tree.(type) {
	case string:
		i = slices.Index(f.enum, t)
	case json.Number, float64:
		n, err := decoder{}.integer(tree, path)
		if err == nil && n.IsInt64() {
			i = slices.Index(f.nums, int(n.Int64()))
		}
	default:
		return wrongType(path, "a string", tree)
	}
	if i < 0 {
		b, _ := EncodeSpec(tree)
		return &Malformed{Field: path, Message: string(b) + " is not possible here; use one of " + strings.Join(f.enum, ", ")}
	}
	if f.nums[i] == 0 {
		rv.SetString("")
		return nil
	}
	rv.SetString(f.enum[i])
	return nil
}

func wrongType(path, want string, got any) error {
	return &Malformed{Field: path, Message: "must be " + want + ", not " + typeName(got)}
}

// plain turns exact numbers into float64, as encoding/json does for any.
func plain(tree any) any {
	switch t := tree.(type) {
	case json.Number:
		f, err := t.Float64()
		if err != nil { // out of range: keep the text, which still prints as a number
			return t
		}
		return f
	case []any:
		out := make([]any, len(t))
		for i, v := range t {
			out[i] = plain(v)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(t))
		for k, v := range t {
			out[k] = plain(v)
		}
		return out
	}
	return tree
}

// lowerCamel turns a protobuf field name into its JSON name.
func lowerCamel(snake string) string {
	var b strings.Builder
	up := false
	for _, c := range []byte(snake) {
		switch {
		case c == '_':
			up = true
		case up && 'a' <= c && c <= 'z':
			b.WriteByte(c - 'a' + 'A')
			up = false
		default:
			b.WriteByte(c)
			up = false
		}
	}
	return b.String()
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
