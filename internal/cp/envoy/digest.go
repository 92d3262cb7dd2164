package envoy

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// digester writes values of one type, so that different values have different
// bytes: lists and texts begin with their length, pointers with whether they are
// set.
type digester func(b []byte, v reflect.Value) []byte

// digesters knows how to write each type that was seen. Looking at the fields of a
// type once and not for every value is what makes digests cheap.
var digesters sync.Map // reflect.Type → digester

// digest returns a hash of everything in values made of plain data. The bytes that
// are hashed are written over buf, which is returned to be used again.
func digest(buf []byte, values ...any) (model.Hash, []byte) {
	buf = buf[:0]
	for _, x := range values {
		v := reflect.ValueOf(x)
		// What is made from a type is not what is made from another with equal fields.
		buf = digesterOf(v.Type())(appendText(buf, v.Type().String()), v)
	}
	return model.HashOf(buf), buf
}

func digesterOf(t reflect.Type) digester {
	if d, ok := digesters.Load(t); ok {
		return d.(digester)
	}
	d := newDigester(t)
	digesters.Store(t, d)
	return d
}

// partOf is the digester of a part of a type. It is looked up when it is needed,
// since a type may contain itself.
func partOf(t reflect.Type) digester {
	part := sync.OnceValue(func() digester { return digesterOf(t) })
	return func(b []byte, v reflect.Value) []byte { return part()(b, v) }
}

func newDigester(t reflect.Type) digester {
	switch t.Kind() {
	case reflect.Bool:
		return func(b []byte, v reflect.Value) []byte {
			if v.Bool() {
				return append(b, 1)
			}
			return append(b, 0)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(b []byte, v reflect.Value) []byte { return binary.AppendVarint(b, v.Int()) }
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(b []byte, v reflect.Value) []byte { return binary.AppendUvarint(b, v.Uint()) }
	case reflect.Float32, reflect.Float64:
		return func(b []byte, v reflect.Value) []byte {
			return binary.BigEndian.AppendUint64(b, math.Float64bits(v.Float()))
		}
	case reflect.String:
		return func(b []byte, v reflect.Value) []byte { return appendText(b, v.String()) }
	case reflect.Pointer:
		return pointerDigester(t.Elem())
	case reflect.Slice:
		return sliceDigester(t.Elem())
	case reflect.Map:
		switch t {
		case reflect.TypeFor[ir.Origins]():
			// Who wrote a value does not reach Envoy.
			return func(b []byte, _ reflect.Value) []byte { return b }
		case reflect.TypeFor[map[string]string]():
			return textsDigester
		}
		return mapDigester(t)
	case reflect.Struct:
		return structDigester(t)
	}
	panic(fmt.Sprintf("envoy: digest of %s: not plain data", t))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func pointerDigester(elem reflect.Type) digester {
	of := partOf(elem)
	return func(b []byte, v reflect.Value) []byte {
		if v.IsNil() {
			return append(b, 0)
		}
		return of(append(b, 1), v.Elem())
	}
}

func sliceDigester(elem reflect.Type) digester {
	if elem.Kind() == reflect.Uint8 { // certificates
		return func(b []byte, v reflect.Value) []byte {
			if v.IsNil() {
				return append(b, 0)
			}
			return append(binary.AppendUvarint(b, uint64(v.Len())+1), v.Bytes()...)
		}
	}
	of := partOf(elem)
	return func(b []byte, v reflect.Value) []byte {
		if v.IsNil() { // is not an empty list: "nothing said" and "none" may differ
			return append(b, 0)
		}
		b = binary.AppendUvarint(b, uint64(v.Len())+1)
		for i := range v.Len() {
			b = of(b, v.Index(i))
		}
		return b
	}
}

// textsDigester is mapDigester for the map that is by far the most common: tags.
func textsDigester(b []byte, v reflect.Value) []byte {
	m := v.Interface().(map[string]string)
	var few [16]string
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = binary.AppendUvarint(b, uint64(len(keys)))
	for _, k := range keys {
		b = appendText(appendText(b, k), m[k])
	}
	return b
}

// mapDigester writes entries in the order of their keys.
func mapDigester(t reflect.Type) digester {
	if t.Key().Kind() != reflect.String {
		panic(fmt.Sprintf("envoy: digest of %s: keys are no texts", t))
	}
	of := partOf(t.Elem())
	return func(b []byte, v reflect.Value) []byte {
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		b = binary.AppendUvarint(b, uint64(len(keys)))
		for _, k := range keys {
			b = of(appendText(b, k.String()), v.MapIndex(k))
		}
		return b
	}
}

func structDigester(t reflect.Type) digester {
	fields := make([]digester, t.NumField())
	for i := range fields {
		fields[i] = partOf(t.Field(i).Type)
	}
	return func(b []byte, v reflect.Value) []byte {
		for i, f := range fields {
			b = f(b, v.Field(i))
		}
		return b
	}
}
