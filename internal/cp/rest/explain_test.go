package rest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// shop is a mesh in which web calls api on two versions.
const shop = `
type: Mesh
name: shop
skipCreatingInitialPolicies: ["*"]
mtls: {enabledBackend: ca, backends: [{name: ca, type: builtin}]}
---
type: Dataplane
mesh: shop
name: web-1
networking:
  address: 10.0.0.1
  inbound: [{port: 80, tags: {kuma.io/service: web, kuma.io/protocol: http}}]
  outbound: [{port: 10001, tags: {kuma.io/service: api}}, {port: 10002, tags: {kuma.io/service: nobody}}]
---
type: Dataplane
mesh: shop
name: api-1
networking:
  address: 10.0.0.2
  inbound: [{port: 8080, tags: {kuma.io/service: api, kuma.io/protocol: http, version: v1}}]
---
type: MeshTimeout
mesh: shop
name: general
spec:
  targetRef: {kind: Mesh}
  to: [{targetRef: {kind: Mesh}, default: {connectionTimeout: 3s, http: {requestTimeout: 9s}}}]
---
type: MeshTimeout
mesh: shop
name: web
spec:
  targetRef: {kind: MeshSubset, tags: {kuma.io/service: web}}
  to: [{targetRef: {kind: MeshService, name: api}, default: {http: {requestTimeout: 2s}}}]
---
type: MeshHTTPRoute
mesh: shop
name: split
spec:
  targetRef: {kind: Mesh}
  to:
  - targetRef: {kind: MeshService, name: api}
    rules:
    - matches: [{path: {type: PathPrefix, value: /new}, headers: [{type: Exact, name: x-who, value: jo}]}]
      default: {backendRefs: [{kind: MeshServiceSubset, name: api, tags: {version: v1}}]}
    - matches: [{path: {type: Exact, value: /old}}]
      default: {filters: [{type: RequestRedirect, requestRedirect: {hostname: old.example, statusCode: 301}}]}
---
type: MeshTrafficPermission
mesh: shop
name: web-only
spec:
  targetRef: {kind: MeshSubset, tags: {kuma.io/service: api}}
  from: [{targetRef: {kind: MeshSubset, tags: {kuma.io/service: web}}, default: {action: Allow}}]
`

// dig follows keys and indexes into a tree.
func dig(t *testing.T, tree any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch k := step.(type) {
		case string:
			m, _ := tree.(map[string]any)
			tree = m[k]
		case int:
			l, _ := tree.([]any)
			if k >= len(l) {
				t.Fatalf("there is no element %d at %v in %v", k, path, tree)
			}
			tree = l[k]
		}
	}
	return tree
}

func TestExplainProxy(t *testing.T) {
	w := newInspected(t, nil)
	w.put(shop)
	status, got := w.get("/meshes/shop/dataplanes/web-1/_explain")
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, got)
	}
	var timeout map[string]any
	for _, v := range dig(t, got, "outbounds", 0, "policies").([]any) {
		if dig(t, v, "kind") == "MeshTimeout" {
			timeout = v.(map[string]any)
		}
	}
	for _, v := range dig(t, timeout, "values").([]any) {
		switch dig(t, v, "path") {
		case "http.requestTimeout":
			if dig(t, v, "value") != "2s" || dig(t, v, "from", 0, "name") != "web" || dig(t, v, "from", 0, "path") != "spec.to[0].default" ||
				dig(t, v, "over", 0, "name") != "general" || dig(t, v, "over", 0, "value") != "9s" ||
				!strings.Contains(dig(t, v, "over", 0, "because").(string), "MeshSubset") {
				t.Errorf("got %v", v)
			}
		case "connectionTimeout":
			if dig(t, v, "value") != "3s" || dig(t, v, "from", 0, "name") != "general" || dig(t, v, "over") != nil {
				t.Errorf("got %v", v)
			}
		}
	}
	if n := len(dig(t, timeout, "values").([]any)); n != 2 {
		t.Errorf("there are %d values: %v", n, timeout)
	}
	status, got = w.get("/meshes/shop/dataplanes/api-1/_explain")
	if status != http.StatusOK || dig(t, got, "inbounds", 0, "clients", 0, "groups", 0, "tags", "kuma.io/service") != "web" {
		t.Errorf("%d %v", status, got)
	}
	if status, _ := w.get("/meshes/shop/dataplanes/none/_explain"); status != http.StatusNotFound {
		t.Errorf("an unknown proxy gives %d", status)
	}
}

func TestExplainRequest(t *testing.T) {
	w := newInspected(t, nil)
	w.put(shop)
	ask := func(from string, q url.Values) (int, any) {
		return w.get("/meshes/shop/dataplanes/" + from + "/_explain-request?" + q.Encode())
	}
	for name, c := range map[string]struct {
		q       url.Values
		outcome string
		path    []any
		want    any
	}{
		"by the port":          {url.Values{"to": {"http://127.0.0.1:10001/cart"}}, "forwarded", []any{"clusters", 0, "name"}, "api"},
		"by the name":          {url.Values{"to": {"api"}}, "forwarded", []any{"clusters", 0, "endpoints", 0, "address"}, "10.0.0.2"},
		"by the name in a URL": {url.Values{"to": {"http://api/x"}}, "forwarded", []any{"outbound", "port"}, 10001.0},
		"by a header": {
			url.Values{"to": {"http://127.0.0.1:10001/new/x?a=b"}, "header": {"X-Who: jo"}}, "forwarded",
			[]any{"clusters", 0, "servers", 0, "proxy"}, "api-1",
		},
		"passed over": {
			url.Values{"to": {"http://127.0.0.1:10001/new/x"}}, "forwarded",
			[]any{"skipped", 1, "because"}, "there is no header x-who",
		},
		"redirected": {url.Values{"to": {"http://127.0.0.1:10001/old"}}, "redirected", []any{"route", "match"}, "path /old"},
		"nobody":     {url.Values{"to": {"nobody"}}, "refused", []any{"outbound", "destination", "name"}, "nobody"},
		"elsewhere":  {url.Values{"to": {"http://example.com"}}, "not captured", []any{"outbound"}, nil},
	} {
		status, got := ask("web-1", c.q)
		if status != http.StatusOK || dig(t, got, "outcome") != c.outcome || dig(t, got, c.path...) != c.want {
			t.Errorf("%s: %d, want %s and %v at %v:\n%v", name, status, c.outcome, c.want, c.path, got)
		}
	}
	for to, part := range map[string]string{"": "say where", "http://x:99999": "no valid port", "http://%zz": "no URL"} {
		if status, got := ask("web-1", url.Values{"to": {to}}); status != http.StatusBadRequest || !strings.Contains(dig(t, got, "detail").(string), part) {
			t.Errorf("%q: %d %v", to, status, got)
		}
	}
	if status, got := ask("web-1", url.Values{"to": {"api"}, "header": {"none"}}); status != http.StatusBadRequest {
		t.Errorf("a header without colon: %d %v", status, got)
	}
}

// A client that no permission names is refused at the far end.
func TestExplainRefusal(t *testing.T) {
	w := newInspected(t, nil)
	w.put(shop + `
---
type: Dataplane
mesh: shop
name: cron-1
networking:
  address: 10.0.0.3
  inbound: [{port: 80, tags: {kuma.io/service: cron, kuma.io/protocol: http}}]
  outbound: [{port: 10001, tags: {kuma.io/service: api}}]
`)
	_, got := w.get("/meshes/shop/dataplanes/cron-1/_explain-request?to=api")
	if dig(t, got, "outcome") != "refused" || dig(t, got, "clusters", 0, "servers", 0, "allowed") != false {
		t.Errorf("got %v", got)
	}
	_, got = w.get("/meshes/shop/dataplanes/web-1/_explain-request?to=api")
	if dig(t, got, "clusters", 0, "servers", 0, "allowed") != true || dig(t, got, "clusters", 0, "tls") != "mutual TLS of mesh shop" {
		t.Errorf("got %v", got)
	}
}
