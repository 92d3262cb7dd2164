package dpserver

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"weft/internal/cp/auth"
	"weft/internal/mesh/kinds"
)

// FuzzNode reads nodes as a hostile client may fill them in, with the object that
// it brings along.
func FuzzNode(f *testing.F) {
	text, _ := dataplane("web-1", map[string]any{"serviceProbe": map[string]any{"tcp": map[string]any{}}})
	for _, n := range []*corev3.Node{node("web-1", text), node("web-1", ""), with("web-1", "version", "x")().Node, {Id: "."}} {
		b, err := proto.Marshal(n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(corev3.Node)
		if proto.Unmarshal(b, m) != nil {
			return
		}
		n, err := ParseNode(m)
		if err != nil {
			return
		}
		if n.Key.Name == "" || n.Kind == kinds.Dataplane && n.Key.Mesh == "" || n.Metadata.AdminPort > 65535 {
			t.Errorf("accepted %+v", n)
		}
		o, err := objectOf(n)
		if err != nil || o == nil {
			return
		}
		if o.Key() != n.Key {
			t.Errorf("%s brings along %s", n.Key, o.Key())
		}
		if _, err := auth.ProxyOf(o); err != nil {
			t.Error(err)
		}
		keepStates(starting(o), o)
	})
}
