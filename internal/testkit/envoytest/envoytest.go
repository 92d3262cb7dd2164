// Package envoytest lets a real Envoy look at what we make for it: it checks
// resources, and runs as a process that tests can talk to. For tests only.
//
// The binary is taken from the variable WEFT_ENVOY, then bin/envoy at the root
// of the repository, then the PATH. Where there is none, tests are skipped
// loudly, unless the variable REQUIRE names envoy.
package envoytest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weft/internal/cp/envoy"
	"weft/internal/cp/xds"
)

// validateTimeout bounds one check.
const validateTimeout = 60 * time.Second

// Binary returns the path of Envoy, or skips the test.
func Binary(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("WEFT_ENVOY"); p != "" {
		return p
	}
	if root := moduleRoot(); root != "" {
		if p := filepath.Join(root, "bin", "envoy"); executable(p) {
			return p
		}
	}
	if p, err := exec.LookPath("envoy"); err == nil {
		return p
	}
	if strings.Contains(os.Getenv("REQUIRE"), "envoy") {
		t.Fatal("there is no Envoy: run `make build`, or name one in WEFT_ENVOY")
	}
	t.Skip("SKIPPED: there is no Envoy; run `make build`, or name one in WEFT_ENVOY")
	return ""
}

func executable(p string) bool {
	s, err := os.Stat(p)
	return err == nil && s.Mode()&0o111 != 0
}

// moduleRoot returns the folder with go.mod above the working directory.
func moduleRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// Named is a resource with a word on where it comes from.
type Named struct {
	From string
	*xds.Resource
}

// Validate has Envoy check clusters, listeners and secrets, all together. If it
// refuses, each is checked alone and the bad ones are reported.
func Validate(t testing.TB, rs []Named) {
	t.Helper()
	bin := Binary(t)
	rs = distinct(rs)
	together := validate(t, bin, rs, rs)
	if together == nil {
		return
	}
	bad := false
	for _, r := range rs {
		if err := validate(t, bin, []Named{r}, rs); err != nil {
			bad = true
			t.Errorf("Envoy refuses %s %q of %s: %v", r.Type.URL(), r.Name, r.From, err)
		}
	}
	if !bad {
		t.Errorf("Envoy refuses the resources together, but none of them alone: %v", together)
	}
}

// distinct leaves out endpoint lists, which Envoy does not take from a file, and
// resources of equal content.
func distinct(rs []Named) []Named {
	seen := map[xds.Version]bool{}
	var out []Named
	for _, r := range rs {
		if r.Type != xds.Endpoints && !seen[r.Version] {
			seen[r.Version] = true
			out = append(out, r)
		}
	}
	return out
}

// validate checks rs; the clusters of all are known by their names.
func validate(t testing.TB, bin string, rs, all []Named) error {
	t.Helper()
	dir := t.TempDir()
	secrets := filepath.Join(dir, "secrets.json")
	if err := os.WriteFile(secrets, []byte(`{"resources": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := static(rs, all, secrets)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "bootstrap.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return ValidateFile(bin, file)
}

// ValidateFile has Envoy check a bootstrap document.
func ValidateFile(bin, file string) error {
	ctx, cancel := context.WithTimeout(context.Background(), validateTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "--mode", "validate", "--log-level", "error", "-c", file)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, short(out.String()))
	}
	return nil
}

func short(s string) string {
	if len(s) > 2000 {
		return s[:2000] + "…"
	}
	return s
}

// static puts resources into a bootstrap document. They come from different
// proxies, so they get names and ports of their own; beside them there is an
// empty cluster for each name of a cluster, since some listeners ask for it.
// secrets is a file for clusters that Envoy makes before it knows the control
// plane.
func static(rs, all []Named, secrets string) ([]byte, error) {
	b := &bootstrap.Bootstrap{
		Node: &core.Node{Id: "test", Cluster: "test"},
		StaticResources: &bootstrap.Bootstrap_StaticResources{
			Clusters: []*cluster.Cluster{{
				Name: "ads", ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
			}},
		},
		DynamicResources: &bootstrap.Bootstrap_DynamicResources{AdsConfig: &core.ApiConfigSource{
			ApiType: core.ApiConfigSource_GRPC, TransportApiVersion: core.ApiVersion_V3,
			GrpcServices: []*core.GrpcService{{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &core.GrpcService_EnvoyGrpc{ClusterName: "ads"},
			}}},
		}},
	}
	for i, r := range rs {
		m, err := envoy.Decode(r.Resource)
		if err != nil {
			return nil, err
		}
		if c, ok := m.(*cluster.Cluster); ok && c.GetType() != cluster.Cluster_EDS {
			if m, err = secretsFromFile(c, secrets); err != nil {
				return nil, err
			}
		}
		place(b.StaticResources, m, i)
	}
	named := map[string]bool{"ads": true}
	for _, r := range all {
		if r.Type == xds.Cluster && !named[r.Name] {
			named[r.Name] = true
			b.StaticResources.Clusters = append(b.StaticResources.Clusters, &cluster.Cluster{
				Name: r.Name, ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
			})
		}
	}
	return protojson.Marshal(b)
}

// secretsFromFile names a file as the source of a cluster's secrets. Envoy
// crashes on clusters in a file that are made early and want secrets of a stream.
func secretsFromFile(c *cluster.Cluster, file string) (proto.Message, error) {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(c)
	if err != nil {
		return nil, err
	}
	b = regexp.MustCompile(`"ads":\s*\{\s*\}`).ReplaceAll(b, []byte(`"path_config_source":{"path":"`+file+`"}`))
	out := &cluster.Cluster{}
	return out, protojson.Unmarshal(b, out)
}

func place(to *bootstrap.Bootstrap_StaticResources, m proto.Message, i int) {
	switch m := m.(type) {
	case *cluster.Cluster:
		m.Name = fmt.Sprintf("%s#%d", m.Name, i)
		m.AltStatName = ""
		to.Clusters = append(to.Clusters, m)
	case *listener.Listener:
		m.Name = fmt.Sprintf("%s#%d", m.Name, i)
		if a := m.GetAddress().GetSocketAddress(); a != nil {
			a.PortSpecifier = &core.SocketAddress_PortValue{PortValue: uint32(10_000 + i)}
		}
		if a := m.GetAddress().GetPipe(); a != nil {
			a.Path = fmt.Sprintf("%s-%d", a.Path, i)
		}
		to.Listeners = append(to.Listeners, m)
	case *tls.Secret:
		m.Name = fmt.Sprintf("%s#%d", m.Name, i)
		to.Secrets = append(to.Secrets, m)
	}
}
