package inspect

import (
	"reflect"
	"strings"
	"time"
	"unicode"
)

// Redacted stands for a secret.
const Redacted = "[redacted]"

// Plain returns a value made of structs as a tree for JSON that people can read:
// names begin with a small letter, durations are like "5s", what is not set is
// left out, and the bytes of keys are replaced.
func Plain(v any) any {
	out, _ := plain(reflect.ValueOf(v), "")
	return out
}

// plain returns the tree, and whether there is anything in it.
func plain(v reflect.Value, field string) (out any, some bool) {
	if !v.IsValid() {
		return nil, false
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return d.String(), d != 0
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil, false
		}
		out, _ = plain(v.Elem(), field)
		return out, true // that a pointer is set says something, even if it is to 0
	case reflect.Struct:
		return plainStruct(v)
	case reflect.Map:
		m := make(map[string]any, v.Len())
		for i := v.MapRange(); i.Next(); {
			m[i.Key().String()], _ = plain(i.Value(), i.Key().String())
		}
		return m, v.Len() > 0
	case reflect.Slice, reflect.Array:
		return plainList(v, field)
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return nil, false
	}
	return v.Interface(), !v.IsZero()
}

func plainStruct(v reflect.Value) (any, bool) {
	m := map[string]any{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		x, some := plain(v.Field(i), f.Name)
		if !some {
			continue
		}
		if inner, ok := x.(map[string]any); ok && f.Anonymous {
			for k, e := range inner {
				m[k] = e
			}
			continue
		}
		m[small(f.Name)] = x
	}
	return m, len(m) > 0
}

func plainList(v reflect.Value, field string) (any, bool) {
	if v.Len() == 0 {
		return []any{}, false
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		if strings.Contains(field, "Key") || v.Kind() == reflect.Array {
			return Redacted, true
		}
		return string(v.Bytes()), true
	}
	out := make([]any, v.Len())
	for i := range out {
		out[i], _ = plain(v.Index(i), field)
	}
	return out, true
}

// small makes the name of a field begin with a small letter: ID is id, WorkDir
// workDir, TLSMode tlsMode, IPv6 ipv6.
func small(name string) string {
	if rest, ok := strings.CutPrefix(name, "IPv"); ok {
		return "ipv" + rest
	}
	r := []rune(name)
	for i := range r {
		if !unicode.IsUpper(r[i]) || (i > 0 && i+1 < len(r) && unicode.IsLower(r[i+1]) && string(r[i+1:]) != "s") {
			break
		}
		r[i] = unicode.ToLower(r[i])
	}
	return string(r)
}
