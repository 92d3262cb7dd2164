package admit

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/store/memory"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy/legacy"
)

func decode(t *testing.T, doc string) *model.Object {
	t.Helper()
	o, err := catalog.Decode([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func newGate(t *testing.T, objects ...string) *Gate {
	t.Helper()
	s := memory.New()
	create(t, s, kinds.Mesh.Make("", "default"))
	for _, doc := range objects {
		create(t, s, decode(t, doc))
	}
	return &Gate{Reader: s, Zone: "east"}
}

const (
	dataplaneDoc = `{"type": "Dataplane", "mesh": "default", "name": "web", "networking": {"address": "10.0.0.1", "inbound": [{"port": 80, "tags": {"kuma.io/service": "web"}}]}}`
	serviceDoc   = `{"type": "MeshService", "mesh": "default", "name": "web", "spec": {"ports": [{"port": 80}]}}`
)

func labelled(doc string, labels string) string {
	return strings.Replace(doc, `{"type"`, `{"labels": `+labels+`, "type"`, 1)
}

func TestComputedLabels(t *testing.T) {
	zone := map[string]string{"kuma.io/mesh": "default", "kuma.io/origin": "zone", "kuma.io/zone": "east", "kuma.io/env": "universal"}
	with := func(base map[string]string, more ...string) map[string]string {
		out := maps.Clone(base)
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	kube := with(zone, "kuma.io/env", "kubernetes", "k8s.kuma.io/namespace", "demo")
	for _, c := range []struct {
		name string
		doc  string
		gate func(g *Gate)
		want map[string]string
	}{
		{"dataplane in a zone", dataplaneDoc, nil, with(zone, "kuma.io/proxy-type", "sidecar")},
		{"proxy type cannot be chosen, others can", labelled(dataplaneDoc, `{"kuma.io/proxy-type": "x", "kuma.io/env": "mine", "a": "b"}`), nil,
			with(zone, "kuma.io/proxy-type", "sidecar", "kuma.io/env", "mine", "a", "b")},
		{"origin global keeps out of the zone", labelled(dataplaneDoc, `{"kuma.io/origin": "global"}`), nil,
			map[string]string{"kuma.io/mesh": "default", "kuma.io/origin": "global", "kuma.io/proxy-type": "sidecar"}},
		{"delegated gateway", `{"type": "Dataplane", "mesh": "default", "name": "gw", "networking": {"address": "10.0.0.1", "gateway": {"tags": {"kuma.io/service": "gw"}}}}`, nil,
			with(zone, "kuma.io/proxy-type", "sidecar")},
		{"builtin gateway", `{"type": "Dataplane", "mesh": "default", "name": "gw", "networking": {"address": "10.0.0.1", "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": "gw"}}}}`, nil,
			with(zone, "kuma.io/proxy-type", "gateway")},
		{"a service gets its name as label", serviceDoc, nil, with(zone, "kuma.io/display-name", "web")},
		{"what only global may write", `{"type": "ExternalService", "mesh": "default", "name": "x", "networking": {"address": "a:1"}, "tags": {"kuma.io/service": "x"}}`, nil,
			map[string]string{"kuma.io/mesh": "default"}},
		{"global", serviceDoc, func(g *Gate) { g.Global, g.Zone = true, "" }, map[string]string{"kuma.io/mesh": "default"}},
		{"global kind", `{"type": "Mesh", "name": "m"}`, nil, nil},
		{"Kubernetes", strings.Replace(serviceDoc, `"web"`, `"web.demo"`, 1), func(g *Gate) { g.Kubernetes = true }, kube},
		{"Kubernetes, cluster scoped", `{"type": "MeshGateway", "mesh": "default", "name": "a.b", "selectors": [{"match": {"kuma.io/service": "g"}}], "conf": {"listeners": [{"port": 1, "protocol": "HTTP"}]}}`,
			func(g *Gate) { g.Kubernetes = true }, with(zone, "kuma.io/env", "kubernetes")},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate(t)
			if c.gate != nil {
				c.gate(g)
			}
			o := decode(t, c.doc)
			before := model.HashJSON(o)
			out, _, err := g.Admit(context.Background(), o, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, out.Meta.Labels); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if model.HashJSON(o) != before {
				t.Error("the argument was changed")
			}
		})
	}
}

func TestRefusedLabelsAndNames(t *testing.T) {
	federated := func(g *Gate) { g.Federated = true }
	global := func(g *Gate) { g.Global, g.Zone = true, "" }
	long := strings.Repeat("a", 250)
	for _, c := range []struct {
		name string
		doc  string
		gate func(g *Gate)
		want []string
	}{
		{"syntax", labelled(serviceDoc, `{"a b": "c", "/": "-"}`), nil, []string{`labels["/"]`, `labels["/"]`, `labels["/"]`, `labels["a b"]`}},
		{"unknown origin", labelled(serviceDoc, `{"kuma.io/origin": "moon"}`), nil, []string{`labels["kuma.io/origin"]`}},
		{"other zone", labelled(serviceDoc, `{"kuma.io/zone": "west"}`), nil, []string{`labels["kuma.io/zone"]`}},
		{"other zone of a global object", labelled(serviceDoc, `{"kuma.io/zone": "west", "kuma.io/origin": "global"}`), nil, nil},
		{"other mesh", labelled(serviceDoc, `{"kuma.io/mesh": "other"}`), nil, []string{`labels["kuma.io/mesh"]`}},
		{"federated without origin", serviceDoc, federated, []string{`labels["kuma.io/origin"]`}},
		{"federated, unknown origin", labelled(serviceDoc, `{"kuma.io/origin": "moon"}`), federated, []string{`labels["kuma.io/origin"]`, `labels["kuma.io/origin"]`}},
		{"federated with origin", labelled(serviceDoc, `{"kuma.io/origin": "zone"}`), federated, nil},
		{"federated, flat kind without origin", dataplaneDoc, federated, nil},
		{"federated, flat kind that claims to be global", labelled(dataplaneDoc, `{"kuma.io/origin": "global"}`), federated, []string{`labels["kuma.io/origin"]`}},
		{"federated, not checked", serviceDoc, func(g *Gate) { g.Federated, g.AnyOrigin = true, true }, nil},
		{"global, zone label", labelled(serviceDoc, `{"kuma.io/zone": "east", "kuma.io/origin": "zone"}`), global, []string{`labels["kuma.io/origin"]`, `labels["kuma.io/zone"]`}},
		{"name and mesh", `{"type": "Dataplane", "mesh": "A b", "name": "B", "networking": {"address": "1.1.1.1", "gateway": {"tags": {"kuma.io/service": "g"}}}}`, nil, []string{"name", "mesh"}},
		{"long mesh name", `{"type": "Mesh", "name": "` + long[:64] + `"}`, nil, []string{"name"}},
		{"long name in a federated zone", `{"type": "Zone", "name": "` + long + `"}`, federated, []string{"name"}},
		{"long name elsewhere", `{"type": "Zone", "name": "` + long + `"}`, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate(t)
			if c.gate != nil {
				c.gate(g)
			}
			_, _, err := g.Admit(context.Background(), decode(t, c.doc), nil)
			if diff := cmp.Diff(c.want, answerOf(err).Fields); diff != "" {
				t.Errorf("(-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

func TestDataplaneOnWrite(t *testing.T) {
	g := newGate(t)
	doc := `{"type": "Dataplane", "mesh": "default", "name": "web", "networking": {"address": "10.0.0.1", "inbound": [
		{"port": 80, "serviceProbe": {"tcp": {}}, "tags": {"kuma.io/service": "a", "kuma.io/zone": "lie"}},
		{"port": 81, "serviceProbe": {"tcp": {}}, "state": "Ignored", "tags": {"kuma.io/service": "b"}}]}}`
	out, _, err := g.Admit(context.Background(), decode(t, doc), nil)
	if err != nil {
		t.Fatal(err)
	}
	in := model.Spec[kinds.DataplaneSpec](out).Inbounds()
	if in[0].State != kinds.InboundNotReady || in[0].Health == nil || in[0].Health.Ready || in[1].State != kinds.InboundIgnored {
		t.Errorf("probed inbounds start as %+v", in)
	}
	if in[0].Tags["kuma.io/zone"] != "east" || in[1].Tags["kuma.io/zone"] != "east" {
		t.Errorf("zone tags %v, %v", in[0].Tags, in[1].Tags)
	}
	again, _, err := g.Admit(context.Background(), decode(t, doc), out)
	if err != nil {
		t.Fatal(err)
	}
	if in := model.Spec[kinds.DataplaneSpec](again).Inbounds(); in[0].State != kinds.InboundReady {
		t.Errorf("an update sets the state to %q", in[0].State)
	}
}

func TestStatusIsKept(t *testing.T) {
	g := newGate(t)
	prior := decode(t, strings.Replace(serviceDoc, `"spec"`, `"status": {"vips": [{"ip": "241.0.0.7"}]}, "spec"`, 1))
	prior.Meta.Version, prior.Meta.Created = 7, time.Unix(5, 0)
	out, _, err := g.Admit(context.Background(), decode(t, serviceDoc), prior)
	if err != nil {
		t.Fatal(err)
	}
	if s := model.Status[kinds.MeshServiceStatus](out); s == nil || len(s.VIPs) != 1 {
		t.Errorf("the status is %+v", s)
	}
	if out.Meta.Version != 7 || !out.Meta.Created.Equal(time.Unix(5, 0)) {
		t.Errorf("version and creation time are %d, %s", out.Meta.Version, out.Meta.Created)
	}
	other := decode(t, strings.Replace(serviceDoc, `"spec"`, `"status": {"vips": [{"ip": "241.0.0.8"}]}, "spec"`, 1))
	out, _, err = g.Admit(context.Background(), other, prior)
	if err != nil {
		t.Fatal(err)
	}
	if got := model.Status[kinds.MeshServiceStatus](out).VIPs[0].IP; got != "241.0.0.8" {
		t.Errorf("a status that was sent is %s", got)
	}
}

func TestWritable(t *testing.T) {
	standalone, global, federated := &Gate{}, &Gate{Global: true}, &Gate{Federated: true}
	for _, c := range []struct {
		gate *Gate
		kind *model.Kind
		want bool
	}{
		{standalone, kinds.Mesh, true}, {standalone, kinds.Dataplane, true}, {standalone, legacy.TrafficRoute, true},
		{standalone, kinds.DataplaneInsight, false}, {standalone, kinds.MeshInsight, false},
		{global, kinds.Mesh, true}, {global, kinds.Dataplane, false}, {global, kinds.ZoneIngress, false}, {global, kinds.ZoneEgress, false},
		{global, kinds.MeshService, false}, {global, kinds.MeshExternalService, true}, {global, kinds.Zone, true},
		{federated, kinds.Mesh, false}, {federated, legacy.TrafficRoute, false}, {federated, kinds.ExternalService, false},
		{federated, kinds.MeshMultiZoneService, false}, {federated, kinds.Secret, true}, {federated, kinds.GlobalSecret, true},
		{federated, kinds.Dataplane, true}, {federated, kinds.HostnameGenerator, true}, {federated, kinds.Zone, true},
		{&Gate{ReadOnly: true}, kinds.Mesh, false}, {&Gate{ReadOnly: true, Kubernetes: true}, kinds.Dataplane, false},
	} {
		err := c.gate.Writable(c.kind)
		if (err == nil) != c.want {
			t.Errorf("%+v %s: %v, want writable %v", *c.gate, c.kind.Name, err, c.want)
		}
		var ro *ReadOnly
		if err != nil && !errors.As(err, &ro) {
			t.Errorf("the error is a %T", err)
		}
	}
}

func TestMirroredObjectsAreReadOnly(t *testing.T) {
	for _, c := range []struct {
		name, labels string
		gate         Gate
		refused      bool
	}{
		{"a zone's policy at global", `{"kuma.io/origin": "zone", "kuma.io/zone": "east"}`, Gate{Global: true}, true},
		{"global's object in a zone", `{"kuma.io/origin": "global"}`, Gate{Federated: true, Zone: "east"}, true},
		{"another zone's object in a zone", `{"kuma.io/origin": "zone", "kuma.io/zone": "west"}`, Gate{Federated: true, Zone: "east"}, true},
		{"the zone's own object", `{"kuma.io/origin": "zone", "kuma.io/zone": "east"}`, Gate{Federated: true, Zone: "east"}, false},
		{"an object called global in a zone of its own", `{"kuma.io/origin": "global"}`, Gate{Zone: "east"}, false},
	} {
		prior := decode(t, labelled(serviceDoc, c.labels))
		g := c.gate
		g.Reader = newGate(t).Reader
		err := g.AdmitDelete(context.Background(), prior)
		var ro *ReadOnly
		if errors.As(err, &ro) != c.refused {
			t.Errorf("delete %s: got %v", c.name, err)
		}
		_, _, err = g.Admit(context.Background(), prior, prior)
		if errors.As(err, &ro) != c.refused {
			t.Errorf("update %s: got %v", c.name, err)
		}
	}
}

func TestAdmitDelete(t *testing.T) {
	const mesh = `{"type": "Mesh", "name": "m", "mtls": {"backends": [{"name": "own", "type": "provided", "conf": {"cert": {"secret": "c"}, "key": {"secret": "k"}}}]}}`
	g := newGate(t, dataplaneDoc, mesh,
		`{"type": "Zone", "name": "east"}`, `{"type": "Zone", "name": "west"}`, `{"type": "Zone", "name": "north"}`,
		`{"type": "ZoneInsight", "name": "east", "subscriptions": [{"id": "1", "connectTime": "2024-01-01T00:00:00Z"}]}`,
		`{"type": "ZoneInsight", "name": "west", "subscriptions": [{"id": "1", "connectTime": "2024-01-01T00:00:00Z", "disconnectTime": "2024-01-01T00:00:01Z"}]}`,
		`{"type": "Secret", "mesh": "m", "name": "c"}`, `{"type": "Secret", "mesh": "m", "name": "other"}`,
	)
	for _, c := range []struct {
		doc    string
		want   []string
		unsafe bool // goes with UnsafeDelete
	}{
		{`{"type": "Mesh", "name": "default"}`, []string{"mesh"}, true},
		{`{"type": "Mesh", "name": "m"}`, nil, true},
		{`{"type": "Zone", "name": "east"}`, []string{"zone"}, true},
		{`{"type": "Zone", "name": "west"}`, nil, true},
		{`{"type": "Zone", "name": "north"}`, nil, true},
		{`{"type": "Secret", "mesh": "m", "name": "c"}`, []string{"name"}, false},
		{`{"type": "Secret", "mesh": "m", "name": "other"}`, nil, true},
		{`{"type": "Secret", "mesh": "gone", "name": "c"}`, nil, true},
	} {
		err := g.AdmitDelete(context.Background(), decode(t, c.doc))
		if diff := cmp.Diff(c.want, answerOf(err).Fields); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.doc, diff)
		}
		unsafe := *g
		unsafe.UnsafeDelete = true
		if err := unsafe.AdmitDelete(context.Background(), decode(t, c.doc)); (err == nil) != c.unsafe {
			t.Errorf("%s: with unsafe deletion: %v", c.doc, err)
		}
	}
}

func TestMeshMissing(t *testing.T) {
	_, _, err := newGate(t).Admit(context.Background(), decode(t, strings.Replace(serviceDoc, "default", "gone", 1)), nil)
	var late *Clash
	if !errors.As(err, &late) || answerOf(err).Fields[0] != "mesh" {
		t.Errorf("got %v, want a clash at mesh", err)
	}
}

func TestFilesOfDataSources(t *testing.T) {
	const doc = `{"type": "Mesh", "name": "m", "mtls": {"backends": [{"name": "own", "type": "provided", "conf": {"cert": {"file": "/cert"}, "key": {"file": "/key"}}}]}}`
	g := newGate(t)
	message := func() string {
		_, _, err := g.Admit(context.Background(), decode(t, doc), nil)
		if err == nil {
			return ""
		}
		return err.Error()
	}
	if got := message(); !strings.Contains(got, "reads no files") {
		t.Errorf("without a reader: %s", got)
	}
	g.ReadFile = func(string) ([]byte, error) { return nil, errors.New("it is too large") }
	if got := message(); !strings.Contains(got, "it is too large") {
		t.Errorf("a file that cannot be read: %s", got)
	}
	g.ReadFile = func(string) ([]byte, error) { return []byte("hush"), nil }
	if got := message(); got == "" || strings.Contains(got, "hush") {
		t.Errorf("content that is no certificate: %s", got)
	}
}

func TestPolicyRole(t *testing.T) {
	type spec struct {
		To   []any `json:"to,omitempty"`
		From []any `json:"from,omitempty"`
	}
	ref := func(kind, name, ns string) any {
		return map[string]any{"targetRef": map[string]any{"kind": kind, "name": name, "namespace": ns}}
	}
	kind := &model.Kind{Name: "P", Policy: &model.PolicyInfo{TargetRef: true}, New: func() any { return new(spec) }}
	g := &Gate{Kubernetes: true, SystemNamespace: "kuma-system"}
	for _, c := range []struct {
		spec spec
		ns   string
		want string // "" = refused
	}{
		{spec{To: []any{ref("MeshService", "a", "")}}, "kuma-system", RoleSystem},
		{spec{From: []any{ref("Mesh", "", "")}}, "demo", RoleWorkloadOwner},
		{spec{}, "demo", RoleWorkloadOwner},
		{spec{To: []any{ref("MeshService", "a", ""), ref("MeshService", "b", "demo")}}, "demo", RoleProducer},
		{spec{To: []any{ref("MeshService", "a", "other"), ref("Mesh", "", "")}}, "demo", RoleConsumer},
		{spec{To: []any{ref("MeshService", "a", ""), ref("Mesh", "", "")}}, "demo", ""},
		{spec{To: []any{ref("Mesh", "", "")}, From: []any{ref("Mesh", "", "")}}, "demo", ""},
	} {
		o := kind.Make("default", "p."+c.ns)
		o.Spec = &c.spec
		err := g.computeLabels(o)
		if got := o.Label(model.LabelPolicyRole); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v in %s: got %q, %v; want %q", c.spec, c.ns, got, err, c.want)
		}
	}
}

func TestInitialPolicies(t *testing.T) {
	list := func(in Initial, doc string) string {
		t.Helper()
		if in.Kind == nil {
			in.Kind = catalog.ByName
		}
		objects, err := in.Policies(decode(t, doc))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, o := range objects {
			if len(o.Meta.Labels) > 0 {
				t.Errorf("%s has labels", o.Key())
			}
			names = append(names, o.Kind.Name+" "+o.Meta.Name)
		}
		return strings.Join(names, ", ")
	}
	const routing = "TrafficPermission allow-all-m, TrafficRoute route-all-m"
	if got := list(Initial{Routing: true}, `{"type": "Mesh", "name": "m"}`); !strings.HasSuffix(got, routing) {
		t.Errorf("with routing: %s", got)
	}
	if got := list(Initial{Routing: true}, `{"type": "Mesh", "name": "m", "skipCreatingInitialPolicies": ["*"]}`); got != "" {
		t.Errorf("all skipped: %s", got)
	}
	if got := list(Initial{Routing: true}, `{"type": "Mesh", "name": "m", "skipCreatingInitialPolicies": ["TrafficRoute"]}`); strings.Contains(got, "route-all") || !strings.Contains(got, "allow-all") {
		t.Errorf("one skipped: %s", got)
	}
	if got := list(Initial{}, `{"type": "Mesh", "name": "m"}`); strings.Contains(got, "Traffic") {
		t.Errorf("without routing: %s", got)
	}
	for _, name := range []string{"MeshTimeout", "MeshCircuitBreaker", "MeshRetry"} {
		if catalog.ByName(name) == nil {
			t.Errorf("%s is not in the catalog: new meshes go without it", name)
		}
	}
	want := "MeshTimeout mesh-timeout-all-m.sys, MeshTimeout mesh-gateways-timeout-all-m.sys, MeshCircuitBreaker mesh-circuit-breaker-all-m.sys, MeshRetry mesh-retry-all-m.sys"
	if got := list(Initial{Namespace: "sys"}, `{"type": "Mesh", "name": "m"}`); got != want {
		t.Errorf("on Kubernetes: %s", got)
	}
}
