package envoy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weft/internal/cp/build"
	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/testkit/corpus"
	"weft/internal/testkit/envoytest"
)

// refusedByEnvoy are recorded cases that ask for what this Envoy does not take.
var refusedByEnvoy = map[string]string{
	"proxytemplate-modifications": "a filter stands before another terminal one, as written",
	"pt-not-in-config":            "a filter has no type, as written",
	"mal-file-default":            "Envoy opens the log's file, whose folder is not there",
}

// TestEnvoyAccepts has a real Envoy check everything that the recorded cases
// make. It sees the cases one by one, since patches may add resources of one name
// and different content.
func TestEnvoyAccepts(t *testing.T) {
	for _, area := range []string{"config", "policies", "policies-legacy"} {
		t.Run(area, func(t *testing.T) { acceptedByEnvoy(t, area) })
	}
}

func acceptedByEnvoy(t *testing.T, area string) {
	envoytest.Binary(t)
	root := corpus.Root(t, area)
	known := corpus.Known(t, area)
	md := fullNode(t)
	var all []envoytest.Named
	for _, name := range corpus.Cases(t, root) {
		if known.Skips(name) != "" || refusedByEnvoy[name] != "" {
			continue
		}
		var c recorded
		corpus.ReadYAML(t, filepath.Join(root, name, "case.yaml"), &c)
		objects := corpus.Inputs(t, filepath.Join(root, name, "input.yaml"))
		v := view.NewMesh(c.Mesh, settings()).Next(led(t, c.Mesh, objects))
		for _, o := range objects {
			if o.Kind != kinds.Dataplane || o.Meta.Mesh != c.Mesh || o.Meta.Name == "hosted-1" {
				continue // hosted-1 is at a host name, which has to be resolved first
			}
			in, ok := v.For(kinds.Dataplane, o.Meta.Name, md)
			if !ok {
				t.Fatalf("%s: there is no proxy %s", name, o.Meta.Name)
			}
			rs, _, err := envoy.Resources(build.Proxy(in))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, r := range rs {
				all = append(all, envoytest.Named{From: name + "/" + o.Meta.Name, Resource: r})
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("nothing to check")
	}
	envoytest.Validate(t, all)
}

// fullNode is a proxy that has everything, except the Kafka filter, which is not
// in released Envoys.
func fullNode(t *testing.T) view.Metadata {
	cert, key := selfSigned(t)
	return view.Metadata{
		AdminPort: 9901, AdminAddress: "127.0.0.1", DNSPort: 15054, ReadinessPort: 9902, WorkDir: "/tmp/dp", IPv6: true, NoKafka: true,
		AdminCert: &view.AdminCert{CertPEM: cert, KeyPEM: key, CAPEM: cert},
	}
}

func selfSigned(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"kuma-cp"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kd, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kd})
}

// TestEnvoyAcceptsBootstrap has a real Envoy check bootstrap documents of every
// sort of proxy.
func TestEnvoyAcceptsBootstrap(t *testing.T) {
	bin := envoytest.Binary(t)
	ca, _ := selfSigned(t)
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte("t"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(p *envoy.BootstrapParams){
		"sidecar":       func(p *envoy.BootstrapParams) { p.HDS = true; p.Control.Token = "t" },
		"no admin port": func(p *envoy.BootstrapParams) { p.AdminPort = 0 },
		"token secret": func(p *envoy.BootstrapParams) {
			p.Control.Token, p.Control.TokenSecret, p.Control.ReconnectSoon, p.HDS = "t", tokenFile, true, true
		},
		"admin paths": func(p *envoy.BootstrapParams) { p.Features = []string{envoy.FeatureAdminPaths} },
		"token file":  func(p *envoy.BootstrapParams) { p.Control.TokenFile = "/run/token"; p.HDS = true },
		"address":     func(p *envoy.BootstrapParams) { p.Control.Host = "::1" },
		"gateway":     func(p *envoy.BootstrapParams) { p.BuiltinGateway, p.MaxHeapBytes = true, 1<<28 },
		"egress":      func(p *envoy.BootstrapParams) { p.ProxyType, p.Mesh = ir.ZoneEgress, "" },
	} {
		t.Run(name, func(t *testing.T) {
			p := envoy.BootstrapParams{
				Mesh: "default", Name: "web-1", ProxyType: ir.Sidecar, Service: "web",
				AdminAddress: "127.0.0.1", AdminPort: 9901, AdminAccessLog: "/dev/null", WorkDir: "/tmp/dp",
				Control: envoy.ControlPlane{Host: "localhost", Port: 5678, ConnectTimeout: time.Second, CA: ca},
			}
			change(&p)
			doc, err := envoy.Bootstrap(p)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "bootstrap.yaml")
			if err := os.WriteFile(file, doc, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := envoytest.ValidateFile(bin, file); err != nil {
				t.Errorf("%v\n%s", err, doc)
			}
		})
	}
}
