package whatif

import (
	"fmt"
	"slices"

	"weft/internal/config"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// switchable returns the kinds that the settings may leave out, by the names of
// their collections, and the path of the setting that lists them.
func switchable() map[string]string {
	out := map[string]string{}
	for _, p := range catalog.Policies {
		out[p.Kind.Plural] = "policies.pluginPoliciesEnabled"
	}
	for _, k := range []*model.Kind{kinds.HostnameGenerator, kinds.MeshExternalService, kinds.MeshMultiZoneService, kinds.MeshService} {
		out[k.Plural] = "coreResources.enabled"
	}
	return out
}

// enabledKinds returns the kinds that exist here, and a sentence for each name
// in the settings that is none.
func enabledKinds(c *config.Config) (enabled []*model.Kind, unknown []string) {
	all := switchable()
	lists := []struct {
		path  string
		names []string
	}{{"policies.pluginPoliciesEnabled", c.Policies.PluginPoliciesEnabled}, {"coreResources.enabled", c.CoreResources.Enabled}}
	on := map[string]bool{}
	for _, l := range lists {
		for _, name := range l.names {
			on[name] = all[name] == l.path
			if !on[name] {
				unknown = append(unknown, fmt.Sprintf("%s names %q, which does not exist here", l.path, name))
			}
		}
	}
	enabled = slices.DeleteFunc(slices.Clone(catalog.Kinds), func(k *model.Kind) bool {
		return all[k.Plural] != "" && !on[k.Plural]
	})
	return enabled, unknown
}

// Kind is catalog.ByName for the kinds that exist here. What a store holds of
// other kinds stays there without effect.
func (s Settings) Kind(name string) *model.Kind {
	if k := catalog.ByName(name); slices.Contains(s.Kinds, k) {
		return k
	}
	return nil
}
