package rest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/cp/envoyadmin"
	"weft/internal/cp/rest"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/freeport"
	"weft/internal/testkit/restcorpus"
)

// echo is an Envoy that tells what it was asked.
type echo struct{ err error }

func (e *echo) Get(_ context.Context, proxy *model.Object, port uint32, page string, query url.Values) ([]byte, error) {
	return []byte(fmt.Sprintf("%s:%d/%s?%s", proxy.Meta.Name, port, page, query.Encode())), e.err
}

func TestAdmin(t *testing.T) {
	e := &echo{}
	w := newWorld(t, with("KUMA_ACCESS_STATIC_VIEW_STATS_GROUPS", "mesh-system:admin"), func(d *rest.Deps) { d.Admin = e })
	dp := kinds.Dataplane.Make("default", "web-1")
	dp.Spec = &kinds.DataplaneSpec{Networking: &kinds.DataplaneNetworking{Address: "10.0.0.1", Admin: &kinds.EnvoyAdmin{Port: 9999}}}
	near, far := kinds.ZoneIngress.Make("", "near"), kinds.ZoneIngress.Make("", "far")
	far.Spec = &kinds.ZoneIngressSpec{Zone: "west"}
	egress := kinds.ZoneEgress.Make("", "far")
	egress.Meta.Labels = map[string]string{"kuma.io/zone": "west"}
	for _, o := range []*model.Object{dp, near, far, egress} {
		if _, err := w.store.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	anonymous := w.serve(t, externalIP).URL
	web := w.url + "/meshes/default/dataplanes/web-1/"
	for _, c := range []struct {
		url         string
		status      int
		contentType string
		want        string
	}{
		{web + "xds", 200, "application/json", "web-1:9999/config_dump?"},
		{web + "xds?include_eds=true&mask=x", 200, "application/json", "web-1:9999/config_dump?include_eds="},
		{web + "stats?filter=.*&format=prometheus", 200, "text/plain", "web-1:9999/stats?"},
		{web + "stats?format=json", 200, "application/json", "web-1:9999/stats?format=json"},
		{web + "clusters", 200, "text/plain", "web-1:9999/clusters?"},
		{web + "quitquitquit", 404, "application/json", "Not found"},
		{w.url + "/meshes/default/dataplanes/none/xds", 404, "application/json", "Could not execute admin operation"},
		{w.url + "/meshes/none/dataplanes/web-1/xds", 404, "application/json", "Failed to retrieve Mesh"},
		{w.url + "/zoneingresses/near/stats", 200, "text/plain", "near:9901/stats?"},
		{w.url + "/zoneingresses/far/stats", 400, "application/json", "another zone"},
		{w.url + "/zoneegresses/far/stats", 400, "application/json", "another zone"},
		{anonymous + "/meshes/default/dataplanes/web-1/stats", 403, "application/json", "viewStats"},
		{anonymous + "/meshes/default/dataplanes/web-1/clusters", 200, "text/plain", "web-1"},
	} {
		got := send(t, http.MethodGet, c.url, "")
		if strings.Contains(c.want, "viewStats") {
			c.want = "may not see the statistics"
		}
		if got.status != c.status || got.header.Get("Content-Type") != c.contentType || !strings.Contains(got.text, c.want) {
			t.Errorf("%s: %d %s %s", c.url, got.status, got.header.Get("Content-Type"), got.text)
		}
	}
	e.err = &envoyadmin.Unreachable{Address: "10.0.0.1:9999", Err: errors.New("connection refused")}
	if got := send(t, http.MethodGet, web+"xds", ""); got.status != 500 || !strings.Contains(got.field("detail"), "connection refused") {
		t.Errorf("unreachable: %d %s", got.status, got.text)
	}
}

func TestAdminOnGlobal(t *testing.T) {
	w := newWorld(t, with("KUMA_MODE", "global"), func(d *rest.Deps) { d.Engine = nil })
	dp := kinds.Dataplane.Make("default", "web-1")
	if _, err := w.store.Create(t.Context(), dp); err != nil {
		t.Fatal(err)
	}
	if got := send(t, http.MethodGet, w.url+"/meshes/default/dataplanes/web-1/xds", ""); got.status != 400 {
		t.Errorf("xds: %d %s", got.status, got.text)
	}
	if got := send(t, http.MethodGet, w.url+"/meshes/default/dataplanes/web-1/_config", ""); got.status != 405 || got.field("title") != "Method not allowed" {
		t.Errorf("_config: %d %s", got.status, got.text)
	}
}

// TestAdminOfEnvoy asks real Envoys: one whose own admin port is its address, and
// one behind its admin listener with mutual TLS. The token by which they connect
// must not be shown.
func TestAdminOfEnvoy(t *testing.T) {
	run := &proxies{}
	run.prepare(t)
	w := startCP(t, map[string]string{"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": "dpToken"})
	i := run.instance(t, w)
	api := "http://" + i.HTTP
	token := send(t, http.MethodPost, api+"/tokens/dataplane", `{"mesh":"default","validFor":"1h"}`)
	if token.status != 200 {
		t.Fatalf("token: %d %s", token.status, token.text)
	}
	dir := t.TempDir()
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte(token.text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{"near": "127.0.0.1", "far": "127.0.0.19"} {
		ports := freeport.Take(t, 2)
		file := filepath.Join(dir, name+".yaml")
		text := fmt.Sprintf("type: Dataplane\nmesh: default\nname: %s\nnetworking:\n  address: %s\n  admin: {port: %d}\n  inbound:\n  - {port: %d, tags: {kuma.io/service: %s}}\n",
			name, address, ports[0], ports[1], name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		i.Start(t, restcorpus.Proxy{Name: name, File: file, Args: []string{"--dataplane-token-file=" + tokenFile}})
		at := api + "/meshes/default/dataplanes/" + name + "/"
		dump := until(t, at+"xds", `"inbound:`+address)
		if strings.Contains(dump, token.text) {
			t.Errorf("%s: the dump shows the token", name)
		}
		if !strings.Contains(dump, "BootstrapConfigDump") {
			t.Errorf("%s: the dump has no bootstrap", name)
		}
		if strings.Contains(dump, "EndpointsConfigDump") || !strings.Contains(until(t, at+"xds?include_eds=true", "EndpointsConfigDump"), "ads_cluster") {
			t.Errorf("%s: include_eds does not count", name)
		}
		until(t, at+"stats", "server.live: 1")
		until(t, at+"stats?format=json", `"stats":[`)
		until(t, at+"clusters", "ads_cluster::observability_name")
	}
}

// until asks until the answer contains a text.
func until(t *testing.T, url, text string) string {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		got := send(t, http.MethodGet, url, "")
		if got.status == 200 && strings.Contains(got.text, text) {
			return got.text
		}
		if time.Now().After(end) {
			t.Fatalf("%s: no %q: %d %.600s", url, text, got.status, got.text)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
