package loader

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/model"
)

// maxFile bounds the size of a file; real ones have a few kilobytes.
const maxFile = 1 << 20

// maxDepth bounds the nesting; the deepest setting has seven levels.
const maxDepth = 32

// Options say where settings come from.
type Options struct {
	// File is the content of the file, YAML or JSON; nil = none.
	File []byte
	// Environ holds "NAME=value" entries, as os.Environ returns them.
	Environ []string
	// Prefix is what the variables start with. Variables with this prefix that
	// nothing reads are reported.
	Prefix string
	// EnvAliases maps other names of variables to the right ones.
	EnvAliases map[string]string
	// Foreign tells that a variable with the prefix belongs to somebody else and
	// must not be reported; nil = none does.
	Foreign func(name string) bool
}

// Result tells what Load found.
type Result struct {
	// Set holds the paths of all settings that the file or a variable gave.
	Set map[string]bool
	// Warnings are sentences about keys and variables that have no effect or
	// are spelt in another way than documented.
	Warnings []string
}

// Load overlays tree, a pointer to a struct that holds the defaults, with the
// file and then with the variables. The error is a *model.Invalid that lists
// all values which cannot be read (the rest is loaded, and the Result is there),
// or says why the file is no YAML.
func Load(tree any, o Options) (*Result, error) {
	l := &load{res: &Result{Set: map[string]bool{}}, fields: Fields(tree, o.Prefix)}
	defaults := l.unused()
	if err := l.file(tree, o.File); err != nil {
		return nil, err
	}
	l.environ(o)
	now := l.unused()
	for _, f := range l.fields {
		if l.res.Set[f.Path] && now[f.Path] != defaults[f.Path] {
			l.warn("setting %s has no effect: %s", f.Path, f.Unused)
		}
	}
	return l.res, l.bad.Err()
}

// unused returns the values of all settings that do nothing, as texts.
func (l *load) unused() map[string]string {
	values := map[string]string{}
	for _, f := range l.fields {
		if f.Unused != "" {
			values[f.Path] = fmt.Sprint(f.Value.Interface())
		}
	}
	return values
}

type load struct {
	fields []Field
	res    *Result
	bad    model.Violations
	depth  int // of nodes; anchors can make a file contain itself
}

func (l *load) warn(format string, args ...any) {
	l.res.Warnings = append(l.res.Warnings, fmt.Sprintf(format, args...))
}

func (l *load) file(tree any, text []byte) error {
	if len(text) > maxFile {
		return fmt.Errorf("the file has %d bytes, more than the %d that are allowed", len(text), maxFile)
	}
	if t := bytes.TrimSpace(text); len(t) > 0 && t[0] == '{' {
		// JSON may be indented with tabs, which YAML refuses. Within JSON strings
		// a tab cannot stand, so replacing all of them changes nothing else.
		text = bytes.ReplaceAll(text, []byte("\t"), []byte(" "))
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("not valid YAML or JSON: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return errors.New("the file holds more than one YAML document; put everything into one")
	}
	l.node(treeValue(tree), doc.Content[0], "")
	return nil
}

// environ applies variables in the order of the fields, then reports strangers.
func (l *load) environ(o Options) {
	vars := map[string]string{}
	for _, e := range o.Environ {
		name, value, ok := strings.Cut(e, "=")
		if ok && strings.HasPrefix(name, o.Prefix) {
			vars[name] = value
		}
	}
	l.aliases(vars, o.EnvAliases)
	known := make([]string, 0, len(l.fields))
	for _, f := range l.fields {
		if f.Env == "" {
			continue
		}
		known = append(known, f.Env)
		text, ok := vars[f.Env]
		if !ok {
			continue
		}
		delete(vars, f.Env)
		if text == "" && !mayBeEmpty(f.Value) {
			continue // "" is no number, no truth value, no duration: as if it were not set
		}
		if err := parse(f.Value, text); err != nil {
			l.bad.At(f.Path).Add("%s (variable %s)", err, f.Env)
			continue
		}
		l.res.Set[f.Path] = true
	}
	for _, name := range sortedKeys(vars) {
		if o.Foreign != nil && o.Foreign(name) {
			continue
		}
		l.warn("variable %s is not known and has no effect%s", name, didYouMean(name, known))
	}
}

func (l *load) aliases(vars, aliases map[string]string) {
	for _, alias := range sortedKeys(aliases) {
		value, ok := vars[alias]
		if !ok {
			continue
		}
		right := aliases[alias]
		delete(vars, alias)
		if _, both := vars[right]; both {
			l.warn("variable %s has no effect because %s is set too; remove it", alias, right)
			continue
		}
		l.warn("variable %s is accepted, but its right name is %s", alias, right)
		vars[right] = value
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
