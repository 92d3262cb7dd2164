package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Certificates of twenty seconds are renewed again and again under load, no
// request fails, and no listener or cluster is touched.
func TestMTLSRotation(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.allow("default", "all", "Allow", nil)
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}, expiration: "20s"})
	p := cp.startPair(t, "default")
	p.answers(t)
	lds, cds := p.web.stat(t, "listener_manager.lds.update_success"), p.client.stat(t, "cluster_manager.cds.update_success")
	l := startLoad(t, p.url, 4)
	fresh := startFreshLoad(t, p.url)
	first := cp.awaitCertificates("default", "web-1", "has a certificate", func(*certificates) bool { return true })
	last := cp.awaitCertificates("default", "web-1", "was renewed", func(c *certificates) bool {
		return c.CertificateRegenerations >= first.CertificateRegenerations+1
	})
	if !last.CertificateExpirationTime.After(first.CertificateExpirationTime) {
		t.Errorf("the certificate ends at %s, the one before at %s", last.CertificateExpirationTime, first.CertificateExpirationTime)
	}
	time.Sleep(time.Until(first.CertificateExpirationTime) + 2*time.Second) // what was issued first is of no use any more
	l.verdict(t)
	fresh.verdict(t)
	if n := p.web.stat(t, "listener_manager.lds.update_success"); n != lds {
		t.Errorf("renewal sent listeners: %d updates, before %d", n, lds)
	}
	if n := p.client.stat(t, "cluster_manager.cds.update_success"); n != cds {
		t.Errorf("renewal sent clusters: %d updates, before %d", n, cds)
	}
}

// startFreshLoad calls a URL whose proxies have to shake hands anew often: each
// call is on a connection of its own.
func startFreshLoad(t testing.TB, url string) *load {
	t.Helper()
	return startLoadWith(t, url, 2, &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}})
}

// The authority of a mesh is exchanged under load: with two backends listed, with
// the old one taken away in the same edit, and by other keys under the same name.
// All proxies come to use the new one, the old one is dropped, no request fails.
func TestMTLSSwitchOfAuthority(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.allow("default", "all", "Allow", nil)
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	p := cp.startPair(t, "default")
	p.answers(t)
	names := []string{"web-1", "client"}
	for i := range 4 {
		name := fmt.Sprint("web-", i+2)
		names = append(names, name)
		cp.startDP(t, sidecar{name: name, service: "web", protocol: "http", app: app(t, name)})
	}
	l, fresh := startLoad(t, p.url, 4), startFreshLoad(t, p.url)
	await := func(step string, ok func(*certificates) bool) time.Duration {
		begin := time.Now()
		for _, n := range names {
			cp.awaitCertificates("default", n, step, ok)
		}
		return time.Since(begin)
	}

	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1", "ca-2"}})
	await("trusts both", func(c *certificates) bool {
		return c.IssuedBackend == "ca-1" && slices.Equal(c.SupportedBackends, []string{"ca-1", "ca-2"})
	})
	cp.setMTLS("default", &mtls{enabled: "ca-2", backends: []string{"ca-1", "ca-2"}})
	took := await("uses the other", func(c *certificates) bool {
		return c.IssuedBackend == "ca-2" && slices.Equal(c.SupportedBackends, []string{"ca-1", "ca-2"})
	})
	t.Logf("all use the other authority after %s", took)
	cp.setMTLS("default", &mtls{enabled: "ca-2", backends: []string{"ca-2"}})
	await("has forgotten the first", func(c *certificates) bool { return slices.Equal(c.SupportedBackends, []string{"ca-2"}) })

	cp.setMTLS("default", &mtls{enabled: "ca-3", backends: []string{"ca-3"}})
	took = await("uses and trusts only the third", func(c *certificates) bool {
		return c.IssuedBackend == "ca-3" && slices.Equal(c.SupportedBackends, []string{"ca-3"})
	})
	t.Logf("exchanged in one edit after %s", took)

	before := cp.awaitCertificates("default", "web-1", "is known", func(*certificates) bool { return true })
	cp.replaceBuiltin(t, "default", "ca-3")
	took = await("uses and trusts only the new keys", func(c *certificates) bool {
		return c.IssuedAuthority != before.IssuedAuthority && slices.Equal(c.SupportedAuthorities, []string{c.IssuedAuthority})
	})
	t.Logf("other keys under the same name are in use after %s", took)
	time.Sleep(500 * time.Millisecond)
	l.verdict(t)
	fresh.verdict(t)
	t.Logf("%d requests, none failed", l.ok.Load()+fresh.ok.Load())
}

// replaceBuiltin writes other keys into the Secrets of a builtin authority.
func (cp *controlPlane) replaceBuiltin(t testing.TB, mesh, backend string) {
	t.Helper()
	cert, key := newAuthority(t)
	for part, data := range map[string][]byte{"key": key, "cert": cert} {
		name := mesh + ".ca-builtin-" + part + "-" + backend
		cp.must(http.MethodPut, "/meshes/"+mesh+"/secrets/"+name, map[string]any{
			"type": "Secret", "mesh": mesh, "name": name, "data": base64.StdEncoding.EncodeToString(data),
		})
	}
}

// newAuthority returns the certificate and key of an authority, PEM.
func newAuthority(t testing.TB) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// A provided authority: from Secrets, given inline, and from files, whose change
// under load makes all proxies follow without a failed request.
func TestMTLSProvided(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.allow("default", "all", "Allow", nil)
	provided := func(conf map[string]any) {
		cp.must(http.MethodPut, "/meshes/default", map[string]any{"type": "Mesh", "name": "default", "mtls": map[string]any{
			"enabledBackend": "own", "backends": []any{map[string]any{"name": "own", "type": "provided", "conf": conf}},
		}})
	}
	cert, key := newAuthority(t)
	for name, data := range map[string][]byte{"own-cert": cert, "own-key": key} {
		cp.must(http.MethodPut, "/meshes/default/secrets/"+name, map[string]any{
			"type": "Secret", "mesh": "default", "name": name, "data": base64.StdEncoding.EncodeToString(data),
		})
	}
	provided(map[string]any{"cert": map[string]any{"secret": "own-cert"}, "key": map[string]any{"secret": "own-key"}})
	p := cp.startPair(t, "default")
	p.answers(t)
	first := cp.awaitCertificates("default", "web-1", "has a certificate", func(c *certificates) bool { return c.IssuedBackend == "own" })
	l, fresh := startLoad(t, p.url, 4), startFreshLoad(t, p.url)
	follow := func(what string, before *certificates) (after *certificates) {
		for _, n := range []string{"client", "web-1"} {
			after = cp.awaitCertificates("default", n, what, func(c *certificates) bool {
				return c.IssuedAuthority != before.IssuedAuthority && slices.Equal(c.SupportedAuthorities, []string{c.IssuedAuthority})
			})
		}
		return after
	}

	cert, key = newAuthority(t)
	provided(map[string]any{
		"cert": map[string]any{"inlineString": string(cert)},
		"key":  map[string]any{"inline": base64.StdEncoding.EncodeToString(key)},
	})
	second := follow("uses the inline authority", first)

	dir := t.TempDir()
	files := func() {
		cert, key = newAuthority(t)
		write(t, filepath.Join(dir, "new"), string(key))
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "key.pem")); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "cert.pem"), string(cert))
	}
	files()
	provided(map[string]any{
		"cert": map[string]any{"file": filepath.Join(dir, "cert.pem")}, "key": map[string]any{"file": filepath.Join(dir, "key.pem")},
	})
	third := follow("uses the authority in files", second)
	files()
	follow("uses what is in the files now", third)
	l.verdict(t)
	fresh.verdict(t)
}
