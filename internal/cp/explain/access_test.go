package explain_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"weft/internal/cp/build"
	"weft/internal/cp/explain"
	"weft/internal/cp/view"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/policy"
)

// TestPermissionsDecideAsCited makes random permissions: a client is let in just
// if the rule that is cited for it says so. Who is let in comes from what is
// sent to Envoy, the citation from the policies.
func TestPermissionsDecideAsCited(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	d := dice{rand.New(rand.NewPCG(seed, 3))}
	seen := map[string]int{}
	for range 150 {
		docs := []object{mtlsMesh("STRICT"), dataplane("api-1", "api", nil)}
		for i := range 4 {
			docs = append(docs, dataplane(fmt.Sprintf("c-%d", i), d.text("web", "cron"), object{"version": d.text("v1", "v2"), "team": d.text("a", "b")}))
		}
		for i := range d.IntN(4) {
			var from []object
			for range 1 + d.IntN(3) {
				ref := object{"kind": "Mesh"}
				if !d.one(4) {
					tags := object{}
					for _, k := range []string{"kuma.io/service", "version", "team"} {
						if d.one(2) {
							tags[k] = map[string]string{"kuma.io/service": d.text("web", "cron"), "version": d.text("v1", "v2"), "team": d.text("a", "b")}[k]
						}
					}
					ref = object{"kind": "MeshSubset", "tags": tags}
				}
				from = append(from, object{"targetRef": ref, "default": object{"action": d.text("Allow", "Deny", "AllowWithShadowDeny")}})
			}
			top := d.of(object{"kind": "Mesh"}, object{"kind": "MeshSubset", "tags": object{"kuma.io/service": "api"}}).(object)
			docs = append(docs, object{"type": "MeshTrafficPermission", "mesh": "m", "name": fmt.Sprintf("p-%d", i), "spec": object{"targetRef": top, "from": from}})
		}
		ask := asker(t, docs)
		for i := range 4 {
			a := ask(fmt.Sprintf("c-%d", i), "api")
			if len(a.Clusters) != 1 || len(a.Clusters[0].Servers) != 1 {
				t.Fatalf("the server is not found: %+v", a)
			}
			server := a.Clusters[0].Servers[0]
			says := "Deny"
			var value policy.Value
			for _, v := range server.Policies {
				if v.Kind == "MeshTrafficPermission" {
					value = v.Values[0]
					says, _ = value.Value.(string)
				}
			}
			seen[says]++
			if server.Allowed != (says != "Deny") || strings.Contains(server.Why, "AllowWithShadowDeny") != (says == "AllowWithShadowDeny") {
				t.Fatalf("client %d: allowed %v, %s, but the rule says %s: %+v\n%v", i, server.Allowed, server.Why, says, value, docs)
			}
			if len(value.From) > 0 && !strings.Contains(server.Why, value.From[0].Name) {
				t.Fatalf("%s does not name %s", server.Why, value.From[0].Name)
			}
			if (a.Outcome == explain.Refused) == server.Allowed {
				t.Fatalf("the outcome is %s", a.Outcome)
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("only these actions were met: %v", seen)
	}
}

func mtlsMesh(mode string) object {
	return object{"type": "Mesh", "name": "m", "mtls": object{"enabledBackend": "ca", "backends": []object{{"name": "ca", "type": "builtin", "mode": mode}}}}
}

// dataplane returns one that calls api on port 10001.
func dataplane(name, service string, tags object) object {
	all := object{"kuma.io/service": service, "kuma.io/protocol": "http"}
	for k, v := range tags {
		all[k] = v
	}
	return object{"type": "Dataplane", "mesh": "m", "name": name, "networking": object{
		"address": fmt.Sprintf("10.0.%d.%d", service[0], 1+strings.Index("0123456789", name[len(name)-1:])),
		"inbound": []object{{"port": 80, "tags": all}}, "outbound": []object{{"port": 10001, "tags": object{"kuma.io/service": "api"}}},
	}}
}

// asker returns a function that asks what becomes of a request.
func asker(t *testing.T, docs []object) func(from, to string) *explain.Answer {
	t.Helper()
	tables := tablesOf(t, docs)
	v := view.NewMesh("m", settings()).Next(tables)
	far := func(name string) (explain.Subject, bool, error) {
		s, ok := subject(t, v, name)
		return s, ok, nil
	}
	return func(from, to string) *explain.Answer {
		t.Helper()
		s, ok := subject(t, v, from)
		if !ok {
			t.Fatalf("there is no %s", from)
		}
		a, err := explain.OfRequest(s, explain.Request{To: to}, explain.World{Tables: tables, Proxies: far, Egress: func(name string) (*ir.Proxy, bool) {
			in, is := view.Egress(tables, []*view.Mesh{v}, name, view.Metadata{}, v.Settings())
			if !is {
				return nil, false
			}
			return build.Egress(in), true
		}})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}
