package rest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

func TestKubernetesForm(t *testing.T) {
	w := newWorld(t, localAdmin)
	put := func(o *model.Object, labels map[string]string) {
		t.Helper()
		o.Meta.Labels = labels
		if _, err := w.store.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	dp := kinds.Dataplane.Make("default", "web-1")
	dp.Spec = &kinds.DataplaneSpec{Networking: &kinds.DataplaneNetworking{Address: "10.0.0.1"}}
	put(dp, map[string]string{"kuma.io/zone": "east"})
	put(kinds.DataplaneInsight.Make("default", "web-1"), nil)
	secret := kinds.Secret.Make("default", "s")
	secret.Spec = &kinds.SecretSpec{Data: []byte("hello")}
	put(secret, nil)
	ms := kinds.MeshService.Make("default", "ms")
	ms.Spec = &kinds.MeshServiceSpec{State: "Available"}
	put(ms, map[string]string{"kuma.io/display-name": strings.Repeat("n", 100)})
	for _, c := range []struct {
		path, want string
	}{
		{"/meshes/default?format=k8s", `{"apiVersion":"kuma.io/v1alpha1","kind":"Mesh","metadata":{"name":"default"},"spec":{}}`},
		{"/meshes/default/dataplanes/web-1?format=kubernetes&namespace=app", `{"apiVersion":"kuma.io/v1alpha1","kind":"Dataplane","mesh":"default",
			"metadata":{"name":"web-1","namespace":"app","labels":{"kuma.io/zone":"east"}},"spec":{"networking":{"address":"10.0.0.1"}}}`},
		{"/meshes/default/dataplane-insights/web-1?format=k8s", `{"apiVersion":"kuma.io/v1alpha1","kind":"DataplaneInsight","mesh":"default",
			"metadata":{"name":"web-1","namespace":"kuma-system"},"status":{}}`},
		{"/meshes/default/secrets/s?format=k8s", `{"apiVersion":"v1","kind":"Secret","type":"system.kuma.io/secret",
			"metadata":{"name":"s","namespace":"kuma-system","labels":{"kuma.io/mesh":"default"}},"data":{"value":"aGVsbG8="}}`},
		{"/meshes/default/meshservices/ms?format=k8s", `{"apiVersion":"kuma.io/v1alpha1","kind":"MeshService",
			"metadata":{"name":"ms","namespace":"kuma-system","labels":{"kuma.io/mesh":"default"},
			"annotations":{"kuma.io/display-name":"` + strings.Repeat("n", 100) + `"}},"spec":{"state":"Available","selector":{}},"status":{"dataplaneProxies":{},"tls":{}}}`},
		{"/mesh-insights/default?format=k8s", ""},
	} {
		got := send(t, http.MethodGet, w.url+c.path, "")
		if got.status != 200 {
			t.Errorf("%s: %d %s", c.path, got.status, got.text)
			continue
		}
		var have, want map[string]any
		if err := json.Unmarshal([]byte(got.text), &have); err != nil {
			t.Fatal(err)
		}
		meta, _ := have["metadata"].(map[string]any)
		if _, err := time.Parse("2006-01-02T15:04:05Z", meta["creationTimestamp"].(string)); err != nil {
			t.Errorf("%s: %v", c.path, err)
		}
		delete(meta, "creationTimestamp")
		if c.want == "" {
			continue
		}
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.path, diff)
		}
	}
	for path, field := range map[string]string{
		"/meshes/default?format=toml":                                            "format",
		"/meshes/default?format=k8s&namespace=a.b":                               "namespace",
		"/meshes/default?format=k8s&namespace=A":                                 "namespace",
		"/mesh-insights/default?format=k8s&namespace=" + strings.Repeat("a", 64): "namespace",
	} {
		if got := send(t, http.MethodGet, w.url+path, ""); got.status != 400 || got.fields() != field {
			t.Errorf("%s: %d %s", path, got.status, got.text)
		}
	}
}

func TestGUI(t *testing.T) {
	w := newWorld(t, map[string]string{"KUMA_API_SERVER_BASE_PATH": "/mesh-api", "KUMA_API_SERVER_GUI_BASE_PATH": "/ui"})
	page := send(t, http.MethodGet, w.url+"/ui/meshes/default", "", "Accept", "text/html")
	for _, want := range []string{`<base href="/ui/">`, `"apiUrl":"/mesh-api/"`, `"baseGuiPath":"/ui"`, `id="kuma-config"`, `"mode":"zone"`} {
		if !strings.Contains(page.text, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if !strings.Contains(page.header.Get("Content-Security-Policy"), "default-src 'none'") || page.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", page.header)
	}
	if js := send(t, http.MethodGet, w.url+"/ui/app.js", ""); !strings.HasPrefix(js.header.Get("Content-Type"), "text/javascript") || js.status != 200 {
		t.Errorf("script: %d %v", js.status, js.header)
	}
	for _, path := range []string{"/ui/index.html", "/ui/gui.go", "/ui/..%2fgui.go", "/ui/nothing"} {
		if got := send(t, http.MethodGet, w.url+path, ""); got.status == 200 && got.text != page.text {
			t.Errorf("%s is not the page: %.100s", path, got.text)
		}
	}
	off := newWorld(t, map[string]string{"KUMA_API_SERVER_GUI_ENABLED": "false"})
	if got := send(t, http.MethodGet, off.url+"/gui/", ""); got.status != 200 || !strings.Contains(got.text, "KUMA_API_SERVER_GUI_ENABLED") {
		t.Errorf("disabled: %d %s", got.status, got.text)
	}
}

func TestGUIBehindProxy(t *testing.T) {
	w := newWorld(t, map[string]string{"KUMA_API_SERVER_ROOT_URL": "https://mesh.example.com/api", "KUMA_API_SERVER_GUI_ROOT_URL": "https://mesh.example.com/console"})
	page := send(t, http.MethodGet, w.url+"/gui/", "")
	if !strings.Contains(page.text, `<base href="/console/">`) || !strings.Contains(page.text, `"apiUrl":"https://mesh.example.com/api"`) {
		t.Errorf("the page has other paths: %s", page.text)
	}
	if got := send(t, http.MethodGet, w.url+"/", ""); got.field("gui") != "https://mesh.example.com/console" {
		t.Errorf("index: %s", got.text)
	}
}
