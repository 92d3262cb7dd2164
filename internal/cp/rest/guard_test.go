package rest_test

import (
	"net/http"
	"testing"

	"weft/internal/mesh/kinds"
)

const someMesh = `{"type":"Mesh","name":"m"}`

// TestGuard lets web pages try what they can; programs send none of the headers.
func TestGuard(t *testing.T) {
	w := newWorld(t, with("KUMA_API_SERVER_CORS_ALLOWED_DOMAINS", "https://dash.example.com", "KUMA_API_SERVER_ROOT_URL", "https://mesh.example.com",
		"KUMA_ACCESS_STATIC_WRITE_RESOURCES_GROUPS", "mesh-system:unauthenticated"))
	external := w.serve(t, externalIP).URL
	for _, c := range []struct {
		name    string
		method  string
		url     string
		headers []string
		status  int
	}{
		{"a program", http.MethodPut, w.url, nil, 201},
		{"a program elsewhere", http.MethodPut, external, nil, 200},
		{"a page of ours", http.MethodPut, w.url, []string{"Host", "localhost:5681", "Origin", "http://localhost:5681", "Sec-Fetch-Site", "same-origin"}, 200},
		{"a page of the URL from outside", http.MethodPut, w.url, []string{"Host", "mesh.example.com", "Origin", "https://mesh.example.com"}, 200},
		{"an allowed page", http.MethodPut, w.url, []string{"Origin", "https://dash.example.com", "Sec-Fetch-Site", "cross-site"}, 200},
		{"another page", http.MethodPut, w.url, []string{"Origin", "https://evil.example.com"}, 403},
		{"another page elsewhere", http.MethodPut, external, []string{"Origin", "https://evil.example.com"}, 403},
		{"a page without origin", http.MethodPut, w.url, []string{"Origin", "null"}, 403},
		{"a page that hides its origin", http.MethodDelete, w.url, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a page of a neighbour", http.MethodDelete, w.url, []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"a name that leads here", http.MethodGet, w.url, []string{"Host", "evil.example.com:5681"}, 403},
		{"a name that leads here, with a page", http.MethodPut, external, []string{"Host", "evil.example.com", "Origin", "http://evil.example.com"}, 403},
		{"a reader elsewhere with a name of its own", http.MethodGet, external, []string{"Host", "kuma-control-plane.kuma-system:5681"}, 200},
		{"our own name", http.MethodGet, w.url, []string{"Host", "WEFT-test.:5681"}, 200},
		{"an address", http.MethodGet, w.url, []string{"Host", "[::1]:5681"}, 200},
		{"another page that reads", http.MethodGet, w.url, []string{"Origin", "https://evil.example.com"}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := ""
			if c.method == http.MethodPut {
				body = someMesh
			}
			got := send(t, c.method, c.url+"/meshes/m", body, c.headers...)
			if got.status != c.status {
				t.Errorf("status %d, want %d: %s", got.status, c.status, got.text)
			}
			if c.status == 403 && (got.field("title") != "Access Denied" || got.field("detail") == "") {
				t.Errorf("no reason is given: %s", got.text)
			}
			if allowed := got.header.Get("Access-Control-Allow-Origin"); allowed != "" && allowed != "https://dash.example.com" {
				t.Errorf("%s may read the answer", allowed)
			}
			if got.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("pages may use the credentials of the browser")
			}
		})
	}
	if _, err := w.store.Get(t.Context(), kinds.Mesh.Key("", "m")); err != nil {
		t.Errorf("the mesh is gone: %v", err)
	}
}

// TestGuardOpen restores what 2.10 does.
func TestGuardOpen(t *testing.T) {
	w := newWorld(t, with("KUMA_API_SERVER_CORS_ALLOWED_DOMAINS", ".*", "KUMA_ACCESS_STATIC_WRITE_RESOURCES_GROUPS", "mesh-system:unauthenticated"))
	got := send(t, http.MethodPut, w.url+"/meshes/m", someMesh, "Host", "anything.example.com", "Origin", "https://page.example.com")
	if got.status != 201 || got.header.Get("Access-Control-Allow-Origin") != "https://page.example.com" {
		t.Errorf("%d %v", got.status, got.header)
	}
}

func TestAnonymousCannotWrite(t *testing.T) {
	w := newWorld(t, nil)
	for _, url := range []string{w.url, w.serve(t, externalIP).URL} {
		if got := send(t, http.MethodPut, url+"/meshes/m", someMesh); got.status != 403 {
			t.Errorf("PUT: %d %s", got.status, got.text)
		}
		if got := send(t, http.MethodDelete, url+"/meshes/default", ""); got.status != 403 {
			t.Errorf("DELETE: %d %s", got.status, got.text)
		}
		if got := send(t, http.MethodGet, url+"/global-secrets/admin-user-token", ""); got.status != 403 {
			t.Errorf("secret: %d %s", got.status, got.text)
		}
		if got := send(t, http.MethodGet, url+"/meshes/default", "", "Authorization", "Bearer nonsense"); got.status != 401 || got.field("detail") != "Unauthenticated" {
			t.Errorf("bad token: %d %s", got.status, got.text)
		}
	}
}
