package loader

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// parse sets v from text: the form of variables and of single values in files.
func parse(v reflect.Value, text string) error {
	if v.Type() == durationType {
		return parseDuration(v, text)
	}
	if readsText(v) {
		return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("%s is neither true nor false", quote(text))
		}
		v.SetBool(b)
		return nil
	case reflect.Slice:
		return parseList(v, text)
	case reflect.Map:
		return parseMap(v, text)
	}
	return parseNumber(v, strings.TrimSpace(text))
}

// readsText tells whether a type reads texts by itself. Lists that do may be given
// as one text in files, too.
func readsText(v reflect.Value) bool {
	return v.CanAddr() && v.Addr().Type().Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func parseDuration(v reflect.Value, text string) error {
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil {
		return fmt.Errorf(`%s is not a duration; write it like "10s", "1h30m" or "500ms"`, quote(text))
	}
	v.SetInt(int64(d))
	return nil
}

func parseNumber(v reflect.Value, text string) error {
	var err error
	switch {
	case v.CanInt():
		var n int64
		if n, err = strconv.ParseInt(text, 10, v.Type().Bits()); err == nil {
			v.SetInt(n)
		}
	case v.CanUint():
		var n uint64
		if n, err = strconv.ParseUint(text, 10, v.Type().Bits()); err == nil {
			v.SetUint(n)
		}
	default:
		panic(fmt.Sprintf("loader: settings of type %s are not supported", v.Type()))
	}
	if err != nil {
		return fmt.Errorf("%s is not %s", quote(text), typeWords(v.Type()))
	}
	return nil
}

// parseList reads "a,b,c"; nothing is the empty list.
func parseList(v reflect.Value, text string) error {
	var parts []string
	if strings.TrimSpace(text) != "" {
		parts = strings.Split(text, ",")
	}
	out := reflect.MakeSlice(v.Type(), len(parts), len(parts))
	for i, p := range parts {
		if err := parse(out.Index(i), strings.TrimSpace(p)); err != nil {
			return fmt.Errorf("element %d: %w", i+1, err)
		}
	}
	v.Set(out)
	return nil
}

// parseMap reads "k:v,k:v"; a value may hold colons.
func parseMap(v reflect.Value, text string) error {
	out := reflect.MakeMap(v.Type())
	if strings.TrimSpace(text) != "" {
		for i, p := range strings.Split(text, ",") {
			k, val, ok := strings.Cut(p, ":")
			if !ok || strings.TrimSpace(k) == "" {
				return fmt.Errorf("element %d must have the form key:value", i+1)
			}
			out.SetMapIndex(reflect.ValueOf(strings.TrimSpace(k)), reflect.ValueOf(strings.TrimSpace(val)))
		}
	}
	v.Set(out)
	return nil
}

// mayBeEmpty tells whether an empty text is a value of the setting.
func mayBeEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return true
	}
	return false
}

// quote shows a value in an error, shortened.
func quote(text string) string {
	const most = 60
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strconv.Quote(text)
}

// typeWords names a type of setting for people.
func typeWords(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration"
	case t == reflect.TypeFor[uint16]():
		return "a whole number from 0 to 65535"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		return "a whole number that is not negative"
	case reflect.Slice:
		return "a list"
	case reflect.Map:
		return "a mapping"
	}
	return "a whole number"
}
