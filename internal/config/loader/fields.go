// Package loader fills a tree of plain structs with settings from a file and
// from environment variables, reports keys and variables that nothing reads,
// and prints the tree with its secrets hidden.
//
// The tree is described by struct tags alone:
//
//	Port int `json:"port" env:"PORT"`
//
// json is the key in files and in dumps (a yaml tag, if there is one, is the key
// in files), env the variable: absolute when it starts with the prefix of all
// variables ("KUMA_"), otherwise appended to that of the enclosing struct.
// A tag unused:"reason" marks a setting, or a group of them, that is accepted but
// does nothing; Load warns of those that are given another value than the default.
// Defaults are whatever the tree holds before Load. Package config uses it for
// kuma-cp; other binaries may use it for theirs. It keeps no state.
package loader

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Field is one setting of a tree.
type Field struct {
	// Path is the key in files, with dots.
	Path string
	// Env is the variable that sets it; empty = none.
	Env string
	// Declared is where it is declared; Within are the declarations of the groups
	// around it, the outermost first.
	Declared Place
	Within   []Place
	// Unused says why the setting does nothing; empty = it does something.
	Unused string
	// Value is the setting itself, addressable.
	Value reflect.Value
}

// Place is a Go field of a struct type.
type Place struct {
	Owner reflect.Type
	Name  string
}

var durationType = reflect.TypeFor[time.Duration]()

// Fields returns all settings below a pointer to a struct, in the order of
// declaration. prefix is what absolute variable names start with.
func Fields(tree any, prefix string) []Field {
	v := reflect.ValueOf(tree)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("loader: %T is not a pointer to a struct", tree))
	}
	var out []Field
	walk(v.Elem(), Field{}, prefix, &out)
	return out
}

// walk adds the settings of a struct; at describes the group that it is.
func walk(v reflect.Value, at Field, prefix string, out *[]Field) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			walk(v.Field(i), at, prefix, out)
			continue
		}
		key := fileKey(f)
		if key == "" {
			continue
		}
		field := Field{
			Path: join(at.Path, ".", key), Env: fieldEnv(f, at.Env, prefix),
			Declared: Place{t, f.Name}, Within: at.Within, Unused: f.Tag.Get("unused"), Value: v.Field(i),
		}
		if field.Unused == "" {
			field.Unused = at.Unused
		}
		if isGroup(f.Type) {
			field.Within = append(at.Within[:len(at.Within):len(at.Within)], field.Declared)
			walk(v.Field(i), field, prefix, out)
			continue
		}
		if f.Tag.Get("env") == "" {
			field.Env = ""
		}
		*out = append(*out, field)
	}
}

// isGroup tells whether a struct type groups settings (and is no setting itself).
func isGroup(t reflect.Type) bool { return t.Kind() == reflect.Struct }

// fieldEnv returns the variable of a field, or the prefix of a group's variables.
func fieldEnv(f reflect.StructField, env, prefix string) string {
	tag := f.Tag.Get("env")
	switch {
	case tag == "":
		return env
	case strings.HasPrefix(tag, prefix):
		return tag
	}
	return join(env, "_", tag)
}

// fileKey returns the key of a field in files; "" = not a setting.
func fileKey(f reflect.StructField) string {
	if k, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); k != "" {
		return k
	}
	return dumpKey(f)
}

// dumpKey returns the key of a field in dumps; "" = not a setting.
func dumpKey(f reflect.StructField) string {
	k, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if k == "-" {
		return ""
	}
	return k
}

func join(a, sep, b string) string {
	if a == "" {
		return b
	}
	return a + sep + b
}
