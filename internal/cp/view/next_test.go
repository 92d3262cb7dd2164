package view_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

func settings() view.Settings {
	return view.Settings{Zone: "z", DNSDomain: "mesh", ServiceVIPs: true, ServiceVIPPort: 80, Policies: catalog.Policies}
}

// world is a set of objects that a random script edits.
type world struct {
	rnd     *rand.Rand
	objects map[model.Key]*model.Object
	clock   time.Time
}

func newWorld(seed uint64) *world {
	return &world{rnd: rand.New(rand.NewPCG(seed, 1)), objects: map[model.Key]*model.Object{}, clock: time.Unix(1e9, 0)}
}

func (w *world) tables() model.Tables {
	var list []*model.Object
	for _, o := range w.objects {
		list = append(list, o)
	}
	return corpus.NewTables(list...)
}

// put stores an object that is written as JSON.
func (w *world) put(doc string) {
	o, err := catalog.Decode([]byte(doc))
	if err != nil {
		panic(fmt.Sprintf("%v\n%s", err, doc))
	}
	w.clock = w.clock.Add(time.Second)
	o.Meta.Created = w.clock
	if old := w.objects[o.Key()]; old != nil {
		o.Meta.Created = old.Meta.Created
	}
	w.objects[o.Key()] = o
}

func (w *world) pick(of ...string) string { return of[w.rnd.IntN(len(of))] }

func (w *world) drop(kind *model.Kind, name string) {
	delete(w.objects, kind.Key("m", name))
}

// edit makes one random change.
func (w *world) edit() {
	service := w.pick("a", "b", "c")
	n := w.rnd.IntN(6)
	switch w.rnd.IntN(20) {
	case 0, 1, 2, 3, 4:
		w.put(w.dataplane(n, service))
	case 5:
		w.drop(kinds.Dataplane, fmt.Sprintf("dp-%d", n))
	case 6:
		w.put(fmt.Sprintf(`{"type": "MeshService", "mesh": "m", "name": "ms-%s", "labels": {"l": "%s"}, "spec": {"state": "Available",
			"selector": {"dataplaneTags": {"kuma.io/service": "%s"}}, "ports": [{"port": 80, "targetPort": 8080, "appProtocol": "%s"}],
			"identities": [{"type": "ServiceTag", "value": "%s"}]}, "status": {"vips": [{"ip": "241.0.0.%d"}]}}`,
			service, w.pick("x", "y"), w.pick("a", "b"), w.pick("http", "tcp"), service, n))
	case 7:
		w.drop(kinds.MeshService, "ms-"+service)
	case 8:
		w.put(fmt.Sprintf(`{"type": "MeshMultiZoneService", "mesh": "m", "name": "mz", "spec": {
			"selector": {"meshService": {"matchLabels": {"l": "%s"}}}, "ports": [{"port": 80}]}}`, w.pick("x", "y")))
	case 9:
		w.put(fmt.Sprintf(`{"type": "ExternalService", "mesh": "m", "name": "es", "tags": {"kuma.io/service": "%s", "kuma.io/protocol": "http"},
			"networking": {"address": "h%d.example.org:443", "tls": {"enabled": %v}}}`, w.pick("out", "c"), n, n%2 == 0))
	case 10:
		w.drop(kinds.ExternalService, "es")
	case 11:
		mtls := w.pick("", `, "mtls": {"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin", "mode": "PERMISSIVE"}]}`)
		w.put(fmt.Sprintf(`{"type": "Mesh", "name": "m", "routing": {"localityAwareLoadBalancing": %v, "zoneEgress": %v}%s}`, n%2 == 0, n%3 == 0 && mtls != "", mtls))
	case 12:
		w.put(fmt.Sprintf(`{"type": "MeshTimeout", "mesh": "m", "name": "mt", "spec": {"targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": "%s"}},
			"to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "%ds"}}]}}`, service, n+1))
	case 13:
		w.put(fmt.Sprintf(`{"type": "MeshExternalService", "mesh": "m", "name": "mes", "labels": {"l": "%s"}, "spec": {"match": {"port": %d},
			"endpoints": [{"address": "h%d.example.org", "port": 443}], "tls": {"enabled": %v}}}`, w.pick("x", "y"), 80+n%2, n, n%2 == 0))
	case 14:
		w.put(fmt.Sprintf(`{"type": "ZoneEgress", "name": "e%d", "zone": "%s", "networking": {"address": "10.1.0.%d", "port": 10002}}`, n%2, w.pick("z", "y", ""), n))
	case 16:
		w.put(fmt.Sprintf(`{"type": "MeshTrafficPermission", "mesh": "m", "name": "mtp-%d", "spec": {"targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": "%s"}},
			"from": [{"targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": "%s"}}, "default": {"action": "%s"}}]}}`, n%2, service, w.pick("a", "b"), w.pick("Allow", "Deny")))
	case 17:
		w.drop(catalog.ByName("MeshTrafficPermission"), fmt.Sprintf("mtp-%d", n%2))
	case 18:
		if _, ok := w.objects[catalog.ByName("TrafficPermission").Key("m", "tp")]; ok {
			w.drop(catalog.ByName("TrafficPermission"), "tp")
			return
		}
		w.put(`{"type": "TrafficPermission", "mesh": "m", "name": "tp", "sources": [{"match": {"kuma.io/service": "*"}}], "destinations": [{"match": {"kuma.io/service": "*"}}]}`)
	case 19:
		w.trust(w.pick("off", "", "a", "b", "c"))
	case 15:
		delete(w.objects, kinds.ZoneEgress.Key("", fmt.Sprint("e", n%2)))
	}
}

// trust says which service of the mesh does not speak TLS yet; "" = all do, "off"
// = nobody knows.
func (w *world) trust(plain string) {
	o := kinds.Config.Make("", kinds.TrustName("m"))
	delete(w.objects, o.Key())
	if plain == "off" {
		return
	}
	t := kinds.MeshTrust{Signer: kinds.CARef{Backend: "ca", ID: w.pick("1", "2")}}
	if plain != "" {
		t.Plain = []string{plain}
	}
	text, err := t.Encode()
	if err != nil {
		panic(err)
	}
	o.Spec = &kinds.ConfigSpec{Config: text}
	w.objects[o.Key()] = o
}

func (w *world) dataplane(n int, service string) string {
	networking := map[string]any{
		"address": fmt.Sprintf("10.0.0.%d", n+1),
		"inbound": []any{map[string]any{
			"port": 8080 + w.rnd.IntN(2), "state": w.pick("Ready", "Ready", "NotReady", "Ignored"),
			"tags": map[string]string{
				"kuma.io/service": service, "kuma.io/protocol": w.pick("http", "tcp", "grpc"), "kuma.io/zone": w.pick("z", "z", "y"), "v": w.pick("1", "2"),
			},
		}},
	}
	switch w.rnd.IntN(3) {
	case 0:
		networking["outbound"] = []any{
			map[string]any{"port": 1, "tags": map[string]string{"kuma.io/service": w.pick("a", "b", "out", "nobody")}},
			map[string]any{"port": 2, "tags": map[string]string{"kuma.io/service": w.pick("a", "b"), "v": "1"}},
			map[string]any{"port": 3, "backendRef": map[string]any{"kind": "MeshService", "name": "ms-" + w.pick("a", "b"), "port": 80}},
		}
	case 1:
		t := map[string]any{"redirectPortInbound": 15006, "redirectPortOutbound": 15001}
		switch w.rnd.IntN(3) {
		case 0:
			t["directAccessServices"] = []string{w.pick("*", "a")}
		case 1:
			t["reachableServices"] = []string{w.pick("a", "b")}
		}
		networking["transparentProxying"] = t
	}
	b, err := json.Marshal(map[string]any{"type": "Dataplane", "mesh": "m", "name": fmt.Sprintf("dp-%d", n), "networking": networking})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// dests are all destinations that the script can make.
func dests() []ir.DestKey {
	var out []ir.DestKey
	for _, s := range []string{"a", "b", "c", "out"} {
		out = append(out, ir.DestKey{Mesh: "m", Name: s}, ir.DestKey{Kind: "MeshService", Mesh: "m", Name: "ms-" + s, Section: "80"})
	}
	for _, s := range []string{"c", "out"} {
		out = append(out, ir.DestKey{Kind: "ExternalService", Mesh: "m", Name: s})
	}
	return append(out, ir.DestKey{Kind: "MeshMultiZoneService", Mesh: "m", Name: "mz", Section: "80"},
		ir.DestKey{Kind: "MeshExternalService", Mesh: "m", Name: "mes", Section: "80"})
}

// TestNextEqualsColdStart edits at random and requires that the view which grew
// step by step is like one made at once, and that what it says about changes holds.
func TestNextEqualsColdStart(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(seed)
			set := settings()
			set.AutoReachable = seed%2 == 1
			w.put(`{"type": "Mesh", "name": "m"}`)
			warm := view.NewMesh("m", set).Next(w.tables())
			for range 60 {
				for range 1 + w.rnd.IntN(3) {
					w.edit()
				}
				tables := w.tables()
				next := warm.Next(tables)
				cold := view.NewMesh("m", set).Next(tables)
				sameViews(t, w, next, cold)
				checkChanges(t, w, warm, next)
				if again := next.Next(w.tables()); again != next {
					t.Fatal("Next without a change made another view")
				}
				warm = next
			}
		})
	}
}

func fingerprints(w *world, m *view.Mesh) map[string]model.Hash {
	out := map[string]model.Hash{}
	for k := range w.objects {
		if k.Kind != kinds.Dataplane.Name {
			continue
		}
		if in, ok := m.For(kinds.Dataplane, k.Name, view.Metadata{}); ok {
			out[k.Name] = in.Fingerprint()
		}
	}
	return out
}

func sameViews(t *testing.T, w *world, next, cold *view.Mesh) {
	t.Helper()
	if next.ConfigHash() != cold.ConfigHash() {
		t.Fatal("the hash of the configuration differs from that of a cold start")
	}
	hidden := cmpopts.IgnoreUnexported(view.Reached{}, view.Destination{})
	if d := cmp.Diff(cold.Reached(), next.Reached(), hidden); d != "" || next.ReachedHash() != cold.ReachedHash() {
		t.Fatalf("what egresses reach differs from a cold start (-cold +next):\n%s", d)
	}
	if d := cmp.Diff(fingerprints(w, cold), fingerprints(w, next)); d != "" {
		t.Fatalf("fingerprints differ from those of a cold start (-cold +next):\n%s", d)
	}
	for _, k := range dests() {
		if next.EndpointsHash(k) != cold.EndpointsHash(k) {
			t.Fatalf("endpoints of %v differ from those of a cold start", k)
		}
		for _, subset := range []string{"", "v=1"} {
			ref := ir.EndpointsRef{Name: "x", Dest: k, Subset: subset}
			if d := cmp.Diff(cold.Endpoints(ref), next.Endpoints(ref)); d != "" {
				t.Fatalf("endpoints of %v differ from those of a cold start (-cold +next):\n%s", ref, d)
			}
		}
	}
}

// checkChanges requires that ChangedEndpoints names exactly what differs, and
// that an equal ConfigHash means that no proxy differs whose object is the same.
func checkChanges(t *testing.T, w *world, before, now *view.Mesh) {
	t.Helper()
	changed := now.ChangedEndpoints(before)
	for _, k := range dests() {
		if differs := now.EndpointsHash(k) != before.EndpointsHash(k); differs != slices.Contains(changed, k) {
			t.Fatalf("endpoints of %v: differ %v, reported as changed %v", k, differs, !differs)
		}
	}
	if now.ReachedHash() == before.ReachedHash() && !cmp.Equal(now.Reached(), before.Reached(), cmpopts.IgnoreUnexported(view.Reached{}, view.Destination{})) {
		t.Fatal("egresses reach something else though the hash says no")
	}
	if now.ConfigHash() != before.ConfigHash() {
		return
	}
	for name := range fingerprints(w, now) {
		a, okA := before.For(kinds.Dataplane, name, view.Metadata{})
		b, okB := now.For(kinds.Dataplane, name, view.Metadata{})
		if okA && okB && a.Own.Hash == b.Own.Hash && a.Fingerprint() != b.Fingerprint() {
			t.Fatalf("%s has other inputs though neither the configuration nor its own object changed", name)
		}
	}
}

// TestEndpointsWakeNobody checks the promise that lets a thousand proxies sleep
// while pods come and go.
func TestEndpointsWakeNobody(t *testing.T) {
	w := newWorld(1)
	w.put(`{"type": "Mesh", "name": "m"}`)
	dp := func(n int, state string) string {
		return fmt.Sprintf(`{"type": "Dataplane", "mesh": "m", "name": "a-%d", "networking": {"address": "10.0.1.%d",
			"inbound": [{"port": 80, "state": "%s", "tags": {"kuma.io/service": "a", "kuma.io/protocol": "http"}}]}}`, n, n, state)
	}
	w.put(dp(1, "Ready"))
	w.put(dp(2, "Ready"))
	w.put(`{"type": "Dataplane", "mesh": "m", "name": "client", "networking": {"address": "10.0.2.1",
		"inbound": [{"port": 80, "tags": {"kuma.io/service": "client"}}], "outbound": [{"port": 1, "tags": {"kuma.io/service": "a"}}]}}`)
	before := view.NewMesh("m", settings()).Next(w.tables())
	in, ok := before.For(kinds.Dataplane, "client", view.Metadata{})
	if !ok {
		t.Fatal("there is no client")
	}
	for name, change := range map[string]func(){
		"another endpoint":   func() { w.put(dp(3, "Ready")) },
		"one not ready":      func() { w.put(dp(2, "NotReady")) },
		"an endpoint leaves": func() { w.drop(kinds.Dataplane, "a-2") },
	} {
		t.Run(name, func(t *testing.T) {
			change()
			now := before.Next(w.tables())
			if now.ConfigHash() != before.ConfigHash() {
				t.Error("the configuration of the mesh counts as changed")
			}
			after, _ := now.For(kinds.Dataplane, "client", view.Metadata{})
			if after.Fingerprint() != in.Fingerprint() {
				t.Error("the client has other inputs")
			}
			if got := now.ChangedEndpoints(before); len(got) != 1 || got[0].Name != "a" {
				t.Errorf("changed endpoints are %v; only those of a did change", got)
			}
		})
	}
}

// TestUnrelatedChangesWakeNobody: a proxy that lists its outbounds does not
// depend on other destinations.
func TestUnrelatedChangesWakeNobody(t *testing.T) {
	w := newWorld(1)
	w.put(`{"type": "Mesh", "name": "m"}`)
	w.put(`{"type": "Dataplane", "mesh": "m", "name": "client", "networking": {"address": "10.0.2.1",
		"inbound": [{"port": 80, "tags": {"kuma.io/service": "client"}}], "outbound": [{"port": 1, "tags": {"kuma.io/service": "a"}}]}}`)
	before := view.NewMesh("m", settings()).Next(w.tables())
	w.put(`{"type": "Dataplane", "mesh": "m", "name": "b-1", "networking": {"address": "10.0.1.1",
		"inbound": [{"port": 80, "tags": {"kuma.io/service": "b"}}]}}`)
	now := before.Next(w.tables())
	if now.ConfigHash() == before.ConfigHash() {
		t.Error("a new service does not count as a change of the mesh")
	}
	a, _ := before.For(kinds.Dataplane, "client", view.Metadata{})
	b, _ := now.For(kinds.Dataplane, "client", view.Metadata{})
	if a.Fingerprint() != b.Fingerprint() {
		t.Error("the client has other inputs")
	}
}

// TestWhoSpeaksTLS: services count as ready for TLS by what the mesh's trust tells,
// and a step towards another authority alone changes nothing for anybody.
func TestWhoSpeaksTLS(t *testing.T) {
	w := newWorld(1)
	w.put(`{"type": "Mesh", "name": "m", "mtls": {"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin", "mode": "PERMISSIVE"}]}}`)
	for i, s := range []string{"a", "b"} {
		w.put(fmt.Sprintf(`{"type": "Dataplane", "mesh": "m", "name": "%s-1", "networking": {"address": "10.0.1.%d",
			"inbound": [{"port": 80, "tags": {"kuma.io/service": "%s", "kuma.io/protocol": "http"}}]}}`, s, i, s))
		w.put(fmt.Sprintf(`{"type": "MeshService", "mesh": "m", "name": "ms-%s", "spec": {"state": "Available",
			"selector": {"dataplaneTags": {"kuma.io/service": "%s"}}, "ports": [{"port": 80}]}}`, s, s))
	}
	w.put(`{"type": "Dataplane", "mesh": "m", "name": "client", "networking": {"address": "10.0.2.1", "inbound": [{"port": 80, "tags": {"kuma.io/service": "client"}}],
		"outbound": [{"port": 1, "tags": {"kuma.io/service": "a"}}, {"port": 2, "tags": {"kuma.io/service": "b"}},
		{"port": 3, "backendRef": {"kind": "MeshService", "name": "ms-a", "port": 80}}, {"port": 4, "backendRef": {"kind": "MeshService", "name": "ms-b", "port": 80}}]}}`)
	v := view.NewMesh("m", settings())
	ready := func() (out []string) {
		v = v.Next(w.tables())
		in, ok := v.For(kinds.Dataplane, "client", view.Metadata{})
		if !ok {
			t.Fatal("there is no client")
		}
		for _, o := range in.Outbounds.List() {
			if o.Dest.TLSReady {
				out = append(out, o.Dest.Name)
			}
		}
		return out
	}
	check := func(when string, want ...string) {
		t.Helper()
		if d := cmp.Diff(want, ready()); d != "" {
			t.Errorf("%s, ready for TLS are (-want +got):\n%s", when, d)
		}
	}
	check("at first")
	w.trust("b")
	check("while b has proxies from before", "a", "ms-a")
	w.trust("")
	check("later", "a", "b", "ms-a", "ms-b")
	before := v
	w.objects[kinds.Config.Key("", kinds.TrustName("m"))].Spec = &kinds.ConfigSpec{Config: `{"signer": {"backend": "other", "id": "9"}}`}
	check("with another signer", "a", "b", "ms-a", "ms-b")
	if v.ConfigHash() != before.ConfigHash() {
		t.Error("another signer counts as a change of the configuration")
	}
	w.trust("off")
	check("at the end")
}
