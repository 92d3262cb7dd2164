package rest_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAdminPages(t *testing.T) {
	asked := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.RequestURI()
		fmt.Fprint(w, `{"m": [{"key": "authorization", "value": "Bearer secret"}]}`)
	}))
	t.Cleanup(proxy.Close)
	port := proxy.Listener.Addr().(*net.TCPAddr).Port
	w := newInspected(t, nil)
	w.put(fmt.Sprintf(`
{type: Mesh, name: m}
---
{type: Dataplane, mesh: m, name: near, networking: {address: 127.0.0.1, admin: {port: %[1]d}, inbound: [{port: 80, tags: {kuma.io/service: near}}]}}
---
{type: Dataplane, mesh: m, name: far, networking: {address: 192.0.2.1, inbound: [{port: 80, tags: {kuma.io/service: far}}]}}
---
{type: ZoneIngress, name: door, networking: {address: 127.0.0.1, port: 10001, admin: {port: %[1]d}}}
---
{type: ZoneEgress, name: gate, networking: {address: 127.0.0.1, port: 10002, admin: {port: %[1]d}}}
---
{type: ZoneIngress, name: away, zone: west, networking: {address: 127.0.0.1, port: 10001, advertisedAddress: 192.0.2.2, advertisedPort: 1, admin: {port: %[1]d}}}
`, port))
	for path, want := range map[string]string{
		"/meshes/m/dataplanes/near/xds":                  "/config_dump application/json",
		"/meshes/m/dataplanes/near/xds?include_eds=true": "/config_dump?include_eds= application/json",
		"/meshes/m/dataplanes/near/stats":                "/stats text/plain",
		"/meshes/m/dataplanes/near/clusters?format=json": "/clusters?format=json application/json",
		"/zoneingresses/door/xds":                        "/config_dump application/json",
		"/zoneegresses/gate/stats":                       "/stats text/plain",
	} {
		status, body, contentType := w.raw(path)
		if status != 200 {
			t.Errorf("%s: %d %s", path, status, body)
			continue
		}
		if got := <-asked + " " + contentType; got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		if strings.Contains(path, "xds") && strings.Contains(string(body), "secret") {
			t.Errorf("%s shows a token: %s", path, body)
		}
	}
	for path, want := range map[string]int{
		"/meshes/m/dataplanes/near/other":    404,
		"/meshes/m/dataplanes/none/xds":      404,
		"/meshes/none/dataplanes/near/stats": 404,
		"/meshes/m/dataplanes/far/stats":     500, // the authority is missing
		"/zoneingresses/away/clusters":       400,
	} {
		if status, body := w.get(path); status != want {
			t.Errorf("%s: %d, want %d: %v", path, status, want, body)
		}
	}
}

func TestAdminPagesNeedAccess(t *testing.T) {
	w := newInspected(t, map[string]string{"KUMA_ACCESS_STATIC_VIEW_STATS_GROUPS": "somebody", "KUMA_ACCESS_STATIC_GET_CONFIG_DUMP_GROUPS": "somebody", "KUMA_ACCESS_STATIC_VIEW_CLUSTERS_GROUPS": "somebody"})
	w.put(`{type: Mesh, name: m}`)
	w.url = w.serve(t, externalIP).URL
	for _, page := range []string{"xds", "stats", "clusters"} {
		if status, body := w.get("/meshes/m/dataplanes/x/" + page); status != http.StatusForbidden {
			t.Errorf("%s: %d %v", page, status, body)
		}
	}
}

func TestAdminPagesAtGlobal(t *testing.T) {
	w := newInspected(t, map[string]string{"KUMA_MODE": "global"})
	w.put("{type: Mesh, name: m}\n---\n{type: ZoneIngress, name: door, zone: east, networking: {address: 127.0.0.1, port: 1}}")
	if status, _ := w.get("/meshes/m/dataplanes/x/stats"); status != http.StatusNotFound {
		t.Errorf("a proxy that is not there: %d", status)
	}
}
