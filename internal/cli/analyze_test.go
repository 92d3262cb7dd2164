package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const analyzed = `type: Mesh
name: default
---
type: Dataplane
mesh: default
name: web-1
networking:
  address: 10.0.0.1
  inbound: [{port: 80, tags: {kuma.io/service: web, kuma.io/protocol: http}}]
---
type: MeshTimeout
mesh: default
name: slow
spec:
  targetRef: {kind: Mesh}
  to:
  - targetRef: {kind: MeshService, name: wep}
    default:
      connectionTimeout: 5s
`

func TestAnalyze(t *testing.T) {
	k := newUser(t)
	file := func(name, text string) string {
		path := filepath.Join(k.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	likely := file("likely/a.yaml", analyzed)
	wrong := file("wrong/a.yaml", strings.Replace(analyzed, "5s", "-5s", 1))
	right := file("right/a.yaml", strings.Replace(analyzed, "wep", "web", 1))
	broken := file("broken/a.yaml", "type: [")
	template := file("template/a.yaml", strings.Replace(analyzed, "wep", "{{ service }}", 1))

	k.run(t, "analyze", "-f", right, "--fail-on=info").want(t, 0, "Nothing found.\n", "")
	k.run(t, "analyze", "-f", template, "-v", "service=web", "--fail-on=info").want(t, 0, "Nothing found.\n", "")
	const finding = `spec.to[0].targetRef: acts on nothing: there is no MeshService "wep" in mesh "default"`
	k.run(t, "analyze", "-f", filepath.Dir(likely)).want(t, 0, likely+":17", "")
	k.run(t, "analyze", "-f", likely, "--fail-on=warning").want(t, 1, finding, "")
	k.run(t, "analyze", "-f", likely, "-f", wrong).want(t, 1, "the same object stands in "+likely+", line 1, too", "")
	k.run(t, "analyze", "-f", wrong).want(t, 1, wrong+":19", "")
	k.run(t, "analyze", "-f", wrong, "-o", "github").want(t, 1, "::error file="+wrong+",line=19,title=invalid::MeshTimeout default/slow: spec.to[0].default.connectionTimeout", "")
	k.run(t, "analyze", "-f", broken).want(t, 1, broken+":1", "")
	k.run(t, "analyze", "-f", filepath.Join(k.dir, "none")).want(t, 2, "", "none")
	k.run(t, "analyze", "-f", right, "--fail-on=much").want(t, 2, "", "much")
	k.run(t, "analyze", "-f", right, "-o", "xml").want(t, 2, "", "xml")

	r := k.run(t, "analyze", "-f", likely, "-o", "json")
	var answer struct {
		Total int
		Items []placed
	}
	if err := json.Unmarshal([]byte(r.out), &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Items) != 1 || answer.Total != 1 || answer.Items[0].Line != 17 || answer.Items[0].Rule != "unknown-reference" {
		t.Errorf("%+v", answer)
	}
}

func TestRenderSaysWhatIsWrong(t *testing.T) {
	k := newUser(t)
	path := filepath.Join(k.dir, "a.yaml")
	if err := os.WriteFile(path, []byte(analyzed), 0o600); err != nil {
		t.Fatal(err)
	}
	k.run(t, "render", "-f", path, "--proxy", "web-1").want(t, 0, "inbound:10.0.0.1:80", "")
	k.run(t, "render", "-f", path, "--proxy", "shop/web-1").want(t, 1, "", `no Dataplane "web-1" in mesh "shop"`)
	k.run(t, "render", "-f", path, "-o", "diff").want(t, 1, "", "--against")
	k.run(t, "render", "-f", path, "--against", path).want(t, 0, "No proxy changes.", "")
	k.run(t, "render", "-f", path, "-o", "table").want(t, 1, "", "output format")
	if err := os.WriteFile(path, []byte(strings.Replace(analyzed, "5s", "-5s", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	k.run(t, "render", "-f", path).want(t, 1, "", "line 19")
}

// What applying would change is told by the settings that the control plane shows.
func TestRenderAgainstControlPlane(t *testing.T) {
	k := startCP(t).user(t)
	path := filepath.Join(k.dir, "a.yaml")
	if err := os.WriteFile(path, []byte(analyzed), 0o600); err != nil {
		t.Fatal(err)
	}
	r := k.run(t, "render", "-f", path, "--against-control-plane")
	r.want(t, 0, "inbound:10.0.0.1:80", "")
	if strings.Contains(r.err, "cannot be read") {
		t.Error(r.err)
	}
}

// Egresses are rendered, too: they have no mesh, and are named without one.
func TestRenderEgress(t *testing.T) {
	k := newUser(t)
	doc := func(address string) string {
		path := filepath.Join(k.dir, address+".yaml")
		text := `
{type: Mesh, name: default, mtls: {enabledBackend: ca, backends: [{name: ca, type: builtin}]}}
---
{type: ZoneEgress, name: out, networking: {address: 10.0.0.9, port: 10002}}
---
{type: MeshExternalService, mesh: default, name: shop, spec: {match: {type: HostnameGenerator, port: 443, protocol: tcp}, endpoints: [{address: ` + address + `, port: 443}]}}
`
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one, two := doc("192.0.2.1"), doc("192.0.2.2")
	k.run(t, "render", "-f", one, "--proxy", "/out").want(t, 0, "inbound:10.0.0.9:10002", "")
	k.run(t, "render", "-f", one, "--proxy", "/in").want(t, 1, "", `no ZoneEgress "in"`)
	r := k.run(t, "render", "-f", two, "--against", one)
	r.want(t, 0, "# zone egress out: changed", "")
	r.want(t, 0, "192.0.2.2", "")
}
