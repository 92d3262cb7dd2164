package envoy_test

import (
	"path/filepath"
	"testing"

	"weft/internal/cp/view"
	"weft/internal/testkit/corpus"
)

// TestCorpusLegacy compares what proxies get from the older policies with what
// 2.10 gave them.
func TestCorpusLegacy(t *testing.T) {
	root := corpus.Root(t, "policies-legacy")
	known := corpus.Known(t, "policies-legacy")
	equal, total := 0, 0
	for _, name := range corpus.Cases(t, root) {
		t.Run(name, func(t *testing.T) {
			if why := known.Skips(name); why != "" {
				t.Skip("SKIPPED: " + why)
			}
			var c recorded
			corpus.ReadYAML(t, filepath.Join(root, name, "case.yaml"), &c)
			w := led(t, c.Mesh, corpus.Inputs(t, filepath.Join(root, name, "input.yaml")))
			w.hide = c.GeneratedAddresses
			for _, p := range c.Proxies {
				file := "config." + p + ".json"
				want := corpus.ReadJSON(t, filepath.Join(root, name, file)).(map[string]any)["xds"]
				for _, d := range corpus.Compare(file, want, w.normalise(configOf(t, c.Mesh, p, view.Metadata{}, w.Tables))) {
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
	if !t.Failed() {
		for _, d := range known.Unused() {
			t.Errorf("the difference %s %s does not occur: remove it from differences.yaml", d.Case, d.Path)
		}
	}
}
