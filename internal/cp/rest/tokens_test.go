package rest_test

import (
	"net/http"
	"strings"
	"testing"

	"weft/internal/mesh/kinds"
)

func TestTokens(t *testing.T) {
	w := newWorld(t, with("KUMA_API_SERVER_BASE_PATH", "/mesh-api"))
	anonymous := w.serve(t, externalIP).URL
	for _, c := range []struct {
		name, url, body string
		status          int
		title, fields   string
	}{
		{"dataplane", w.url + "/mesh-api/tokens/dataplane", `{"mesh":"default"}`, 200, "", ""},
		{"zone", w.url + "/mesh-api/tokens/zone", `{"zone":"east","scope":["ingress"],"validFor":"1h"}`, 200, "", ""},
		{"user", w.url + "/tokens/user", `{"name":"jo","validFor":"1h"}`, 200, "", ""},
		{"user below the base path", w.url + "/mesh-api/tokens/user", `{"name":"jo","validFor":"1h"}`, 404, "", ""},
		{"all that is wrong", w.url + "/mesh-api/tokens/dataplane", `{"type":"x","validFor":"soon"}`, 400, "Invalid request", "mesh type validFor"},
		{"no mesh of that name", w.url + "/mesh-api/tokens/dataplane", `{"mesh":"none"}`, 404, "Signing Key not found", ""},
		{"no request", w.url + "/tokens/user", `[]`, 400, "Bad Request", ""},
		{"not allowed", anonymous + "/tokens/user", `{"name":"jo","validFor":"1h"}`, 403, "Access Denied", ""},
		{"not allowed", anonymous + "/mesh-api/tokens/dataplane", `{"mesh":"default"}`, 403, "Access Denied", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := send(t, http.MethodPost, c.url, c.body)
			if got.status != c.status || got.field("title") != c.title {
				t.Fatalf("got %d %s", got.status, got.text)
			}
			if c.fields != "" && got.fields() != c.fields {
				t.Errorf("violations of %s", got.fields())
			}
			if c.status == 200 && (strings.Count(got.text, ".") != 2 || got.header.Get("Cache-Control") != "no-store") {
				t.Errorf("no token: %s %v", got.text, got.header)
			}
		})
	}
	for body, want := range map[string]string{`[]`: "must be a JSON object", `{"name":"jo","groups":"x"}`: "groups must not be a JSON string", `{`: "unexpected end"} {
		if got := send(t, http.MethodPost, w.url+"/tokens/user", body).field("detail"); !strings.Contains(got, want) || strings.Contains(got, "Go ") {
			t.Errorf("%s: %s", body, got)
		}
	}
	user := send(t, http.MethodPost, w.url+"/tokens/user", `{"name":"jo","groups":["team"],"validFor":"1h"}`).text
	who := send(t, http.MethodGet, anonymous+"/mesh-api/who-am-i", "", "Authorization", "Bearer "+user)
	if who.field("name") != "jo" || !strings.Contains(who.text, `"team"`) {
		t.Errorf("the token is of %s", who.text)
	}
}

// TestIssuersOff: what is switched off is the caller's mistake, not ours.
func TestIssuersOff(t *testing.T) {
	w := newWorld(t, with("KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_ENABLE_ISSUER", "false"))
	got := send(t, http.MethodPost, w.url+"/tokens/dataplane", `{"mesh":"default"}`)
	if got.status != 400 || !strings.Contains(got.field("detail"), "switched off") {
		t.Errorf("got %d %s", got.status, got.text)
	}
}

// TestReadOnly: in read-only roles tokens are issued, objects refused.
func TestReadOnly(t *testing.T) {
	for name, c := range map[string]struct {
		env     map[string]string
		refused []string
		taken   map[string]string
	}{
		"by configuration": {
			env:     with("KUMA_API_SERVER_READ_ONLY", "true"),
			refused: []string{"/meshes/default", "/meshes/default/secrets/s", "/zones/z"},
		},
		"global": {
			env:     with("KUMA_MODE", "global"),
			refused: []string{"/meshes/default/dataplanes/d", "/zone-ingresses/i", "/meshes/default/meshservices/s", "/zone-insights/z"},
			taken:   map[string]string{"/meshes/m": `{"type":"Mesh","name":"m"}`, "/zones/z": `{"type":"Zone","name":"z"}`},
		},
		"federated zone": {
			env:     with("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", "grpcs://127.0.0.1:1", "KUMA_MULTIZONE_ZONE_NAME", "east"),
			refused: []string{"/meshes/default", "/meshes/default/traffic-permissions/p"},
			taken:   map[string]string{"/global-secrets/s": `{"type":"GlobalSecret","name":"s","data":"aGk="}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.env)
			for _, path := range c.refused {
				for _, method := range []string{http.MethodPut, http.MethodDelete} {
					body := ""
					if method == http.MethodPut {
						body = "{}"
					}
					got := send(t, method, w.url+path, body)
					if got.status != 405 || got.field("title") != "Method not allowed" || !strings.HasSuffix(got.field("detail"), "\n") {
						t.Errorf("%s %s: %d %s", method, path, got.status, got.text)
					}
				}
			}
			for path, body := range c.taken {
				if got := send(t, http.MethodPut, w.url+path, body); got.status != 201 {
					t.Errorf("%s: %d %s", path, got.status, got.text)
				}
			}
			if got := send(t, http.MethodPost, w.url+"/tokens/user", `{"name":"jo","validFor":"1h"}`); got.status != 200 {
				t.Errorf("token: %d %s", got.status, got.text)
			}
		})
	}
}

// TestCanary: a secret is shown to nobody but administrators who ask for it.
func TestCanary(t *testing.T) {
	const canary = "Y2FuYXJ5LXNlY3JldC1vZi10aGUtdGVzdA=="
	w := newWorld(t, with("KUMA_STORE_POSTGRES_PASSWORD", "canary-secret-of-the-test"))
	s := kinds.Secret.Make("default", "canary")
	s.Spec = &kinds.SecretSpec{Data: []byte("canary-secret-of-the-test")}
	if _, err := w.store.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if got := send(t, http.MethodGet, w.url+"/meshes/default/secrets/canary", ""); !strings.Contains(got.text, canary) {
		t.Fatalf("the administrator does not see it: %s", got.text)
	}
	anonymous := w.serve(t, externalIP).URL
	for _, path := range []string{
		"/config", "/", "/_resources", "/policies", "/meshes", "/meshes/default", "/global-insight", "/global-insights", "/mesh-insights", "/service-insights",
		"/secrets", "/global-secrets", "/meshes/default/secrets", "/meshes/default/secrets/canary", "/meshes/default/secrets/canary?format=k8s",
		"/meshes/default/secrets?name=canary", "/meshes/default/secrets/canary/_hostnames",
	} {
		got := send(t, http.MethodGet, anonymous+path, "")
		if strings.Contains(got.text, "canary-secret") || strings.Contains(got.text, canary) {
			t.Errorf("%s shows the secret", path)
		}
		if strings.Contains(path, "secrets") && !strings.Contains(path, "_hostnames") && got.status != 403 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	for _, path := range []string{"/meshes/default/secrets/canary", "/meshes/default/secrets/absent"} {
		if got := send(t, http.MethodDelete, anonymous+path, ""); got.status != 403 {
			t.Errorf("DELETE %s: %d", path, got.status)
		}
	}
}
