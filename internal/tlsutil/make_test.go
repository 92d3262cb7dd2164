package tlsutil

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// sign returns a self-signed certificate like the template.
func sign(t *testing.T, template *x509.Certificate, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// client writes a client certificate (c.crt, c.key) that is its own authority.
func client(t *testing.T, dir string) tls.Certificate {
	t.Helper()
	key, err := newKey(false)
	if err != nil {
		t.Fatal(err)
	}
	// Another name for each, as authorities are told apart by name.
	cert := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: dir}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore: start.Add(-time.Hour), NotAfter: start.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
	}, key)
	text, err := keyPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"c.crt": cert, "c.key": text} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(cert, text)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func BenchmarkKeepOwn(b *testing.B) {
	for b.Loop() {
		dir := b.TempDir()
		if _, _, err := KeepOwn(dir, Wish{Hosts: hosts}, newLog().Logger, start); err != nil {
			b.Fatal(err)
		}
	}
}
