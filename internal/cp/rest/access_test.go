package rest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/cp/rest"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/token"
)

// guarded is one of the access lists with the requests that it decides about.
type guarded struct {
	setting string // as in the message
	env     string // without the prefix and _USERS or _GROUPS
	open    bool   // by default everybody may
	calls   []call
}

type call struct{ method, path, body string }

// accessLists are those of control-plane-api.md 5, and writeResources, which is ours.
var accessLists = []guarded{
	{"adminResources", "ADMIN_RESOURCES", false, []call{
		{"GET", "/meshes/default/secrets", ""},
		{"GET", "/secrets", ""},
		{"GET", "/meshes/default/secrets/s", ""},
		{"PUT", "/meshes/default/secrets/s", `{"type":"Secret","mesh":"default","name":"s","data":"eA=="}`},
		{"DELETE", "/meshes/default/secrets/s", ""},
		{"GET", "/global-secrets", ""},
		{"GET", "/global-secrets/g", ""},
		{"PUT", "/global-secrets/g", `{"type":"GlobalSecret","name":"g","data":"eA=="}`},
		{"DELETE", "/global-secrets/g", ""},
	}},
	{"writeResources", "WRITE_RESOURCES", false, []call{
		{"PUT", "/meshes/m", `{"type":"Mesh","name":"m"}`},
		{"PUT", "/meshes/default/meshtimeouts/t", `{"type":"MeshTimeout","mesh":"default","name":"t","spec":{"targetRef":{"kind":"Mesh"},"to":[{"targetRef":{"kind":"Mesh"},"default":{"connectionTimeout":"1s"}}]}}`},
		{"DELETE", "/meshes/default/meshtimeouts/t", ""},
		{"PUT", "/meshes/default/timeouts/t", `{"type":"Timeout","mesh":"default","name":"t","sources":[{"match":{"kuma.io/service":"*"}}],"destinations":[{"match":{"kuma.io/service":"*"}}],"conf":{"connectTimeout":"1s"}}`},
		{"DELETE", "/meshes/default/dataplanes/web-1", ""},
	}},
	{"generateDpToken", "GENERATE_DP_TOKEN", false, []call{{"POST", "/tokens/dataplane", `{"mesh":"default","validFor":"1h"}`}}},
	{"generateUserToken", "GENERATE_USER_TOKEN", false, []call{{"POST", "/tokens/user", `{"name":"x","validFor":"1h"}`}}},
	{"generateZoneToken", "GENERATE_ZONE_TOKEN", false, []call{{"POST", "/tokens/zone", `{"zone":"default","scope":["ingress"],"validFor":"1h"}`}}},
	{"viewConfigDump", "GET_CONFIG_DUMP", true, []call{{"GET", "/meshes/default/dataplanes/web-1/xds", ""}, {"GET", "/zoneingresses/in/xds", ""}, {"GET", "/zoneegresses/out/xds", ""}}},
	{"viewStats", "VIEW_STATS", true, []call{{"GET", "/meshes/default/dataplanes/web-1/stats", ""}, {"GET", "/zoneingresses/in/stats", ""}, {"GET", "/zoneegresses/out/stats", ""}}},
	{"viewClusters", "VIEW_CLUSTERS", true, []call{{"GET", "/meshes/default/dataplanes/web-1/clusters", ""}, {"GET", "/zoneingresses/in/clusters", ""}, {"GET", "/zoneegresses/out/clusters", ""}}},
	{"controlPlaneMetadata", "CONTROL_PLANE_METADATA", true, []call{{"GET", "/config", ""}}},
}

// accessWorld is a world with an object of everything that is asked for.
func accessWorld(t *testing.T, env map[string]string) *world {
	t.Helper()
	w := newWorld(t, env, func(d *rest.Deps) { d.Admin = &echo{} })
	dp := kinds.Dataplane.Make("default", "web-1")
	dp.Spec = &kinds.DataplaneSpec{Networking: &kinds.DataplaneNetworking{Address: "10.0.0.1", Admin: &kinds.EnvoyAdmin{Port: 9999}}}
	secret, global := kinds.Secret.Make("default", "s"), kinds.GlobalSecret.Make("", "g")
	secret.Spec, global.Spec = &kinds.SecretSpec{Data: []byte("x")}, &kinds.SecretSpec{Data: []byte("x")}
	for _, o := range []*model.Object{dp, kinds.ZoneIngress.Make("", "in"), kinds.ZoneEgress.Make("", "out"), secret, global} {
		if _, err := w.store.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// callers returns the headers that prove users: of the groups team, other and
// mesh-system:admin, and of nobody.
func (w *world) callers(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{"anonymous": nil}
	for name, group := range map[string]string{"jo": "team", "kim": "other", "mesh-system:admin": "mesh-system:admin"} {
		text, err := w.tokens.IssueUser(t.Context(), &token.User{Name: name, Groups: []string{group}}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = []string{"Authorization", "Bearer " + text}
	}
	return out
}

// asked sends all requests of a list as every caller and compares who is let through.
func (g *guarded) asked(t *testing.T, w *world, allowed ...string) {
	t.Helper()
	url := w.serve(t, externalIP).URL
	for who, headers := range w.callers(t) {
		for _, c := range g.calls {
			got := send(t, c.method, url+c.path, c.body, headers...)
			what := fmt.Sprintf("%s: %s %s of %s", g.setting, c.method, c.path, who)
			if slices.Contains(allowed, who) {
				if got.status == http.StatusForbidden || got.status == http.StatusUnauthorized || got.status >= 500 {
					t.Errorf("%s: %d %s", what, got.status, got.text)
				}
				continue
			}
			if got.status != http.StatusForbidden || got.field("title") != "Access Denied" {
				t.Errorf("%s: %d %s", what, got.status, got.text)
			}
			if who != "anonymous" && !strings.Contains(got.text, "access.static."+g.setting) {
				t.Errorf("%s: the answer does not name the list: %s", what, got.text)
			}
		}
	}
}

// Every access list decides about its requests and about no others: by default as
// the contract says, else for exactly the users or groups that it names.
func TestAccessLists(t *testing.T) {
	for i := range accessLists {
		g := &accessLists[i]
		prefix := "KUMA_ACCESS_STATIC_" + g.env
		t.Run(g.setting, func(t *testing.T) {
			t.Parallel()
			def := []string{"mesh-system:admin"}
			if g.open {
				def = append(def, "anonymous", "jo", "kim")
			}
			g.asked(t, accessWorld(t, nil), def...)
			byUser := accessWorld(t, with(prefix+"_USERS", "jo", prefix+"_GROUPS", "nobody"))
			g.asked(t, byUser, "jo")
			g.asked(t, accessWorld(t, with(prefix+"_USERS", "nobody", prefix+"_GROUPS", "team")), "jo")
			g.asked(t, accessWorld(t, with(prefix+"_USERS", "nobody", prefix+"_GROUPS", "mesh-system:unauthenticated")), "anonymous")
			for j := range accessLists { // the other lists are not concerned
				other := &accessLists[j]
				if other == g || other.open {
					continue
				}
				other.asked(t, byUser, "mesh-system:admin")
			}
		})
	}
}
