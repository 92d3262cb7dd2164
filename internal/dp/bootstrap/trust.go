package bootstrap

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Trust says how the control plane proves who it is. Exactly one way is used:
// SkipVerify, else CACert, else PinFile, else the CAs that the host trusts.
type Trust struct {
	// CACert is the CA as PEM text.
	CACert string
	// PinFile keeps the certificate seen at first contact.
	PinFile string
	// SkipVerify accepts any certificate, and a plain http:// address.
	SkipVerify bool
}

// verifier holds what was decided about trust for all attempts.
type verifier struct {
	trust Trust
	host  string
	log   *slog.Logger
	// caCert is what Envoy shall verify the control plane with.
	caCert string
	tls    *tls.Config
}

// newVerifier checks everything that can be checked without a connection.
func newVerifier(t Trust, u *url.URL, log *slog.Logger) (*verifier, error) {
	v := &verifier{trust: t, host: u.Hostname(), log: log, caCert: t.CACert}
	if u.Scheme == "http" {
		return v, plainAllowed(t, u, log)
	}
	v.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: v.host}
	switch {
	case t.SkipVerify:
		log.Warn("INSECURE: the certificate of the control plane is not verified; anybody on the way can take its place and read the token of this proxy",
			"flag", "--skip-verify", "variable", "KUMA_CONTROL_PLANE_TLS_SKIP_VERIFY")
		v.tls.InsecureSkipVerify = true //nolint:gosec // because the user spelled it out.
	case t.CACert != "":
		pool, err := poolOf(t.CACert)
		if err != nil {
			return nil, fmt.Errorf("read the CA of the control plane: %w", err)
		}
		v.tls.RootCAs = pool
	case t.PinFile != "":
		if err := v.loadPin(); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// plainAllowed reports whether an address without TLS may be used.
func plainAllowed(t Trust, u *url.URL, log *slog.Logger) error {
	ip := net.ParseIP(u.Hostname())
	if u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback()) {
		return nil
	}
	if !t.SkipVerify {
		return fmt.Errorf("the control plane address %s://%s is not encrypted, so the token of this proxy could be read on the way: use https://, or accept the risk with --skip-verify", u.Scheme, u.Host)
	}
	log.Warn("INSECURE: the connection to the control plane is not encrypted; anybody on the way can read the token of this proxy", "address", u.Host)
	return nil
}

func poolOf(text string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(text)) {
		return nil, errors.New("it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
	}
	return pool, nil
}

// loadPin reads an earlier pin; a missing file means first contact. A file
// that exists but is damaged is an error: to pin anew would be to trust anew.
func (v *verifier) loadPin() error {
	text, err := os.ReadFile(v.trust.PinFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read pinned certificate: %w", err)
	}
	pool, err := poolOf(string(text))
	if err != nil {
		return fmt.Errorf("read pinned certificate from %s: %w; remove the file to pin again at the next start", v.trust.PinFile, err)
	}
	v.tls.RootCAs, v.caCert = pool, string(text)
	return nil
}

// prepare learns from one handshake what Envoy must be told: the root that the
// host trusts, or the certificate to pin. It does nothing where the CA is
// known already.
func (v *verifier) prepare(ctx context.Context, address string) error {
	if v.tls == nil || v.trust.SkipVerify || v.caCert != "" {
		return nil
	}
	cfg := v.tls.Clone()
	if v.trust.PinFile != "" {
		// Nothing is sent over this connection; what it shows is checked by
		// pin below and by every later connection.
		cfg.InsecureSkipVerify = true //nolint:gosec // because first contact has nothing to verify with.
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: requestTimeout}, Config: cfg}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return v.explain(err)
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	if v.trust.PinFile != "" {
		return v.pin(state.PeerCertificates)
	}
	chain := state.VerifiedChains[0]
	v.caCert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw}))
	return nil
}

// pin trusts what the control plane shows from now on. It keeps the last
// certificate of the chain that signs the ones before it, so that a control
// plane whose own CA is in the chain may renew its leaf.
func (v *verifier) pin(chain []*x509.Certificate) error {
	root := chain[0]
	for _, c := range chain[1:] {
		if !c.IsCA || root.CheckSignatureFrom(c) != nil {
			break
		}
		root = c
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}))
	pool, err := poolOf(text)
	if err != nil {
		return err
	}
	// The name and the dates count even at first contact.
	if err := verifyWith(pool, chain, v.host); err != nil {
		return &fatalError{fmt.Errorf("pin the certificate of the control plane: %w", err)}
	}
	if err := writeNew(v.trust.PinFile, text); err != nil {
		if errors.Is(err, os.ErrExist) { // another proxy of this host was faster
			if err := v.loadPin(); err != nil {
				return &fatalError{err}
			}
			return nil
		}
		return &fatalError{fmt.Errorf("keep the certificate of the control plane: %w", err)}
	}
	v.tls.RootCAs, v.caCert = pool, text
	v.log.Warn("trusting the control plane's certificate at first contact; compare its fingerprint with the one on the control plane",
		"sha256", fingerprint(root), "subject", root.Subject.String(), "valid_until", root.NotAfter.Format(time.RFC3339), "pin_file", v.trust.PinFile)
	return nil
}

func verifyWith(roots *x509.CertPool, chain []*x509.Certificate, host string) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: host})
	return err
}

// writeNew writes a file that must not exist, whole or not at all.
func writeNew(path, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Link(tmp.Name(), path)
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// explain turns a failed verification into what happened and what to do. Such
// an error ends the attempts: time does not mend it.
func (v *verifier) explain(err error) error {
	var wrong *tls.CertificateVerificationError
	if !errors.As(err, &wrong) {
		return err
	}
	leaf := wrong.UnverifiedCertificates[0]
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &name):
		return &fatalError{fmt.Errorf("verify the control plane: its certificate is not made for %q: %w; use a name that is in the certificate as --cp-address, or give the control plane a certificate with this name", v.host, name)}
	case errors.As(err, &unknown) && v.trust.CACert != "":
		return &fatalError{fmt.Errorf("verify the control plane: its certificate (sha256 %s) is not signed by the given CA: check --ca-cert-file (KUMA_CONTROL_PLANE_CA_CERT_FILE, KUMA_CONTROL_PLANE_CA_CERT)", fingerprint(leaf))}
	case errors.As(err, &unknown) && v.trust.PinFile != "":
		return &fatalError{fmt.Errorf("verify the control plane: it shows another certificate (sha256 %s) than the one pinned in %s (sha256 %s): if it was replaced on purpose, remove that file and start again; if not, somebody may be in between", fingerprint(leaf), v.trust.PinFile, v.pinned())}
	case errors.As(err, &unknown):
		return &fatalError{fmt.Errorf("verify the control plane: this host does not trust the CA of its certificate (sha256 %s): give the CA with --ca-cert-file (KUMA_CONTROL_PLANE_CA_CERT_FILE); or trust the certificate at first contact and keep it with --ca-cert-pin-file (KUMA_CONTROL_PLANE_CA_CERT_PIN_FILE)", fingerprint(leaf))}
	default:
		return &fatalError{fmt.Errorf("verify the control plane: %w", wrong.Err)}
	}
}

// pinned is the fingerprint of the pinned certificate, for messages.
func (v *verifier) pinned() string {
	block, _ := pem.Decode([]byte(v.caCert))
	if block == nil {
		return "unreadable"
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}
