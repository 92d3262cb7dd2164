package whatif_test

import (
	"strings"
	"testing"

	"weft/internal/cp/whatif"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
)

// TestUnknownFieldsAreTold: Envoy ignores what is misspelt in patches.
func TestUnknownFieldsAreTold(t *testing.T) {
	for doc, want := range map[string]string{
		`{"type":"MeshProxyPatch","mesh":"m","name":"p","spec":{"default":{"appendModifications":[{"cluster":{"operation":"Patch","value":"connectTimeot: 5s"}}]}}}`:                   "spec.default.appendModifications[0].cluster.value: ",
		`{"type":"ProxyTemplate","mesh":"m","name":"p","selectors":[{"match":{"kuma.io/service":"*"}}],"conf":{"modifications":[{"cluster":{"operation":"patch","value":"nam: x"}}]}}`: "conf.modifications[0].cluster.value: ",
		`{"type":"MeshProxyPatch","mesh":"m","name":"p","spec":{"default":{"appendModifications":[{"cluster":{"operation":"Patch","value":"connectTimeout: 5s"}}]}}}`:                  "",
	} {
		o, err := catalog.Decode([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		var v model.Violations
		got := strings.Join(whatif.CheckPatches(o, &v), "")
		if !v.Empty() || !strings.HasPrefix(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: warnings %q, violations %v", doc, got, v.List())
		}
	}
}
