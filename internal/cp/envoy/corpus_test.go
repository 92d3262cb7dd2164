package envoy_test

import (
	"encoding/json"
	"fmt"
	"os"
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
	corpus.Play(t, "config", "", func(t *testing.T, rec *corpus.Case) {
		var c recorded
		rec.Read(t, &c)
		initial := admit.Initial{Routing: c.Env["KUMA_DEFAULTS_CREATE_MESH_ROUTING_RESOURCES"] == "true"}
		w := led(t, c.Mesh, corpus.InputsWith(t, rec.File("input.yaml"), initial))
		w.hide = c.GeneratedAddresses
		compareServices(t, rec, c.Get, w)
		for _, p := range c.Proxies {
			compareProxy(t, rec, c.Mesh, p, "config."+p+".json", view.Metadata{}, w)
		}
		for p, file := range c.Streams {
			compareProxy(t, rec, c.Mesh, p, "xds."+p+".json", node(t, rec.File(file)), w)
		}
	})
}

func compareProxy(t *testing.T, rec *corpus.Case, mesh, proxy, file string, md view.Metadata, w *leading) {
	t.Helper()
	if m, p, ok := strings.Cut(proxy, "/"); ok {
		mesh, proxy = m, p
	}
	if _, err := os.Stat(rec.File(file)); err != nil {
		if _, err := os.Stat(rec.File(strings.Replace(file, ".json", ".error.json", 1))); err == nil {
			return // 2.10 failed here
		}
		t.Fatal(err)
	}
	rec.Check(t, file, corpus.ReadJSON(t, rec.File(file)), w.normalise(configOf(t, mesh, proxy, md, w.Tables)))
}

// configOf returns everything that a proxy gets, as a tree, normalised like the
// recorded answers.
func configOf(t *testing.T, mesh, proxy string, md view.Metadata, tables corpus.Tables) any {
	t.Helper()
	s := settings()
	v := view.NewMesh(mesh, s).Next(tables)
	if md.AdminPort != 0 {
		md.AdminCert = &view.AdminCert{CertPEM: []byte("cert"), KeyPEM: []byte("key"), CAPEM: []byte("ca")}
	}
	var in view.Subject
	in, ok := v.For(kinds.Dataplane, proxy, md)
	if md.ProxyType == ir.ZoneEgress {
		in, ok = view.Egress(tables, []*view.Mesh{v}, proxy, md, &s)
	}
	if !ok {
		t.Fatalf("there is no proxy %s in mesh %s", proxy, mesh)
	}
	p := build.Of(in)
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

// dropDenied takes away the logs of denials, and that servers may speak first where
// plain text is accepted too; 2.10 has neither.
func dropDenied(tree any) {
	switch v := tree.(type) {
	case map[string]any:
		if v["continueOnListenerFiltersTimeout"] == true && v["trafficDirection"] == "INBOUND" {
			delete(v, "continueOnListenerFiltersTimeout")
			delete(v, "listenerFiltersTimeout")
		}
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
	var out []*xds.Resource
	for _, need := range p.Identities {
		id, err := envoy.Identity(need.Mesh, []byte("cert"), []byte("key"))
		if err != nil {
			t.Fatal(err)
		}
		ca, err := envoy.Authority(envoy.CASecret(need.Mesh), []byte("root"))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, id, ca)
	}
	return out
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
