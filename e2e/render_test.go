package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/inspect"
)

// renderWorld are objects of all sorts, in an order and with names by which a
// control plane that gets them one by one gives out the addresses that it would
// give out at once.
const renderWorld = `
type: Mesh
name: default
meshServices: {mode: Everywhere}
mtls: {enabledBackend: ca, backends: [{name: ca, type: builtin}]}
networking: {outbound: {passthrough: false}}
---
{type: Dataplane, mesh: default, name: api-1, networking: {address: 10.0.0.1, inbound: [{port: 8080, tags: {kuma.io/service: api, kuma.io/protocol: http, version: v1}}]}}
---
{type: Dataplane, mesh: default, name: api-2, networking: {address: 10.0.0.2, inbound: [{port: 8080, tags: {kuma.io/service: api, kuma.io/protocol: http, version: v2}}]}}
---
type: Dataplane
mesh: default
name: db-1
labels: {team: storage}
networking: {address: 10.0.0.3, inbound: [{port: 5432, name: sql, tags: {kuma.io/service: db, kuma.io/protocol: tcp}}]}
---
type: Dataplane
mesh: default
name: edge-1
networking: {address: 10.0.0.4, gateway: {type: DELEGATED, tags: {kuma.io/service: edge}}, outbound: [{port: 9001, tags: {kuma.io/service: api}}]}
---
type: Dataplane
mesh: default
name: web-1
networking:
  address: 10.0.0.5
  inbound: [{port: 8080, servicePort: 80, tags: {kuma.io/service: web, kuma.io/protocol: http}}]
  transparentProxying: {redirectPortInbound: 15006, redirectPortOutbound: 15001}
---
{type: ExternalService, mesh: default, name: zoo, tags: {kuma.io/service: zoo, kuma.io/protocol: http}, networking: {address: "192.0.2.1:80"}}
---
{type: MeshExternalService, mesh: default, name: mail, spec: {match: {type: HostnameGenerator, port: 25, protocol: tcp}, endpoints: [{address: 192.0.2.2, port: 25}]}}
---
{type: HostnameGenerator, name: own, spec: {selector: {meshService: {}}, template: "{{ .DisplayName }}.own"}}
---
{type: MeshTrafficPermission, mesh: default, name: allow, spec: {targetRef: {kind: Mesh}, from: [{targetRef: {kind: Mesh}, default: {action: Allow}}]}}
---
type: MeshHTTPRoute
mesh: default
name: canary
spec:
  targetRef: {kind: Mesh}
  to:
  - targetRef: {kind: MeshService, name: api}
    rules:
    - matches: [{path: {type: PathPrefix, value: /v2}}]
      default: {backendRefs: [{kind: MeshServiceSubset, name: api, tags: {version: v2}, weight: 9}, {kind: MeshService, name: api, weight: 1}]}
---
{type: MeshTimeout, mesh: default, name: slow-db, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: db}, default: {connectionTimeout: 33s}}]}}
---
{type: MeshAccessLog, mesh: default, name: log, spec: {targetRef: {kind: Dataplane, labels: {team: storage}}, rules: [{default: {backends: [{type: File, file: {path: /tmp/log}}]}}]}}
---
{type: RateLimit, mesh: default, name: older, sources: [{match: {kuma.io/service: web}}], destinations: [{match: {kuma.io/service: api}}], conf: {http: {requests: 5, interval: 1s}}}
`

// renderChange is applied later. It reaches the clients of api only.
const renderChange = `
{type: MeshRetry, mesh: default, name: more, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: api}, default: {http: {numRetries: 7}}}]}}
`

type renderedProxies struct {
	Proxies []struct {
		Mesh, Name, Change string
		XDS                inspect.Config
		Diff               []inspect.Op
	}
}

// TestRender: what kumactl makes of a directory without a control plane is what a
// control plane makes of it, and what it says a change will change is what the
// change changes.
func TestRender(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	k := &kumactl{t: t, cp: cp, home: t.TempDir()}
	dir := t.TempDir()
	world, change := filepath.Join(dir, "world", "all.yaml"), filepath.Join(dir, "change.yaml")
	if err := os.Mkdir(filepath.Dir(world), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, world, renderWorld)
	write(t, change, renderChange)

	var offline renderedProxies
	k.json(&offline, "render", "-f", filepath.Dir(world), "-o", "json")
	if len(offline.Proxies) != 5 {
		t.Fatalf("%d proxies are rendered, want 5", len(offline.Proxies))
	}
	k.run("apply", "-f", world)
	for _, p := range offline.Proxies {
		eventually(t, 20*time.Second, p.Name+" is configured as rendered", func() error {
			if diff := cmp.Diff(tree(t, cp.config(p.Name)), tree(t, p.XDS)); diff != "" {
				return errText("control plane -, kumactl +:\n" + diff)
			}
			return nil
		})
	}
	if out := k.run("render", "-f", world, "--against-control-plane"); out != "No proxy changes.\n" {
		t.Errorf("what the control plane has already: %s", out)
	}

	var promised renderedProxies
	k.json(&promised, "render", "-f", change, "--against-control-plane", "-o", "json")
	before := map[string]inspect.Config{}
	for _, p := range offline.Proxies {
		before[p.Name] = cp.config(p.Name)
	}
	k.run("apply", "-f", change)
	var names []string
	for _, p := range promised.Proxies {
		names = append(names, p.Name+" "+p.Change)
		eventually(t, 20*time.Second, p.Name+" changes as promised", func() error {
			ops, err := inspect.Diff(before[p.Name], cp.config(p.Name))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tree(t, ops), tree(t, p.Diff)); diff != "" {
				return errText("control plane -, kumactl +:\n" + diff)
			}
			return nil
		})
	}
	// Other proxies have no outbound that leads to api.
	if got, want := strings.Join(names, ", "), "edge-1 changed, web-1 changed"; got != want {
		t.Errorf("changed: %s, want %s", got, want)
	}
	text := k.run("render", "-f", world, "-f", change, "--against", world, "--proxy", "web-1")
	if !strings.Contains(text, "# default/web-1: changed") || !strings.Contains(text, "+") || !strings.Contains(text, "numRetries: 7") {
		t.Errorf("difference of two directories: %s", text)
	}
}

// TestFindings: a policy that names a service that does not exist is accepted, and
// said to be wrong when it is applied, when the mesh or a proxy is looked at.
func TestFindings(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	k := &kumactl{t: t, cp: cp, home: t.TempDir()}
	world, typo := filepath.Join(t.TempDir(), "all.yaml"), filepath.Join(t.TempDir(), "typo.yaml")
	write(t, world, renderWorld)
	write(t, typo, strings.ReplaceAll(renderChange, "name: api", "name: apy"))
	k.run("apply", "-f", world)
	config := []string{"--config-file", filepath.Join(k.home, "config")}
	const finding = `there is no MeshService "apy" in mesh "default"`
	for _, c := range []struct {
		args []string
		fail bool
	}{
		{args: []string{"apply", "-f", typo}},
		{args: []string{"inspect", "dataplane", "web-1"}},
		{args: []string{"analyze"}},
		{args: []string{"analyze", "--mesh", "default", "--fail-on", "warning"}, fail: true},
		{args: []string{"analyze", "-f", world, "-f", typo, "--fail-on", "warning"}, fail: true},
	} {
		eventually(t, 10*time.Second, strings.Join(c.args, " ")+" tells", func() error {
			out, errs, err := k.exec(append(config, c.args...)...)
			if (err != nil) != c.fail || !strings.Contains(out+errs, finding) {
				return errText(out + errs)
			}
			return nil
		})
	}
}

type errText string

func (e errText) Error() string { return string(e) }

// config returns what the API says a proxy gets.
func (cp *controlPlane) config(proxy string) inspect.Config {
	cp.t.Helper()
	var answer struct{ XDS inspect.Config }
	if err := json.Unmarshal([]byte(cp.must(http.MethodGet, "/meshes/default/dataplanes/"+proxy+"/_config", nil)), &answer); err != nil {
		cp.t.Fatal(err)
	}
	return answer.XDS
}

func tree(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// kumactl runs kumactl against a control plane.
type kumactl struct {
	t    *testing.T
	cp   *controlPlane
	home string
}

// run returns what kumactl prints. Its first run says which control plane it is.
func (k *kumactl) run(args ...string) string {
	k.t.Helper()
	config := filepath.Join(k.home, "config")
	if _, err := os.Stat(config); err != nil {
		if out, _, err := k.exec("--config-file", config, "config", "control-planes", "add", "--name=cp", "--address="+k.cp.api,
			"--auth-type=tokens", "--auth-conf=token="+k.cp.token); err != nil {
			k.t.Fatalf("%v\n%s", err, out)
		}
	}
	out, errs, err := k.exec(append([]string{"--config-file", config}, args...)...)
	if err != nil {
		k.t.Fatalf("kumactl %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return out
}

func (k *kumactl) exec(args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(k.t.Context(), binary(k.t, "kumactl"), args...)
	cmd.Env = append(os.Environ(), "HOME="+k.home)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func (k *kumactl) json(to any, args ...string) {
	k.t.Helper()
	if err := json.Unmarshal([]byte(k.run(args...)), to); err != nil {
		k.t.Fatal(err)
	}
}
