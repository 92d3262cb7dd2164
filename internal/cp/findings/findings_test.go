package findings_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"weft/internal/config"
	"weft/internal/cp/findings"
	"weft/internal/cp/inspect"
	"weft/internal/cp/whatif"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

var now = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// base is a mesh with a bit of everything that is right.
const base = `
{type: Mesh, name: default, meshServices: {mode: Everywhere}, mtls: {enabledBackend: ca, backends: [{name: ca, type: builtin}]}}
---
{type: Dataplane, mesh: default, name: web-1, labels: {app: web}, networking: {address: 10.0.0.1, inbound: [{port: 80, name: main, tags: {kuma.io/service: web, kuma.io/protocol: http}}], outbound: [{port: 9001, tags: {kuma.io/service: api}}, {port: 9002, tags: {kuma.io/service: db}}]}}
---
{type: Dataplane, mesh: default, name: api-1, labels: {app: api}, networking: {address: 10.0.0.2, inbound: [{port: 80, tags: {kuma.io/service: api, kuma.io/protocol: http}}]}}
---
{type: Dataplane, mesh: default, name: db-1, labels: {app: db}, networking: {address: 10.0.0.3, inbound: [{port: 5432, tags: {kuma.io/service: db, kuma.io/protocol: tcp}}]}}
---
{type: ZoneEgress, name: egress, networking: {address: 10.0.0.9, port: 10002}}
---
{type: MeshExternalService, mesh: default, name: mail, spec: {match: {type: HostnameGenerator, port: 25, protocol: tcp}, endpoints: [{address: 192.0.2.2, port: 25}]}}
---
{type: MeshTrafficPermission, mesh: default, name: allow, spec: {targetRef: {kind: Mesh}, from: [{targetRef: {kind: Mesh}, default: {action: Allow}}]}}
---
{type: MeshTimeout, mesh: default, name: fine, spec: {targetRef: {kind: Dataplane, labels: {app: web}}, to: [{targetRef: {kind: MeshService, name: api}, default: {connectionTimeout: 2s}}, {targetRef: {kind: MeshService, name: db, sectionName: "5432"}, default: {connectionTimeout: 3s}}]}}
---
{type: MeshTimeout, mesh: default, name: inbound, spec: {targetRef: {kind: Dataplane, labels: {app: web}, sectionName: main}, rules: [{default: {idleTimeout: 1h}}]}}
---
{type: MeshRetry, mesh: default, name: fine, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: api}, default: {http: {numRetries: 1}}}]}}
---
{type: MeshHTTPRoute, mesh: default, name: fine, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: api}, rules: [{matches: [{path: {type: PathPrefix, value: /x}}], default: {backendRefs: [{kind: MeshService, name: api, port: 80, weight: 0}, {kind: MeshService, name: web, weight: 1}]}}]}]}}
`

func worldOf(t testing.TB, docs string) (*whatif.World, []findings.Finding) {
	t.Helper()
	s, err := whatif.SettingsOf(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	var objects []*model.Object
	for d := yaml.NewDecoder(strings.NewReader(docs)); ; {
		var doc any
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		o, err := catalog.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	present, err := s.Base(objects, now)
	if err != nil {
		t.Fatal(err)
	}
	all, problems, err := s.Admit(objects, present, now)
	for _, p := range problems {
		t.Fatalf("%s: %v", p.Object.Key(), p.Err)
	}
	if err != nil {
		t.Fatal(err)
	}
	w, err := whatif.New(all, s, now, nil)
	if err != nil {
		t.Fatal(err)
	}
	fw := findings.World{Mesh: "default", Tables: w.Tables(), View: w.View("default"), Policies: catalog.Policies}
	return w, fw.All()
}

func TestNothingIsFoundInWhatIsRight(t *testing.T) {
	if _, list := worldOf(t, base); len(list) > 0 {
		t.Errorf("%+v", list)
	}
}

// Each case adds objects to base, or takes its place if alone is set, and has
// findings as "severity rule name field".
var cases = []struct {
	name, docs string
	alone      bool
	want       []string
}{
	{name: "a policy that selects no proxy", want: []string{"warning selects-nothing x spec.targetRef"}, docs: `
{type: MeshTimeout, mesh: default, name: x, spec: {targetRef: {kind: Dataplane, labels: {app: none}}, to: [{targetRef: {kind: Mesh}, default: {connectionTimeout: 7s}}]}}`},
	{name: "an inbound that no selected proxy has", want: []string{"warning selects-nothing x spec.targetRef"}, docs: `
{type: MeshTimeout, mesh: default, name: x, spec: {targetRef: {kind: Dataplane, labels: {app: api}, sectionName: none}, rules: [{default: {connectionTimeout: 7s}}]}}`},
	{name: "services that do not exist", want: []string{"warning unknown-reference x spec.to[0].targetRef", "warning unknown-reference x spec.to[1].targetRef"}, docs: `
{type: MeshTimeout, mesh: default, name: x, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: apo}, default: {connectionTimeout: 7s}}, {targetRef: {kind: MeshExternalService, name: post}, default: {connectionTimeout: 7s}}]}}`},
	{name: "a section that does not exist", want: []string{"warning unknown-reference x spec.to[0].targetRef.sectionName"}, docs: `
{type: MeshTimeout, mesh: default, name: x, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: api, sectionName: admin}, default: {connectionTimeout: 7s}}]}}`},
	{name: "backends that do not exist", want: []string{
		"warning unknown-reference x spec.to[0].rules[0].default.backendRefs[0]",
		"warning unknown-reference x spec.to[0].rules[0].default.backendRefs[1].port",
		"warning unknown-reference x spec.to[0].rules[0].default.filters[0].requestMirror.backendRef",
	}, docs: `
{type: MeshHTTPRoute, mesh: default, name: x, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: web}, rules: [{matches: [{path: {type: PathPrefix, value: /}}], default: {
  filters: [{type: RequestMirror, requestMirror: {backendRef: {kind: MeshServiceSubset, name: ghost}}}],
  backendRefs: [{kind: MeshExternalService, name: ghost}, {kind: MeshService, name: api, port: 81}]}}]}]}}`},
	{name: "weights of 0", want: []string{"warning no-weight x spec.to[0].rules[0].default.backendRefs"}, docs: `
{type: MeshTCPRoute, mesh: default, name: x, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: db}, rules: [{default: {backendRefs: [{kind: MeshService, name: db, weight: 0}]}}]}]}}`},
	{name: "routes and gateways that do not exist", want: []string{"warning unknown-reference x spec.targetRef", "warning unknown-reference y spec.targetRef"}, docs: `
{type: MeshTimeout, mesh: default, name: x, spec: {targetRef: {kind: MeshHTTPRoute, name: none}, to: [{targetRef: {kind: Mesh}, default: {http: {requestTimeout: 1s}}}]}}
---
{type: MeshTimeout, mesh: default, name: y, spec: {targetRef: {kind: MeshGateway, name: none}, to: [{targetRef: {kind: Mesh}, default: {http: {requestTimeout: 1s}}}]}}`},
	{name: "a policy that another overrules", want: []string{"warning overruled x "}, docs: `
{type: MeshTimeout, mesh: default, name: x, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: api}, default: {connectionTimeout: 7s}}]}}
---
{type: MeshTimeout, mesh: default, name: a, spec: {targetRef: {kind: Dataplane, labels: {kuma.io/mesh: default}}, to: [{targetRef: {kind: MeshService, name: api}, default: {connectionTimeout: 8s}}, {targetRef: {kind: MeshService, name: web}, default: {connectionTimeout: 8s}}]}}`},
	{name: "a policy that is overruled in some places only", want: nil, docs: `
{type: MeshTimeout, mesh: default, name: x, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: api}, default: {connectionTimeout: 7s}}]}}
---
{type: MeshTimeout, mesh: default, name: a, spec: {targetRef: {kind: Dataplane, labels: {app: web}}, to: [{targetRef: {kind: MeshService, name: api}, default: {connectionTimeout: 8s}}]}}`},
	{name: "clients of which a stronger policy speaks", want: []string{"warning overruled old "}, docs: `
{type: MeshFaultInjection, mesh: default, name: old, spec: {targetRef: {kind: Mesh, proxyTypes: [Sidecar]}, from: [{targetRef: {kind: MeshSubset, tags: {kuma.io/service: web}}, default: {http: [{abort: {httpStatus: 500, percentage: 1}}]}}]}}
---
{type: MeshFaultInjection, mesh: default, name: all, spec: {targetRef: {kind: Dataplane, labels: {kuma.io/mesh: default}}, from: [{targetRef: {kind: Mesh}, default: {http: []}}]}}`},
	{name: "what is for gateways only", want: []string{"warning selects-nothing faults spec.to", "warning selects-nothing limit spec.to"}, docs: `
{type: MeshRateLimit, mesh: default, name: limit, spec: {targetRef: {kind: MeshHTTPRoute, name: fine}, to: [{targetRef: {kind: Mesh}, default: {local: {http: {requestRate: {num: 1, interval: 1s}}}}}]}}
---
{type: MeshFaultInjection, mesh: default, name: faults, spec: {to: [{targetRef: {kind: Mesh}, default: {http: []}}]}}`},
	{name: "parts for protocols that are not spoken", want: []string{
		"warning protocol-mismatch limit spec.rules[0].default", "warning protocol-mismatch retry spec.to[0].default", "warning protocol-mismatch route spec.to[0]",
	}, docs: `
{type: MeshRetry, mesh: default, name: retry, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: db}, default: {http: {numRetries: 2}}}]}}
---
{type: MeshRateLimit, mesh: default, name: limit, spec: {targetRef: {kind: Dataplane, labels: {app: db}}, rules: [{default: {local: {http: {requestRate: {num: 1, interval: 1s}}}}}]}}
---
{type: MeshHTTPRoute, mesh: default, name: route, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: MeshService, name: db}, rules: [{matches: [{path: {type: PathPrefix, value: /}}], default: {backendRefs: [{kind: MeshService, name: db}]}}]}]}}`},
	{name: "a shadow policy", want: []string{"info shadow x labels[\"kuma.io/effect\"]"}, docs: `
{type: MeshTimeout, mesh: default, name: x, labels: {kuma.io/effect: shadow}, spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: Mesh}, default: {connectionTimeout: 7s}}]}}`},
	{name: "older policies that newer ones replace, and the other way round", want: []string{
		"warning replaced new ", "warning replaced older ", "warning replaced retry ",
	}, docs: `
{type: TrafficPermission, mesh: default, name: older, sources: [{match: {kuma.io/service: "*"}}], destinations: [{match: {kuma.io/service: api}}]}
---
{type: Retry, mesh: default, name: retry, sources: [{match: {kuma.io/service: web}}], destinations: [{match: {kuma.io/service: api}}], conf: {http: {numRetries: 3}}}
---
{type: RateLimit, mesh: default, name: limit, sources: [{match: {kuma.io/service: web}}], destinations: [{match: {kuma.io/service: api}}], conf: {http: {requests: 3, interval: 1s}}}
---
{type: MeshRateLimit, mesh: default, name: new, spec: {targetRef: {kind: Dataplane, labels: {app: api}}, rules: [{default: {local: {http: {requestRate: {num: 1, interval: 1s}}}}}]}}`},
	{name: "an older policy that selects nothing", want: []string{"warning selects-nothing x "}, docs: `
{type: Timeout, mesh: default, name: x, sources: [{match: {kuma.io/service: none}}], destinations: [{match: {kuma.io/service: ghost}}], conf: {connectTimeout: 3s}}`},
	{name: "services that select nothing", want: []string{"warning selects-nothing multi spec.selector", "warning selects-nothing own spec.selector"}, docs: `
{type: MeshService, mesh: default, name: own, spec: {selector: {dataplaneTags: {app: none}}, ports: [{port: 80, targetPort: 80, appProtocol: http}]}}
---
{type: MeshMultiZoneService, mesh: default, name: multi, spec: {selector: {meshService: {matchLabels: {no: one}}}, ports: [{port: 80, appProtocol: http}]}}`},
	{name: "a service without a selector", want: []string{"warning selects-nothing own spec.selector"}, docs: `
{type: MeshService, mesh: default, name: own, spec: {selector: {dataplaneRef: {}}, ports: [{port: 80, targetPort: 80, appProtocol: http}]}}`},
	{name: "generators that give one name to two services", want: []string{"warning hostname-collision db ", "warning hostname-collision web "}, docs: `
{type: HostnameGenerator, name: same, spec: {selector: {meshService: {}}, template: "same.test"}}`},
	{name: "outside without an egress", alone: true, want: []string{"warning needs-egress out "}, docs: `
{type: Dataplane, mesh: default, name: web-1, networking: {address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: web}}]}}
---
{type: Mesh, name: default, routing: {zoneEgress: true}, mtls: {enabledBackend: ca, backends: [{name: ca, type: builtin}]}}
---
{type: ExternalService, mesh: default, name: out, tags: {kuma.io/service: out, kuma.io/protocol: http}, networking: {address: "192.0.2.1:443"}}`},
	{name: "outside what a proxy offers", want: []string{`warning replaced out tags["kuma.io/service"]`}, docs: `
{type: ExternalService, mesh: default, name: out, tags: {kuma.io/service: db}, networking: {address: "192.0.2.1:443"}}`},
	{name: "an external service without endpoints", want: []string{"warning selects-nothing empty spec.endpoints"}, docs: `
{type: MeshExternalService, mesh: default, name: empty, spec: {match: {type: HostnameGenerator, port: 25, protocol: tcp}}}`},
	{name: "secrets that do not exist", want: []string{"warning missing-secret out networking.tls.caCert.secret"}, docs: `
{type: ExternalService, mesh: default, name: out, tags: {kuma.io/service: out, kuma.io/protocol: http}, networking: {address: "192.0.2.1:443", tls: {enabled: true, caCert: {secret: gone}}}}`},
	{name: "an outbound to nobody", want: []string{`warning unknown-reference lonely networking.outbound[0].tags["kuma.io/service"]`}, docs: `
{type: Dataplane, mesh: default, name: lonely, networking: {address: 10.0.0.8, inbound: [{port: 80, tags: {kuma.io/service: lonely, kuma.io/protocol: http}}], outbound: [{port: 9001, tags: {kuma.io/service: ghost}}]}}`},
	{name: "no mutual TLS", alone: true, want: []string{
		"warning missing-secret default mtls.backends[0].conf.cert.secret", "warning missing-secret default mtls.backends[0].conf.key.secret",
		"warning needs-mtls mail ", "warning needs-mtls tls ", "warning needs-mtls allow ", "warning needs-mtls older ", "info no-dataplanes default ",
	}, docs: `
{type: Mesh, name: default, meshServices: {mode: Exclusive}, mtls: {backends: [{name: ca, type: provided, conf: {cert: {secret: cert}, key: {secret: key}}}]}}
---
{type: MeshTrafficPermission, mesh: default, name: allow, spec: {targetRef: {kind: Mesh}, from: [{targetRef: {kind: Mesh}, default: {action: Allow}}]}}
---
{type: MeshTLS, mesh: default, name: tls, spec: {targetRef: {kind: Mesh}, from: [{targetRef: {kind: Mesh}, default: {mode: Strict}}]}}
---
{type: TrafficPermission, mesh: default, name: older, sources: [{match: {kuma.io/service: "*"}}], destinations: [{match: {kuma.io/service: "*"}}]}
---
{type: MeshExternalService, mesh: default, name: mail, spec: {match: {type: HostnameGenerator, port: 25, protocol: tcp}, endpoints: [{address: 192.0.2.2, port: 25}]}}`},
}

func TestFindings(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			docs := c.docs
			if !c.alone {
				docs = base + "---" + c.docs
			}
			w, list := worldOf(t, docs)
			checkConcerning(t, w, list)
			var got []string
			for _, f := range list {
				got = append(got, fmt.Sprintf("%s %s %s %s", f.Severity, f.Rule, f.Name, f.Field))
				if f.Message == "" || f.Advice == "" {
					t.Errorf("%+v does not say what to do", f)
				}
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// checkConcerning: the findings that concern a proxy are those of all that are of
// itself, of its mesh, or of a policy that selects it.
func checkConcerning(t *testing.T, w *whatif.World, all []findings.Finding) {
	t.Helper()
	fw := findings.World{Mesh: "default", Tables: w.Tables(), View: w.View("default"), Policies: catalog.Policies}
	for _, k := range w.Dataplanes() {
		dp, _ := w.Tables().Table(kinds.Dataplane, k.Mesh).Get(k.Name)
		want := []findings.Finding{}
		for _, f := range all {
			kind := catalog.ByName(f.Kind)
			row, _ := w.Tables().Table(kind, f.Mesh).Get(f.Name)
			concerns := kind == kinds.Mesh || row.Object == dp.Object
			if kind.Policy != nil {
				concerns = inspect.Concern(catalog.Policies, w.Tables(), row.Object)(dp.Object)
			}
			if concerns {
				want = append(want, f)
			}
		}
		if diff := cmp.Diff(want, fw.Concerning(dp.Object)); diff != "" {
			t.Errorf("findings of %s: want -, got +:\n%s", k, diff)
		}
	}
}

// TestOverruledHasNoEffect: what is called overruled can be taken away, and no
// proxy's configuration changes. Policies are random, so that many overrule others.
func TestOverruledHasNoEffect(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	found := 0
	for range 60 {
		var policies []string
		for i := range 5 {
			policies = append(policies, randomPolicy(r, i))
		}
		w, list := worldOf(t, base+"---\n"+strings.Join(policies, "\n---\n"))
		for _, f := range list {
			i := slices.IndexFunc(policies, func(p string) bool { return strings.Contains(p, "name: "+f.Name+",") })
			if f.Rule != "overruled" || i < 0 {
				continue
			}
			found++
			rest := slices.Delete(slices.Clone(policies), i, i+1)
			without, _ := worldOf(t, base+"---\n"+strings.Join(rest, "\n---\n"))
			for _, k := range w.Dataplanes() {
				if diff := cmp.Diff(configOf(t, w, k), configOf(t, without, k)); diff != "" {
					t.Fatalf("%s is called overruled, but without it %s is another one: %s\n%s", f.Name, k, diff, strings.Join(policies, "\n"))
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d policies are overruled: the test shows nothing", found)
	}
}

func randomPolicy(r *rand.Rand, i int) string {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	top := one("{kind: Mesh}", "{kind: Dataplane, labels: {app: web}}", "{kind: Dataplane, labels: {kuma.io/mesh: default}}")
	to := one("{kind: Mesh}", "{kind: MeshService, name: api}", "{kind: MeshService, name: db}")
	name := fmt.Sprintf("p%d", i)
	switch r.IntN(4) {
	case 0:
		return fmt.Sprintf("{type: MeshTimeout, mesh: default, name: %s, spec: {targetRef: %s, to: [{targetRef: %s, default: {%s: %ds}}]}}",
			name, top, to, one("connectionTimeout", "idleTimeout"), 1+r.IntN(9))
	case 1:
		return fmt.Sprintf("{type: MeshCircuitBreaker, mesh: default, name: %s, spec: {targetRef: %s, to: [{targetRef: %s, default: {connectionLimits: {%s: %d}}}]}}",
			name, top, to, one("maxConnections", "maxRequests"), 1+r.IntN(9))
	case 2:
		return fmt.Sprintf("{type: MeshTrafficPermission, mesh: default, name: %s, spec: {targetRef: %s, from: [{targetRef: %s, default: {action: Deny}}]}}",
			name, top, one("{kind: Mesh}", "{kind: MeshSubset, tags: {kuma.io/service: web}}"))
	}
	return fmt.Sprintf("{type: MeshAccessLog, mesh: default, name: %s, spec: {targetRef: %s, to: [{targetRef: %s, default: {backends: [{type: File, file: {path: /tmp/%d}}]}}]}}",
		name, top, to, r.IntN(9))
}

func configOf(t *testing.T, w *whatif.World, k model.Key) (tree any) {
	t.Helper()
	c, ok, err := whatif.Config(w.View(k.Mesh), k.Name)
	if err != nil || !ok {
		t.Fatalf("%s: %v %v", k, ok, err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	forget(tree)
	return tree
}

// forget removes what logs of refused requests tell of permissions: all that were
// asked, the weaker ones, too.
func forget(tree any) {
	switch tree := tree.(type) {
	case map[string]any:
		if _, is := tree["permissions"].(string); is {
			delete(tree, "permissions")
		}
		for _, v := range tree {
			forget(v)
		}
	case []any:
		for _, v := range tree {
			forget(v)
		}
	}
}

// BenchmarkAll looks at a mesh of 1,000 proxies of 200 services with 1,000 policies.
func BenchmarkAll(b *testing.B) {
	var docs strings.Builder
	docs.WriteString(base)
	for i := range 1000 {
		fmt.Fprintf(&docs, "---\n{type: Dataplane, mesh: default, name: dp-%d, labels: {app: s-%d}, networking: {address: 10.1.%d.%d, inbound: [{port: 80, tags: {kuma.io/service: s-%d, kuma.io/protocol: http}}]}}\n", i, i%200, i/256, i%256, i%200)
		fmt.Fprintf(&docs, "---\n{type: MeshTimeout, mesh: default, name: t-%d, spec: {targetRef: {kind: Dataplane, labels: {app: s-%d}}, to: [{targetRef: {kind: MeshService, name: s-%d}, default: {connectionTimeout: 7s}}]}}\n", i, i%200, (i/200)%200)
	}
	w, _ := worldOf(b, docs.String())
	fw := findings.World{Mesh: "default", Tables: w.Tables(), View: w.View("default"), Policies: catalog.Policies}
	b.Run("mesh", func(b *testing.B) {
		for b.Loop() {
			fw.All()
		}
	})
	row, _ := w.Tables().Table(kinds.Dataplane, "default").Get("dp-1")
	b.Run("proxy", func(b *testing.B) {
		for b.Loop() {
			fw.Concerning(row.Object)
		}
	})
}
