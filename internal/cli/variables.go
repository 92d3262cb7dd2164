package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cbroglie/mustache"
)

// noPartials refuses {{> name}}, which would read files of this host into what
// is sent to the control plane.
type noPartials struct{}

// Get implements mustache.PartialProvider.
func (noPartials) Get(name string) (string, error) {
	return "", fmt.Errorf("{{> %s}} would include another file, which is not possible here", name)
}

// replaceVariables renders a file as a Mustache template. The notes are about
// what people may not have meant.
func replaceVariables(text string, vars map[string]string) (out string, notes []string, err error) {
	values := nest(vars)
	t, err := mustache.ParseStringPartials(text, noPartials{})
	if err == nil {
		out, err = t.Render(values)
	}
	if err != nil {
		return "", nil, fmt.Errorf("replace variables: %w", err)
	}
	for _, name := range absentVariables(t.Tags(), values) {
		notes = append(notes, fmt.Sprintf("variable %q is not given with -v; it is replaced by nothing", name))
	}
	if raw, err := mustache.RenderPartialsRaw(text, noPartials{}, true, values); err == nil && raw != out {
		notes = append(notes, "a value holds characters that {{ name }} escapes for HTML (& < > \"); write {{{ name }}} to take it as it is")
	}
	return out, notes, nil
}

// absentVariables lists the variables of a template that have no value, once each.
func absentVariables(tags []mustache.Tag, values map[string]any) []string {
	var out []string
	for _, t := range tags {
		switch t.Type() {
		case mustache.Variable:
			if name := t.Name(); name != "." && !given(values, name) && !slices.Contains(out, name) {
				out = append(out, name)
			}
		case mustache.Invalid, mustache.Partial:
		case mustache.Section, mustache.InvertedSection:
			for _, name := range absentVariables(t.Tags(), values) {
				if !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
	}
	return out
}

// given tells whether a dotted name has a value.
func given(values map[string]any, name string) bool {
	first, rest, dotted := strings.Cut(name, ".")
	v, ok := values[first]
	if !dotted || !ok {
		return ok
	}
	inner, ok := v.(map[string]any)
	return ok && given(inner, rest)
}

// nest turns a.b=1 into a map within a map, so that templates say {{ a.b }}.
func nest(vars map[string]string) map[string]any {
	out := map[string]any{}
	for key, val := range vars {
		at := out
		parts := strings.Split(key, ".")
		for _, p := range parts[:len(parts)-1] {
			next, ok := at[p].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[p] = next
			}
			at = next
		}
		last := parts[len(parts)-1]
		if _, isMap := at[last].(map[string]any); !isMap { // a.b=1 wins over a=2, in any order
			at[last] = val
		}
	}
	return out
}
