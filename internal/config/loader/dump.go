package loader

import (
	"reflect"
	"strings"
	"time"
)

// Redactor is a value that must not be shown; Redacted is what stands for it.
type Redactor interface{ Redacted() string }

// Dump returns a tree as maps, lists and plain values, ready for JSON: durations
// as text, absent lists and maps as empty ones, secrets redacted. omitempty in
// json tags leaves a zero value out.
func Dump(tree any) map[string]any { return dumpStruct(treeValue(tree)) }

func dumpStruct(v reflect.Value) map[string]any {
	out := map[string]any{}
	dumpInto(v, out)
	return out
}

func dumpInto(v reflect.Value, out map[string]any) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			dumpInto(v.Field(i), out)
			continue
		}
		key := dumpKey(f)
		if key == "" || strings.Contains(f.Tag.Get("json"), ",omitempty") && isEmpty(v.Field(i)) {
			continue
		}
		out[key] = dumpValue(v.Field(i))
	}
}

func isEmpty(v reflect.Value) bool {
	if v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}

func dumpValue(v reflect.Value) any {
	if r, ok := v.Interface().(Redactor); ok {
		return r.Redacted()
	}
	if v.Type() == durationType {
		return time.Duration(v.Int()).String()
	}
	switch v.Kind() {
	case reflect.Struct:
		return dumpStruct(v)
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = dumpValue(v.Index(i))
		}
		return list
	case reflect.Map:
		m := map[string]any{}
		for it := v.MapRange(); it.Next(); {
			m[it.Key().String()] = dumpValue(it.Value())
		}
		return m
	}
	return v.Interface()
}
