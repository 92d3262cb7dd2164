package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The authority for the administration of Envoys is replaced while proxies are
// connected: they get new certificates over their streams, and the API goes on to
// show what they have.
func TestAdminAuthorityReplaced(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	web := cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", address: "127.0.0.2", app: app(t, "web")})
	page := func() error {
		status, text := cp.request(http.MethodGet, "/meshes/default/dataplanes/web-1/stats", nil)
		if status != http.StatusOK || !strings.Contains(text, "control_plane.connected_state") {
			return fmt.Errorf("%d %.200s", status, text)
		}
		return nil
	}
	eventually(t, 20*time.Second, "the API shows statistics", page)
	connections := web.stat(t, "cluster.ads_cluster.upstream_cx_total")
	updates := web.stat(t, "listener_manager.lds.update_success")

	cert, key := newAuthority(t)
	cp.must(http.MethodPut, "/global-secrets/envoy-admin-ca", map[string]any{
		"type": "GlobalSecret", "name": "envoy-admin-ca", "data": base64.StdEncoding.EncodeToString(append(cert, key...)),
	})
	eventually(t, 20*time.Second, "the proxy has a new certificate", func() error {
		if web.stat(t, "listener_manager.lds.update_success") == updates {
			return fmt.Errorf("no listener was sent")
		}
		return nil
	})
	eventually(t, 20*time.Second, "the API shows statistics with the new authority", page)
	if n := web.stat(t, "cluster.ads_cluster.upstream_cx_total"); n != connections {
		t.Errorf("the proxy connected anew: %d connections, %d before", n, connections)
	}
}

// The administration of an Envoy serves what people look at, and nothing that
// changes its inner settings or writes files.
func TestAdminPaths(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	web := cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", address: "127.0.0.2", app: app(t, "web")})
	ask := func(method, page string) int {
		req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://127.0.0.1:%d/%s", web.admin, page), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for _, page := range []string{"", "ready", "clusters?format=json", "config_dump?include_eds", "stats/prometheus?usedonly", "listeners", "server_info", "runtime"} {
		if status := ask(http.MethodGet, page); status != http.StatusOK {
			t.Errorf("GET /%s: %d", page, status)
		}
	}
	if status := ask(http.MethodPost, "logging?level=info"); status != http.StatusOK {
		t.Errorf("POST /logging: %d", status)
	}
	for _, page := range []string{"runtime_modify?x=y", "cpuprofiler?enable=y", "heapprofiler?enable=y", "tap", "readyx", "stats/../runtime_modify", "ready/x"} {
		if status := ask(http.MethodPost, page); status != http.StatusForbidden {
			t.Errorf("POST /%s: %d", page, status)
		}
	}
}
