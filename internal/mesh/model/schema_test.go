package model

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type blockSpec struct {
	Kind     string            `json:"kind,omitempty" schema:"enum=A|B,default=A"`
	Ref      *blockRef         `json:"ref,omitempty"`
	Items    []blockItem       `json:"items,omitempty" schema:"minItems=1,maxItems=2"`
	Protos   []string          `json:"protos,omitempty" schema:"enum=x|y"`
	Wait     *Duration         `json:"wait,omitempty"`
	Map      map[string]string `json:"map,omitempty"`
	Free     json.RawMessage   `json:"free,omitempty"`
	Settings *blockSettings    `json:"settings,omitempty" schema:"default={}"`
}

type blockRef struct {
	Name string `json:"name" schema:"required,minLength=1,maxLength=3,pattern=^[a-z,]+$"`
}

type blockItem struct {
	Port uint32   `json:"port" schema:"required,min=1,max=65535"`
	Rate *float64 `json:"rate,omitempty" schema:"min=0,max=1.5"`
}

type blockSettings struct {
	On    bool `json:"on" schema:"default=true"`
	Count int  `json:"count" schema:"default=3"`
}

type blockStatus struct {
	State string `json:"state,omitempty"`
}

var blockKind = &Kind{
	Name: "Block", Plural: "blocks", Scope: InMesh, Shape: SpecBlock,
	New: func() any { return new(blockSpec) }, NewStatus: func() any { return new(blockStatus) },
}

func TestDecodeBlockDefaults(t *testing.T) {
	o, err := blockKind.Decode([]byte(`{"type": "Block", "name": "n", "spec": {"ref": {"name": "a"}, "items": [{"port": 1}], "settings": {"count": null}, "unheard": 1, "free": {"b": [1]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &blockSpec{Kind: "A", Ref: &blockRef{"a"}, Items: []blockItem{{Port: 1}}, Settings: &blockSettings{true, 3}, Free: json.RawMessage(`{"b":[1]}`)}
	if diff := cmp.Diff(want, o.Spec); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if o.Meta.Mesh != DefaultMesh {
		t.Errorf("mesh %q, want %q", o.Meta.Mesh, DefaultMesh)
	}
	// Defaults of one object must not be shared with the next.
	Spec[blockSpec](o).Settings.On = false
	o2, err := blockKind.Decode([]byte(`{"type": "Block", "name": "n"}`))
	if err != nil {
		t.Fatal(err)
	}
	if !Spec[blockSpec](o2).Settings.On {
		t.Error("a default was changed through another object")
	}
}

func TestDecodeBlockRefuses(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string // fields
	}{
		{"other type", `{"type": "Other", "name": "n"}`, []string{""}},
		{"no type, no name", `{}`, []string{"", ""}},
		{"spec is no object", `{"type": "Block", "name": "n", "spec": []}`, []string{"spec"}},
		{"enum", `{"type": "Block", "name": "n", "spec": {"kind": "C"}}`, []string{"spec.kind"}},
		{"enum of elements", `{"type": "Block", "name": "n", "spec": {"protos": ["x", "z"]}}`, []string{"spec.protos[1]"}},
		{"required", `{"type": "Block", "name": "n", "spec": {"ref": {}, "items": [{"port": null}]}}`, []string{"spec.items[0].port", "spec.ref.name"}},
		{"too few", `{"type": "Block", "name": "n", "spec": {"items": []}}`, []string{"spec.items"}},
		{"too many", `{"type": "Block", "name": "n", "spec": {"items": [{"port": 1}, {"port": 2}, {"port": 3}]}}`, []string{"spec.items"}},
		{"bounds", `{"type": "Block", "name": "n", "spec": {"items": [{"port": 0}, {"port": 65536, "rate": 1.6}]}}`, []string{"spec.items[0].port", "spec.items[1].port", "spec.items[1].rate"}},
		{"length and pattern", `{"type": "Block", "name": "n", "spec": {"ref": {"name": "ABCD"}}}`, []string{"spec.ref.name", "spec.ref.name"}},
		{"types", `{"type": "Block", "name": "n", "spec": {"kind": 1, "ref": "x", "items": {}, "map": {"a": 1}, "settings": {"on": "x", "count": 1.5}}}`,
			[]string{"spec.items", "spec.kind", `spec.map["a"]`, "spec.ref", "spec.settings.count", "spec.settings.on"}},
		{"status", `{"type": "Block", "name": "n", "status": {"state": 1}}`, []string{"status.state"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := blockKind.Decode([]byte(c.in))
			var inv *Invalid
			if !errors.As(err, &inv) {
				t.Fatalf("got %v, want *Invalid", err)
			}
			var got []string
			for _, v := range inv.Violations {
				got = append(got, v.Field)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

func TestDecodeBlockMalformed(t *testing.T) {
	_, err := blockKind.Decode([]byte(`{"type": "Block", "name": "n", "spec": {"wait": "soon"}}`))
	var m *Malformed
	if !errors.As(err, &m) || m.Field != "spec.wait" {
		t.Errorf("got %v, want *Malformed at spec.wait", err)
	}
}

func TestSchemaOf(t *testing.T) {
	b, err := json.Marshal(SchemaOf(reflect.TypeFor[blockItem]()))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"object","properties":{"port":{"type":"integer","format":"int32","minimum":1,"maximum":65535},` +
		`"rate":{"type":"number","minimum":0,"maximum":1.5}},"required":["port"]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func TestSchemaTagsPanic(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a tag that cannot be read was accepted")
		}
	}()
	SchemaOf(reflect.TypeFor[struct {
		A string `json:"a" schema:"minlength=1"`
	}]())
}

func TestCheckNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "a-b.c1": true, "": false, "A": false, "a_b": false, "-a": false, "a-": false, "a..b": false, "a.": false, "ä": false, "a\n": false,
	} {
		var v Violations
		CheckName(name, &v)
		if v.Empty() != ok {
			t.Errorf("name %q: %v", name, v.List())
		}
	}
	for key, ok := range map[string]bool{
		"a": true, "k8s.io/a_B.c": true, "": false, "/a": false, "a/": false, "A.b/c": false, "a/b/c": false, "a b": false, "_a": false,
	} {
		var v Violations
		CheckLabel(key, "v", &v)
		if v.Empty() != ok {
			t.Errorf("label %q: %v", key, v.List())
		}
	}
	for value, ok := range map[string]bool{"": true, "a": true, "a_b.c-D": true, "-": false, "a/b": false, "a ": false} {
		var v Violations
		CheckLabel("k", value, &v)
		if v.Empty() != ok {
			t.Errorf("label value %q: %v", value, v.List())
		}
	}
	var v Violations
	CheckLabel(strings.Repeat("_", 64), strings.Repeat("-", 64), &v)
	if len(v.List()) != 4 {
		t.Errorf("too long and wrong, key and value: %v", v.List())
	}
}
