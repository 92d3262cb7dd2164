package envoy

import (
	"reflect"
	"testing"

	"weft/internal/mesh/ir"
)

// TestDigestSeesEverything changes every field below what resources are made from,
// one at a time: the digest changes with each, but for the origins.
func TestDigestSeesEverything(t *testing.T) {
	for x, least := range map[any]int{new(ir.Outbound): 40, new(ir.Cluster): 40, new(ir.Inbound): 40, new(ir.Admin): 8} {
		v := reflect.ValueOf(x)
		fill(v.Elem(), 0)
		before, buf := digest(nil, x)
		buf = append([]byte(nil), buf...)
		fields := 0
		change(v.Elem(), v.Elem().Type().Name(), 0, func(path string) {
			fields++
			if after, _ := digest(nil, x); after == before {
				t.Errorf("%s may change unseen", path)
			}
		})
		if after, again := digest(nil, x); after != before || !reflect.DeepEqual(again, buf) {
			t.Error("the same value has another digest")
		}
		if fields < least {
			t.Errorf("only %d fields of %T were changed", fields, x)
		}
	}
}

const deepest = 12

// fill sets pointers, and puts an element into lists and maps.
func fill(v reflect.Value, depth int) {
	if depth > deepest || v.Type() == reflect.TypeFor[ir.Origins]() {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), reflect.Zero(v.Type().Elem()))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	default:
	}
}

// change changes what is below v, one thing at a time, and calls seen while it is
// changed.
func change(v reflect.Value, path string, depth int, seen func(path string)) {
	if depth > deepest || v.Type() == reflect.TypeFor[ir.Origins]() {
		return
	}
	old := reflect.New(v.Type()).Elem()
	old.Set(v)
	try := func(to reflect.Value) {
		v.Set(to)
		seen(path)
		v.Set(old)
	}
	switch v.Kind() {
	case reflect.Bool:
		try(reflect.ValueOf(!v.Bool()).Convert(v.Type()))
	case reflect.String:
		try(reflect.ValueOf(v.String() + "x").Convert(v.Type()))
	case reflect.Pointer:
		change(v.Elem(), path, depth+1, seen)
		try(reflect.Zero(v.Type()))
	case reflect.Slice:
		change(v.Index(0), path+"[0]", depth+1, seen)
		try(reflect.Zero(v.Type()))
		try(reflect.AppendSlice(reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, 2), v), v))
	case reflect.Map:
		more := reflect.MakeMap(v.Type())
		more.SetMapIndex(reflect.ValueOf("other").Convert(v.Type().Key()), reflect.Zero(v.Type().Elem()))
		try(more)
	case reflect.Struct:
		for i := range v.NumField() {
			change(v.Field(i), path+"."+v.Type().Field(i).Name, depth+1, seen)
		}
	default: // numbers
		to := reflect.New(v.Type()).Elem()
		to.Set(reflect.ValueOf(7).Convert(v.Type()))
		try(to)
	}
}
