package definition

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cbroglie/mustache"
)

// Render fills the {{ variables }} of a definition. A key with dots, such as
// app.port, also answers inside a section {{#app}}. Variables that have no
// value render as nothing; their names are returned so that the caller can
// say so. Values in {{ }} are escaped for HTML as the template language
// demands; {{{ }}} gives them as they are.
func Render(text string, vars map[string]string) (rendered string, missing []string, err error) {
	if !strings.Contains(text, "{{") {
		return text, nil, nil
	}
	tmpl, err := mustache.ParseStringPartials(text, noPartials{})
	if err != nil {
		return "", nil, fmt.Errorf("parse template variables of the definition: %w", err)
	}
	context, err := nest(vars)
	if err != nil {
		return "", nil, err
	}
	rendered, err = tmpl.Render(context)
	if err != nil {
		return "", nil, fmt.Errorf("fill template variables of the definition: %w", err)
	}
	return rendered, missingOf(tmpl.Tags(), context), nil
}

// noPartials keeps {{> file}} from reading files of the host.
type noPartials struct{}

// Get refuses every partial.
func (noPartials) Get(name string) (string, error) {
	return "", fmt.Errorf("{{> %s}} is not supported in a definition", name)
}

// nest turns a.b=1 into {a: {b: 1}}. Keys are handled in order so that the
// outcome does not depend on the order of flags.
func nest(vars map[string]string) (map[string]any, error) {
	keys := make([]string, 0, len(vars))
	for k := range vars {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	root := map[string]any{}
	for _, key := range keys {
		parts := strings.Split(key, ".")
		level := root
		for _, part := range parts[:len(parts)-1] {
			next, ok := level[part].(map[string]any)
			if !ok {
				if _, taken := level[part]; taken {
					return nil, conflict(key)
				}
				next = map[string]any{}
				level[part] = next
			}
			level = next
		}
		last := parts[len(parts)-1]
		if _, taken := level[last]; taken {
			return nil, conflict(key)
		}
		level[last] = vars[key]
	}
	return root, nil
}

func conflict(key string) error {
	return fmt.Errorf("template variable %q: a part of its name is itself a variable with a value; rename one of them", key)
}

// missingOf lists plain variables at the top level that have no value.
// Sections are left out: to be absent is their way of being false.
func missingOf(tags []mustache.Tag, context map[string]any) []string {
	var missing []string
	for _, t := range tags {
		if t.Type() != mustache.Variable || t.Name() == "." {
			continue
		}
		if !has(context, strings.Split(t.Name(), ".")) && !slices.Contains(missing, t.Name()) {
			missing = append(missing, t.Name())
		}
	}
	return missing
}

func has(level any, path []string) bool {
	for _, part := range path {
		m, ok := level.(map[string]any)
		if !ok {
			return false
		}
		if level, ok = m[part]; !ok {
			return false
		}
	}
	return true
}
