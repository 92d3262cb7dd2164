package policy_test

import (
	"encoding/json"
	"testing"

	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/testkit/corpus"
)

// TestCorpusRules compares the rules of proxies with what 2.10 told of them.
func TestCorpusRules(t *testing.T) {
	corpus.Play(t, "policies", "rules.", func(t *testing.T, recorded *corpus.Case) {
		var c struct {
			Mesh    string
			Proxies []string
		}
		recorded.Read(t, &c)
		tables := corpus.NewTables(corpus.Led(t, corpus.Inputs(t, recorded.File("input.yaml")))...)
		for _, p := range c.Proxies {
			file := "rules." + p + ".json"
			want := corpus.ReadJSON(t, recorded.File(file)).(map[string]any)
			delete(want, "resource")
			recorded.Check(t, file, want, rulesOf(t, tables, c.Mesh, p))
		}
	})
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
