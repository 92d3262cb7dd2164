package rest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"weft/internal/cp/rest"
	"weft/internal/mesh/kinds"
)

// write puts an object and returns the warnings of the answer.
func write(t testing.TB, url, path, doc string) []string {
	t.Helper()
	r, err := http.NewRequest(http.MethodPut, url+path, bytes.NewReader([]byte(doc)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		t.Fatalf("PUT %s: %d %s %v", path, answer.StatusCode, text, err)
	}
	var body struct{ Warnings []string }
	if err := json.Unmarshal(text, &body); err != nil {
		t.Fatal(err)
	}
	return body.Warnings
}

func timeout(name, top, to string) string {
	return fmt.Sprintf(`{"type": "MeshTimeout", "mesh": "shop", "name": %q, "spec": {"targetRef": %s, "to": [{"targetRef": %s, "default": {"connectionTimeout": "4s"}}]}}`, name, top, to)
}

// TestWritesWarn: what is likely not meant is told in the answer to the write, at
// the page of the mesh, and at those of the proxies that it concerns.
func TestWritesWarn(t *testing.T) {
	w := newInspected(t, nil)
	w.put(shop)
	at := "/meshes/shop/meshtimeouts/"
	if got := write(t, w.url, at+"alone", timeout("alone", `{"kind": "Mesh"}`, `{"kind": "MeshService", "name": "api"}`)); got != nil {
		t.Errorf("nothing is wrong, but: %q", got)
	}
	got := write(t, w.url, at+"wrong", timeout("wrong", `{"kind": "Dataplane", "labels": {"app": "none"}}`, `{"kind": "MeshService", "name": "apy"}`))
	if len(got) != 2 || !strings.HasPrefix(got[0], "spec.targetRef: selects no proxy") || !strings.HasPrefix(got[1], "spec.to[0].targetRef: acts on nothing") {
		t.Errorf("warnings: %q", got)
	}
	// What was written right before counts, even if snapshots are behind.
	for i := range 20 {
		name := fmt.Sprint("ext-", i)
		write(t, w.url, "/meshes/shop/meshexternalservices/"+name,
			fmt.Sprintf(`{"type": "MeshExternalService", "mesh": "shop", "name": %q, "spec": {"match": {"type": "HostnameGenerator", "port": 80, "protocol": "http"}, "endpoints": [{"address": "192.0.2.1", "port": 80}]}}`, name))
		if got := write(t, w.url, at+name, timeout(name, `{"kind": "Mesh"}`, `{"kind": "MeshExternalService", "name": "`+name+`"}`)); got != nil {
			t.Fatalf("the service is there, but: %q", got)
		}
	}
	w.seen(kinds.Dataplane.Key("shop", "web-1"))
	rules := func(path string) string {
		_, body := w.get(path)
		var out []string
		for _, item := range dig(t, body, "items").([]any) {
			f := item.(map[string]any)
			if f["rule"] != "needs-egress" {
				out = append(out, fmt.Sprint(f["rule"], " ", f["name"]))
			}
		}
		return strings.Join(out, ", ")
	}
	if got, want := rules("/meshes/shop/_findings"), "unknown-reference web-1, selects-nothing wrong, unknown-reference wrong"; got != want {
		t.Errorf("findings of the mesh: %s, want %s", got, want)
	}
	if got, want := rules("/meshes/shop/dataplanes/web-1/_findings"), "unknown-reference web-1"; got != want {
		t.Errorf("findings of the proxy: %s, want %s", got, want)
	}
	_, body := w.get("/meshes/shop/dataplanes/web-1/_intent")
	if got := dig(t, body, "findings", 0, "rule"); got != "unknown-reference" {
		t.Errorf("the intent has %v", got)
	}
	if got, _ := w.get("/meshes/shop/dataplanes/none/_findings"); got != http.StatusNotFound {
		t.Errorf("a proxy that does not exist: %d", got)
	}
	if got, _ := w.get("/meshes/none/_findings"); got != http.StatusNotFound {
		t.Errorf("a mesh that does not exist: %d", got)
	}
}

// BenchmarkPut writes policies of a mesh of 1,000 proxies: one that selects the
// first proxies, and one for which all have to be asked; and, to compare, where
// nobody looks for findings.
func BenchmarkPut(b *testing.B) {
	benchmarkPut(b, "")
	benchmarkPut(b, "nobody looks: ", func(d *rest.Deps) { d.Engine = nil })
}

func benchmarkPut(b *testing.B, prefix string, change ...func(*rest.Deps)) {
	w := newWorld(b, map[string]string{"KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN": "true"}, change...)
	write(b, w.url, "/meshes/shop", `{"type": "Mesh", "name": "shop"}`)
	for i := range 1000 {
		name := fmt.Sprint("dp-", i)
		write(b, w.url, "/meshes/shop/dataplanes/"+name, fmt.Sprintf(
			`{"type": "Dataplane", "mesh": "shop", "name": %q, "networking": {"address": "10.0.%d.%d", "inbound": [{"port": 80, "tags": {"kuma.io/service": "s-%d", "kuma.io/protocol": "http"}}]}}`,
			name, i/256, i%256, i%200))
	}
	for _, c := range []struct{ name, top string }{
		{"fits", `{"kind": "Mesh"}`}, {"selects nothing", `{"kind": "Dataplane", "labels": {"app": "none"}}`},
	} {
		b.Run(prefix+c.name, func(b *testing.B) {
			for b.Loop() {
				write(b, w.url, "/meshes/shop/meshtimeouts/x", timeout("x", c.top, `{"kind": "MeshService", "name": "s-1"}`))
			}
		})
	}
}
