// Package envoyadmin is the control plane's way to the administration of Envoys:
// configuration dumps, statistics, clusters. An Envoy listens for it on loopback
// only; others are let through by a listener that wants a certificate of this
// package's authority (GlobalSecret envoy-admin-ca). The leader makes the
// authority, every control plane uses it. Safe for concurrent use.
package envoyadmin

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"time"

	"weft/internal/cp/store"
	"weft/internal/cp/view"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// SecretName is that of the GlobalSecret with the authority: its certificate, then its key.
const SecretName = "envoy-admin-ca"

// clientName is the name by which Envoys know the control plane.
const clientName = "kuma-cp"

// How long certificates are valid. Those of proxies live as long as a connection
// may, since they are only exchanged when a proxy connects.
const (
	validity = 10 * 365 * 24 * time.Hour
	leeway   = 10 * time.Minute // for clocks that differ
)

// Authority signs the certificates of both sides.
type Authority struct {
	store store.Store
	log   *slog.Logger
	now   func() time.Time

	mu   sync.Mutex
	text []byte // of the secret that signer is made of
	ca   *signer
}

// signer is the authority's certificate with its key.
type signer struct {
	cert *x509.Certificate
	pem  []byte
	key  crypto.Signer
}

// NewAuthority returns the authority in a store; it may not be there yet.
func NewAuthority(s store.Store, log *slog.Logger, now func() time.Time) *Authority {
	return &Authority{store: s, log: log, now: now}
}

// Ensure makes the authority unless there is one. The leader calls it.
func (a *Authority) Ensure(ctx context.Context) error {
	key := kinds.GlobalSecret.Key("", SecretName)
	_, err := a.store.Get(ctx, key)
	if err == nil || !errors.Is(err, store.ErrNotFound) {
		return err
	}
	text, err := a.make()
	if err != nil {
		return err
	}
	o := kinds.GlobalSecret.Make("", SecretName)
	o.Spec = &kinds.SecretSpec{Data: text}
	if _, err := a.store.Create(ctx, o); err != nil && !errors.Is(err, store.ErrExists) {
		return fmt.Errorf("create %s: %w", key, err)
	}
	a.log.Info("made a secret", "secret_name", SecretName)
	return nil
}

// Follow calls changed, from one goroutine, whenever the authority was replaced,
// until ctx ends. pause is the wait before another try when the store is away.
func (a *Authority) Follow(ctx context.Context, pause time.Duration, changed func()) {
	key := kinds.GlobalSecret.Key("", SecretName)
	var known []byte
	store.Follow(ctx, a.store, a.log, pause, func(b store.Batch) {
		for _, e := range b.Events {
			if e.Key != key || e.Object == nil {
				continue // what signed goes on to count until there is another
			}
			text := model.Spec[kinds.SecretSpec](e.Object).Data
			replaced := known != nil && !bytes.Equal(known, text)
			known = text
			if replaced {
				a.log.Info("the authority for the administration of proxies was replaced; they get new certificates", "secret_name", SecretName)
				changed()
			}
		}
	})
}

func (a *Authority) make() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of %s: %w", SecretName, err)
	}
	t, err := a.template(pkix.Name{Organization: []string{"Kuma"}, OrganizationalUnit: []string{"Mesh"}, CommonName: "Envoy Admin CA"})
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", SecretName, err)
	}
	keyText, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return append(encodeCert(der), keyText...), nil
}

func (a *Authority) template(subject pkix.Name) (*x509.Certificate, error) {
	const serialBits = 128
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	now := a.now()
	return &x509.Certificate{SerialNumber: serial, Subject: subject, NotBefore: now.Add(-leeway), NotAfter: now.Add(validity)}, nil
}

// errNone is the error while there is no authority yet.
var errNone = errors.New("there is no GlobalSecret " + SecretName + " yet; the leader of the control planes makes it when it starts")

// current returns the authority of now; a replaced secret counts at once.
func (a *Authority) current(ctx context.Context) (*signer, error) {
	o, err := a.store.Get(ctx, kinds.GlobalSecret.Key("", SecretName))
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNone
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", SecretName, err)
	}
	text := model.Spec[kinds.SecretSpec](o).Data
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ca != nil && bytes.Equal(a.text, text) {
		return a.ca, nil
	}
	ca, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("GlobalSecret %s cannot be used: %w; delete it and restart the control plane to get a new one", SecretName, err)
	}
	a.text, a.ca = text, ca
	return ca, nil
}

// parse reads a certificate and its key. Errors show nothing of either.
func parse(text []byte) (*signer, error) {
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, errors.New("it is not a certificate followed by its key, both PEM")
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || pair.Leaf == nil || !pair.Leaf.IsCA {
		return nil, errors.New("its certificate is not of an authority")
	}
	return &signer{cert: pair.Leaf, pem: encodeCert(pair.Leaf.Raw), key: key}, nil
}

// Certify returns the certificate of a proxy's admin listener, which is good for
// the addresses under which the control plane may call it.
func (a *Authority) Certify(ctx context.Context, proxy model.Key) (*view.AdminCert, error) {
	o, err := a.store.Get(ctx, proxy)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", proxy, err)
	}
	ca, err := a.current(ctx)
	if err != nil {
		return nil, err
	}
	t, err := a.template(pkix.Name{CommonName: proxy.Name})
	if err != nil {
		return nil, err
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range Hosts(o) {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	cert, key, err := ca.issue(t)
	if err != nil {
		return nil, fmt.Errorf("issue the admin certificate of %s: %w", proxy, err)
	}
	return &view.AdminCert{CertPEM: cert, KeyPEM: key, CAPEM: ca.pem}, nil
}

// client returns the TLS configuration of calls.
func (a *Authority) client(ctx context.Context) (*tls.Config, error) {
	ca, err := a.current(ctx)
	if err != nil {
		return nil, err
	}
	t, err := a.template(pkix.Name{CommonName: clientName})
	if err != nil {
		return nil, err
	}
	t.DNSNames, t.ExtKeyUsage = []string{clientName}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert, key, err := ca.issue(t)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for calls of proxies: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate for calls of proxies: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{pair}, Time: a.now}, nil
}

func (s *signer) issue(t *x509.Certificate) (cert, key []byte, err error) {
	if t.NotAfter.After(s.cert.NotAfter) {
		t.NotAfter = s.cert.NotAfter
	}
	t.KeyUsage, t.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, s.cert, k.Public(), s.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign: %w", err)
	}
	key, err = encodeKey(k)
	return encodeCert(der), key, err
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
