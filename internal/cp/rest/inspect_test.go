package rest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"weft/internal/cp/rest"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

// inspected is a control plane that is asked.
type inspected struct {
	*world
	t *testing.T
}

func newInspected(t *testing.T, env map[string]string) inspected {
	t.Helper()
	all := map[string]string{"KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN": "true"}
	for k, v := range env {
		all[k] = v
	}
	return inspected{newWorld(t, all), t}
}

// get returns the status and the decoded body.
func (w inspected) get(path string) (int, any) {
	w.t.Helper()
	status, body, _ := w.raw(path)
	var tree any
	if err := json.Unmarshal(body, &tree); err != nil {
		w.t.Fatalf("GET %s: %v in %q", path, err, body)
	}
	return status, tree
}

func (w inspected) raw(path string) (status int, body []byte, contentType string) {
	w.t.Helper()
	r, err := http.Get(w.url + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err = io.ReadAll(r.Body); err != nil {
		w.t.Fatal(err)
	}
	return r.StatusCode, body, r.Header.Get("Content-Type")
}

// expect compares the answer with a document; words of messages are ours.
func (w inspected) expect(path string, status int, want string) {
	w.t.Helper()
	got, body := w.get(path)
	if got != status {
		w.t.Errorf("GET %s: %d, want %d: %v", path, got, status, body)
	}
	var tree any
	if err := json.Unmarshal([]byte(want), &tree); err != nil {
		w.t.Fatal(err)
	}
	for _, d := range corpus.Compare("", tree, body) {
		w.t.Errorf("GET %s: %s\n  want %s\n  got  %s", path, d.Path, d.Want, d.Got)
	}
}

// put stores the documents of a YAML text through the API and waits until the
// engine's tables have them.
func (w inspected) put(docs string) {
	w.t.Helper()
	d := yaml.NewDecoder(strings.NewReader(docs))
	for {
		var doc any
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			w.t.Fatal(err)
		}
		body, err := json.Marshal(doc)
		if err != nil {
			w.t.Fatal(err)
		}
		head, err := model.PeekHead(body)
		if err != nil {
			w.t.Fatal(err)
		}
		k := catalog.ByName(head.Type)
		path := "/" + k.Plural + "/" + head.Name
		if k.Scope == model.InMesh {
			path = "/meshes/" + head.Mesh + path
		}
		r, err := http.NewRequest(http.MethodPut, w.url+path, bytes.NewReader(body))
		if err != nil {
			w.t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			w.t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode >= 300 {
			w.t.Logf("PUT %s: %d %s", path, answer.StatusCode, text)
			continue
		}
		w.seen(k.Key(head.Mesh, head.Name))
	}
}

// seen waits until the tables hold the object as it is stored.
func (w inspected) seen(key model.Key) {
	w.t.Helper()
	o, err := w.store.Get(w.t.Context(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	k := catalog.ByName(key.Kind)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if row, ok := w.state.Current().Table(k, key.Mesh).Get(key.Name); ok && row.Meta.Version == o.Meta.Version {
			return
		}
	}
	w.t.Fatalf("the tables never had %s", key)
}

// TestCorpusInspection asks the API for rules and shadow configurations of
// recorded cases. That rules and configurations themselves are right is tested
// where they are made; here it is the way through the API.
func TestCorpusInspection(t *testing.T) {
	root := corpus.Root(t, "policies")
	known := corpus.Known(t, "policies")
	for _, name := range []string{
		"engine-shadow-override", "engine-shadow-added-filter", "engine-shadow-other-value",
		"engine-order-all-kinds", "mhr-match-headers", "mtpm-two-policies",
		"mal-gateway", "mcb-gateway", "mfi-gateway", "mhc-gateway", "mhr-gateway", "mhr-gateway-tags", "mti-gateway-mesh",
	} {
		dir := filepath.Join(root, name)
		t.Run(name, func(t *testing.T) {
			input, err := os.ReadFile(filepath.Join(dir, "input.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			w := newInspected(t, nil)
			w.put(string(input))
			compare := func(file, path string) {
				t.Helper()
				if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
					return
				}
				_, got := w.get("/meshes/" + name + path)
				at := strings.Replace(file, "shadow.", "config.", 1) // what differs in one, differs in the other
				known.Check(t, name, corpus.Compare(at, corpus.ReadJSON(t, filepath.Join(dir, file)), hidden(got, "")))
			}
			dps, err := w.store.List(t.Context(), kinds.Dataplane, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, dp := range dps {
				n := dp.Meta.Name
				compare("rules."+n+".json", "/dataplanes/"+n+"/_rules")
				if dp.Spec.(*kinds.DataplaneSpec).Gateway() == nil {
					compare("shadow."+n+".json", "/dataplanes/"+n+"/_config?shadow=true&include=diff")
				}
			}
			compare("rules.gateway.edge.json", "/meshgateways/edge/_rules")
		})
	}
}

// hidden replaces the bytes of certificates and keys, as the recording did.
func hidden(tree any, under string) any {
	switch v := tree.(type) {
	case map[string]any:
		for k, e := range v {
			if under == "certificateChain" || under == "privateKey" || under == "trustedCa" {
				v[k] = "<secret>"
				continue
			}
			v[k] = hidden(e, k)
		}
	case []any:
		for i := range v {
			v[i] = hidden(v[i], under)
		}
	}
	return tree
}

const garden = `
type: Mesh
name: m
skipCreatingInitialPolicies: ["*"]
mtls: {enabledBackend: root, backends: [{name: root, type: builtin}]}
---
{type: Dataplane, mesh: m, name: fig-1, networking: {address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: fig, kuma.io/protocol: http}}], outbound: [{port: 1000, tags: {kuma.io/service: pear}}]}}
---
{type: Dataplane, mesh: m, name: pear-1, networking: {address: 10.0.0.2, inbound: [{port: 81, tags: {kuma.io/service: pear}}]}}
---
{type: Dataplane, mesh: m, name: edge-1, networking: {address: 10.0.0.3, gateway: {type: BUILTIN, tags: {kuma.io/service: edge}}}}
---
{type: MeshGateway, mesh: m, name: edge, selectors: [{match: {kuma.io/service: edge}}], conf: {listeners: [{port: 8080, protocol: HTTP, tags: {port: http}}]}}
---
{type: MeshTimeout, mesh: m, name: all, spec: {to: [{targetRef: {kind: Mesh}, default: {connectionTimeout: 3s}}]}}
---
{type: MeshTimeout, mesh: m, name: fig, labels: {kuma.io/effect: shadow}, spec: {targetRef: {kind: MeshSubset, tags: {kuma.io/service: fig}}, to: [{targetRef: {kind: MeshService, name: pear}, default: {connectionTimeout: 8s}}]}}
---
{type: MeshTrafficPermission, mesh: m, name: let-in, spec: {from: [{targetRef: {kind: MeshSubset, tags: {v: "1"}}, default: {action: Allow}}]}}
---
{type: MeshService, mesh: m, name: pear, labels: {kuma.io/origin: zone}, spec: {selector: {dataplaneTags: {kuma.io/service: pear}}, ports: [{port: 80, targetPort: 81}]}}
---
{type: Timeout, mesh: m, name: old, sources: [{match: {kuma.io/service: fig}}], destinations: [{match: {kuma.io/service: "none"}}], conf: {connectTimeout: 1s}}
---
{type: ProxyTemplate, mesh: m, name: any, selectors: [{match: {kuma.io/service: "*"}}], conf: {imports: [default-proxy]}}
---
{type: ProxyTemplate, mesh: m, name: fig, selectors: [{match: {kuma.io/service: fig}}], conf: {imports: [default-proxy]}}
---
{type: MeshGatewayRoute, mesh: m, name: gr, selectors: [{match: {kuma.io/service: edge, port: http}}], conf: {http: {rules: [{matches: [{path: {match: PREFIX, value: /}}], backends: [{weight: 1, destination: {kuma.io/service: pear}}]}]}}}
---
{type: HostnameGenerator, name: by-name, spec: {selector: {meshService: {}}, template: "{{ .DisplayName }}.test"}}
---
{type: HostnameGenerator, name: needs-label, spec: {selector: {meshService: {}}, template: "{{ label \"color\" }}.test"}}
`

// names returns the names of a list of affected proxies.
func names(tree any) []string {
	var out []string
	for _, i := range tree.(map[string]any)["items"].([]any) {
		out = append(out, i.(map[string]any)["name"].(string))
	}
	return out
}

func TestAffected(t *testing.T) {
	w := newInspected(t, nil)
	w.put(garden)
	for path, want := range map[string]string{
		"meshtimeouts/all":                 "[edge-1 fig-1 pear-1]",
		"meshtimeouts/all?name=ig":         "[fig-1]",
		"meshtimeouts/fig":                 "[fig-1]", // though it is a shadow policy
		"meshservices/pear":                "[pear-1]",
		"timeouts/old":                     "[fig-1]",
		"proxytemplates/fig":               "[fig-1]",
		"meshgatewayroutes/gr":             "[edge-1]",
		"meshtrafficpermissions/let-in":    "[edge-1 fig-1 pear-1]",
		"meshtimeouts/all?size=2":          "[edge-1 fig-1]",
		"meshtimeouts/all?size=2&offset=2": "[pear-1]",
	} {
		what, query, _ := strings.Cut(path, "?")
		status, body := w.get("/meshes/m/" + what + "/_resources/dataplanes?" + query)
		if got := fmt.Sprint(names(body)); status != 200 || got != want {
			t.Errorf("%s: %d %s, want %s", path, status, got, want)
		}
		next, more := body.(map[string]any)["next"]
		if wants := strings.HasSuffix(path, "size=2"); more != wants || more && !strings.Contains(next.(string), "offset=2") {
			t.Errorf("%s: next = %v", path, next)
		}
	}
	for path, want := range map[string]int{
		"/meshes/m/meshtimeouts/none/_resources/dataplanes":         404,
		"/meshes/none/meshtimeouts/all/_resources/dataplanes":       404,
		"/meshes/m/meshtimeouts/all/_resources/dataplanes?size=x":   400,
		"/meshes/m/meshtimeouts/all/_resources/dataplanes?offset=x": 400,
	} {
		if got, body := w.get(path); got != want {
			t.Errorf("%s: %d, want %d: %v", path, got, want, body)
		}
	}
}

func TestHostnames(t *testing.T) {
	w := newInspected(t, nil)
	w.put(garden)
	w.expect("/meshes/m/meshservices/pear/_hostnames", 200, `{"total": 2, "items": [
		{"hostname": "pear.svc.mesh.local", "zones": [{"name": "default"}]},
		{"hostname": "pear.test", "zones": [{"name": "default"}]}]}`)
	w.expect("/meshes/m/meshservices/none/_hostnames", 404, `{"type": "/std-errors", "status": 404}`)
	w.expect("/meshes/m/dataplanes/fig-1/_hostnames", 400, `{"type": "/std-errors", "status": 400}`)
	w.expect("/meshes/m/nothing/fig-1/_hostnames", 400, `{"type": "/std-errors", "status": 400}`)
	w.put(`{type: MeshMultiZoneService, mesh: m, name: nowhere, spec: {selector: {meshService: {matchLabels: {a: b}}}, ports: [{port: 80}]}}`)
	w.expect("/meshes/m/meshmultizoneservices/nowhere/_hostnames", 200, `{"total": 0, "items": null}`)
}

func TestConfigQuestions(t *testing.T) {
	w := newInspected(t, nil)
	w.put(garden)
	const fig = "/meshes/m/dataplanes/fig-1/"
	cluster := "/type.googleapis.com~1envoy.config.cluster.v3.Cluster/pear/connectTimeout"
	_, body := w.get(fig + "_config?shadow=true&include=diff")
	var want any
	if err := json.Unmarshal(fmt.Appendf(nil, `[{"op":"test","path":%[1]q,"value":"3s"},{"op":"remove","path":%[1]q,"value":"3s"},{"op":"add","path":%[1]q,"value":"8s"}]`, cluster), &want); err != nil {
		t.Fatal(err)
	}
	for _, d := range corpus.Compare("", want, body.(map[string]any)["diff"]) {
		t.Errorf("%s: want %s, got %s", d.Path, d.Want, d.Got)
	}
	_, body = w.get(fig + "_config?include=diff")
	if d, ok := body.(map[string]any)["diff"].([]any); !ok || len(d) != 0 {
		t.Errorf("diff without shadow policies: %v", body.(map[string]any)["diff"])
	}
	_, body = w.get(fig + "_config")
	if _, has := body.(map[string]any)["diff"]; has {
		t.Error("a diff that nobody asked for")
	}
	for path, status := range map[string]int{
		fig + "_config?shadow=maybe": 400, fig + "_config?include=moon": 400, "/meshes/m/dataplanes/none/_config": 404,
		"/meshes/m/meshgateways/edge/_config": 404, "/meshes/m/dataplanes/none/_rules": 404, "/meshes/m/dataplanes/none/_intent": 404,
	} {
		if got, _ := w.get(path); got != status {
			t.Errorf("%s: %d, want %d", path, got, status)
		}
	}
}

func TestIntent(t *testing.T) {
	w := newInspected(t, nil)
	w.put(garden)
	_, body := w.get("/meshes/m/dataplanes/fig-1/_intent")
	intent := body.(map[string]any)["intent"].(map[string]any)
	if id := fmt.Sprint(intent["id"]); id != "map[mesh:m name:fig-1]" {
		t.Errorf("id: %s", id)
	}
	out := intent["outbounds"].([]any)[0].(map[string]any)
	if out["port"] != 1000.0 || out["tcp"] == nil {
		t.Errorf("outbound: %v", out)
	}
	if body.(map[string]any)["connected"] != false {
		t.Error("connected")
	}
	text, err := json.Marshal(intent)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"connectTimeout":"3s"`) {
		t.Errorf("no time-out of the policy in %s", text)
	}
}

func TestGlobalPreviewsNothing(t *testing.T) {
	w := newInspected(t, map[string]string{"KUMA_MODE": "global"})
	w.put("{type: Mesh, name: m}")
	for _, page := range []string{"_config", "_intent"} {
		if got, _ := w.get("/meshes/m/dataplanes/x/" + page); got != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", page, got)
		}
	}
}

func TestLegacyInspection(t *testing.T) {
	w := newInspected(t, nil)
	w.put(garden)
	dp := func(kind string, names ...string) string {
		var items []string
		for _, n := range names {
			item := `{"dataplane": {"mesh": "m", "name": "` + n + `"}`
			if kind != "" {
				item += `, "kind": "` + kind + `", "attachments": [{"type": "dataplane"}]`
			}
			items = append(items, item+"}")
		}
		return fmt.Sprintf(`{"total": %d, "items": [%s]}`, len(names), strings.Join(items, ","))
	}
	w.expect("/meshes/m/meshtimeouts/all/dataplanes", 200, dp("SidecarDataplane", "edge-1", "fig-1", "pear-1"))
	w.expect("/meshes/m/meshtimeouts/none/dataplanes", 200, dp(""))
	w.expect("/meshes/m/proxytemplates/any/dataplanes", 200, dp("SidecarDataplane", "edge-1", "pear-1"))
	w.expect("/meshes/m/meshgateways/edge/dataplanes", 200, dp("", "edge-1"))
	w.expect("/meshes/m/meshgatewayroutes/gr/dataplanes", 200, dp("", "edge-1"))

	_, body := w.get("/meshes/m/dataplanes/fig-1/policies")
	var answer struct {
		Kind  string
		Total int
		Items []struct {
			Type            string
			MatchedPolicies map[string][]struct{ Name string }
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatal(err)
	}
	want := "{SidecarDataplane 1 [{dataplane map[MeshTimeout:[{all}] MeshTrafficPermission:[{let-in}] ProxyTemplate:[{fig}]]}]}"
	if got := fmt.Sprint(answer); got != want {
		t.Errorf("policies of fig-1: %s\nwant %s", got, want)
	}
	w.expect("/meshes/m/dataplanes/none/policies", 404, `{"type": "/std-errors", "status": 404}`)

	_, body = w.get("/meshes/m/dataplanes/fig-1/rules")
	client, destination := false, false
	for _, x := range body.(map[string]any)["items"].([]any) {
		r := x.(map[string]any)
		switch r["type"] {
		case "ClientSubset":
			client = client || r["name"] == "10.0.0.1:80:80" && r["service"] == "fig" && fmt.Sprint(r["subset"]) == "map[v:1]"
		case "DestinationSubset":
			destination = destination || fmt.Sprint(r["addresses"], r["origins"]) == "[127.0.0.1:1000] [map[mesh:m name:all]]"
		}
	}
	if !client || !destination {
		t.Errorf("rules of fig-1: %v", body)
	}
}

// What was just written shows at once, though snapshots are a moment behind.
func TestConfigShowsWhatWasJustWritten(t *testing.T) {
	var lag atomic.Pointer[model.Tables] // what Tables returns while it is set
	w := newWorld(t, map[string]string{"KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN": "true"}, func(d *rest.Deps) {
		now := d.Tables
		d.Tables = func() model.Tables {
			if old := lag.Load(); old != nil {
				return *old
			}
			return now()
		}
	})
	behind := func() {
		old := w.state.Current()
		var tables model.Tables = old
		lag.Store(&tables)
		time.AfterFunc(100*time.Millisecond, func() { lag.Store(nil) })
	}
	const proxy = "/meshes/default/dataplanes/late"
	behind()
	if got := send(t, http.MethodPut, w.url+proxy, `{"type":"Dataplane","mesh":"default","name":"late","networking":{"address":"10.0.0.1","inbound":[{"port":80,"tags":{"kuma.io/service":"a"}}]}}`); got.status != 201 {
		t.Fatal(got.text)
	}
	if got := send(t, http.MethodGet, w.url+proxy+"/_config", ""); got.status != 200 {
		t.Errorf("created, then: %d %s", got.status, got.text)
	}
	behind()
	if got := send(t, http.MethodDelete, w.url+proxy, ""); got.status != 200 {
		t.Fatal(got.text)
	}
	if got := send(t, http.MethodGet, w.url+proxy+"/_config", ""); got.status != 404 {
		t.Errorf("deleted, then: %d %s", got.status, got.text)
	}
}
