package findings

import (
	"reflect"
	"strings"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// secrets tells which Secrets the object names that do not exist, wherever they
// are named.
func (a at) secrets() {
	missing := func(path []any, name string) {
		if _, ok := a.c.Tables.Table(kinds.Secret, a.c.Mesh).Get(name); !ok {
			a.add(Warning, MissingSecret, path, "create it, or correct the name", "there is no Secret %q in mesh %q", name, a.c.Mesh)
		}
	}
	walk(reflect.ValueOf(a.o.Spec), specPath(a.o), missing)
	mesh, is := a.o.Spec.(*kinds.MeshSpec)
	if !is || mesh.MTLS == nil {
		return
	}
	for i := range mesh.MTLS.Backends {
		b := &mesh.MTLS.Backends[i]
		if b.Type != kinds.CAProvided {
			continue // builtin ones have secrets of the control plane
		}
		if conf, err := b.Provided(); err == nil {
			walk(reflect.ValueOf(conf), []any{"mtls", "backends", i, "conf"}, missing)
		}
	}
}

func specPath(o *model.Object) []any {
	if o.Kind.Shape == model.Flat {
		return nil
	}
	return []any{"spec"}
}

// walk calls found for each Secret that a value names: in fields that are called
// secret, as those of all data sources are.
func walk(v reflect.Value, path []any, found func(path []any, name string)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walk(v.Elem(), path, found)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			walk(v.Index(i), with(path, i), found)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			at := path
			if name != "" {
				at = with(path, name)
			}
			if secret, is := textOf(v.Field(i)); is && name == "secret" {
				if secret != "" {
					found(at, secret)
				}
				continue
			}
			walk(v.Field(i), at, found)
		}
	default: // holds no structs that name secrets
	}
}

// textOf returns a string, or what a pointer to one holds.
func textOf(v reflect.Value) (string, bool) {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	return v.String(), v.Kind() == reflect.String
}

func with(path []any, more ...any) []any { return append(path[:len(path):len(path)], more...) }
