package kinds

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/model"
)

// violationsOf decodes, defaults and validates a document and returns the paths of
// what is wrong.
func violationsOf(t *testing.T, k *model.Kind, doc string) []string {
	t.Helper()
	o, err := k.Decode([]byte(doc))
	var malformed *model.Malformed
	if errors.As(err, &malformed) {
		return []string{"malformed: " + malformed.Field}
	}
	if err != nil {
		t.Fatal(err)
	}
	if k.Default != nil {
		k.Default(o)
	}
	var v model.Violations
	k.Validate(o, &v)
	var out []string
	for _, x := range v.List() {
		if x.Message == "" || strings.Contains(x.Message, "%!") {
			t.Errorf("%s: bad message %q", x.Field, x.Message)
		}
		out = append(out, x.Field)
	}
	return out
}

// doc wraps the fields of a spec.
func doc(kind, fields string) string {
	return `{"type": "` + kind + `", "mesh": "default", "name": "x", ` + fields + `}`
}

func TestValidateMesh(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{`"mtls": {"backends": [{"name": "a", "type": "builtin"}]}`, nil},
		{`"mtls": {"enabledBackend": "a"}`, []string{"mtls.enabledBackend"}},
		{`"mtls": {"enabledBackend": "a", "backends": [{"name": "a"}, {"name": "b"}]}`, nil},
		{`"mtls": {"backends": [` + strings.Repeat(`{"name": "a"},`, maxCAs) + `{"name": "b"}]}`, []string{"mtls.backends"}},
		{`"mtls": {"backends": [{"name": "a", "dpCert": {"rotation": {"expiration": "1h30m"}}}]}`, []string{"mtls.dpcert.rotation.expiration"}},
		{`"mtls": {"backends": [{"name": "a", "dpCert": {"rotation": {"expiration": "1d"}, "requestTimeout": "5s"}}]}`, nil},
		{`"mtls": {"backends": [{"mode": "LAX"}]}`, []string{"malformed: mtls.backends[0].mode"}},
		{`"routing": {"zoneEgress": true}`, []string{"mtls"}},
		{`"routing": {"zone_egress": true}, "mtls": {"enabledBackend": "a", "backends": [{"name": "a", "type": "builtin"}]}`, nil},
		{`"logging": {"backends": [{"name": "a", "type": "file"}]}`, []string{"logging.backends[0].config.path"}},
		{`"logging": {"backends": [{"name": "a", "type": "tcp", "conf": {"address": "h:1"}}], "defaultBackend": "a"}`, nil},
		{`"logging": {"backends": [{"name": "a", "type": "tcp", "conf": {"address": ":1"}}, {"name": "a", "type": "tcp", "conf": {"address": "h:70000"}}]}`,
			[]string{"logging.backends[0].config.address", "logging.backends[1].name", "logging.backends[1].config.address"}},
		{`"logging": {"backends": [{"name": "a", "type": "tcp", "conf": {"address": 1}}]}`, []string{"logging.backends[0].config"}},
		{`"tracing": {"backends": [{"name": "z", "type": "zipkin", "sampling": -0.1, "conf": {"url": "http://z/api"}}]}`,
			[]string{"tracing.backends[0].sampling", "tracing.backends[0].config.url"}},
		{`"tracing": {"backends": [{"name": "z", "type": "zipkin", "conf": {"url": "http://z:9411/api", "api_version": "httpProto"}}]}`, nil},
		{`"tracing": {"backends": [{"name": "z", "type": "datadog", "conf": {"address": "d", "port": 8126}}]}`, nil},
		{`"metrics": {"backends": [{"name": "p", "type": "prometheus", "conf": {"port": 70000, "envoy": {"filterRegex": "("}, "aggregate": [{"name": "a"}, {"name": "a"}]}}]}`,
			[]string{"metrics.backends[0].conf.port", "metrics.backends[0].conf.envoy.filterRegex", "metrics.backends[0].conf.aggregate[1].name"}},
		{`"metrics": {"backends": [{"name": "p", "type": "prometheus", "conf": {"skipMTLS": false, "tls": {"mode": "disabled"}}}]}`, []string{"metrics.backends[0].conf"}},
		{`"metrics": {"backends": [{"name": "p", "type": "prometheus", "conf": {"skipMTLS": true, "tls": {"mode": "providedTLS"}}}]}`, nil},
		{`"metrics": {"backends": [{"name": "p", "type": "prometheus", "conf": {"tags": [1]}}]}`, []string{"metrics.backends[0].conf"}},
		{`"constraints": {"dataplaneProxy": {"requirements": [{"tags": {"a": "*", "b": ""}}], "restrictions": [{}]}}`,
			[]string{`constraints.dataplaneProxy.requirements[0].tags["b"]`, "constraints.dataplaneProxy.restrictions[0].tags"}},
		{`"meshServices": {"mode": 3}`, nil},
	} {
		if diff := cmp.Diff(c.want, violationsOf(t, Mesh, doc("Mesh", c.in))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.in, diff)
		}
	}
}

func TestMeshDefaults(t *testing.T) {
	for in, want := range map[string]string{
		`{}`:                   `{"port":5670,"path":"/metrics","tags":{"kuma.io/service":"dataplane-metrics"},"tls":{}}`,
		`{"skipMTLS": true}`:   `{"port":5670,"path":"/metrics","tags":{"kuma.io/service":"dataplane-metrics"},"skipMTLS":true,"tls":{"mode":"disabled"}}`,
		`{"skipMTLS": false}`:  `{"port":5670,"path":"/metrics","tags":{"kuma.io/service":"dataplane-metrics"},"skipMTLS":false,"tls":{}}`,
		`{"skip_mTLS": false}`: `{"port":5670,"path":"/metrics","tags":{"kuma.io/service":"dataplane-metrics"},"skipMTLS":false,"tls":{}}`,
		`{"port": 1, "path": "/p", "tags": {"a": "b"}, "skipMTLS": true, "tls": {"mode": "providedTLS"}}`: `{"port":1,"path":"/p","tags":{"a":"b"},"tls":{"mode":"providedTLS"}}`,
	} {
		o, err := Mesh.Decode([]byte(doc("Mesh", `"metrics": {"backends": [{"name": "p", "type": "prometheus", "conf": `+in+`}]}`)))
		if err != nil {
			t.Fatal(err)
		}
		before := model.Spec[MeshSpec](o).Metrics
		untouched := model.HashJSON(before)
		Mesh.Default(o)
		if model.HashJSON(before) != untouched {
			t.Error("Default wrote through a shared part")
		}
		var got, wantConf any
		b, err := json.Marshal(model.Spec[MeshSpec](o).Metrics.Backends[0].Conf)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(json.Unmarshal(b, &got), json.Unmarshal([]byte(want), &wantConf)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantConf, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
}

func TestPrometheusOver(t *testing.T) {
	yes, no := true, false
	base := PrometheusConf{Port: 1, Path: "/a", Tags: map[string]string{"x": "1"}, Aggregate: []PrometheusAggregate{{Name: "a", Port: 1}, {Name: "b"}}, SkipMTLS: &yes}
	got := base.Over(PrometheusConf{Port: 2, Tags: map[string]string{"y": "2"}, Aggregate: []PrometheusAggregate{{Name: "a", Port: 9}, {Name: "c"}}, SkipMTLS: &no})
	want := PrometheusConf{Port: 2, Path: "/a", Tags: map[string]string{"x": "1", "y": "2"}, Aggregate: []PrometheusAggregate{{Name: "a", Port: 9}, {Name: "b"}, {Name: "c"}}, SkipMTLS: &no}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if base.Aggregate[0].Port != 1 || len(base.Tags) != 1 {
		t.Error("the base was changed")
	}
}

func TestParseLifetime(t *testing.T) {
	for in, want := range map[string]time.Duration{"0": 0, "1ms": time.Millisecond, "30d": 720 * time.Hour, "1y": 8760 * time.Hour, "2w": 336 * time.Hour, "292y": 292 * 8760 * time.Hour} {
		if got, err := ParseLifetime(in); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "1", "h", "1h30m", "-1h", "1.5h", "293y", "99999999999999999999h", "1h\n", " 1h"} {
		if got, err := ParseLifetime(in); err == nil {
			t.Errorf("%q: got %v, want an error", in, got)
		}
	}
}

// caPEM makes a certificate and key; change adapts the template.
func caPEM(t *testing.T, change func(c *x509.Certificate)) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})
}

func TestCheckCAs(t *testing.T) {
	good, goodKey := caPEM(t, func(*x509.Certificate) {})
	leaf, leafKey := caPEM(t, func(c *x509.Certificate) { c.IsCA = false; c.KeyUsage = x509.KeyUsageKeyAgreement })
	data := map[string][]byte{"good": good, "goodKey": goodKey, "leaf": leaf, "leafKey": leafKey}
	load := func(s *DataSource) ([]byte, error) {
		if b, ok := s.Literal(); ok {
			return b, nil
		}
		if b, ok := data[s.SecretName()]; ok {
			return b, nil
		}
		return nil, errors.New("not there")
	}
	for _, c := range []struct {
		in   string
		want []string
	}{
		{`{"name": "a", "type": "builtin"}`, nil},
		{`{"name": "A", "type": "builtin"}`, []string{"mtls.backends[0].conf.mtls.backends.name"}},
		{`{"name": "` + strings.Repeat("a", 250) + `", "type": "builtin"}`, []string{"mtls.backends[0].conf.mtls.backends.name"}},
		{`{"name": "a", "type": "builtin", "conf": {"caCert": {"RSAbits": 4096, "expiration": "1y"}}}`, nil},
		{`{"name": "a", "type": "builtin", "conf": {"caCert": {"RSAbits": 1000000, "expiration": "soon"}}}`,
			[]string{"mtls.backends[0].conf.caCert.RSAbits", "mtls.backends[0].conf.caCert.expiration"}},
		{`{"name": "a", "type": "builtin", "conf": {"caCert": 1}}`, []string{"mtls.backends[0].conf"}},
		{`{"name": "a", "type": "moon"}`, []string{"mtls.backends[0].type"}},
		{`{"name": "a", "type": "provided", "conf": {"cert": {"secret": "good"}, "key": {"secret": "goodKey"}}}`, nil},
		{`{"name": "a", "type": "provided", "conf": {"cert": {"secret": "good"}, "key": {"secret": "leafKey"}}}`, []string{"mtls.backends[0].conf.cert"}},
		{`{"name": "a", "type": "provided", "conf": {"cert": {"secret": "leaf"}, "key": {"secret": "leafKey"}}}`,
			[]string{"mtls.backends[0].conf.cert[0]", "mtls.backends[0].conf.cert[0]", "mtls.backends[0].conf.cert[0]"}},
		{`{"name": "a", "type": "provided", "conf": {"cert": {"secret": "good", "file": "/x"}, "key": {"inline": ""}}}`,
			[]string{"mtls.backends[0].conf.cert", "mtls.backends[0].conf.key.inline"}},
	} {
		o, err := Mesh.Decode([]byte(doc("Mesh", `"mtls": {"backends": [`+c.in+`]}`)))
		if err != nil {
			t.Fatal(err)
		}
		var v model.Violations
		model.Spec[MeshSpec](o).CheckCAs("m", load, &v)
		var got []string
		for _, x := range v.List() {
			got = append(got, x.Field)
			if strings.Contains(x.Message, "PRIVATE KEY") {
				t.Errorf("a key is in the message %q", x.Message)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.in, diff)
		}
		model.Spec[MeshSpec](o).MTLS.SkipValidation = true
		var skipped model.Violations
		model.Spec[MeshSpec](o).CheckCAs("m", load, &skipped)
		if unknown := slices.Contains(got, "mtls.backends[0].type"); skipped.Empty() == unknown {
			t.Errorf("%s: with skipValidation: %v", c.in, skipped.List())
		}
	}
}
