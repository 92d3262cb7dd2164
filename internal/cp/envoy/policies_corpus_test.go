package envoy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"weft/internal/cp/build"
	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/cp/vip"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

// TestCorpusPolicies compares what proxies get from targetRef policies with what
// 2.10 gave them.
func TestCorpusPolicies(t *testing.T) { playPolicies(t, "policies") }

// TestCorpusLegacy compares what proxies get from the older policies with what
// 2.10 gave them.
func TestCorpusLegacy(t *testing.T) { playPolicies(t, "policies-legacy") }

func playPolicies(t *testing.T, area string) {
	corpus.Play(t, area, "config.", func(t *testing.T, rec *corpus.Case) {
		var c recorded
		rec.Read(t, &c)
		w := led(t, c.Mesh, corpus.Inputs(t, rec.File("input.yaml")))
		w.hide = c.GeneratedAddresses
		for _, p := range c.Proxies {
			file := "config." + p + ".json"
			want := corpus.ReadJSON(t, rec.File(file)).(map[string]any)["xds"]
			rec.Check(t, file, want, w.normalise(configOf(t, c.Mesh, p, view.Metadata{}, w.Tables)))
		}
	})
}

// FuzzPolicyResources takes the spec of any policy through to Envoy's resources.
// What the gate lets in must never make a resource that breaks Envoy's rules.
func FuzzPolicyResources(f *testing.F) {
	files, _ := filepath.Glob("../../../../shared/compat/policies*/*/input.yaml")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		d := yaml.NewDecoder(bytes.NewReader(b))
		for {
			var doc struct {
				Type string
				Spec any
			}
			if err := d.Decode(&doc); err != nil {
				break
			}
			for i, p := range catalog.Policies {
				if spec, err := json.Marshal(doc.Spec); p.Kind.Name == doc.Type && err == nil {
					f.Add(i, string(spec))
				}
			}
		}
	}
	objects := fuzzObjects(f)
	f.Fuzz(func(t *testing.T, kind int, spec string) {
		if kind < 0 || kind >= len(catalog.Policies) || len(spec) > 1<<16 {
			return
		}
		k := catalog.Policies[kind].Kind
		o, err := k.Decode([]byte(fmt.Sprintf(`{"type":%q,"mesh":"m","name":"p","spec":%s}`, k.Name, spec)))
		if err != nil {
			return
		}
		var v model.Violations
		if k.Validate(o, &v); !v.Empty() {
			return
		}
		for _, p := range catalog.Policies[kind].Patches(o) {
			if envoy.CheckPatch(p.Patch) != nil {
				return
			}
		}
		tables := corpus.NewTables(append(slices.Clone(objects), o)...)
		in, ok := view.NewMesh("m", settings()).Next(tables).For(kinds.Dataplane, "web-1", view.Metadata{WorkDir: "/tmp/dp", IPv6: true})
		if !ok {
			t.Fatal("there is no proxy")
		}
		if _, _, err := envoy.Resources(build.Proxy(in)); err != nil {
			t.Fatal(err)
		}
	})
}

// fuzzObjects are a mesh with a transparent proxy that calls services of all
// protocols.
func fuzzObjects(f testing.TB) []*model.Object {
	docs := []string{
		`{"type":"Mesh","name":"m","mtls":{"enabledBackend":"ca","backends":[{"name":"ca","type":"builtin"}]}}`,
		`{"type":"Dataplane","mesh":"m","name":"web-1","networking":{"address":"10.0.0.1",
			"inbound":[{"name":"main","port":80,"tags":{"kuma.io/service":"web","kuma.io/protocol":"http","version":"v1"}},
				{"name":"raw","port":81,"tags":{"kuma.io/service":"web-raw","kuma.io/protocol":"tcp"}}],
			"transparentProxying":{"redirectPortInbound":15006,"redirectPortOutbound":15001}}}`,
	}
	for i, p := range []string{"http", "http2", "grpc", "tcp", "kafka"} {
		docs = append(docs, fmt.Sprintf(`{"type":"Dataplane","mesh":"m","name":"%s-1","networking":{"address":"10.0.1.%d",
			"inbound":[{"port":8080,"tags":{"kuma.io/service":"%s","kuma.io/protocol":"%s"}}]}}`, p, i+1, p, p))
	}
	names := []string{"api", "db", "web", "rpc"}
	for i, n := range names {
		docs = append(docs, fmt.Sprintf(`{"type":"Dataplane","mesh":"m","name":"%s-x","networking":{"address":"10.0.2.%d",
			"inbound":[{"port":8080,"tags":{"kuma.io/service":"%s","kuma.io/protocol":"http","version":"v1"}}]}}`, n, i+1, n))
	}
	var out []*model.Object
	for _, d := range docs {
		o, err := catalog.Decode([]byte(d))
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, o)
	}
	entries, _ := vip.Entries(corpus.NewTables(out...), "m", "default")
	vips, err := vip.Allocate(nil, entries, netip.MustParsePrefix("240.0.0.0/4"), time.Time{})
	if err != nil {
		f.Fatal(err)
	}
	text, err := vips.Encode()
	if err != nil {
		f.Fatal(err)
	}
	config := kinds.Config.Make("", view.VIPConfigName("m"))
	config.Spec = &kinds.ConfigSpec{Config: text}
	return append(out, config)
}
