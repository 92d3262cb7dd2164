package admit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"weft/internal/cp/store/memory"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// sheetsDir holds the sheets of the contract.
const sheetsDir = "../../../../shared/reference"

// example is an object in a page.
type example struct {
	where string
	doc   map[string]any
}

var fence = regexp.MustCompile("(?ms)^ *```([a-z]*)\n(.*?)^ *```")

// block is what stands in fences.
type block struct {
	line int
	text string
}

// blocks returns the fenced blocks of a page that may be YAML.
func blocks(page string) []block {
	var out []block
	for _, m := range fence.FindAllStringSubmatchIndex(page, -1) {
		if lang := page[m[2]:m[3]]; lang == "" || lang == "yaml" {
			out = append(out, block{1 + strings.Count(page[:m[0]], "\n"), page[m[4]:m[5]]})
		}
	}
	return out
}

// examples returns the objects in the fenced blocks of pages. Blocks that are no
// YAML, such as schemas, hold none.
func examples(t *testing.T, glob string) []example {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil {
		t.Fatal(err)
	}
	var out []example
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range blocks(string(b)) {
			d := yaml.NewDecoder(strings.NewReader(block.text))
			for {
				var doc any
				err := d.Decode(&doc)
				if errors.Is(err, io.EOF) {
					break
				}
				m, ok := doc.(map[string]any)
				if err != nil || !ok {
					break
				}
				if name, _ := m["type"].(string); catalog.ByName(name) != nil {
					out = append(out, example{fmt.Sprintf("%s:%d", filepath.Base(file), block.line), m})
				}
			}
		}
	}
	return out
}

// withoutDots leaves out "...", by which a page shortens an example.
func withoutDots(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "...")
		for k := range v {
			v[k] = withoutDots(v[k])
		}
	case []any:
		v = slices.DeleteFunc(v, func(e any) bool { return e == "..." })
		for i := range v {
			v[i] = withoutDots(v[i])
		}
		return v
	}
	return v
}

// object completes an example with what a page leaves to the reader: its name
// and its mesh.
func (e example) object() (*model.Object, error) {
	doc := withoutDots(e.doc).(map[string]any)
	kind := catalog.ByName(doc["type"].(string))
	if doc["name"] == nil {
		doc["name"] = "example"
	}
	if doc["mesh"] == nil && kind.Scope == model.InMesh {
		doc["mesh"] = "default"
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return catalog.Decode(b)
}

func admitAll(t *testing.T, list []example) {
	t.Helper()
	for _, e := range list {
		t.Run(e.where, func(t *testing.T) {
			o, err := e.object()
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := newGate(t).Admit(t.Context(), o, nil); err != nil {
				t.Errorf("%s %q is refused: %v", o.Kind.Name, o.Meta.Name, err)
			}
		})
	}
}

// TestExamplesOfSheets: every example of the contract is let in.
func TestExamplesOfSheets(t *testing.T) {
	list := examples(t, sheetsDir+"/*.md")
	if len(list) == 0 {
		t.Skipf("SKIPPED: there are no sheets in %s", sheetsDir)
	}
	admitAll(t, list)
}

// TestExamplesOfDocs: every example of our own pages is let in as it stands, and
// without a warning.
func TestExamplesOfDocs(t *testing.T) {
	shown := map[string]bool{}
	for _, glob := range []string{"../../../docs/*.md", "../../../README.md"} {
		files, err := filepath.Glob(glob)
		if err != nil || len(files) == 0 {
			t.Fatalf("no page %s (%v)", glob, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, block := range blocks(string(b)) {
				if !typed.MatchString(block.text) {
					continue // a schema, a setting, or a part of an object
				}
				t.Run(fmt.Sprintf("%s:%d", filepath.Base(file), block.line), func(t *testing.T) {
					for _, kind := range admitBlock(t, block.text) {
						shown[filepath.Base(file)+" "+kind] = true
					}
				})
			}
		}
	}
	for _, p := range catalog.Policies {
		if !shown["policies.md "+p.Kind.Name] {
			t.Errorf("policies.md has no example of %s", p.Kind.Name)
		}
	}
}

// typed finds blocks that hold whole objects.
var typed = regexp.MustCompile(`(?m)\A *type:|^---\n *type:`)

// admitBlock lets the objects of a block in, one after the other, and returns
// their kinds.
func admitBlock(t *testing.T, text string) []string {
	t.Helper()
	var out []string
	gate := newGate(t)
	d := yaml.NewDecoder(strings.NewReader(text))
	for {
		var doc any
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		o, err := catalog.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		unknown, err := o.Kind.UnknownFields(b)
		if err != nil || len(unknown) > 0 {
			t.Errorf("%s %q has fields that the kind does not have: %v (%v)", o.Kind.Name, o.Meta.Name, unknown, err)
		}
		admitted, warnings, err := gate.Admit(t.Context(), o, nil)
		switch {
		case err != nil:
			t.Errorf("%s %q is refused: %v", o.Kind.Name, o.Meta.Name, err)
		case admitted.Key() != kinds.Mesh.Make("", "default").Key(): // that is there already
			create(t, gate.Reader.(*memory.Store), admitted)
		}
		for _, w := range warnings {
			t.Errorf("%s %q: a warning: %s", o.Kind.Name, o.Meta.Name, w)
		}
		out = append(out, o.Kind.Name)
	}
}

// TestKindsOfSheet: a policy takes just the kinds at the top and in its items
// that the tables of the contract tick.
func TestKindsOfSheet(t *testing.T) {
	b, err := os.ReadFile(sheetsDir + "/policies.md")
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	top := tableOf(t, string(b), "| Policy | M | S | MS | MSS | D | GW | R |")
	items := tableOf(t, string(b), "| Policy | `to[]` normally |")
	kinds := []string{"Mesh", "MeshSubset", "MeshService", "MeshServiceSubset", "Dataplane", "MeshGateway", "MeshHTTPRoute"}
	for _, p := range catalog.Policies {
		name := p.Kind.Name
		row := top[name]
		if row == nil {
			t.Errorf("the table has no %s", name)
			continue
		}
		for i, kind := range kinds {
			spec := map[string]any{"targetRef": ref(kind), "default": map[string]any{"appendModifications": []any{}}}
			if got, want := refuses(t, p.Kind, spec, "spec.targetRef.kind"), row[i] == "–"; got != want {
				t.Errorf("%s at the top of %s: refused %v, want %v", kind, name, got, want)
			}
		}
		for i, list := range []string{"to", "from"} {
			cell := items[name]
			if cell == nil {
				continue // has no items
			}
			text := cell[[]int{0, 3}[i]]
			allowed := strings.FieldsFunc(strings.SplitN(text, "(", 2)[0], func(r rune) bool { return r == ',' || r == ' ' })
			if text == "–" {
				continue // the policy has no such list
			}
			for short, kind := range map[string]string{
				"M": "Mesh", "S": "MeshSubset", "MS": "MeshService", "MSS": "MeshServiceSubset", "MES": "MeshExternalService", "MZ": "MeshMultiZoneService",
			} {
				spec := map[string]any{
					"targetRef": map[string]any{"kind": "Mesh", "proxyTypes": []string{"Sidecar"}},
					list:        []any{map[string]any{"targetRef": ref(kind), "default": map[string]any{}, "rules": []any{}}},
				}
				if strings.Contains(text, "includes gateways") {
					spec["targetRef"] = ref("Mesh")
				}
				field := "spec." + list + "[0].targetRef.kind"
				if got, want := refuses(t, p.Kind, spec, field), !slices.Contains(allowed, short); got != want {
					t.Errorf("%s in %s of %s: refused %v, want %v", kind, list, name, got, want)
				}
			}
		}
	}
}

// tableOf reads a table: the cells after the first, by the first.
func tableOf(t *testing.T, page, head string) map[string][]string {
	t.Helper()
	_, rest, ok := strings.Cut(page, head)
	if !ok {
		t.Fatalf("there is no table %q", head)
	}
	out := map[string][]string{}
	for line := range strings.Lines(rest[strings.Index(rest, "\n")+1:]) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		out[cells[0]] = cells[1:]
	}
	return out
}

func ref(kind string) map[string]any {
	out := map[string]any{"kind": kind}
	switch kind {
	case "MeshSubset":
		out["tags"] = map[string]string{"a": "b"}
	case "Mesh", "Dataplane":
	default:
		out["name"] = "x"
	}
	return out
}

// refuses tells whether a policy may not have this value in a field.
func refuses(t *testing.T, k *model.Kind, spec map[string]any, field string) bool {
	t.Helper()
	b, err := json.Marshal(map[string]any{"type": k.Name, "mesh": "default", "name": "p", "spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	var list []model.Violation
	o, err := k.Decode(b)
	var invalid *model.Invalid
	switch {
	case errors.As(err, &invalid):
		list = invalid.Violations
	case err != nil:
		t.Fatalf("%v in %s", err, b)
	default:
		var v model.Violations
		k.Validate(o, &v)
		list = v.List()
	}
	return slices.ContainsFunc(list, func(x model.Violation) bool { return x.Field == field })
}
