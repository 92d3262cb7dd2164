package dpserver

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

// bootCase is a recorded exchange.
type bootCase struct {
	Title, Accept, Method, Host string
	Env                         map[string]string
}

// TestBootstrapCorpus plays the recorded requests. The documents themselves are
// compared in package envoy; here it is status, type and what stands around them.
func TestBootstrapCorpus(t *testing.T) {
	root := corpus.Root(t, "bootstrap")
	known := corpus.Known(t, "bootstrap")
	for _, name := range corpus.Cases(t, root) {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(root, name)
			var c bootCase
			corpus.ReadYAML(t, filepath.Join(dir, "case.yaml"), &c)
			w := start(t, func(d *Deps) { settings(t, d, c.Env) })
			w.tokens.needs = c.Env["KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE"] == "dpToken"
			if _, err := os.Stat(filepath.Join(dir, "input.yaml")); err == nil {
				for _, o := range corpus.Inputs(t, filepath.Join(dir, "input.yaml")) {
					o.Meta.Version = 0
					w.create(o)
				}
			}
			body, err := os.ReadFile(filepath.Join(dir, "request.json"))
			if err != nil {
				t.Fatal(err)
			}
			res, got := w.post(body, func(r *http.Request) {
				if c.Method != "" {
					r.Method = c.Method
				}
				if c.Accept != "" {
					r.Header.Set("Accept", c.Accept)
				}
				if c.Host != "" {
					r.Host = c.Host + ":5678"
				}
			})
			want := corpus.ReadJSON(t, filepath.Join(dir, "response.json"))
			have := answered(t, dir, res, got)
			if m := want.(map[string]any); m["status"] != float64(200) && m["body"] != "" && len(got) > 0 {
				m["body"], have["body"] = "<text>", "<text>" // the words are ours
			}
			known.Check(t, name, corpus.Compare("response.json", want, have))
		})
	}
}

func settings(t *testing.T, d *Deps, env map[string]string) {
	t.Helper()
	for k, v := range env {
		var err error
		switch k {
		case "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE":
		case "KUMA_DP_SERVER_HDS_ENABLED":
			d.Bootstrap.HDS = v == "true"
		case "KUMA_BOOTSTRAP_SERVER_PARAMS_ADMIN_PORT":
			d.Bootstrap.AdminPort, err = strconv.Atoi(v)
		case "KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_CONNECT_TIMEOUT":
			d.Bootstrap.XDSConnectTimeout, err = time.ParseDuration(v)
		default:
			t.Fatalf("the test does not know setting %s", k)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// answered puts an answer into the recorded form. Words of messages are ours.
func answered(t *testing.T, dir string, res *http.Response, body []byte) map[string]any {
	t.Helper()
	out := map[string]any{"status": float64(res.StatusCode), "contentType": nil, "body": string(body)}
	if ct := res.Header.Get("Content-Type"); ct != "" {
		out["contentType"] = ct
	}
	document := func(text []byte) string {
		var got map[string]any
		if err := yaml.Unmarshal(text, &got); err != nil {
			t.Fatalf("the document is no YAML: %v", err)
		}
		node, _ := got["node"].(map[string]any)
		want := corpus.ReadJSON(t, filepath.Join(dir, "bootstrap.json")).(map[string]any)["node"].(map[string]any)
		if node["id"] != want["id"] || node["cluster"] != want["cluster"] {
			t.Errorf("the document is for %v %v, want %v %v", node["id"], node["cluster"], want["id"], want["cluster"])
		}
		return "<bootstrap.json>"
	}
	switch {
	case res.StatusCode != http.StatusOK:
	case res.Header.Get("Content-Type") == "application/json":
		var r bootResponse
		if err := json.Unmarshal(body, &r); err != nil {
			t.Fatal(err)
		}
		var tree map[string]any
		if err := json.Unmarshal(body, &tree); err != nil {
			t.Fatal(err)
		}
		tree["bootstrap"] = document(r.Bootstrap)
		out["body"] = tree
	default:
		out["body"] = document(body)
	}
	return out
}

func bootBody(t *testing.T, change func(m map[string]any)) []byte {
	t.Helper()
	m := map[string]any{"mesh": "default", "name": "web-1", "proxyType": "dataplane", "version": map[string]any{}}
	change(m)
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBootstrapRefusals(t *testing.T) {
	w := start(t, nil)
	_, o := dataplane("web-1", nil)
	w.create(o)
	other, _ := dataplane("web-2", nil)
	leaf := string(newLeaf(t))
	for name, c := range map[string]struct {
		body   []byte
		status int
		text   string
	}{
		"too large":        {bytes.Repeat([]byte(" "), maxBootstrapBody+1), 413, "larger than"},
		"nothing":          {nil, 400, ""},
		"a list":           {[]byte("[]"), 400, ""},
		"unknown type":     {bootBody(t, func(m map[string]any) { m["proxyType"] = "router" }), 400, "router"},
		"port":             {bootBody(t, func(m map[string]any) { m["dnsPort"] = 70000 }), 400, "dnsPort"},
		"another's object": {bootBody(t, func(m map[string]any) { m["dataplaneResource"] = other }), 422, "web-2"},
		"no object":        {bootBody(t, func(m map[string]any) { m["dataplaneResource"] = "{" }), 422, "dataplaneResource"},
		"CA is no PEM":     {bootBody(t, func(m map[string]any) { m["caCert"] = "hello" }), 400, "no certificate"},
		"CA is broken":     {bootBody(t, func(m map[string]any) { m["caCert"] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" }), 400, "cannot be read"},
		"CA is a leaf":     {bootBody(t, func(m map[string]any) { m["caCert"] = leaf }), 400, "not a certificate authority"},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := w.post(c.body, nil)
			if res.StatusCode != c.status || !strings.Contains(string(body), c.text) || (c.text == "") != (len(body) == 0) {
				t.Errorf("got %d %q, want %d with %q", res.StatusCode, body, c.status, c.text)
			}
		})
	}
	w.flaky.Down()
	if res, body := w.post(bootBody(t, func(map[string]any) {}), nil); res.StatusCode != http.StatusInternalServerError || len(body) != 0 {
		t.Errorf("without a store: %d %q", res.StatusCode, body)
	}
}

// newLeaf returns a certificate that says that it is no authority.
func newLeaf(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestBootstrapAggregates(t *testing.T) {
	conf := func(text string) model.Struct {
		var s model.Struct
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	mesh := &kinds.MeshSpec{Metrics: &kinds.MeshMetrics{EnabledBackend: "p", Backends: []kinds.MetricsBackend{{
		Name: "p", Type: "prometheus", Conf: conf(`{"aggregate":[{"name":"app","port":1,"path":"/m"},{"name":"off","port":2,"enabled":false},{"name":"far","port":3,"address":"10.0.0.9"}]}`),
	}}}}
	d := &kinds.DataplaneSpec{
		Networking: &kinds.DataplaneNetworking{Address: "10.0.0.1"},
		Metrics:    &kinds.MetricsBackend{Type: "prometheus", Conf: conf(`{"aggregate":[{"name":"app","port":8,"path":"/own"}]}`)},
	}
	got := aggregates(mesh, d)
	want := []bootAggregate{{"app", "10.0.0.1", 8, "/own"}, {"far", "10.0.0.9", 3, "/metrics"}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := aggregates(&kinds.MeshSpec{}, d); got != nil {
		t.Errorf("without a backend: %+v", got)
	}
}

func TestOnlyIPv4(t *testing.T) {
	s := &Server{d: Deps{Lookup: func(_ context.Context, _, host string) ([]netip.Addr, error) {
		switch host {
		case "four":
			return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
		case "both":
			return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, nil
		}
		return nil, errors.New("no such host")
	}}}
	for host, want := range map[string]bool{"four": true, "both": false, "unknown": false, "localhost": false, "10.0.0.1": false} {
		if got := s.onlyIPv4(t.Context(), host); got != want {
			t.Errorf("onlyIPv4(%q) = %v", host, got)
		}
	}
}
