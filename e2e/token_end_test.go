package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// tokenID returns the id of a token.
func tokenID(t testing.TB, text string) string {
	t.Helper()
	var claims struct {
		JTI string `json:"jti"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil || claims.JTI == "" {
		t.Fatalf("the token has no id: %v", err)
	}
	return claims.JTI
}

// A proxy whose token is revoked, or over, loses its stream to the control plane
// within seconds and gets none again. It goes on with what it has.
func TestTokenEndsStream(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	begin := time.Now()
	short := cp.must(http.MethodPost, "/tokens/dataplane", map[string]any{"mesh": "default", "name": "short", "validFor": "15s"})
	long := cp.must(http.MethodPost, "/tokens/dataplane", map[string]any{"mesh": "default", "name": "long", "validFor": "1h"})
	expiring := cp.startDP(t, sidecar{name: "short", service: "short", protocol: "http", app: app(t, "short"), token: short})
	revoked := cp.startDP(t, sidecar{name: "long", service: "long", protocol: "http", app: app(t, "long"), token: long})
	other := cp.startDP(t, sidecar{name: "other", service: "other", protocol: "http", app: app(t, "other")})
	connected := func(d *dataplane) bool { return d.stat(t, "control_plane.connected_state") == 1 }
	for _, d := range []*dataplane{revoked, other} {
		if !connected(d) {
			t.Fatalf("%s is not connected", d.name)
		}
	}
	lost := func(d *dataplane, from time.Time, why string) {
		t.Helper()
		eventually(t, 60*time.Second, d.name+" loses its stream", func() error {
			if connected(d) {
				return fmt.Errorf("it is connected")
			}
			if !strings.Contains(cp.output(), `its stream ends	{"proxy": "Dataplane default/`+d.name) {
				return fmt.Errorf("the control plane's log says nothing of it")
			}
			return nil
		})
		t.Logf("%s lost its stream after %s", d.name, time.Since(from))
		eventually(t, 30*time.Second, d.name+" is refused", func() error {
			if !strings.Contains(d.output(), why) {
				return fmt.Errorf("its log does not say %q", why)
			}
			return nil
		})
		if got, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", d.inbound)); err != nil || got != d.name {
			t.Errorf("%s answers %q, %v", d.name, got, err)
		}
	}

	now := time.Now()
	cp.must(http.MethodPut, "/meshes/default/secrets/dataplane-token-revocations-default", map[string]any{
		"type": "Secret", "mesh": "default", "name": "dataplane-token-revocations-default",
		"data": base64.StdEncoding.EncodeToString([]byte(tokenID(t, long))),
	})
	lost(revoked, now, "it is revoked")
	lost(expiring, begin.Add(15*time.Second), "has expired")
	if status, _ := cp.request(http.MethodGet, "/meshes/default/dataplanes/short", nil); status != http.StatusOK {
		t.Errorf("the object of a proxy whose token is over: %d", status)
	}
	if !connected(other) {
		t.Error("another proxy lost its stream, too")
	}
	for _, d := range []*dataplane{expiring, revoked} {
		if strings.Contains(d.output(), d.token) || strings.Contains(cp.output(), d.token) {
			t.Errorf("a log holds the token of %s", d.name)
		}
	}
}
