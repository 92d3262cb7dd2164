package meshproxypatch

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

func conf(t *testing.T, doc string) *Conf {
	t.Helper()
	c := &Conf{}
	if err := json.Unmarshal([]byte(doc), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPatches(t *testing.T) {
	weak := &model.Object{Kind: Policy.Kind, Meta: model.Meta{Mesh: "m", Name: "weak"}}
	strong := &model.Object{Kind: Policy.Kind, Meta: model.Meta{Mesh: "m", Name: "strong"}}
	c := merge([]policy.Contribution[Conf]{
		{Object: weak, Conf: conf(t, `{"appendModifications":[{"cluster":{"operation":"Add","value":"name: a\nlist: [1, {x: y}]"}}]}`)},
		{Object: strong, Conf: conf(t, `{"appendModifications":[{"httpFilter":{"operation":"Patch","match":{"name":"n","listenerName":"l","listenerTags":{"k":"v"},"origin":"inbound"},
			"jsonPatches":[{"op":"add","path":"/a","value":{"b":1}}]}}]}`)},
	})
	x := &policy.Context{Proxy: &ir.Proxy{}}
	for _, p := range patches(c) {
		x.Proxy.Patches = append(x.Proxy.Patches, p.Patch)
	}
	want := []ir.Patch{
		{Target: "cluster", Operation: "Add", Value: json.RawMessage(`{"list":[1,{"x":"y"}],"name":"a"}`), Origin: ir.Origin{Kind: "MeshProxyPatch", Mesh: "m", Name: "weak"}},
		{
			Target: "httpFilter", Operation: "Patch", Match: ir.PatchMatch{Name: "n", ListenerName: "l", Origin: "inbound", Tags: map[string]string{"k": "v"}},
			JSONPatch: json.RawMessage(`[{"op":"add","path":"/a","value":{"b":1}}]`), Origin: ir.Origin{Kind: "MeshProxyPatch", Mesh: "m", Name: "strong"},
		},
	}
	if d := cmp.Diff(want, x.Proxy.Patches); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestValidate(t *testing.T) {
	for doc, want := range map[string]string{
		`{"cluster":{"operation":"Add","value":"name: a"}}`:                                            "",
		`{"cluster":{"operation":"Add","value":"- a"}}`:                                                "cluster.value",
		`{"cluster":{"operation":"Add","value":"a: ["}}`:                                               "cluster.value",
		`{"cluster":{"operation":"Add","value":""}}`:                                                   "cluster.value",
		`{"cluster":{"operation":"Remove","value":"a: b"}}`:                                            "cluster.value",
		`{"cluster":{"operation":"Patch","value":"a: b","jsonPatches":[{"op":"remove","path":"/a"}]}}`: "cluster",
		`{"virtualHost":{"operation":"Add","match":{"name":"x"},"value":"name: x"}}`:                   "virtualHost.match.name",
		`{"cluster":{"operation":"Patch","jsonPatches":[{"op":"move","path":"/a"}]}}`:                  "cluster.jsonPatches[0].from",
		`{"cluster":{"operation":"Patch","jsonPatches":[{"op":"add","path":"/a"}]}}`:                   "cluster.jsonPatches[0].value",
		`{"cluster":{"operation":"Patch","jsonPatches":[{"op":"remove","path":"/a","value":1}]}}`:      "cluster.jsonPatches[0].value",
		`{"cluster":{"operation":"Patch","jsonPatches":[{"op":"add","path":"a","value":1}]}}`:          "cluster.jsonPatches[0].path",
		`{"cluster":{"operation":"Remove"},"listener":{"operation":"Remove"}}`:                         "appendModifications[0]",
		`{"networkFilter":{"operation":"AddLast","value":"name: f"}}`:                                  "",
		`{"networkFilter":{"operation":"AddAfter","value":"name: f"}}`:                                 "networkFilter.match.name",
	} {
		var v model.Violations
		validate(conf(t, `{"appendModifications":[`+doc+`]}`), &v, policy.Where{})
		got := ""
		for _, x := range v.List() {
			got = x.Field
		}
		if want != "" && want != "appendModifications[0]" {
			want = "appendModifications[0]." + want
		}
		if got != want {
			t.Errorf("%s: violation at %q, want %q", doc, got, want)
		}
	}
}
