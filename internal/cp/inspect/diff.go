package inspect

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Op is an operation of a JSON Patch (RFC 6902). What is removed is tested
// before, and removals carry the value that goes, for people who read them.
type Op struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// Diff returns the patch that makes one configuration of another, sorted by path.
// It is never nil.
func Diff(from, to Config) ([]Op, error) {
	a, err := tree(from)
	if err != nil {
		return nil, err
	}
	b, err := tree(to)
	if err != nil {
		return nil, err
	}
	d := differ{ops: []Op{}}
	d.value("", a, b)
	return d.ops, nil
}

func tree(c Config) (map[string]any, error) {
	out := make(map[string]any, len(c))
	for url, byName := range c {
		resources := make(map[string]any, len(byName))
		for name, raw := range byName {
			var v any
			if err := json.Unmarshal(raw, &v); err != nil {
				return nil, fmt.Errorf("read resource %q of type %s: %w", name, url, err)
			}
			resources[name] = v
		}
		out[url] = resources
	}
	return out, nil
}

type differ struct{ ops []Op }

func (d *differ) remove(at string, v any) {
	d.ops = append(d.ops, Op{"test", at, v}, Op{"remove", at, v})
}

func (d *differ) add(at string, v any) { d.ops = append(d.ops, Op{"add", at, v}) }

func (d *differ) value(at string, a, b any) {
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			d.objects(at, x, y)
			return
		}
	case []any:
		if y, ok := b.([]any); ok {
			d.lists(at, x, y)
			return
		}
	}
	if !reflect.DeepEqual(a, b) {
		d.remove(at, a)
		d.add(at, b)
	}
}

var escapePointer = strings.NewReplacer("~", "~0", "/", "~1")

func (d *differ) objects(at string, a, b map[string]any) {
	keys := slices.Collect(maps.Keys(a))
	for k := range b {
		if _, has := a[k]; !has {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		sub := at + "/" + escapePointer.Replace(k)
		x, inA := a[k]
		y, inB := b[k]
		switch {
		case !inA:
			d.add(sub, y)
		case !inB:
			d.remove(sub, x)
		default:
			d.value(sub, x, y)
		}
	}
}

// lists keeps what both have at the front and at the end, changes in place what
// is between, and then removes or adds what is left over.
func (d *differ) lists(at string, a, b []any) {
	front := 0
	for front < len(a) && front < len(b) && reflect.DeepEqual(a[front], b[front]) {
		front++
	}
	a, b = a[front:], b[front:]
	for len(a) > 0 && len(b) > 0 && reflect.DeepEqual(a[len(a)-1], b[len(b)-1]) {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	both := min(len(a), len(b))
	for i := range both {
		d.value(at+"/"+strconv.Itoa(front+i), a[i], b[i])
	}
	for i := len(a) - 1; i >= both; i-- {
		d.remove(at+"/"+strconv.Itoa(front+i), a[i])
	}
	for i := both; i < len(b); i++ {
		d.add(at+"/"+strconv.Itoa(front+i), b[i])
	}
}
