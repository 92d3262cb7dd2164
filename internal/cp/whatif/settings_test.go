package whatif_test

import (
	"encoding/json"
	"testing"

	"weft/internal/cp/whatif"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// TestCheckPatches finds what a ProxyTemplate holds that Envoy does not know.
func TestCheckPatches(t *testing.T) {
	for name, c := range map[string]struct{ conf, field string }{
		"resource":              {`{"resources":[{"name":"a","version":"1","resource":"'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\nname: a"}]}`, ""},
		"resource of no type":   {`{"resources":[{"name":"a","version":"1","resource":"'@type': type.googleapis.com/nope"}]}`, "conf.resources[0].resource"},
		"resource not Envoy's":  {`{"resources":[{"name":"a","version":"1","resource":"'@type': type.googleapis.com/google.protobuf.Empty"}]}`, "conf.resources[0].resource"},
		"resource, wrong value": {`{"resources":[{"name":"a","version":"1","resource":"'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\nname: a\nconnectTimeout: x"}]}`, "conf.resources[0].resource"},
		"filter":                {`{"modifications":[{"httpFilter":{"operation":"addLast","value":"name: a"}}]}`, ""},
		"filter of no type":     {`{"modifications":[{"cluster":{"operation":"remove"}},{"httpFilter":{"operation":"addLast","value":"name: a\ntypedConfig: {'@type': type.googleapis.com/nope}"}}]}`, "conf.modifications[1].httpFilter.value"},
		"cluster, wrong value":  {`{"modifications":[{"cluster":{"operation":"patch","value":"connectTimeout: 5"}}]}`, "conf.modifications[0].cluster.value"},
		"host without a name":   {`{"modifications":[{"virtualHost":{"operation":"add","value":"domains: [a]"}}]}`, "conf.modifications[0].virtualHost.value"},
	} {
		o := kinds.ProxyTemplate.Make("default", "a")
		s := &kinds.ProxyTemplateSpec{}
		if err := json.Unmarshal([]byte(c.conf), &s.Conf); err != nil {
			t.Fatal(err)
		}
		o.Spec = s
		var v model.Violations
		whatif.CheckPatches(o, &v)
		switch list := v.List(); {
		case c.field == "" && len(list) > 0, c.field != "" && (len(list) != 1 || list[0].Field != c.field):
			t.Errorf("%s: %v", name, list)
		}
	}
}
