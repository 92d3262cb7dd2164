package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/model"
)

// format is the value of --output.
type format string

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "string" }

// Set implements pflag.Value.
func (f *format) Set(v string) error {
	switch v {
	case "table", "yaml", "json":
		*f = format(v)
		return nil
	}
	return fmt.Errorf("%q is no output format: use table, yaml or json", v)
}

func outputFlag(cmd *cobra.Command, f *format) {
	*f = "table"
	cmd.PersistentFlags().VarP(f, "output", "o", "output format: one of table|yaml|json")
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

// jsonToYAML prints a JSON document as YAML. Keys of the head come in the order
// of the alphabet, as do all others.
func jsonToYAML(doc []byte) ([]byte, error) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	return encodeYAML(plain(v))
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
		f, _ := v.Float64()
		return f
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

// table prints rows in columns that are at least three blanks apart.
func table(w io.Writer, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	width := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			width[i] = max(width[i], utf8.RuneCountInString(c))
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
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// objectRows returns the table of a kind's objects.
func objectRows(k *model.Kind, objs []*model.Object, now time.Time) [][]string {
	var head []string
	if k.Scope == model.InMesh {
		head = append(head, "MESH")
	}
	head = append(head, "NAME")
	for _, c := range k.Columns {
		head = append(head, c.Title)
	}
	rows := [][]string{append(head, "AGE")}
	for _, o := range objs {
		var r []string
		if k.Scope == model.InMesh {
			r = append(r, o.Meta.Mesh)
		}
		r = append(r, o.Meta.Name)
		for _, c := range k.Columns {
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
