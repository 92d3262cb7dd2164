package envoy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"

	"weft/internal/cp/build"
	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy/legacy"
	"weft/internal/testkit/corpus"
)

// routeAll lets the older policies make all outbounds.
const routeAll = `{"type":"TrafficRoute","mesh":"m","name":"route-all","sources":[{"match":{"kuma.io/service":"*"}}],
	"destinations":[{"match":{"kuma.io/service":"*"}}],"conf":{"destination":{"kuma.io/service":"*"}}}`

// FuzzLegacyResources takes any older policy through to Envoy's resources. What
// the gate lets in must never make a resource that breaks Envoy's rules.
func FuzzLegacyResources(f *testing.F) {
	files, _ := filepath.Glob("../../../../shared/compat/policies-legacy/*/input.yaml")
	older := map[string]bool{}
	for _, k := range legacy.Kinds() {
		older[k.Name] = true
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		d := yaml.NewDecoder(bytes.NewReader(b))
		for {
			var doc map[string]any
			if err := d.Decode(&doc); err != nil {
				break
			}
			if kind, _ := doc["type"].(string); older[kind] {
				doc["mesh"] = "m"
				if text, err := json.Marshal(doc); err == nil {
					f.Add(string(text))
				}
			}
		}
	}
	objects := fuzzObjects(f)
	all, err := catalog.Decode([]byte(routeAll))
	if err != nil {
		f.Fatal(err)
	}
	objects = append(objects, all)
	f.Fuzz(func(t *testing.T, doc string) {
		if len(doc) > 1<<16 {
			return
		}
		o, err := catalog.Decode([]byte(doc))
		if err != nil || !older[o.Kind.Name] || o.Meta.Name == "route-all" {
			return
		}
		o.Meta.Mesh = "m"
		var v model.Violations
		if o.Kind.Validate(o, &v); !v.Empty() {
			return
		}
		tables := corpus.NewTables(append(slices.Clone(objects), o)...)
		in, ok := view.NewMesh("m", settings()).Next(tables).For(kinds.Dataplane, "web-1", view.Metadata{WorkDir: "/tmp/dp", IPv6: true})
		if !ok {
			t.Fatal("there is no proxy")
		}
		if _, _, err := envoy.Resources(build.Proxy(in)); err != nil {
			t.Fatal(err)
		}
	})
}
