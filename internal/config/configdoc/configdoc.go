// Package configdoc writes the reference page of kuma-cp's settings from the
// structs of package config, their comments and their defaults. tools/gen calls
// it; the binaries do not hold it.
package configdoc

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"weft/internal/config"
	"weft/internal/config/loader"
)

// Path of the page below the root of the module.
const Path = "docs/reference/kuma-cp-config.md"

// source is the folder whose comments are used.
const source = "internal/config"

const intro = `# Settings of kuma-cp

<!-- Made from the structs in internal/config by tools/gen; do not edit. -->

Settings come from three places, each overriding those before: the defaults, the file named by ` + "`kuma-cp run -c FILE`" + ` (YAML or JSON), environment variables. In variables, lists are separated by commas, maps have the form ` + "`k:v,k:v`" + `, durations look like ` + "`10s`" + ` or ` + "`1h30m`" + `; a variable that is set but empty empties texts, lists and maps and is ignored for everything else. Keys and variables that do not exist are reported at start and have no effect; so are settings that are accepted from 2.10 but do nothing, if they are given another value than the default. ` + "`GET /config`" + ` shows what holds, with secrets as asterisks.
`

// Page returns the page. root is that of the module.
func Page(root string) ([]byte, error) {
	docs, err := comments(filepath.Join(root, filepath.FromSlash(source)))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(intro)
	section := ""
	for _, f := range loader.Fields(config.Default(), "KUMA_") {
		if err := docs.row(&b, f, &section); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// texts are the comments of types ("T") and fields ("T.F").
type texts map[string]string

func comments(dir string) (texts, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	out := texts{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("read comments: %w", err)
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				out.add(g)
			}
		}
	}
	return out, nil
}

func (t texts) add(g *ast.GenDecl) {
	for _, s := range g.Specs {
		spec, ok := s.(*ast.TypeSpec)
		if !ok {
			continue
		}
		t[spec.Name.Name] = oneLine(g.Doc)
		st, ok := spec.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range st.Fields.List {
			for _, n := range f.Names {
				t[spec.Name.Name+"."+n.Name] = oneLine(f.Doc)
			}
		}
	}
}

func oneLine(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

func (t texts) of(p loader.Place) string { return t[p.Owner.Name()+"."+p.Name] }

// row writes one setting, and the head of its section if it is the first there.
func (t texts) row(b *bytes.Buffer, f loader.Field, section *string) error {
	first, _, _ := strings.Cut(f.Path, ".")
	if first != *section {
		*section = first
		fmt.Fprintf(b, "\n## %s\n\n", first)
		if len(f.Within) > 0 {
			if top, ok := f.Within[0].Owner.FieldByName(f.Within[0].Name); ok && t[top.Type.Name()] != "" {
				fmt.Fprintf(b, "%s\n\n", t[top.Type.Name()])
			}
		}
		b.WriteString("| Key | Variable | Default | Meaning |\n|---|---|---|---|\n")
	}
	text := t.of(f.Declared)
	if text == "" {
		return fmt.Errorf("setting %s has no comment: add one to %s.%s", f.Path, f.Declared.Owner.Name(), f.Declared.Name)
	}
	if n := len(f.Within); n > 0 && t.of(f.Within[n-1]) != "" {
		text = t.of(f.Within[n-1]) + " " + text
	}
	if f.Unused != "" {
		text = strings.TrimSuffix(text, ".") + ". **No effect**: " + f.Unused + "."
	}
	env := "–"
	if f.Env != "" {
		env = "`" + f.Env + "`"
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.Path, env, value(f.Value), strings.ReplaceAll(text, "|", `\|`))
	return nil
}

// value shows a default in the notation of variables.
func value(v reflect.Value) string {
	text := ""
	switch {
	case v.Kind() == reflect.String:
		text = v.String() // also of a Secret: a default is no secret
	case v.Kind() == reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = fmt.Sprint(v.Index(i).Interface())
		}
		text = strings.Join(items, ",")
	case v.Kind() == reflect.Map:
		var items []string
		for it := v.MapRange(); it.Next(); {
			items = append(items, fmt.Sprintf("%s:%s", it.Key(), it.Value()))
		}
		slices.Sort(items)
		text = strings.Join(items, ",")
	default:
		text = fmt.Sprint(v.Interface())
	}
	if text == "" {
		return "(empty)"
	}
	return "`" + text + "`"
}
