package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/model"
)

// format is the value of --output.
type format string

// The formats.
const (
	asTable format = "table"
	asYAML  format = "yaml"
	asJSON  format = "json"
)

// outputFlag adds --output to a group of commands.
func outputFlag(cmd *cobra.Command, f *format) {
	cmd.PersistentFlags().StringVarP((*string)(f), "output", "o", string(asTable), "output format: table, yaml or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{string(asTable), string(asYAML), string(asJSON)}, cobra.ShellCompDirectiveNoFileComp))
}

// check refuses formats that do not exist.
func (f format) check() error {
	switch f {
	case asTable, asYAML, asJSON:
		return nil
	}
	return fmt.Errorf("output format %q is not known: use table, yaml or json", string(f))
}

// encodeYAML prints a value as YAML with two blanks of indentation.
func encodeYAML(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return b.Bytes(), nil
}

// parseJSON reads a document; numbers become what YAML prints as numbers.
func parseJSON(doc []byte) (any, error) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	return plain(v), nil
}

// jsonToYAML prints a JSON document as YAML with sorted keys.
func jsonToYAML(doc []byte) ([]byte, error) {
	v, err := parseJSON(doc)
	if err != nil {
		return nil, err
	}
	return encodeYAML(v)
}

// headFields are what every object has.
var headFields = []string{"creationTime", "labels", "mesh", "modificationTime", "name", "type"}

// objectYAML prints one object as YAML: with flat kinds the fields that all
// objects have come first, then those of the kind.
func objectYAML(doc []byte, shape model.Shape) ([]byte, error) {
	v, err := parseJSON(doc)
	if err != nil {
		return nil, err
	}
	tree, ok := v.(map[string]any)
	if !ok || shape != model.Flat {
		return encodeYAML(v)
	}
	head := map[string]any{}
	for _, f := range headFields {
		if x, ok := tree[f]; ok {
			head[f] = x
			delete(tree, f)
		}
	}
	out, err := encodeYAML(head)
	if err != nil || len(tree) == 0 {
		return out, err
	}
	rest, err := encodeYAML(tree)
	return slices.Concat(out, rest), err
}

// plain makes numbers print as numbers in YAML.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = plain(x)
		}
	case []any:
		for i, x := range v {
			v[i] = plain(x)
		}
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	}
	return v
}

// indented prints JSON with two blanks of indentation.
func indented(doc []byte) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(doc), "", "  "); err != nil {
		return nil, fmt.Errorf("indent JSON: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// document prints what the API answered as YAML or JSON.
func (a *App) document(doc []byte, f format) error {
	b, err := indented(doc)
	if f == asYAML {
		b, err = jsonToYAML(doc)
	}
	if err != nil {
		return err
	}
	return a.write(b)
}

func (a *App) write(b []byte) error {
	if _, err := a.Out.Write(b); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// clean leaves out what could steer a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// table prints rows in columns that are at least three blanks apart.
func table(w io.Writer, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	width := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			r[i] = clean(c)
			width[i] = max(width[i], utf8.RuneCountInString(r[i]))
		}
	}
	for _, r := range rows {
		var b strings.Builder
		for i, c := range r {
			b.WriteString(c)
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)+3))
			}
		}
		fmt.Fprintln(w, b.String())
	}
}

// footer tells how to get the next page.
func (a *App) footer(next string) {
	if next != "" {
		fmt.Fprintf(a.Out, "\nRerun command with --offset=%s argument to retrieve more resources\n", clean(next))
	}
}

// objectRows returns the table of a kind's objects. What policies show elsewhere
// (their target) is not part of the table that 2.10 prints.
func objectRows(k *model.Kind, objs []*model.Object, now time.Time) [][]string {
	columns := k.Columns
	if k.Policy != nil {
		columns = nil
	}
	var head []string
	if k.Scope == model.InMesh {
		head = append(head, "MESH")
	}
	head = append(head, "NAME")
	for _, c := range columns {
		head = append(head, c.Title)
	}
	rows := [][]string{append(head, "AGE")}
	for _, o := range objs {
		var r []string
		if k.Scope == model.InMesh {
			r = append(r, o.Meta.Mesh)
		}
		r = append(r, o.Meta.Name)
		for _, c := range columns {
			r = append(r, c.Value(o))
		}
		rows = append(rows, append(r, age(now, o.Meta.Modified)))
	}
	return rows
}

// age prints the time since t in its largest unit.
func age(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	const day = 24 * time.Hour
	switch {
	case d < -time.Second:
		return "never"
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < day:
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d < 365*day:
		return fmt.Sprintf("%dd", int(d/day))
	}
	return fmt.Sprintf("%dy", int(d/(365*day)))
}
