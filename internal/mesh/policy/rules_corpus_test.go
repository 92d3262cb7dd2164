package policy_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/testkit/corpus"
)

// TestCorpusRules compares the rules of proxies with what 2.10 told of them.
func TestCorpusRules(t *testing.T) {
	root := corpus.Root(t, "policies")
	known := corpus.Known(t, "policies")
	equal, total := 0, 0
	for _, name := range corpus.Cases(t, root) {
		t.Run(name, func(t *testing.T) {
			if why := known.Skips(name); why != "" {
				t.Skip("SKIPPED: " + why)
			}
			var c struct {
				Mesh    string
				Proxies []string
			}
			corpus.ReadYAML(t, filepath.Join(root, name, "case.yaml"), &c)
			tables := corpus.NewTables(corpus.Led(t, corpus.Inputs(t, filepath.Join(root, name, "input.yaml")))...)
			for _, p := range c.Proxies {
				file := "rules." + p + ".json"
				want := corpus.ReadJSON(t, filepath.Join(root, name, file)).(map[string]any)
				delete(want, "resource")
				for _, d := range corpus.Compare(file, want, rulesOf(t, tables, c.Mesh, p)) {
					if why := known.Deliberate(name, d.Path); why != "" {
						t.Logf("%s: %s", d.Path, why)
						continue
					}
					t.Errorf("%s\n  want %s\n  got  %s", d.Path, d.Want, d.Got)
				}
			}
			total++
			if !t.Failed() {
				equal++
			}
		})
	}
	t.Logf("%d of %d cases equal", equal, total)
	if t.Failed() {
		return
	}
	for _, d := range known.Unused() {
		if strings.HasPrefix(d.Path, "rules.") {
			t.Errorf("the difference %s %s does not occur: remove it from differences.yaml", d.Case, d.Path)
		}
	}
}

func rulesOf(t *testing.T, tables corpus.Tables, mesh, proxy string) any {
	t.Helper()
	dp, ok := tables.Table(kinds.Dataplane, mesh).Get(proxy)
	if !ok {
		t.Fatalf("there is no proxy %s", proxy)
	}
	m, ok := tables.Table(kinds.Mesh, "").Get(mesh)
	if !ok {
		t.Fatalf("there is no mesh %s", mesh)
	}
	matched := policy.Match(catalog.Policies, policy.FactsOf(dp.Object, nil), tables)
	rules := matched.Rules(policy.World{
		Mesh: m.Object, Tables: tables, Exclusive: model.Spec[kinds.MeshSpec](m.Object).MeshServicesMode() == kinds.MeshServicesExclusive,
	}, policy.NewMemo())
	b, err := json.Marshal(map[string]any{"rules": rules, "httpMatches": policy.HTTPMatches(rules)})
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}
