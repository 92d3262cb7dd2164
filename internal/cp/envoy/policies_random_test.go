package envoy_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/build"
	"weft/internal/cp/envoy"
	"weft/internal/cp/view"

	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
	"weft/internal/testkit/corpus"
	"weft/internal/testkit/envoytest"
)

// TestRandomPolicies makes policies at random from their schemas. Of those that
// the gate lets in, alone and several together, none may make a resource that
// breaks Envoy's rules, and none one that a real Envoy refuses. SEED repeats a run.
func TestRandomPolicies(t *testing.T) {
	r := seeded(t)
	b := &batch{t: t, objects: fuzzObjects(t), dir: t.TempDir()}
	valid := map[*model.Kind][]*model.Object{}
	for _, p := range catalog.Policies {
		list := randomPolicies(t, r, p, 30)
		t.Logf("%d of %s", len(list), p.Kind.Name)
		valid[p.Kind] = list
		for some := range slices.Chunk(list, 3) {
			b.add(some)
		}
	}
	for range 8 {
		var mixed []*model.Object
		for _, p := range catalog.Policies {
			for _, i := range r.Perm(len(valid[p.Kind]))[:min(2, len(valid[p.Kind]))] {
				mixed = append(mixed, valid[p.Kind][i])
			}
		}
		b.add(mixed)
	}
	b.validate()
}

// TestRandomOlderPolicies does the same with the older policies, where they make
// the outbounds.
func TestRandomOlderPolicies(t *testing.T) {
	r := seeded(t)
	all, err := catalog.Decode([]byte(routeAll))
	if err != nil {
		t.Fatal(err)
	}
	b := &batch{t: t, objects: append(fuzzObjects(t), all), dir: t.TempDir()}
	var valid [][]*model.Object
	for _, k := range legacy.Kinds() {
		if k == kinds.ProxyTemplate {
			continue // it may break what it likes
		}
		list := randomOlder(t, r, k, 20)
		t.Logf("%d of %s", len(list), k.Name)
		valid = append(valid, list)
		for some := range slices.Chunk(list, 2) {
			b.add(some)
		}
	}
	for range 8 {
		var mixed []*model.Object
		for _, list := range valid {
			mixed = append(mixed, list[r.IntN(len(list))])
		}
		b.add(mixed)
	}
	b.validate()
}

// seeded returns chance that SEED repeats.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// batch collects what a proxy gets of many sets of policies, as Envoy checks
// much at once as quickly as little.
type batch struct {
	t       *testing.T
	objects []*model.Object
	dir     string
	all     []envoytest.Named
}

// add builds the proxy with some policies.
func (b *batch) add(some []*model.Object) {
	b.t.Helper()
	tables := corpus.NewTables(append(slices.Clone(b.objects), some...)...)
	node := view.Metadata{WorkDir: b.dir, IPv6: true, NoKafka: true}
	in, ok := view.NewMesh("m", settings()).Next(tables).For(kinds.Dataplane, "web-1", node)
	if !ok {
		b.t.Fatal("there is no proxy")
	}
	from := describe(b.t, some)
	rs, _, err := envoy.Resources(build.Proxy(in))
	if err != nil {
		b.t.Errorf("%v\n%s", err, from)
	}
	for _, res := range rs {
		b.all = append(b.all, envoytest.Named{From: from, Resource: res})
	}
}

func (b *batch) validate() {
	b.t.Helper()
	if !b.t.Failed() {
		envoytest.Validate(b.t, b.all)
	}
}

// randomOlder returns n older policies that the gate lets in. They select
// everything, so that what is random is what they do.
func randomOlder(t *testing.T, r *rand.Rand, k *model.Kind, n int) []*model.Object {
	t.Helper()
	everyone := []any{map[string]any{"match": map[string]any{model.TagService: "*"}}}
	var out []*model.Object
	for try := 0; len(out) < n && try < 60_000; try++ {
		doc := randomValue(r, k.SpecSchema(), "").(map[string]any)
		for _, ends := range []string{"sources", "destinations", "selectors"} {
			if k.SpecSchema().Properties[ends] != nil {
				doc[ends] = everyone
			}
		}
		if k == legacy.FaultInjection {
			doc["destinations"] = []any{map[string]any{"match": map[string]any{model.TagService: "*", model.TagProtocol: "http"}}}
		}
		doc["type"], doc["mesh"], doc["name"] = k.Name, "m", fmt.Sprintf("p%d", len(out))
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		o, err := k.Decode(text)
		if err != nil {
			continue
		}
		var v model.Violations
		if k.Validate(o, &v); v.Empty() {
			out = append(out, o)
		}
	}
	if len(out) == 0 {
		t.Errorf("no %s made at random is let in", k.Name)
	}
	return out
}

func describe(t *testing.T, objects []*model.Object) string {
	t.Helper()
	out := ""
	for _, o := range objects {
		b, err := json.Marshal(o.Spec)
		if err != nil {
			t.Fatal(err)
		}
		out += "\n" + o.Kind.Name + " " + o.Meta.Name + " " + string(b)
	}
	return out
}

var filePath = regexp.MustCompile(`"path":"/[^"]*"`)

// randomPolicies returns n policies that the gate lets in.
func randomPolicies(t *testing.T, r *rand.Rand, p *policy.Policy, n int) []*model.Object {
	t.Helper()
	var out []*model.Object
	for try := 0; len(out) < n && try < 60_000; try++ {
		spec, err := json.Marshal(randomValue(r, p.Kind.SpecSchema(), ""))
		if err != nil {
			t.Fatal(err)
		}
		if p.Kind.Name == "MeshAccessLog" {
			spec = filePath.ReplaceAll(spec, []byte(`"path":"/dev/null"`)) // which Envoy opens when it checks
		}
		o, err := p.Kind.Decode([]byte(fmt.Sprintf(`{"type":%q,"mesh":"m","name":"p%d","spec":%s}`, p.Kind.Name, len(out), spec)))
		if err != nil {
			continue
		}
		var v model.Violations
		if p.Kind.Validate(o, &v); !v.Empty() {
			continue
		}
		// Patches may break what they like; the gate only checks their values.
		if len(p.Patches(o)) == 0 {
			out = append(out, o)
		}
	}
	if len(out) == 0 && p.Kind.Name != "MeshProxyPatch" {
		t.Errorf("no %s made at random is let in", p.Kind.Name)
	}
	return out
}

// texts are values of strings that mean something somewhere.
var texts = []string{
	"api", "http", "web", "5s", "250ms", "1h", "0s", "100kbps", "3Gbps", "/a", "/", "/a/b", "/tmp/log.txt", "*", "*.example.org",
	"example.org", "10.0.0.1", "10.0.0.0/8", "fd00::1", "http://collector:9411/spans", "https://zipkin/x", "http://agent:8126",
	"collector:4317", "x-header", "retry-after", "5xx", "503", "HttpMethodGet", "[a-z]+", "%START_TIME%", "%KUMA_MESH%", "100%", "%REQ(x)%", "", "ä\n\"",
	"a,b", "v1", "main", "999999h", "1ns", "-1s",
}

// timed are fields that mostly get a duration.
var timed = regexp.MustCompile(`(?i)(interval|timeout|jitter|time|duration)$`)

var durations = []string{"5s", "0.250s", "1h", "0s", "0.000000001s", "999999h"}

var integers = []int{0, 1, 2, 3, 7, 50, 100, 200, 251, 404, 429, 503, 1024, 5670, 8080, 65535, 65536, 5000011, 2147483647, -1}

func randomValue(r *rand.Rand, s *model.Schema, name string) any {
	switch {
	case name == "targetRef" || name == "backendRef":
		return randomRef(r)
	case name == "eventLogPath":
		return "/dev/null" // which Envoy opens when it checks
	case s.IntOrString:
		return []any{0, 1, 50, 100, "0.5", "12.345", "99.9999", 101, "x"}[r.IntN(9)]
	case s.PreserveUnknown:
		return []any{"text", map[string]any{"stringValue": "%KUMA_MESH%"}, map[string]any{"x": 1}, 5}[r.IntN(4)]
	}
	switch s.Type {
	case "object":
		return randomObject(r, s)
	case "array":
		out := []any{}
		for range r.IntN(4) {
			out = append(out, randomValue(r, s.Items, name))
		}
		return out
	case "string":
		if len(s.Enum) > 0 {
			return s.Enum[r.IntN(len(s.Enum))]
		}
		if timed.MatchString(name) && r.IntN(4) > 0 {
			return durations[r.IntN(len(durations))]
		}
		return texts[r.IntN(len(texts))]
	case "boolean":
		return r.IntN(2) == 0
	}
	if len(s.Enum) > 0 {
		n, _ := strconv.Atoi(s.Enum[r.IntN(len(s.Enum))])
		return n
	}
	return integers[r.IntN(len(integers))]
}

func randomObject(r *rand.Rand, s *model.Schema) any {
	out := map[string]any{}
	if s.AdditionalProperties != nil {
		for range r.IntN(3) {
			out[[]string{"version", "kuma.io/service", "a.b"}[r.IntN(3)]] = randomValue(r, s.AdditionalProperties, "")
		}
		return out
	}
	names := make([]string, 0, len(s.Properties))
	for n := range s.Properties {
		names = append(names, n)
	}
	slices.Sort(names) // so that a seed repeats a run
	for _, n := range names {
		if slices.Contains(s.Required, n) || r.IntN(3) > 0 {
			out[n] = randomValue(r, s.Properties[n], n)
		}
	}
	// A type chooses one of several fields: leave the others out, which helps the
	// rest to be let in.
	if r.IntN(2) == 0 && out["from"] != nil && out["rules"] != nil {
		delete(out, "rules")
	}
	return out
}

func randomRef(r *rand.Rand) any {
	return []any{
		map[string]any{"kind": "Mesh"},
		map[string]any{"kind": "Mesh", "proxyTypes": []string{"Sidecar"}},
		map[string]any{"kind": "MeshService", "name": "http"},
		map[string]any{"kind": "MeshService", "name": "tcp"},
		map[string]any{"kind": "MeshSubset", "tags": map[string]string{"version": "v1"}},
		map[string]any{"kind": "MeshServiceSubset", "name": "http", "tags": map[string]string{"version": "v1"}},
		map[string]any{"kind": "Dataplane"},
	}[r.IntN(7)]
}

// TestSplitPolicies: a policy means the same as two that share its items, the
// later items in the stronger one: merging depends on the order alone, not on
// how the items are grouped.
func TestSplitPolicies(t *testing.T) {
	r := seeded(t)
	objects, splits := fuzzObjects(t), 0
	for _, p := range catalog.Policies {
		switch p.Kind.Name {
		case "MeshHTTPRoute":
			continue // of equal rules in one policy the first one holds, of those in two the stronger
		case "MeshTrafficPermission":
			continue // lines about denials name the policy
		case "MeshProxyPatch":
			continue // has no items
		}
		for _, o := range randomPolicies(t, r, p, 80) {
			for _, list := range []string{"to", "from"} {
				weak, strong, ok := split(t, o, list, r)
				if !ok {
					continue
				}
				splits++
				whole, parts := resourcesWith(t, objects, o), resourcesWith(t, objects, weak, strong)
				if d := cmp.Diff(whole, parts); d != "" {
					t.Errorf("%s %s: two policies in place of one (-one +two):\n%.3000s", p.Kind.Name, describe(t, []*model.Object{o}), d)
				}
			}
		}
	}
	if splits < 10 {
		t.Errorf("only %d policies could be split", splits)
	}
}

// split shares the items of a list between two policies; false if there are not
// enough of them.
func split(t *testing.T, o *model.Object, list string, r *rand.Rand) (weak, strong *model.Object, ok bool) {
	t.Helper()
	text, err := json.Marshal(o.Spec)
	if err != nil {
		t.Fatal(err)
	}
	half := func(name string, choose func(items []any) []any) *model.Object {
		var spec map[string]any
		if err := json.Unmarshal(text, &spec); err != nil {
			t.Fatal(err)
		}
		items, _ := spec[list].([]any)
		if ok = len(items) > 1; !ok {
			return nil
		}
		spec[list] = choose(items)
		b, err := json.Marshal(map[string]any{"type": o.Kind.Name, "mesh": "m", "name": name, "spec": spec})
		if err != nil {
			t.Fatal(err)
		}
		part, err := o.Kind.Decode(b)
		if err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		return part
	}
	at := 0
	weak = half("z", func(items []any) []any { at = 1 + r.IntN(len(items)-1); return items[:at] })
	strong = half("a", func(items []any) []any { return items[at:] })
	return weak, strong, ok
}

// resourcesWith returns what a proxy gets with policies, by type and name.
func resourcesWith(t *testing.T, objects []*model.Object, policies ...*model.Object) map[string]string {
	t.Helper()
	tables := corpus.NewTables(append(slices.Clone(objects), policies...)...)
	in, found := view.NewMesh("m", settings()).Next(tables).For(kinds.Dataplane, "web-1", view.Metadata{IPv6: true, NoKafka: true})
	if !found {
		t.Fatal("there is no proxy")
	}
	rs, _, err := envoy.Resources(build.Proxy(in))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, res := range rs {
		out[res.Type.String()+" "+res.Name] = string(res.Body)
	}
	return out
}
