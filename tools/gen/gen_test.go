package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/catalog"
)

func generated(t *testing.T) map[string][]byte {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	files, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestDeterministic(t *testing.T) {
	a, b := generated(t), generated(t)
	if len(a) != len(b) {
		t.Fatalf("%d files, then %d", len(a), len(b))
	}
	for path := range a {
		if !bytes.Equal(a[path], b[path]) {
			t.Errorf("%s differs between two runs", path)
		}
	}
}

func TestEveryKindHasItsFiles(t *testing.T) {
	files := generated(t)
	doc := parse(t, files[openAPIPath])
	paths := doc["paths"].(map[string]any)
	for _, k := range catalog.Kinds {
		page := referenceDir + strings.ToLower(k.Name) + ".md"
		if k.Hidden {
			if files[page] != nil {
				t.Errorf("%s is hidden but has a page", k.Name)
			}
			continue
		}
		if files[page] == nil {
			t.Errorf("%s has no page", k.Name)
		}
		if paths["/"+k.Plural] == nil {
			t.Errorf("%s has no path in the OpenAPI document", k.Name)
		}
		if crd := files["api/crds/kuma.io_"+crdPlural(k)+".yaml"]; (crd != nil) != isCustomResource(k) {
			t.Errorf("%s: CRD is there: %v", k.Name, crd != nil)
		}
	}
}

// TestOpenAPIReferences follows every $ref and looks for operation ids that are
// used twice.
func TestOpenAPIReferences(t *testing.T) {
	doc := parse(t, generated(t)[openAPIPath])
	ids := map[string]bool{}
	var walk func(v any, path string)
	walk = func(v any, path string) {
		switch v := v.(type) {
		case map[string]any:
			if to, ok := v["$ref"].(string); ok && !resolves(doc, to) {
				t.Errorf("%s: nothing at %s", path, to)
			}
			if id, ok := v["operationId"].(string); ok {
				if ids[id] {
					t.Errorf("%s: operationId %s is used before", path, id)
				}
				ids[id] = true
			}
			for k, e := range v {
				walk(e, path+"/"+k)
			}
		case []any:
			for i, e := range v {
				walk(e, fmt.Sprintf("%s/%d", path, i))
			}
		}
	}
	walk(doc, "")
	if len(ids) < 50 {
		t.Errorf("only %d operations", len(ids))
	}
}

func resolves(doc map[string]any, to string) bool {
	var v any = doc
	for part := range strings.SplitSeq(strings.TrimPrefix(to, "#/"), "/") {
		m, ok := v.(map[string]any)
		if !ok || m[part] == nil {
			return false
		}
		v = m[part]
	}
	return true
}

func parse(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// referenceCRDs are those of 2.10, beside the checkout.
const referenceCRDs = "../../../shared/reference/crds"

// deliberate lists where our CRDs differ on purpose: kind and path below the
// schema, with the reason.
var deliberate = map[string]string{
	"MeshHTTPRoute spec/to/items/rules/items/default/backendRefs/items/weight/format":                      sameRange,
	"MeshHTTPRoute spec/to/items/rules/items/default/filters/items/requestMirror/backendRef/weight/format": sameRange,
	"MeshTCPRoute spec/to/items/rules/items/default/backendRefs/items/weight/format":                       sameRange,
}

const sameRange = "says how large the number may be, which is the same without it"

// TestCRDsLike210 compares structure: objects written for 2.10 must be accepted
// and defaulted in the same way. Descriptions and examples are our own.
func TestCRDsLike210(t *testing.T) {
	files, err := filepath.Glob(referenceCRDs + "/kuma.io_*.yaml")
	if err != nil || len(files) == 0 {
		t.Skipf("SKIPPED: no CRDs to compare with at %s", referenceCRDs)
	}
	ours := generated(t)
	compared := 0
	for _, file := range files {
		got := ours["api/crds/"+filepath.Base(file)]
		if got == nil {
			continue // a kind of Kubernetes only, or one that does not exist yet
		}
		compared++
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, got := parse(t, b), parse(t, got)
			// An empty block and the tool that wrote the file mean nothing.
			delete(want["metadata"].(map[string]any), "annotations")
			differences(t, kindOf(got), "", reduce(want, ""), reduce(got, ""))
		})
	}
	if compared < 30 {
		t.Errorf("only %d CRDs were compared", compared)
	}
}

func kindOf(crd map[string]any) string {
	return crd["spec"].(map[string]any)["names"].(map[string]any)["kind"].(string)
}

// reduce leaves out what has no influence on what is accepted; key is the name
// under which v stands.
func reduce(v any, key string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if key != "properties" && slices.Contains([]string{"description", "example"}, k) {
				continue
			}
			if m, ok := e.(map[string]any); ok && k == "subresources" && len(m) == 0 {
				continue
			}
			out[k] = reduce(e, k)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = reduce(e, "")
		}
		if key == "enum" || key == "required" { // sets
			slices.SortFunc(out, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
		return out
	}
	return v
}

// differences reports what differs, as deep in the tree as possible.
func differences(t *testing.T, kind, path string, want, got any) {
	t.Helper()
	w, wok := want.(map[string]any)
	g, gok := got.(map[string]any)
	if wok && gok {
		for k := range w {
			differences(t, kind, path+"/"+k, w[k], g[k])
		}
		for k := range g {
			if _, there := w[k]; !there {
				differences(t, kind, path+"/"+k, nil, g[k])
			}
		}
		return
	}
	wl, wok := want.([]any)
	gl, gok := got.([]any)
	if wok && gok && len(wl) == len(gl) {
		for i := range wl {
			differences(t, kind, fmt.Sprintf("%s/%d", path, i), wl[i], gl[i])
		}
		return
	}
	d := cmp.Diff(want, got)
	key := kind + " " + shorten(path)
	switch reason := deliberate[key]; {
	case d == "" && reason != "":
		t.Errorf("%s is listed as different, but it is not", key)
	case d != "" && reason == "":
		t.Errorf("%s (-2.10 +ours):\n%s", key, d)
	}
}

// shorten turns the path of a schema into that of the field.
func shorten(path string) string {
	path = strings.TrimPrefix(path, "/spec/versions/0/schema/openAPIV3Schema/")
	return strings.ReplaceAll(path, "properties/", "")
}
