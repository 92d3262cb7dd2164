package envoy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weft/internal/cp/admit"
	"weft/internal/cp/build"
	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/testkit/corpus"
)

// settings are those of the recorded control plane.
func settings() view.Settings {
	return view.Settings{
		Zone:          "default",
		InternalCIDRs: []string{"10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "fc00::/7", "fd00::/8", "127.0.0.1/32", "::1/128"},
		DNSDomain:     "mesh", ServiceVIPs: true, ServiceVIPPort: 80,
		Policies: catalog.Policies,
	}
}

// recorded is a case.yaml.
type recorded struct {
	Mesh               string
	Proxies, Get       []string
	Streams            map[string]string
	GeneratedAddresses bool `yaml:"generatedAddresses"`
	Env                map[string]string
}

// TestCorpus compares what proxies get with what 2.10 gave them.
func TestCorpus(t *testing.T) {
	root := corpus.Root(t, "config")
	known := corpus.Known(t, "config")
	equal, total := 0, 0
	for _, name := range corpus.Cases(t, root) {
		t.Run(name, func(t *testing.T) {
			if why := known.Skips(name); why != "" {
				t.Skip("SKIPPED: " + why)
			}
			var c recorded
			corpus.ReadYAML(t, filepath.Join(root, name, "case.yaml"), &c)
			initial := admit.Initial{Routing: c.Env["KUMA_DEFAULTS_CREATE_MESH_ROUTING_RESOURCES"] == "true"}
			w := led(t, c.Mesh, corpus.InputsWith(t, filepath.Join(root, name, "input.yaml"), initial))
			w.hide = c.GeneratedAddresses
			compareServices(t, known, filepath.Join(root, name), c.Get, w)
			for _, p := range c.Proxies {
				compareProxy(t, known, filepath.Join(root, name), c.Mesh, p, "config."+p+".json", view.Metadata{}, w)
			}
			for p, file := range c.Streams {
				if !w.isProxy(c.Mesh, p) {
					t.Logf("%s is a zone proxy, which is a later issue", p)
					continue
				}
				md := node(t, filepath.Join(root, name, file))
				compareProxy(t, known, filepath.Join(root, name), c.Mesh, p, "xds."+p+".json", md, w)
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
			t.Errorf("the difference %s %s does not occur: remove it from differences.yaml", d.Case, d.Path)
		}
	}
}

func compareProxy(t *testing.T, known *corpus.List, dir, mesh, proxy, file string, md view.Metadata, w *leading) {
	t.Helper()
	if m, p, ok := strings.Cut(proxy, "/"); ok {
		mesh, proxy = m, p
	}
	if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
		if _, err := os.Stat(filepath.Join(dir, strings.Replace(file, ".json", ".error.json", 1))); err == nil {
			return // 2.10 failed here
		}
		t.Fatal(err)
	}
	want := corpus.ReadJSON(t, filepath.Join(dir, file))
	got := w.normalise(configOf(t, mesh, proxy, md, w.Tables))
	for _, d := range corpus.Compare(file, want, got) {
		if why := known.Deliberate(filepath.Base(dir), d.Path); why != "" {
			t.Logf("%s: %s", d.Path, why)
			continue
		}
		t.Errorf("%s\n  want %s\n  got  %s", d.Path, d.Want, d.Got)
	}
}

// configOf returns everything that a proxy gets, as a tree, normalised like the
// recorded answers.
func configOf(t *testing.T, mesh, proxy string, md view.Metadata, tables corpus.Tables) any {
	t.Helper()
	v := view.NewMesh(mesh, settings()).Next(tables)
	if md.AdminPort != 0 {
		md.AdminCert = &view.AdminCert{CertPEM: []byte("cert"), KeyPEM: []byte("key"), CAPEM: []byte("ca")}
	}
	in, ok := v.For(kinds.Dataplane, proxy, md)
	if !ok {
		t.Fatalf("there is no proxy %s in mesh %s", proxy, mesh)
	}
	p := build.Proxy(in)
	for _, w := range p.Warnings {
		t.Logf("%s warning: %s %s: %s", proxy, w.Kind, w.Name, w.Message)
	}
	rs, refs, err := envoy.Resources(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs {
		rs = append(rs, envoy.Assignment(ref, v.Endpoints(ref)))
	}
	rs = append(rs, secrets(t, p)...)
	byType, err := envoy.JSON(rs)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(byType)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	hideSecrets(tree, "")
	dropDenied(tree)
	return tree
}

// dropDenied takes away the logs of denials, which 2.10 does not have.
func dropDenied(tree any) {
	switch v := tree.(type) {
	case map[string]any:
		if logs, ok := v["accessLog"].([]any); ok {
			logs = slices.DeleteFunc(logs, func(l any) bool { return l.(map[string]any)["name"] == "denied" })
			if v["accessLog"] = logs; len(logs) == 0 {
				delete(v, "accessLog")
			}
		}
		if shadow, ok := v["shadowRules"].(map[string]any); ok && shadow["action"] == "LOG" {
			delete(v, "shadowRules")
		}
		for _, e := range v {
			dropDenied(e)
		}
	case []any:
		for _, e := range v {
			dropDenied(e)
		}
	}
}

// secrets stands in for the certificates, which have their own clock.
func secrets(t *testing.T, p *ir.Proxy) []*xds.Resource {
	if p.Identity == nil {
		return nil
	}
	id, err := envoy.Identity(p.Identity.Mesh, []byte("cert"), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := envoy.Authority(envoy.CASecret(p.Identity.Mesh), []byte("root"))
	if err != nil {
		t.Fatal(err)
	}
	return []*xds.Resource{id, ca}
}

// hideSecrets replaces the bytes of certificates and keys, as the recording did.
func hideSecrets(tree any, under string) {
	switch v := tree.(type) {
	case map[string]any:
		for k, e := range v {
			if (under == "certificateChain" || under == "privateKey" || under == "trustedCa") && strings.HasPrefix(k, "inline") {
				v[k] = "<secret>"
				continue
			}
			hideSecrets(e, k)
		}
	case []any:
		for _, e := range v {
			hideSecrets(e, under)
		}
	}
}

// node reads the metadata of a recorded stream client.
func node(t *testing.T, file string) view.Metadata {
	t.Helper()
	var f struct {
		Node struct{ Metadata map[string]any }
	}
	corpus.ReadYAML(t, file, &f)
	m := f.Node.Metadata
	text := func(k string) string {
		if m[k] == nil {
			return ""
		}
		return fmt.Sprint(m[k])
	}
	port := func(k string) uint32 {
		if text(k) == "" {
			return 0
		}
		n, err := strconv.ParseUint(text(k), 10, 16)
		if err != nil {
			t.Fatalf("%s: %s: %v", file, k, err)
		}
		return uint32(n)
	}
	return view.Metadata{
		ProxyType: ir.ProxyType(text("dataplane.proxyType")),
		AdminPort: port("dataplane.admin.port"), AdminAddress: text("dataplane.admin.address"),
		DNSPort: port("dataplane.dns.port"), ReadinessPort: port("dataplane.readinessReporter.port"),
		AppProbeProxy: text("dataplane.appProbeProxy.enabled") == "true",
		WorkDir:       text("workdir"), MetricsCert: text("metricsCertPath"), MetricsKey: text("metricsKeyPath"),
		SystemCAPath: text("systemCaPath"), IPv6: text("ipv6Enabled") != "false",
	}
}
