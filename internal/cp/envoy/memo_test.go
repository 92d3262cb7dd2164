package envoy_test

import (
	"path/filepath"
	"slices"
	"testing"

	"weft/internal/cp/build"
	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/kinds"
	"weft/internal/testkit/corpus"
)

// TestMemoChangesNothing makes the resources of all proxies of all recorded cases
// with one memo, and as if there were none: they are the same, byte for byte.
func TestMemoChangesNothing(t *testing.T) {
	memo := envoy.NewMemo()
	made, shared := map[*xds.Resource]bool{}, 0
	for _, area := range []string{"config", "policies", "policies-legacy"} {
		root := corpus.Root(t, area)
		for _, name := range corpus.Cases(t, root) {
			var c recorded
			corpus.ReadYAML(t, filepath.Join(root, name, "case.yaml"), &c)
			objects := corpus.Inputs(t, filepath.Join(root, name, "input.yaml"))
			for _, zone := range []string{"default", "other"} {
				s := settings()
				s.Zone = zone
				v := view.NewMesh(c.Mesh, s).Next(led(t, c.Mesh, objects))
				for _, o := range objects {
					if o.Kind != kinds.Dataplane || o.Meta.Mesh != c.Mesh {
						continue
					}
					for _, md := range []view.Metadata{{}, {WorkDir: "/tmp/" + o.Meta.Name, IPv6: true}} {
						in, ok := v.For(kinds.Dataplane, o.Meta.Name, md)
						if !ok {
							continue
						}
						plain, _, err := envoy.Resources(build.Proxy(in))
						if err != nil {
							continue // a recorded case that cannot be translated is tested elsewhere
						}
						got, _, err := memo.Resources(build.Proxy(in))
						if err != nil {
							t.Fatalf("%s/%s: %v", name, o.Meta.Name, err)
						}
						if !slices.EqualFunc(plain, got, func(a, b *xds.Resource) bool {
							return a.Type == b.Type && a.Name == b.Name && slices.Equal(a.Body, b.Body)
						}) {
							t.Errorf("%s/%s differs", name, o.Meta.Name)
						}
						for _, r := range got {
							if made[r] {
								shared++
							}
							made[r] = true
						}
					}
				}
			}
		}
	}
	if shared < 1000 {
		t.Errorf("only %d resources were shared", shared)
	}
	t.Logf("%d resources made, %d times one was shared", len(made), shared)
}
