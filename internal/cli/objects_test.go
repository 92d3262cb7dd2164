package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/config"
	"weft/internal/mesh/manifest"
)

const twoTimeouts = `type: MeshTimeout
mesh: default
name: one
spec: {to: [{targetRef: {kind: Mesh}, default: {idleTimeout: 1s}}]}
---
type: MeshTimeout
mesh: default
name: two
spec: {to: [{targetRef: {kind: Mesh}, default: {idleTimeout: 2s}}]}
`

// writeFile writes a file below the working directory of the user.
func (k *kumactl) writeFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(k.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The control plane asks for a credential to write; kumactl on its host finds
// the one that it left there, over HTTP and over HTTPS.
func TestObjects(t *testing.T) {
	cp := startCP(t)
	cp.awaitFile(t, config.AdminTokenFile(cp.dir))
	k := cp.user(t)

	t.Run("apply, get, delete", func(t *testing.T) {
		k.stdin = twoTimeouts
		k.run(t, "apply", "-f", "-").want(t, 0, "", "")
		k.stdin = ""
		k.run(t, "get", "meshtimeout", "one").want(t, 0, "MESH      NAME   AGE\ndefault   one    ", "")
		k.run(t, "get", "meshtimeout", "two", "-o", "yaml").want(t, 0, "      idleTimeout: 2s\n", "")
		k.run(t, "get", "meshtimeouts", "-o", "json", "--size=1").want(t, 0, `"total": 4`, "")
		k.run(t, "delete", "meshtimeout", "one").want(t, 0, "deleted MeshTimeout \"one\"\n", "")
		k.run(t, "delete", "meshtimeout", "one").want(t, 1, "", `there is no MeshTimeout with name "one"`)
		k.run(t, "get", "meshtimeout", "one").want(t, 1, "", "No resources found in default mesh")
		k.run(t, "get", "zone", "nowhere").want(t, 1, "", "No resources found\n")
	})
	t.Run("pages", func(t *testing.T) {
		r := k.run(t, "get", "hostnamegenerators", "--size=1")
		r.want(t, 0, "\nRerun command with --offset=1 argument to retrieve more resources\n", "")
		r = k.run(t, "get", "hostnamegenerators", "--size=1", "--offset=1")
		if strings.Contains(r.out, "Rerun") {
			t.Errorf("the last page is not the last:\n%s", r.out)
		}
		k.run(t, "get", "hostnamegenerators", "--size=-1").want(t, 1, "", "* size:")
	})
	t.Run("what comes out goes in", func(t *testing.T) {
		for _, kind := range []string{"mesh/default", "meshretry/mesh-retry-all-default", "hostnamegenerator/local-universal-mesh-service", "zone/default"} {
			one, name, _ := strings.Cut(kind, "/")
			for _, f := range []string{"yaml", "json"} {
				r := k.run(t, "get", one, name, "-o", f)
				r.want(t, 0, name, "")
				k.stdin = r.out
				k.run(t, "apply", "-f", "-").want(t, 0, "", "")
			}
		}
		k.stdin = ""
	})
	t.Run("folder", func(t *testing.T) {
		k.writeFile(t, "in/a.yaml", "type: Mesh\nname: a\n")
		k.writeFile(t, "in/deep/b.json", `{"type": "Mesh", "name": "b"}`)
		k.writeFile(t, "in/readme.txt", "no YAML: [")
		k.run(t, "apply", "-f", "in").want(t, 0, "", "")
		k.run(t, "get", "meshes").want(t, 0, "\nb ", "")
		k.writeFile(t, "empty/readme.txt", "")
		k.run(t, "apply", "-f", "empty").want(t, 1, "", ".yaml")
	})
	t.Run("nothing is sent when anything is wrong", func(t *testing.T) {
		k.writeFile(t, "good.yaml", "type: Mesh\nname: good\n")
		k.writeFile(t, "bad.yaml", "\ntype: Dataplane\nmesh: default\nname: d\nnetworking:\n  inbound:\n  - port: 0\n    tags: {a: b}\n")
		r := k.run(t, "apply", "-f", "good.yaml", "-f", "bad.yaml")
		for _, want := range []string{"bad.yaml: document 1, line 7", "networking.address", "networking.inbound[0].port"} {
			r.want(t, 1, "", want)
		}
		k.run(t, "get", "mesh", "good").want(t, 1, "", "No resources")
	})
	t.Run("the server refuses the second", func(t *testing.T) {
		k.stdin = "type: Mesh\nname: fine\n---\n" + strings.ReplaceAll(twoTimeouts, "mesh: default", "mesh: absent")
		r := k.run(t, "apply", "-f", "-")
		k.stdin = ""
		r.want(t, 1, "", "MeshTimeout absent/one: Failed to retrieve Mesh (Not found)")
		r.want(t, 1, "", "1 of 3 objects")
	})
	t.Run("completion", func(t *testing.T) {
		k.run(t, "__complete", "get", "mesh", "d").want(t, 0, "default\n", "Completion")
		k.run(t, "__complete", "delete", "meshretr").want(t, 0, "meshretry\n", "Completion")
		k.run(t, "__complete", "delete", "meshretry", "").want(t, 0, "mesh-retry-all-default\n", "Completion")
		k.run(t, "__complete", "get", "dataplanes", "--mesh", "").want(t, 0, "default\n", "Completion")
		k.run(t, "__complete", "config", "control-planes", "switch", "--name", "").want(t, 0, "local\n", "Completion")
		k.run(t, "__complete", "get", "meshes", "-o", "").want(t, 0, "table\nyaml\njson\n", "Completion")
		k.run(t, "__complete", "generate", "zone-token", "--scope", "").want(t, 0, "ingress\negress\ncp\n", "Completion")
	})
	t.Run("somebody else on this host may not write", func(t *testing.T) {
		other := cp.user(t)
		other.env = nil
		other.stdin = "type: Mesh\nname: x\n"
		other.run(t, "apply", "-f", "-").want(t, 1, "", "Access Denied")
		other.run(t, "get", "meshes").want(t, 0, "default", "")
		other.run(t, "get", "global-secrets").want(t, 1, "", "Access Denied")
	})
	t.Run("HTTPS on this host needs no set-up", func(t *testing.T) {
		local := newUser(t)
		local.env = map[string]string{"KUMA_GENERAL_WORK_DIR": cp.dir}
		local.run(t, "config", "control-planes", "add", "--name=s", "--address="+cp.secure).want(t, 0, "added", "")
		local.run(t, "get", "global-secrets").want(t, 0, "admin-user-token", "")
		stranger := newUser(t)
		stranger.run(t, "config", "control-planes", "add", "--name=s", "--address="+cp.secure).want(t, 1, "", "--ca-cert-file")
	})
	t.Run("tokens", func(t *testing.T) {
		r := k.run(t, "generate", "user-token", "--name=jo", "--group=mesh-system:admin", "--valid-for=1h")
		r.want(t, 0, "eyJ", "")
		jo := newUser(t)
		jo.run(t, "config", "control-planes", "add", "--name=x", "--address="+cp.url, "--auth-type=tokens", "--auth-conf=token="+r.out).want(t, 0, "added", "")
		jo.run(t, "get", "global-secrets").want(t, 0, "admin-user-token", "")
		k.run(t, "generate", "zone-token", "--zone=east", "--scope=moon", "--valid-for=1h").want(t, 1, "", `"moon"`)
		k.run(t, "generate", "dataplane-token", "--proxy-type=moon", "--valid-for=1h").want(t, 1, "", `"moon"`)
		k.run(t, "generate", "dataplane-token", "--valid-for=-1h").want(t, 1, "", "--valid-for")
	})
}

// awaitFile waits until the control plane has written a file.
func (c *testCP) awaitFile(t *testing.T, file string) {
	t.Helper()
	c.until(t, func() bool {
		_, err := os.Stat(file)
		return err == nil
	}, file)
}

func TestSourcesOfApply(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/a.yaml":
			fmt.Fprint(w, "type: Mesh\nname: far\n")
		case "/endless":
			for range manifest.MaxSize/1000 + 2 {
				fmt.Fprint(w, strings.Repeat("# ", 500))
			}
		case "/slow":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	k := newUser(t)
	dry := func(file string, more ...string) result {
		return k.run(t, append([]string{"apply", "--dry-run", "--no-config", "-f", file}, more...)...)
	}
	dry(s.URL+"/a.yaml").want(t, 0, "name: far\n", "")
	dry(s.URL+"/none").want(t, 1, "", "404")
	dry(s.URL+"/endless").want(t, 1, "", "split it")
	dry(s.URL+"/slow", "--api-timeout=50ms").want(t, 1, "", "fetch the file")
	k.stdin = "   \n"
	dry("-").want(t, 1, "", "no resource(s) passed to apply")
	k.stdin = "# only\n---\n# comments\n"
	dry("-").want(t, 0, "", "")
	k.stdin = strings.Repeat("# ", manifest.MaxSize)
	dry("-").want(t, 1, "", "split it")
	k.stdin = "type: Mesh\nname: a\nextra: 1\nmtls: {enabledBackend: x, backends: [{name: x, type: builtin, moon: 1}]}\n"
	r := dry("-")
	r.want(t, 0, "name: a\n", "line 3: extra")
	r.want(t, 0, "name: a\n", "line 4: mtls.backends[0].moon")
	k.stdin = "type: Dataplane\nmesh: default\nname: a\nnetworking:\n  adress: 10.0.0.1\n  inbound: [{port: 1, tags: {kuma.io/service: a}}]\n"
	r = dry("-")
	r.want(t, 1, "", "Warning: standard input: document 1, line 5: networking.adress")
	r.want(t, 1, "", "networking.address")
	k.stdin = "type: Mesh\nname: a\nlabels: {x: 'a b'}\n"
	dry("-").want(t, 1, "", `labels["x"]`)
}

func TestVariables(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("confidential"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text string
		vars       map[string]string
		want       string
		notes      int
		err        string
	}{
		{name: "plain", text: "{{a}} {{ a }}", vars: map[string]string{"a": "1"}, want: "1 1"},
		{name: "nested", text: "{{a.b}} {{a.c.d}}", vars: map[string]string{"a.b": "1", "a.c.d": "2"}, want: "1 2"},
		{name: "nested wins over plain", text: "{{a.b}}", vars: map[string]string{"a": "x", "a.b": "1"}, want: "1"},
		{name: "raw", text: "{{{v}}} {{{ v }}} {{&v}} {{& v }}", vars: map[string]string{"v": "<&>"}, want: "<&> <&> <&> <&>"},
		{name: "escaped", text: "{{v}}", vars: map[string]string{"v": "a<b"}, want: "a&lt;b", notes: 1},
		{name: "absent", text: "[{{x}}{{a.y}}{{#a}}{{x}}{{/a}}]", vars: map[string]string{"a": "1"}, want: "[]", notes: 2},
		{name: "section", text: "{{#on}}yes{{/on}}{{^off}}no{{/off}}", vars: map[string]string{"on": "1"}, want: "yesno"},
		{name: "not closed", text: "{{ a", vars: map[string]string{"a": "1"}, err: "replace variables"},
		{name: "section not closed", text: "{{#a}}", vars: map[string]string{"a": "1"}, err: "replace variables"},
		{name: "other files are out of reach", text: "{{> " + secret + "}}", vars: map[string]string{"a": "1"}, err: "not possible"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, notes, err := replaceVariables(c.text, c.vars)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error is %v, want %q in it", err, c.err)
				}
				return
			}
			if err != nil || got != c.want || len(notes) != c.notes {
				t.Errorf("%q, %q, %v; want %q with %d notes", got, notes, err, c.want, c.notes)
			}
		})
	}
}

func TestVersions(t *testing.T) {
	answer := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			fmt.Fprint(w, answer)
			return
		}
		fmt.Fprint(w, `{"total":0,"items":[],"next":null}`)
	}))
	t.Cleanup(s.Close)
	k := newUser(t)
	k.configure(t, fmt.Sprintf(oneControlPlane, s.URL))
	for _, c := range []struct{ index, warning string }{
		{`{"product":"Kuma","version":"2.10.3"}`, ""},
		{`{"product":"Kuma","version":"2.10.11+weft"}`, ""},
		{`{"product":"Kuma","version":"0.0.0-preview.vabc"}`, ""},
		{`{"product":"Kong Mesh","version":"2.9.1"}`, "returned version: Kong Mesh 2.9.1"},
		{`{"product":"Kuma","version":"2.1.10"}`, "WARNING: You are using kumactl version"},
		{`no JSON`, "WARNING: Failed to retrieve server version"},
	} {
		answer = c.index
		k.run(t, "get", "meshes").want(t, 0, "NAME", c.warning)
	}
	answer = `{"product":"Kuma","version":"2.10.3"}`
	k.run(t, "version", "-a").want(t, 0, `Server: {"product":"Kuma"`, "")
	k.run(t, "version", "--detailed").want(t, 0, "Git Commit:", "")
}

// TestWholeExportCanBeApplied: what one control plane has, another can take over;
// what control planes write by themselves is left out.
func TestWholeExportCanBeApplied(t *testing.T) {
	from, to := startCP(t), startCP(t)
	k := from.user(t)
	file := k.writeFile(t, "objects.yaml", `
type: Dataplane
mesh: default
name: web-1
networking: {address: 192.0.2.7, inbound: [{port: 80, tags: {kuma.io/service: web}}]}
---
type: MeshTimeout
mesh: default
name: slow
spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: Mesh}, default: {idleTimeout: 3s}}]}
`)
	k.run(t, "apply", "-f", file).want(t, 0, "", "")
	from.await(t, "/meshes/default/service-insights/web", 10*time.Second)
	everything := k.run(t, "export", "--profile=all", "--include-admin")
	everything.want(t, 0, "type: ServiceInsight", "")
	other := to.user(t)
	r := other.run(t, "apply", "-f", other.writeFile(t, "all.yaml", everything.out))
	r.want(t, 0, "", "of kind MeshInsight left out: control planes write them by themselves")
	if strings.Contains(r.err, "no such field") {
		t.Errorf("fields of what is left out are complained about: %s", r.err)
	}
	other.run(t, "get", "dataplane", "web-1").want(t, 0, "192.0.2.7", "")
	other.run(t, "get", "meshtimeout", "slow", "-o", "yaml").want(t, 0, "idleTimeout: 3s", "")
	insight := other.writeFile(t, "insight.yaml", "type: MeshInsight\nname: default\n")
	other.run(t, "apply", "-f", insight).want(t, 1, "", "Method not allowed")
}
