package catalog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
)

// TestKinds checks what every kind must have for the rest of the house.
func TestKinds(t *testing.T) {
	used := map[string]string{}
	unique := func(k *model.Kind, what, value string) {
		if value == "" {
			return
		}
		if other := used[what+value]; other != "" {
			t.Errorf("%s and %s share the %s %q", k.Name, other, what, value)
		}
		used[what+value] = k.Name
	}
	for _, k := range catalog.Kinds {
		unique(k, "name", k.Name)
		unique(k, "collection", k.Plural)
		unique(k, "short name", k.Short)
		unique(k, "argument", k.One)
		if k.Many != k.One {
			unique(k, "argument", k.Many)
		}
		if k.Name == "" || k.Plural == "" || k.Display == "" || k.DisplayPlural == "" || k.New == nil {
			t.Errorf("%s lacks one of Name, Plural, Display, DisplayPlural, New", k.Name)
			continue
		}
		if (k.One == "") != (k.Many == "") {
			t.Errorf("%s has only one of One and Many", k.Name)
		}
		if catalog.ByName(k.Name) != k {
			t.Errorf("%s is not found by name", k.Name)
		}
		checkEmpty(t, k)
		checkEnvelope(t, k)
	}
}

// checkEmpty: an empty object can be validated, shown and defaulted without a
// panic, and it survives being written and read.
func checkEmpty(t *testing.T, k *model.Kind) {
	o := k.Make("m", "n")
	if k.Warn != nil {
		k.Warn(o)
	}
	for _, c := range k.Columns {
		c.Value(o)
	}
	if k.Validate != nil {
		k.Validate(o, &model.Violations{})
	}
	b, err := model.Encode(o)
	if err != nil {
		t.Errorf("%s: %v", k.Name, err)
		return
	}
	back, err := k.Decode(b) // defaults of the schema come in here
	var invalid *model.Invalid
	if errors.As(err, &invalid) {
		return // something is required
	}
	if err != nil {
		t.Errorf("%s: what was written cannot be read: %v", k.Name, err)
		return
	}
	if b, err = model.Encode(back); err != nil {
		t.Errorf("%s: %v", k.Name, err)
		return
	}
	again, err := k.Decode(b)
	if err != nil || model.ContentHash(again) != model.ContentHash(back) {
		t.Errorf("%s: the round trip changed the object: %v %s", k.Name, err, b)
	}
	if k.Default != nil {
		k.Default(o)
	}
}

// checkEnvelope: fields of Flat specs lie beside the metadata and must not
// have its names.
func checkEnvelope(t *testing.T, k *model.Kind) {
	s := k.SpecSchema()
	k.StatusSchema()
	if k.Shape != model.Flat {
		return
	}
	for _, name := range []string{"type", "mesh", "name", "labels", "creationTime", "modificationTime"} {
		if s.Properties[name] != nil {
			t.Errorf("%s: the spec's field %q collides with the metadata", k.Name, name)
		}
	}
}

func TestLookups(t *testing.T) {
	for arg, want := range map[string]string{"mesh": "Mesh", "meshes": "Mesh", "zone-ingress": "ZoneIngress", "Dataplanes": "Dataplane"} {
		if k := catalog.ByArgument(arg); k == nil || k.Name != want {
			t.Errorf("argument %q finds %v, want %s", arg, k, want)
		}
	}
	if catalog.ByArgument("") != nil || catalog.ByArgument("dataplane-insight") != nil {
		t.Error("an argument finds a kind that kumactl does not have")
	}
	if catalog.ByPlural("configs") != nil {
		t.Error("a hidden kind has a collection")
	}
	if _, err := catalog.Decode([]byte(`{"type": "dataplane", "name": "x"}`)); err == nil || !strings.Contains(err.Error(), `did you mean "Dataplane"?`) {
		t.Errorf("got %v, want a hint at Dataplane", err)
	}
}

const crds = "../../../../shared/reference/crds"

// crdDifferences lists where our schemas differ from the recorded CRDs on
// purpose, by kind and path, with the reason.
var crdDifferences = map[string]string{}

// TestSchemasAgainstCRDs compares the derived schemas with those of 2.10.
func TestSchemasAgainstCRDs(t *testing.T) {
	if _, err := os.Stat(crds); err != nil {
		t.Skipf("SKIPPED: no CRDs at %s: %v", crds, err)
	}
	for _, k := range catalog.Kinds {
		if k.Shape != model.SpecBlock {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join(crds, "kuma.io_"+k.Plural+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			var crd struct {
				Spec struct {
					Versions []struct {
						Schema struct {
							Root node `yaml:"openAPIV3Schema"`
						}
					}
				}
			}
			if err := yaml.Unmarshal(b, &crd); err != nil {
				t.Fatal(err)
			}
			root := crd.Spec.Versions[0].Schema.Root.Properties
			compare(t, k.Name+" spec", root["spec"], toNode(t, k.SpecSchema()))
			if s := k.StatusSchema(); s != nil {
				compare(t, k.Name+" status", root["status"], toNode(t, s))
			}
		})
	}
}

// node is what is compared of a schema.
type node struct {
	Type                 string
	Properties           map[string]*node
	Required             []string
	Items                *node
	AdditionalProperties *node `yaml:"additionalProperties"`
	Enum                 []string
	Default              any
	Minimum, Maximum     *float64
	MinLength            *int `yaml:"minLength"`
	MaxLength            *int `yaml:"maxLength"`
	MinItems             *int `yaml:"minItems"`
	MaxItems             *int `yaml:"maxItems"`
	Pattern              string
	Preserve             bool `yaml:"x-kubernetes-preserve-unknown-fields"`
	IntOrString          bool `yaml:"x-kubernetes-int-or-string"`
}

func toNode(t *testing.T, s *model.Schema) *node {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var n node
	if err := yaml.Unmarshal(b, &n); err != nil {
		t.Fatal(err)
	}
	return &n
}

func compare(t *testing.T, path string, want, got *node) {
	if _, ok := crdDifferences[path]; ok {
		return
	}
	if want == nil || got == nil {
		if want != got {
			t.Errorf("%s: recorded %s, ours %s", path, text(want), text(got))
		}
		return
	}
	if w, g := text(want), text(got); w != g {
		t.Errorf("%s:\n recorded %s\n     ours %s", path, w, g)
	}
	for _, name := range slices.Sorted(maps.Keys(union(want.Properties, got.Properties))) {
		compare(t, path+"."+name, want.Properties[name], got.Properties[name])
	}
	if want.Items != nil || got.Items != nil {
		compare(t, path+"[]", want.Items, got.Items)
	}
	if want.AdditionalProperties != nil || got.AdditionalProperties != nil {
		compare(t, path+"{}", want.AdditionalProperties, got.AdditionalProperties)
	}
}

func union(a, b map[string]*node) map[string]*node {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]*node{}
	}
	maps.Copy(out, b)
	return out
}

// text is the part of a schema that is not below it.
func text(n *node) string {
	if n == nil {
		return "nothing"
	}
	if n.Preserve {
		return "anything"
	}
	if n.IntOrString {
		return "int or string"
	}
	c := *n
	c.Properties, c.Items, c.AdditionalProperties = nil, nil, nil
	slices.Sort(c.Enum)
	slices.Sort(c.Required)
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Sprint(err)
	}
	// Absent fields say nothing.
	var m map[string]any
	if json.Unmarshal(b, &m) != nil {
		return string(b)
	}
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil || v == "" || v == false })
	b, _ = json.Marshal(m)
	return string(b)
}
