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
