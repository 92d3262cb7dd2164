package loader

import (
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

func treeValue(tree any) reflect.Value { return reflect.ValueOf(tree).Elem() }

// node applies a YAML node to the value at path, and reports what does not fit.
func (l *load) node(v reflect.Value, n *yaml.Node, path string) {
	n = resolve(n)
	l.depth++
	defer func() { l.depth-- }()
	if l.depth > maxDepth {
		l.fail(n, path, "is nested too deeply; an anchor must not contain itself")
		return
	}
	if n.Tag == "!!null" {
		return // "key:" without a value keeps the default, as in the published samples
	}
	switch {
	case v.Type() == durationType, n.Kind == yaml.ScalarNode && readsText(v):
		l.scalar(v, n, path)
	case v.Kind() == reflect.Struct:
		l.group(v, n, path)
	case v.Kind() == reflect.Slice:
		l.list(v, n, path)
	case v.Kind() == reflect.Map:
		l.mapping(v, n, path)
	default:
		l.scalar(v, n, path)
	}
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func (l *load) fail(n *yaml.Node, path, format string, args ...any) {
	l.bad.At(path).Add("line %d: "+format, append([]any{n.Line}, args...)...)
}

func (l *load) scalar(v reflect.Value, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode {
		l.fail(n, path, "must be %s, not %s", typeWords(v.Type()), nodeWords(n))
		return
	}
	if err := parse(v, n.Value); err != nil {
		l.fail(n, path, "%s", err)
		return
	}
	l.res.Set[path] = true
}

// group applies a mapping to the settings of a struct.
func (l *load) group(v reflect.Value, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		what := "the file"
		if path != "" {
			what = path
		}
		l.fail(n, path, "%s must be a mapping of keys to values, not %s", what, nodeWords(n))
		return
	}
	keys := map[string]reflect.Value{}
	collectKeys(v, keys)
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, val := n.Content[i], n.Content[i+1]
		if k.Tag == "!!merge" {
			l.merge(v, val, path)
			continue
		}
		f, name, ok := l.findKey(keys, k, path)
		if !ok {
			continue
		}
		if line, twice := seen[name]; twice {
			l.fail(k, join(path, ".", name), "the key is given twice, first in line %d", line)
			continue
		}
		seen[name] = k.Line
		l.node(f, val, join(path, ".", name))
	}
}

// merge applies "<<: *anchor" or a list of them.
func (l *load) merge(v reflect.Value, n *yaml.Node, path string) {
	n = resolve(n)
	if n.Kind == yaml.SequenceNode {
		for _, c := range n.Content {
			l.merge(v, c, path)
		}
		return
	}
	l.node(v, n, path)
}

// findKey returns the field of a key. Keys are matched without regard to case,
// as 2.10 does, because samples of both spellings are in use.
func (l *load) findKey(keys map[string]reflect.Value, k *yaml.Node, path string) (reflect.Value, string, bool) {
	if f, ok := keys[k.Value]; ok {
		return f, k.Value, true
	}
	for _, name := range sortedKeys(keys) {
		if strings.EqualFold(name, k.Value) {
			return keys[name], name, true
		}
	}
	l.warn("key %q in line %d is not known and has no effect%s", join(path, ".", k.Value), k.Line, l.suggestKey(keys, k.Value, path))
	return reflect.Value{}, "", false
}

// suggestKey looks among the siblings first, then among all settings.
func (l *load) suggestKey(keys map[string]reflect.Value, name, path string) string {
	if best := closest(name, sortedKeys(keys)); best != "" {
		return suggestion(join(path, ".", best))
	}
	all := make([]string, len(l.fields))
	for i, f := range l.fields {
		all[i] = f.Path
		if f.Path[strings.LastIndexByte(f.Path, '.')+1:] == name && !strings.Contains(path, ".") {
			return suggestion(f.Path)
		}
	}
	return didYouMean(join(path, ".", name), all)
}

// collectKeys maps the file keys of a struct, embedded structs included, to fields.
func collectKeys(v reflect.Value, keys map[string]reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		if t.Field(i).Anonymous {
			collectKeys(v.Field(i), keys)
		} else if k := fileKey(t.Field(i)); k != "" {
			keys[k] = v.Field(i)
		}
	}
}

// list replaces a list.
func (l *load) list(v reflect.Value, n *yaml.Node, path string) {
	if n.Kind != yaml.SequenceNode {
		l.fail(n, path, "must be a list, not %s", nodeWords(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, c := range n.Content {
		l.node(out.Index(i), c, l.bad.At(path, i).Path())
	}
	v.Set(out)
	l.res.Set[path] = true
}

// mapping adds to a map; a key with the value null takes the default entry away.
func (l *load) mapping(v reflect.Value, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		l.fail(n, path, "must be a mapping of keys to values, not %s", nodeWords(n))
		return
	}
	out := reflect.MakeMap(v.Type())
	for it := v.MapRange(); it.Next(); {
		out.SetMapIndex(it.Key(), it.Value())
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, c := reflect.ValueOf(n.Content[i].Value), resolve(n.Content[i+1])
		switch {
		case c.Tag == "!!null":
			out.SetMapIndex(k, reflect.Value{})
		case c.Kind != yaml.ScalarNode:
			l.fail(c, path, "the value of %q must be text, not %s", k, nodeWords(c))
		default:
			out.SetMapIndex(k, reflect.ValueOf(c.Value))
		}
	}
	v.Set(out)
	l.res.Set[path] = true
}

func nodeWords(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}
