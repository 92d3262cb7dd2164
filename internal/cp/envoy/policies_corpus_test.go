package envoy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	"weft/internal/testkit/envoytest"
)

// TestCorpusPolicies compares what proxies get from targetRef policies with what
// 2.10 gave them.
func TestCorpusPolicies(t *testing.T) {
	root := corpus.Root(t, "policies")
	known := corpus.Known(t, "policies")
	equal, total := 0, 0
	for _, name := range corpus.Cases(t, root) {
		t.Run(name, func(t *testing.T) {
			if why := known.Skips(name); why != "" {
				t.Skip("SKIPPED: " + why)
			}
			var c recorded
			corpus.ReadYAML(t, filepath.Join(root, name, "case.yaml"), &c)
			w := led(t, c.Mesh, corpus.Inputs(t, filepath.Join(root, name, "input.yaml")))
			w.hide = c.GeneratedAddresses
			for _, p := range c.Proxies {
				file := "config." + p + ".json"
				want := corpus.ReadJSON(t, filepath.Join(root, name, file)).(map[string]any)["xds"]
				for _, d := range corpus.Compare(file, want, w.normalise(configOf(t, c.Mesh, p, view.Metadata{}, w.Tables))) {
					if why := known.Deliberate(name, d.Path); why != "" {
						t.Logf("%s: %s", d.Path, why)
						continue
					}
					t.Errorf("%s\n  want %s\n  got  %s", d.Path, d.Want, d.Got)
				}
			}
			total++
			if !t.Failed() {
				equal++
			}
		})
	}
	t.Logf("%d of %d cases equal", equal, total)
	if !t.Failed() {
		for _, d := range known.Unused() {
			if !strings.HasPrefix(d.Path, "config.") {
				continue // of another test
			}
			t.Errorf("the difference %s %s does not occur: remove it from differences.yaml", d.Case, d.Path)
		}
	}
}

// TestEnvoyAcceptsPolicies has a real Envoy check everything that the recorded
// policies make. It sees the cases one by one, since patches may add resources
// of one name and different content.
func TestEnvoyAcceptsPolicies(t *testing.T) {
	envoytest.Binary(t)
	root := corpus.Root(t, "policies")
	known := corpus.Known(t, "policies")
	md := fullNode(t)
	var all []envoytest.Named
	for _, name := range corpus.Cases(t, root) {
		var c recorded
		corpus.ReadYAML(t, filepath.Join(root, name, "case.yaml"), &c)
		if known.Skips(name) != "" || name == "mal-file-default" { // Envoy opens the log's file, whose folder is not there
			continue
		}
		objects := corpus.Inputs(t, filepath.Join(root, name, "input.yaml"))
		v := view.NewMesh(c.Mesh, settings()).Next(led(t, c.Mesh, objects))
		for _, p := range c.Proxies {
			in, ok := v.For(kinds.Dataplane, p, md)
			if !ok {
				t.Fatalf("%s: there is no proxy %s", name, p)
			}
			rs, _, err := envoy.Resources(build.Proxy(in))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, r := range rs {
				all = append(all, envoytest.Named{From: name + "/" + p, Resource: r})
			}
		}
	}
	envoytest.Validate(t, all)
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
