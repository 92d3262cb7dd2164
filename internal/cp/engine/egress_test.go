package engine

import (
	"fmt"
	"testing"

	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
)

// connectEgress writes an egress and connects it.
func (w *world) connectEgress(name string) *sink {
	w.t.Helper()
	o := kinds.ZoneEgress.Make("", name)
	o.Spec = &kinds.ZoneEgressSpec{Networking: &kinds.ZoneEgressNetworking{Address: "10.9.0.1", Port: 10002}}
	w.put(o)
	s := &sink{}
	w.leave[o.Key()] = w.Connect(o.Key(), view.Metadata{ProxyType: ir.ZoneEgress, IPv6: true}, s)
	return s
}

// external writes a MeshExternalService.
func (w *world) external(mesh, name, address string) {
	w.t.Helper()
	o, err := catalog.Decode(fmt.Appendf(nil, `{"type": "MeshExternalService", "mesh": %q, "name": %q, "spec": {
		"match": {"type": "HostnameGenerator", "port": 443, "protocol": "tcp"}, "endpoints": [{"address": %q, "port": 443}]}}`, mesh, name, address))
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(o)
}

// An egress has what all meshes reach by it, with an identity in each, and is built
// only when some of that changes.
func TestEgressFollowsAllMeshes(t *testing.T) {
	w := secured(t, "")
	other := kinds.Mesh.Make("", "other")
	other.Spec = &kinds.MeshSpec{MTLS: &kinds.MeshMTLS{EnabledBackend: "ca", Backends: []kinds.CABackend{{Name: "ca", Type: kinds.CABuiltin}}}}
	w.put(other)
	w.external("default", "one", "192.0.2.1")
	e := w.connectEgress("e")
	has := func(names ...string) func() bool {
		return func() bool {
			got, secrets := e.contents(), e.secrets()
			for _, n := range names {
				if got[fmt.Sprint(xds.Cluster, " ", n)] == "" {
					return false
				}
			}
			return len(secrets) == 2*len(names)
		}
	}
	await(t, "the service of one mesh is reached", has("default_one___extsvc_443"))
	w.external("other", "two", "192.0.2.2")
	await(t, "that of the other, too, with its own identity", has("default_one___extsvc_443", "other_two___extsvc_443"))
	if e.secrets()[envoy.IdentitySecret("other")] == e.secrets()[envoy.IdentitySecret("default")] {
		t.Error("both meshes have one identity")
	}
	w.settle()

	n, one := e.published(), fmt.Sprint(xds.Cluster, " default_one___extsvc_443")
	w.put(dataplane("web-1", "10.0.0.1", "web", "http", "api"))
	w.put(dataplane("api-1", "10.0.0.2", "api", "http"))
	w.put(kinds.Mesh.Make("", "third"))
	w.settle()
	if got := e.published(); got != n {
		t.Errorf("what does not matter to the egress made %d sets", got-n)
	}
	before := e.contents()[one]
	w.external("default", "one", "192.0.2.9")
	w.settle()
	if e.contents()[one] == before {
		t.Error("the service moved and the egress did not follow")
	}
	w.drop(kinds.MeshExternalService.Key("other", "two"))
	w.settle()
	if got := e.contents(); got[fmt.Sprint(xds.Cluster, " other_two___extsvc_443")] != "" {
		t.Errorf("the egress still has %v", got)
	}
	await(t, "it needs no identity there any more", func() bool { return len(e.secrets()) == 2 })
}
