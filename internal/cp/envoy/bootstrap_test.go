package envoy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"weft/internal/cp/envoy"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/testkit/corpus"
)

// bootRequest is the body of a recorded request.
type bootRequest struct {
	Mesh, Name, ProxyType, DataplaneToken, DataplaneResource string
	DynamicMetadata                                          map[string]string
	Version                                                  struct {
		KumaDP envoy.DPVersion
		Envoy  envoy.ProxyVersion
	}
	DNSPort, ReadinessPort uint32
	AppProbeProxyDisabled  bool // misnamed: true = on
	OperatingSystem        string
	Features               []string
	Resources              struct{ MaxHeapSizeBytes uint64 }
	Workdir                string
	MetricsResources       struct{ CertPath, KeyPath string }
	SystemCAPath           string
	IPv6Enabled            bool
}

// TestBootstrapCorpus compares bootstrap documents with 2.10's.
func TestBootstrapCorpus(t *testing.T) {
	root := corpus.Root(t, "bootstrap")
	known := corpus.Known(t, "bootstrap")
	n := 0
	for _, name := range corpus.Cases(t, root) {
		dir := filepath.Join(root, name)
		if _, err := os.Stat(filepath.Join(dir, "bootstrap.json")); err != nil {
			continue // refused: the business of package dpserver
		}
		n++
		t.Run(name, func(t *testing.T) {
			doc, err := envoy.Bootstrap(bootParams(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			var got any
			if err := yaml.Unmarshal(doc, &got); err != nil {
				t.Fatal(err)
			}
			got = jsonTree(t, got)
			hideSecrets(got, "")
			hidePorts(got)
			known.Check(t, name, corpus.Compare("bootstrap.json", corpus.ReadJSON(t, filepath.Join(dir, "bootstrap.json")), got))
		})
	}
	if n == 0 {
		t.Fatal("no case has a bootstrap document")
	}
}

// jsonTree turns a tree of YAML into one of JSON.
func jsonTree(t *testing.T, v any) any {
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

// recordedPort stands for the port of the recording control plane.
const recordedPort = 5678

func hidePorts(tree any) {
	switch v := tree.(type) {
	case map[string]any:
		for k, e := range v {
			if e == float64(recordedPort) {
				v[k] = "<port>"
			}
			hidePorts(e)
		}
	case []any:
		for _, e := range v {
			hidePorts(e)
		}
	}
}

// bootParams does for a recorded request what package dpserver does.
func bootParams(t *testing.T, dir string) envoy.BootstrapParams {
	t.Helper()
	var c struct {
		Host string
		Env  map[string]string
	}
	corpus.ReadYAML(t, filepath.Join(dir, "case.yaml"), &c)
	b, err := os.ReadFile(filepath.Join(dir, "request.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r bootRequest
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	p := envoy.BootstrapParams{
		Mesh: r.Mesh, Name: r.Name, ProxyType: ir.ProxyType(r.ProxyType), Service: r.ProxyType,
		AdminAddress: "127.0.0.1", AdminPort: 9901, AdminAccessLog: "/dev/null",
		DNSPort: r.DNSPort, ReadinessPort: r.ReadinessPort, AppProbeProxy: r.AppProbeProxyDisabled,
		Resource: r.DataplaneResource, DynamicMetadata: r.DynamicMetadata, KumaDP: r.Version.KumaDP, Envoy: r.Version.Envoy,
		Features: r.Features, WorkDir: r.Workdir, MetricsCert: r.MetricsResources.CertPath, MetricsKey: r.MetricsResources.KeyPath,
		SystemCAPath: r.SystemCAPath, IPv6: r.IPv6Enabled, HDS: true, MaxHeapBytes: r.Resources.MaxHeapSizeBytes,
		Control: envoy.ControlPlane{Host: "localhost", Port: recordedPort, ConnectTimeout: time.Second, CA: []byte("ca"), Token: r.DataplaneToken},
	}
	if c.Host != "" {
		p.Control.Host = c.Host
	}
	if r.OperatingSystem == "windows" {
		p.AdminAccessLog = "NUL"
	}
	if c.Env["KUMA_DP_SERVER_HDS_ENABLED"] == "false" { // and further settings of that case
		p.HDS, p.AdminPort, p.Control.ConnectTimeout = false, 29903, 7*time.Second
	}
	switch spec := ownSpec(t, dir, r).(type) {
	case *kinds.DataplaneSpec:
		p.Service, p.BuiltinGateway = spec.IdentifyingService(), spec.IsBuiltinGateway()
		p.AdminPort = spec.AdminPort(p.AdminPort)
	case *kinds.ZoneEgressSpec:
		p.AdminPort = spec.AdminPort(p.AdminPort)
	case *kinds.ZoneIngressSpec:
		p.AdminPort = spec.AdminPort(p.AdminPort)
	}
	return p
}

// ownSpec finds the proxy's object in the request or among the stored ones.
func ownSpec(t *testing.T, dir string, r bootRequest) any {
	t.Helper()
	if r.DataplaneResource != "" {
		o, err := catalog.Decode([]byte(r.DataplaneResource))
		if err != nil {
			t.Fatal(err)
		}
		return o.Spec
	}
	if _, err := os.Stat(filepath.Join(dir, "input.yaml")); err != nil {
		return nil
	}
	for _, o := range corpus.Inputs(t, filepath.Join(dir, "input.yaml")) {
		if o.Meta.Name == r.Name {
			return o.Spec
		}
	}
	return nil
}
