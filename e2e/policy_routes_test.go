package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// MeshHTTPRoute finds its rule by path, method, headers and query; what no rule
// names goes on as without it.
func testHTTPRouteMatches(t *testing.T, m *policyMesh) {
	m.server("web-1", "web", "http", app(t, "web"), nil)
	c := m.caller("client", "web")
	rules := []struct{ name, match string }{
		{"exact", "{path: {type: Exact, value: /exact}}"},
		{"prefix", "{path: {type: PathPrefix, value: /prefix}}"},
		{"longer", "{path: {type: PathPrefix, value: /prefix/longer}}"},
		{"regex", "{path: {type: RegularExpression, value: '/re/[0-9]+'}}"},
		{"method", "{method: DELETE}"},
		{"header", "{headers: [{name: x-a, value: exact}]}"},
		{"header-prefix", "{headers: [{type: Prefix, name: x-a, value: pre}]}"},
		{"header-regex", "{headers: [{type: RegularExpression, name: x-a, value: '[0-9]+'}]}"},
		{"header-present", "{headers: [{type: Present, name: x-b}]}"},
		{"header-absent", "{path: {type: Exact, value: /absent}, headers: [{type: Absent, name: x-c}]}"},
		{"query", "{queryParams: [{type: Exact, name: q, value: exact}]}"},
		{"query-regex", "{queryParams: [{type: RegularExpression, name: q, value: '[0-9]+'}]}"},
		{"all", "{path: {type: PathPrefix, value: /all}, method: POST, headers: [{name: x-d, value: d}], queryParams: [{type: Exact, name: d, value: d}]}"},
	}
	var list strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&list, "\n    - {matches: [%s], default: {filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-rule, value: %s}]}}]}}", r.match, r.name)
	}
	m.apply(`
type: MeshHTTPRoute
name: matches
spec:
  targetRef: {kind: Mesh}
  to:
  - targetRef: {kind: MeshService, name: web}
    rules:` + list.String())
	m.await("the rules are there", func() error {
		if got := c.get("web", "/exact").header.Get("x-rule"); got != "exact" {
			return fmt.Errorf("rule %q", got)
		}
		return nil
	})
	for _, x := range requestsForRules() {
		a, err := c.try(x.method, "web", x.path, x.headers...)
		if err != nil || a.status != http.StatusOK || a.body != "web" || a.header.Get("x-rule") != x.want {
			t.Errorf("%s %s %v: rule %q, status %d, %v; want rule %q", x.method, x.path, x.headers, a.header.Get("x-rule"), a.status, err, x.want)
		}
	}
}

// ruled is a request with the rule that it is for; "" = none.
type ruled struct {
	method, path, want string
	headers            []string
}

func requestsForRules() []ruled {
	return []ruled{
		{"GET", "/exact", "exact", nil},
		{"GET", "/exact/no", "", nil},
		{"GET", "/prefix", "prefix", nil},
		{"GET", "/prefix/on", "prefix", nil},
		{"GET", "/prefixed", "", nil},
		{"GET", "/prefix/longer/x", "longer", nil},
		{"GET", "/re/42", "regex", nil},
		{"GET", "/re/x", "", nil},
		{"DELETE", "/", "method", nil},
		{"PUT", "/", "", nil},
		{"GET", "/", "header", []string{"x-a", "exact"}},
		{"GET", "/", "header-prefix", []string{"x-a", "prefix"}},
		{"GET", "/", "header-regex", []string{"x-a", "77"}},
		{"GET", "/", "", []string{"x-a", "other"}},
		{"GET", "/", "header-present", []string{"x-b", "any"}},
		{"GET", "/absent", "header-absent", nil},
		{"GET", "/absent", "", []string{"x-c", "there"}},
		{"GET", "/?q=exact", "query", nil},
		{"GET", "/?q=12", "query-regex", nil},
		{"GET", "/?q=other", "", nil},
		{"POST", "/all/x?d=d", "all", []string{"x-d", "d"}},
		{"GET", "/all/x?d=d", "", []string{"x-d", "d"}},
		{"POST", "/all/x?d=e", "", []string{"x-d", "d"}},
		{"POST", "/all/x?d=d", "", []string{"x-d", "e"}},
	}
}

// The filters of MeshHTTPRoute change headers both ways, redirect, rewrite, and
// mirror; the applications see it.
func testHTTPRouteFilters(t *testing.T, m *policyMesh) {
	web, shadow := startUpstream(t, "web"), startUpstream(t, "shadow")
	web.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-secret", "1")
		w.Header().Set("x-kept", "old")
	})
	m.server("web-1", "web", "http", web.port, nil)
	m.server("shadow-1", "shadow", "http", shadow.port, nil)
	c := m.caller("client", "web", "shadow")
	m.apply(filterRules())
	m.await("the rules are there", func() error { return between("status", c.get("web", "/moved").status, 301, 301) })

	a := c.get("web", "/headers", "x-set", "old", "x-add", "one", "x-gone", "1")
	r := web.last(t, "/headers")
	if got := r.Header; got.Get("x-set") != "new" || strings.Join(got.Values("x-add"), ",") != "one,more" || got.Get("x-gone") != "" {
		t.Errorf("the application sees %v", got)
	}
	if got := a.header; got.Get("x-kept") != "new" || got.Get("x-added") != "1" || got.Get("x-secret") != "" {
		t.Errorf("the client sees %v", got)
	}
	for _, x := range []struct {
		path   string
		status int
		to     string
	}{
		{"/moved/on?q=1", 301, "https://example.org:8443/new/on?q=1"},
		{"/moved", 301, "https://example.org:8443/new"},
		{"/found/x", 302, fmt.Sprintf("http://127.0.0.1:%d/here", c.ports["web"])},
	} {
		if a := c.get("web", x.path); a.status != x.status || a.header.Get("Location") != x.to {
			t.Errorf("%s is redirected by %d to %q, want %d to %q", x.path, a.status, a.header.Get("Location"), x.status, x.to)
		}
	}
	c.get("web", "/old/x?q=1")
	if r := web.last(t, "/v2/x"); r.Host != "web.internal" || r.URL.RawQuery != "q=1" {
		t.Errorf("the rewritten request is for %s %s", r.Host, r.URL)
	}
	c.get("web", "/old")
	web.last(t, "/v2")
	c.get("web", "/full/of/it")
	web.last(t, "/one")
	for range 5 {
		c.get("web", "/mirror")
		c.get("web", "/unmirrored")
	}
	m.await("each request is mirrored", func() error {
		if n := len(web.seen("/mirror")); n != 5 {
			t.Fatalf("the service itself got %d requests", n)
		}
		return between("mirrored", len(shadow.seen("/mirror")), 5, 5)
	})
	if n := len(shadow.seen("/unmirrored")); n != 0 {
		t.Errorf("%d requests are mirrored at 0 %%", n)
	}
}

// filterRules is a MeshHTTPRoute with a rule for each filter.
func filterRules() string {
	rule := func(path, filters string) string {
		return fmt.Sprintf("\n    - {matches: [{path: {type: PathPrefix, value: %s}}], default: {filters: [%s]}}", path, filters)
	}
	return `
type: MeshHTTPRoute
name: filters
spec:
  targetRef: {kind: Mesh}
  to:
  - targetRef: {kind: MeshService, name: web}
    rules:` +
		rule("/headers", `{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: new}], add: [{name: x-add, value: more}], remove: [x-gone]}},
			{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-kept, value: new}], add: [{name: x-added, value: "1"}], remove: [x-secret]}}`) +
		rule("/moved", `{type: RequestRedirect, requestRedirect: {scheme: https, hostname: example.org, port: 8443, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}`) +
		rule("/found", `{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /here}}}`) +
		rule("/old", `{type: URLRewrite, urlRewrite: {hostname: web.internal, path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2}}}`) +
		rule("/full", `{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /one}}}`) +
		rule("/mirror", `{type: RequestMirror, requestMirror: {percentage: 100, backendRef: {kind: MeshService, name: shadow}}}`) +
		rule("/unmirrored", `{type: RequestMirror, requestMirror: {percentage: 0, backendRef: {kind: MeshService, name: shadow}}}`)
}

// MeshHTTPRoute shares requests by weights among versions and other services.
func testHTTPRouteBackends(t *testing.T, m *policyMesh) {
	m.server("web-1", "web", "http", app(t, "v1"), map[string]string{"version": "1"})
	m.server("web-2", "web", "http", app(t, "v2"), map[string]string{"version": "2"})
	m.server("other-1", "other", "http", app(t, "other"), nil)
	c := m.caller("client", "web", "other")
	m.apply(`
type: MeshHTTPRoute
name: backends
spec:
  targetRef: {kind: MeshSubset, tags: {kuma.io/service: client}}
  to:
  - targetRef: {kind: MeshService, name: web}
    rules:
    - matches: [{path: {type: PathPrefix, value: /split}}]
      default:
        backendRefs:
        - {kind: MeshServiceSubset, name: web, tags: {version: "1"}, weight: 80}
        - {kind: MeshServiceSubset, name: web, tags: {version: "2"}, weight: 20}
        - {kind: MeshService, name: other, weight: 0}
    - matches: [{path: {type: PathPrefix, value: /elsewhere}}]
      default: {backendRefs: [{kind: MeshService, name: other}]}
`)
	m.await("requests go to the other service", func() error {
		if a := c.get("web", "/elsewhere"); a.body != "other" {
			return fmt.Errorf("%d %q", a.status, a.body)
		}
		return nil
	})
	m.await("both versions have endpoints", func() error {
		got := c.bodies(30, "web", "/split")
		if got["v1"]+got["v2"] != 30 || got["v2"] == 0 {
			return fmt.Errorf("answers: %v", got)
		}
		return nil
	})
	got := c.bodies(400, "web", "/split")
	if err := between("v2 of 400 at 20 %", got["v2"], 40, 125); err != nil || got["v1"]+got["v2"] != 400 {
		t.Errorf("answers: %v, %v", got, err)
	}
	if got := c.bodies(20, "web", "/"); got["v1"]+got["v2"] != 20 || len(got) != 2 {
		t.Errorf("without a rule: %v", got)
	}
}

// MeshTCPRoute shares connections by weights, also those of an HTTP service.
func testTCPRoute(t *testing.T, m *policyMesh) {
	names := func(name string) int { return greeter(t, name) }
	m.server("db-1", "db", "tcp", names("v1"), map[string]string{"version": "1"})
	m.server("db-2", "db", "tcp", names("v2"), map[string]string{"version": "2"})
	m.server("other-1", "other", "tcp", names("other"), nil)
	m.server("web-1", "web", "http", app(t, "web"), nil)
	m.server("web-b-1", "web-b", "http", app(t, "web-b"), nil)
	c := m.caller("client", "db", "other", "web", "web-b")
	count := func(n int) map[string]int {
		got := map[string]int{}
		for range n {
			word, err := greeting(c.ports["db"])
			if err != nil {
				word = err.Error()
			}
			got[word]++
		}
		return got
	}
	m.await("both versions answer", func() error { return between("answers", len(count(10)), 2, 2) })
	m.apply(`
type: MeshTCPRoute
name: connections
spec:
  targetRef: {kind: Mesh}
  to:
  - targetRef: {kind: MeshService, name: db}
    rules:
    - default:
        backendRefs:
        - {kind: MeshServiceSubset, name: db, tags: {version: "2"}, weight: 75}
        - {kind: MeshService, name: other, weight: 25}
  - targetRef: {kind: MeshService, name: web}
    rules: [{default: {backendRefs: [{kind: MeshService, name: web-b}]}}]
`)
	m.await("the first version gets no more connections", func() error {
		if got := count(10); got["v2"]+got["other"] != 10 {
			return fmt.Errorf("connections: %v", got)
		}
		return nil
	})
	got := count(200)
	if err := between("other of 200 at 25 %", got["other"], 20, 85); err != nil || got["v2"]+got["other"] != 200 {
		t.Errorf("connections: %v, %v", got, err)
	}
	testTCPRouteOfHTTP(m, c)
}

// testTCPRouteOfHTTP looks at the route of a service that speaks HTTP.
func testTCPRouteOfHTTP(m *policyMesh, c *policyClient) {
	m.t.Helper()
	m.await("connections for an HTTP service are routed", func() error {
		if a, err := c.try(http.MethodGet, "web", "/"); err != nil || a.body != "web-b" {
			return fmt.Errorf("%q, %w", a.body, err)
		}
		return nil
	})
	// As soon as a MeshHTTPRoute is there for the service, it decides.
	m.apply(`
type: MeshHTTPRoute
name: requests
spec:
  targetRef: {kind: Mesh}
  to: [{targetRef: {kind: MeshService, name: web}, rules: [{matches: [{path: {type: PathPrefix, value: /}}], default: {backendRefs: [{kind: MeshService, name: web}]}}]}]
`)
	m.await("requests are routed", func() error {
		if a, err := c.try(http.MethodGet, "web", "/"); err != nil || a.body != "web" {
			return fmt.Errorf("%q, %w", a.body, err)
		}
		return nil
	})
}

// MeshTrafficPermission decides by what clients' certificates say: the narrower
// item wins over the wider one, and a denial in the shadow is only told.
func testTrafficPermission(t *testing.T, m *policyMesh) {
	sink := startLines(t)
	m.cp.setMTLS(m.name, &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	web := m.server("web-1", "web", "http", app(t, "web"), nil)
	red := m.callerWith(sidecar{name: "red", service: "red", protocol: "http", tags: map[string]string{"team": "red"}}, "web")
	blue := m.callerWith(sidecar{name: "blue", service: "blue", protocol: "http", tags: map[string]string{"team": "blue"}}, "web")
	m.apply(fmt.Sprintf(`
type: MeshAccessLog
name: verdicts
spec:
  targetRef: {kind: MeshSubset, tags: {kuma.io/service: web}}
  rules: [{default: {backends: [{type: Tcp, tcp: {address: '%s', format: {type: Plain, plain: 'shadow %%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_engine_result)%% %%REQ(:PATH)%% %%RESPONSE_CODE%%'}}}]}}]
`, hostport(sink.port)))
	for _, step := range []struct {
		blue   string // the item about blue
		status int
	}{{"Deny", 403}, {"AllowWithShadowDeny", 200}, {"Allow", 200}} {
		m.apply(fmt.Sprintf(`
type: MeshTrafficPermission
name: permissions
spec:
  targetRef: {kind: MeshSubset, tags: {kuma.io/service: web}}
  from:
  - {targetRef: {kind: Mesh}, default: {action: Allow}}
  - {targetRef: {kind: MeshSubset, tags: {team: blue}}, default: {action: %s}}
`, step.blue))
		path := "/" + step.blue
		m.await("all may call, blue: "+step.blue, func() error {
			r, b := red.get("web", path), blue.get("web", path)
			if r.status != http.StatusOK || b.status != step.status {
				return fmt.Errorf("red gets %d, blue %d", r.status, b.status)
			}
			if step.blue == "AllowWithShadowDeny" {
				return contains(sink.got(), "shadow denied "+path+" 200", "shadow allowed "+path+" 200")
			}
			return nil
		})
	}
	for _, name := range []string{"denied", "shadow_denied", "allowed"} {
		name = fmt.Sprintf("http.localhost_%d.rbac.%s", web.app, name)
		if web.stat(t, name) == 0 {
			t.Errorf("%s is 0", name)
		}
	}
}

// proxyPatches wants the ports of an application, of a listener to be added, and
// of the outbound to the echo, and four additions of HTTP filters.
const proxyPatches = `
type: MeshProxyPatch
name: patches
spec:
  targetRef: {kind: MeshSubset, tags: {kuma.io/service: client}}
  default:
    appendModifications:
    - cluster: {operation: Add, value: '{name: extra, type: STATIC, connect_timeout: 7s, load_assignment: {cluster_name: extra, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[1]d}}}}]}]}}'}
    - cluster: {operation: Patch, match: {name: web}, value: 'connect_timeout: 11s'}
    - cluster: {operation: Patch, match: {origin: outbound, name: web}, jsonPatches: [{op: add, path: /lbPolicy, value: RANDOM}]}
    - listener:
        operation: Add
        value: |
          name: extra
          address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}
          filter_chains: [{filters: [{name: envoy.filters.network.tcp_proxy, typed_config: {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', stat_prefix: extra, cluster: extra}}]}]
    - listener: {operation: Patch, match: {tags: {kuma.io/service: web}}, jsonPatches: [{op: add, path: /statPrefix, value: patched}]}
    - networkFilter: {operation: Patch, match: {name: envoy.filters.network.http_connection_manager, listenerTags: {kuma.io/service: web}}, value: '{name: envoy.filters.network.http_connection_manager, typed_config: {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", server_name: patched-server}}'}
    - networkFilter: {operation: Patch, match: {name: envoy.filters.network.tcp_proxy, listenerName: 'outbound:127.0.0.1:%[3]d'}, jsonPatches: [{op: replace, path: /statPrefix, value: patched-echo}]}
    - networkFilter: {operation: AddFirst, match: {listenerName: 'outbound:127.0.0.1:%[3]d'}, value: '{name: second, typed_config: {"@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit", stat_prefix: second, max_connections: 100}}'}
    - networkFilter: {operation: AddBefore, match: {name: second, listenerName: 'outbound:127.0.0.1:%[3]d'}, value: '{name: first, typed_config: {"@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit", stat_prefix: first, max_connections: 100}}'}
    - networkFilter: {operation: AddAfter, match: {name: second, listenerName: 'outbound:127.0.0.1:%[3]d'}, value: '{name: third, typed_config: {"@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit", stat_prefix: third, max_connections: 100}}'}
    - networkFilter: {operation: AddLast, match: {listenerName: 'outbound:127.0.0.1:%[3]d'}, value: '{name: fourth, typed_config: {"@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit", stat_prefix: fourth, max_connections: 100}}'}
    - networkFilter: {operation: Remove, match: {name: fourth}}
    - httpFilter: %[4]s
    - httpFilter: %[5]s
    - httpFilter: %[6]s
    - httpFilter: %[7]s
    - httpFilter: {operation: Patch, match: {name: b}, jsonPatches: [{op: replace, path: /mutations/requestMutations/0/append/header/value, value: B}]}
    - httpFilter: {operation: Remove, match: {name: d}}
    - virtualHost: {operation: Patch, match: {origin: outbound, name: web}, value: 'response_headers_to_add: [{header: {key: x-patched, value: "1"}}]'}
    - virtualHost: {operation: Add, match: {routeConfigurationName: 'outbound:web'}, value: '{name: extra, domains: [extra.example], routes: [{match: {prefix: /}, direct_response: {status: 418}}]}'}
    - virtualHost: {operation: Add, match: {routeConfigurationName: 'outbound:web'}, value: '{name: removed, domains: [removed.example], routes: [{match: {prefix: /}, direct_response: {status: 418}}]}'}
    - virtualHost: {operation: Remove, match: {name: removed}}
`

// MeshProxyPatch adds, changes and removes clusters, listeners, filters and
// virtual hosts, by parts and by JSON patches.
func testProxyPatch(t *testing.T, m *policyMesh) {
	web := startUpstream(t, "web")
	m.server("web-1", "web", "http", web.port, nil)
	m.server("echo-1", "echo", "tcp", echo(t), nil)
	c := m.caller("client", "web", "echo")
	p := ports(t, 1)
	m.await("the echo comes back", func() error { return say(c.ports["echo"], "hello") })
	m.apply(fmt.Sprintf(proxyPatches, web.port, p[0], c.ports["echo"],
		appending("AddFirst", "", "b"), appending("AddBefore", "b", "a"), appending("AddAfter", "b", "c"), appending("AddLast", "", "d")))
	m.await("the patches are there", func() error {
		if got := c.get("web", "/").header.Get("x-patched"); got != "1" {
			return fmt.Errorf("x-patched is %q; warnings: %.3000s", got, m.cp.must(http.MethodGet, "/meshes/"+m.name+"/dataplanes/client/_overview", nil))
		}
		return nil
	})
	a := c.get("web", "/patched")
	if got := web.last(t, "/patched").Header.Values("x-order"); strings.Join(got, "") != "aBc" {
		t.Errorf("the HTTP filters came as %q", got)
	}
	if got := a.header.Get("Server"); got != "patched-server" {
		t.Errorf("the server is %q", got)
	}
	if text, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", p[0])); err != nil || text != "web" {
		t.Errorf("the added listener answers %q, %v", text, err)
	}
	if err := say(c.ports["echo"], "hello"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]int{
		"tcp.patched-echo.downstream_cx_total": 1, "connection_limit.first.active_connections": 0, "tcp.extra.downstream_cx_total": 1,
	} {
		if n := c.stat(t, name); n < want {
			t.Errorf("%s is %d", name, n)
		}
	}
	checkPatched(t, c)
	m.apply(fmt.Sprintf(`
type: MeshProxyPatch
name: patches
spec:
  targetRef: {kind: MeshSubset, tags: {kuma.io/service: client}}
  default: {appendModifications: [{listener: {operation: Remove, match: {name: 'outbound:127.0.0.1:%d'}}}, {cluster: {operation: Remove, match: {name: echo}}}]}
`, c.ports["echo"]))
	m.await("the listener is removed", func() error {
		if say(c.ports["echo"], "hello") == nil {
			return fmt.Errorf("the echo came back")
		}
		return nil
	})
	if got := c.get("web", "/").header; got.Get("x-patched") != "" {
		t.Errorf("the former patches are there: %v", maps.Collect(maps.All(got)))
	}
	c.rejectsNothing(t)
}

// checkPatched looks at what cannot be seen by calls alone.
func checkPatched(t *testing.T, c *policyClient) {
	t.Helper()
	config := c.config(t)
	if err := contains(config, `"connect_timeout": "11s"`, `"connect_timeout": "7s"`, `"lb_policy": "RANDOM"`, `"stat_prefix": "patched"`); err != nil {
		t.Error(err)
	}
	if i, j, k := strings.Index(config, `"name": "first"`), strings.Index(config, `"name": "second"`), strings.Index(config, `"name": "third"`); i < 0 || i > j || j > k {
		t.Errorf("the network filters are at %d, %d, %d", i, j, k)
	}
	for _, gone := range []string{`"name": "fourth"`, `"name": "d"`, "removed.example"} {
		if strings.Contains(config, gone) {
			t.Errorf("%s is there", gone)
		}
	}
	if req, _ := http.NewRequest(http.MethodGet, c.url("web", "/"), nil); req != nil {
		req.Host = "extra.example"
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusTeapot {
			t.Errorf("the added virtual host answers %d", resp.StatusCode)
		}
	}
}

// appending is a modification that adds an HTTP filter, which appends its name
// to the header x-order.
func appending(operation, at, name string) string {
	match := "{listenerTags: {kuma.io/service: web}}"
	if at != "" {
		match = "{name: " + at + ", listenerTags: {kuma.io/service: web}}"
	}
	return fmt.Sprintf(`{operation: %s, match: %s, value: '{name: %s, typed_config: {"@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation", mutations: {request_mutations: [{append: {header: {key: x-order, value: %s}, append_action: APPEND_IF_EXISTS_OR_ADD}}]}}}'}`,
		operation, match, name, name)
}
