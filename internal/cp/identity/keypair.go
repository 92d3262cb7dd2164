package identity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	"weft/internal/mesh/kinds"
)

// leeway is by how much certificates begin in the past, for clocks that go late.
const leeway = 10 * time.Second

// keyPair is an Authority whose key is in memory.
type keyPair struct {
	id    string
	cert  *x509.Certificate
	key   crypto.Signer
	roots []byte
	// chain leads from leaves to a root, PEM; empty if the signer is a root.
	chain []byte
}

// newKeyPair reads a certificate, which may be followed by others up to a root,
// and its key. Errors show nothing of them.
func newKeyPair(certPEM, keyPEM []byte) (*keyPair, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("the certificate and the key are no pair: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	if !cert.IsCA {
		return nil, errors.New("the certificate is none of an authority: the basic constraint CA must be true")
	}
	k := &keyPair{id: authorityID(cert), cert: cert, key: key}
	for _, der := range pair.Certificate {
		k.roots = append(k.roots, encodeCert(der)...)
	}
	if !bytes.Equal(cert.RawSubject, cert.RawIssuer) || cert.CheckSignatureFrom(cert) != nil {
		k.chain = encodeCert(cert.Raw)
	}
	return k, nil
}

// authorityID is short enough to be shown and long enough not to collide.
func authorityID(c *x509.Certificate) string {
	h := sha256.Sum256(c.Raw)
	return hex.EncodeToString(h[:8])
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// ID implements Authority.
func (k *keyPair) ID() string { return k.id }

// Roots implements Authority.
func (k *keyPair) Roots() []byte { return k.roots }

// Expires implements Authority.
func (k *keyPair) Expires() time.Time { return k.cert.NotAfter }

// Issue implements Authority. Keys of leaves are ECDSA unless ciphers forbid it:
// making an RSA key takes thousands of times as long (see BenchmarkKey).
func (k *keyPair) Issue(ctx context.Context, r Request) (*Certificate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	end := r.Now.Add(r.Lifetime)
	if end.After(k.cert.NotAfter) {
		end = k.cert.NotAfter
	}
	if !r.Now.Before(end) {
		return nil, fmt.Errorf("the certificate of the authority ended at %s; give it a new one", k.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	template, err := leafTemplate(r.URIs)
	if err != nil {
		return nil, err
	}
	template.NotBefore, template.NotAfter = r.Now.Add(-leeway), end
	key, err := newKey(r.RSA)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, k.cert, key.Public(), k.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("write a key: %w", err)
	}
	return &Certificate{
		CertPEM: append(encodeCert(der), k.chain...),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		Issued:  r.Now, NotAfter: end,
	}, nil
}

// leafBits is the size of RSA keys of leaves.
const leafBits = 2048

func newKey(asRSA bool) (crypto.Signer, error) {
	if asRSA {
		return rsa.GenerateKey(rand.Reader, leafBits)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// leafTemplate has what is the same in all leaves of a workload.
func leafTemplate(uris []string) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, s := range uris {
		scheme, rest, ok := strings.Cut(s, ":")
		if !ok || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, &badNameError{s}
		}
		// Opaque, since others compare names letter by letter: nothing may be
		// rewritten, and names of tags need not look like hosts.
		t.URIs = append(t.URIs, &url.URL{Scheme: scheme, Opaque: rest})
	}
	return t, nil
}

// badNameError says that a tag cannot be part of a certificate. No other try helps.
type badNameError struct{ uri string }

func (e *badNameError) Error() string {
	return fmt.Sprintf("%q cannot be a name in a certificate: tags may hold letters, digits and -_.:/ only", e.uri)
}

// newSerial returns a random number of up to 128 bits, not 0.
func newSerial() (*big.Int, error) {
	limit := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1))
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

const builtinLifetime = 10 * 365 * 24 * time.Hour

// newBuiltin makes the key pair of a builtin authority: the certificate and the
// key in PEM. Unless the mesh asks for RSA the key is ECDSA P-256, which signs
// thirty times as fast.
func newBuiltin(mesh string, conf kinds.BuiltinCA, now time.Time) (certPEM, keyPEM []byte, err error) {
	bits, lifetime := 0, builtinLifetime
	if c := conf.CACert; c != nil {
		if c.RSABits != nil {
			bits = int(*c.RSABits)
		}
		if d, err := kinds.ParseLifetime(c.Expiration); err == nil && d > 0 {
			lifetime = d
		}
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	key, block, err := newBuiltinKey(bits)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Kuma"}, OrganizationalUnit: []string{"Mesh"}, CommonName: mesh},
		URIs:         []*url.URL{{Scheme: "spiffe", Host: mesh}},
		NotBefore:    now.Add(-leeway), NotAfter: now.Add(lifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign the certificate of the authority: %w", err)
	}
	return encodeCert(der), pem.EncodeToMemory(block), nil
}

// newBuiltinKey makes an RSA key of that many bits, or ECDSA for 0.
func newBuiltinKey(bits int) (crypto.Signer, *pem.Block, error) {
	if bits > 0 {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return nil, nil, fmt.Errorf("make a key of %d bits: %w", bits, err)
		}
		return key, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("write a key: %w", err)
	}
	return key, &pem.Block{Type: "PRIVATE KEY", Bytes: der}, nil
}
