package identity

import (
	"crypto/ecdsa"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

func TestCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.mesh(backend("ca", kinds.CABuiltin))
		p := w.join("web-1", "web")
		rest(time.Minute)
		c := p.leaf()
		if c == nil {
			t.Fatal("there is no certificate")
		}
		var uris []string
		for _, u := range c.URIs {
			uris = append(uris, u.String())
		}
		want := []string{"spiffe://m/web", "kuma://kuma.io/service/web", "kuma://version/1", "kuma://version/2"}
		if d := cmp.Diff(want, uris); d != "" {
			t.Errorf("names (-want +got):\n%s", d)
		}
		if _, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || c.IsCA || len(c.Subject.Names) != 0 || c.SerialNumber.Sign() <= 0 {
			t.Errorf("key %T, CA %v, subject %v, serial %v", c.PublicKey, c.IsCA, c.Subject, c.SerialNumber)
		}
		if life := c.NotAfter.Sub(c.NotBefore); life != 24*time.Hour+leeway {
			t.Errorf("valid for %s", life)
		}
		root := p.roots()
		if len(root) != 1 || !root[0].IsCA || root[0].Subject.String() != "CN=m,OU=Mesh,O=Kuma" || root[0].URIs[0].String() != "spiffe://m" {
			t.Errorf("roots %v", root)
		}
		everybody(t, "at the beginning", p)
		m := p.mtls()
		if m == nil || m.IssuedBackend != "ca" || !slices.Equal(m.SupportedBackends, []string{"ca"}) || m.CertificateRegenerations != 1 ||
			!m.CertificateExpirationTime.Equal(c.NotAfter) {
			t.Errorf("the API tells %+v", m)
		}
	})
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ca := backend("ca", kinds.CABuiltin)
		ca.DPCert = &kinds.DPCert{Rotation: &kinds.CertRotation{Expiration: "1h"}}
		w.mesh(ca)
		p := w.join("web-1", "web")
		rest(time.Minute)
		first := p.leaf()
		rest(time.Until(first.NotAfter.Add(-18 * time.Minute))) // 70 % of an hour are over
		if !p.leaf().Equal(first) {
			t.Error("it was renewed before 70 % of its life")
		}
		rest(7 * time.Minute)
		second := p.leaf()
		if second.Equal(first) {
			t.Fatal("it was not renewed after 80 % of its life")
		}
		rest(24 * time.Hour)
		if n := p.mtls().CertificateRegenerations; n < 24 || n > 36 {
			t.Errorf("%d certificates in a day of hours", n)
		}
		if time.Now().After(p.leaf().NotAfter) {
			t.Error("the proxy has a certificate that ended")
		}
	})
}

// Renewals of what was issued together are spread.
func TestRenewalsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.mesh(backend("ca", kinds.CABuiltin))
		var all []*proxy
		for i := range 50 {
			all = append(all, w.join("web-"+string(rune('a'+i/10))+string(rune('0'+i%10)), "web"))
		}
		rest(time.Minute)
		times := map[int64]int{}
		rest(24 * time.Hour)
		for _, p := range all {
			times[p.mtls().LastCertificateRegeneration.Unix()/60]++
		}
		if len(times) < 20 {
			t.Errorf("50 renewals fell into %d minutes", len(times))
		}
	})
}

// A certificate follows the tags; one that is fine is not made again.
func TestTagsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.mesh(backend("ca", kinds.CABuiltin))
		p := w.join("web-1", "web")
		rest(time.Second)
		first := p.leaf()
		p.needs("web")
		w.mesh(backend("ca", kinds.CABuiltin)) // the same again
		rest(time.Second)
		if !p.leaf().Equal(first) {
			t.Error("nothing changed, but there is another certificate")
		}
		p.needs("shop")
		rest(time.Second)
		if got := p.leaf().URIs[0].String(); got != "spiffe://m/shop" {
			t.Errorf("the certificate says %s", got)
		}
		// A tag that no certificate can say leaves the proxy with what it has.
		p.needs("ümlaut")
		rest(time.Hour)
		if got := p.leaf().URIs[0].String(); got != "spiffe://m/shop" {
			t.Errorf("the certificate says %s", got)
		}
		if n := strings.Count(w.log.String(), "cannot be a name in a certificate"); n != 1 {
			t.Errorf("it was told %d times", n)
		}
		p.needs("web")
		rest(time.Second)
		if got := p.leaf().URIs[0].String(); got != "spiffe://m/web" {
			t.Errorf("the certificate says %s", got)
		}
	})
}

// While an issuer is down proxies keep what they have, it is asked ever more
// rarely, and everybody can see it; when it is back all get theirs.
func TestIssuerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{Authority: newTestAuthority(t)}
		w := newWorld(t, func(d *Deps) { withTestType(d, map[string]Authority{"ca": f}) })
		w.mesh(backend("ca", testType))
		old := w.join("old", "web")
		rest(time.Second)
		first := old.leaf()

		f.set(true)
		var fresh []*proxy
		for _, n := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			fresh = append(fresh, w.join(n, "web"))
		}
		before, _ := f.counts()
		rest(10 * time.Minute)
		if after, _ := f.counts(); after-before > 40 || after-before < 10 {
			t.Errorf("it was asked %d times in ten minutes for eight proxies", after-before)
		}
		for _, p := range fresh {
			if p.leaf() != nil || p.roots() == nil {
				t.Errorf("%s has a certificate, or knows no roots", p.name)
			}
		}
		rest(23 * time.Hour) // old should have been renewed by now
		if !old.leaf().Equal(first) {
			t.Error("the certificate is another one")
		}
		if !strings.Contains(w.log.String(), "issues no certificates") || !strings.Contains(w.log.String(), "level=ERROR") {
			t.Errorf("the log says:\n%s", w.log)
		}
		if !gauge(t, w, "identity_authority_working", 0) || !gauge(t, w, `identity_proxies{mesh="m",state="waiting"}`, 8) {
			t.Error("no metric tells that the issuer is down")
		}

		f.set(false)
		rest(2 * time.Minute)
		for _, p := range append(fresh, old) {
			if p.leaf() == nil || p.leaf().Equal(first) {
				t.Errorf("%s has no fresh certificate", p.name)
			}
		}
		if !gauge(t, w, "identity_authority_working", 1) || !strings.Contains(w.log.String(), "issues certificates again") {
			t.Error("nothing tells that the issuer is back")
		}
	})
}

// gauge tells whether a metric, named with or without labels, has a value.
func gauge(t *testing.T, w *world, name string, want float64) bool {
	t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			full := f.GetName() + "{" + strings.Join(labels, ",") + "}"
			if (full == name || f.GetName() == name) && m.GetGauge().GetValue()+m.GetCounter().GetValue() == want {
				return true
			}
		}
	}
	return false
}

// A broken authority leaves everything as it is until it is mended.
func TestAuthorityBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.mesh(backend("ca", kinds.CABuiltin))
		p := w.join("web-1", "web")
		rest(time.Second)
		first := p.leaf()
		cert, err := w.store.Get(t.Context(), kinds.Secret.Key("m", "m.ca-builtin-cert-ca"))
		if err != nil {
			t.Fatal(err)
		}
		bad := cert.Clone()
		bad.Spec = &kinds.SecretSpec{Data: []byte("rubbish")}
		w.put(bad)
		q := w.join("web-2", "web")
		rest(5 * time.Second)
		if !p.leaf().Equal(first) {
			t.Error("the certificate is another one")
		}
		everybody(t, "with broken keys in the store", p, q)
		w.put(cert)
		rest(time.Minute)
		everybody(t, "when they are mended", p, q)
		if !p.leaf().Equal(first) {
			t.Error("the same authority came back, but there is another certificate")
		}
	})
}

func TestOffAndOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.mesh(backend("ca", kinds.CABuiltin))
		p := w.join("web-1", "web")
		rest(time.Second)
		w.mesh()
		p.needs("") // as its inputs say then
		rest(time.Second)
		if p.mtls() != nil || p.leaf() != nil {
			t.Errorf("without mutual TLS the API tells %+v", p.mtls())
		}
		if trust := kinds.TrustOf(w.state.Current(), "m"); trust != nil {
			t.Errorf("without mutual TLS there is %+v", trust)
		}
		w.mesh(backend("ca", kinds.CABuiltin))
		p.needs("web")
		rest(time.Second)
		everybody(t, "when it is on again", p)
		p.member.Leave()
		rest(48 * time.Hour)
		if !gauge(t, w, "cert_generation", 2) {
			t.Error("certificates were made for the proxy that left")
		}
	})
}

// The certificate never outlives its authority.
func TestAuthorityEndsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ca := backend("ca", kinds.CABuiltin)
		ca.Conf = model.Struct{"caCert": map[string]any{"expiration": "20h"}}
		w.mesh(ca)
		p, q := w.join("web-1", "web"), w.join("web-2", "web")
		rest(time.Minute)
		if root := p.roots()[0]; p.leaf().NotAfter.After(root.NotAfter) {
			t.Errorf("the certificate ends at %s, its authority at %s", p.leaf().NotAfter, root.NotAfter)
		}
		first := p.roots()[0]
		// Builtin authorities are replaced in time, without a moment of distrust.
		for range 400 {
			rest(5 * time.Minute)
			everybody(t, "on the way to a new authority", p, q)
		}
		if roots := p.roots(); len(roots) != 1 || roots[0].Equal(first) {
			t.Errorf("%d roots, the first of them still there: %v", len(roots), slices.ContainsFunc(roots, first.Equal))
		}
	})
}
