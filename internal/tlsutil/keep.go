package tlsutil

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Names of the files that kuma-cp makes for itself. OwnCertFile holds the
// certificate of the server and then that of its authority.
const (
	OwnCertFile  = "kuma-cp.crt"
	OwnKeyFile   = "kuma-cp.key"
	ownCAFile    = "kuma-cp-ca.crt"
	ownCAKeyFile = "kuma-cp-ca.key"
)

// Wish is what a certificate that kuma-cp makes for itself must be good for.
type Wish struct {
	// Hosts are DNS names and IP addresses, see LocalHosts.
	Hosts []string
	// RSA asks for an RSA key, which is slower, because the chosen cipher suites
	// (see NeedsRSA) work with nothing else.
	RSA bool
}

// KeepOwn returns the files in dir with the certificate of a control plane to
// which nobody gave one. It makes them at first, uses them from then on, and
// renews a certificate that it made when it is about to expire or lacks one of
// the hosts. All are signed by one authority that stays, so Envoys and others who
// were told to trust the old certificate trust the new one. (The same key in a new
// self-signed certificate would not do: OpenSSL and BoringSSL want to find a
// self-signed certificate exactly as it is.) Files that somebody else put there
// are used as they are.
func KeepOwn(dir string, w Wish, log *slog.Logger, now time.Time) (certFile, keyFile string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("make the folder for kuma-cp's files: %w", err)
	}
	k := &own{dir: dir, cert: filepath.Join(dir, OwnCertFile), key: filepath.Join(dir, OwnKeyFile), Wish: w, log: log, now: now}
	if err := k.keep(); err != nil {
		return "", "", err
	}
	return k.cert, k.key, nil
}

type own struct {
	Wish
	dir       string
	cert, key string
	log       *slog.Logger
	now       time.Time
}

// renewBefore the end of its life a certificate is made anew at a start.
const renewBefore = 90 * 24 * time.Hour

func (k *own) keep() error {
	certPEM, certErr := os.ReadFile(k.cert)
	keyText, keyErr := os.ReadFile(k.key)
	if err := unreadable(certErr, keyErr); err != nil {
		return fmt.Errorf("read the certificate of kuma-cp: %w", err)
	}
	switch {
	case certErr != nil && keyErr != nil:
		return k.make(nil, "there was none")
	case certErr != nil:
		// A crash between the writing of the two files leaves this behind.
		return k.make(keyText, "the certificate was missing")
	}
	leaf, err := parseLeaf(certPEM)
	if err != nil {
		return fmt.Errorf("certificate %s: %w; repair it, or remove it and %s, and a new one is made", k.cert, err, k.key)
	}
	if keyErr != nil {
		if isOurs(leaf) {
			return k.make(nil, "the key was missing")
		}
		return fmt.Errorf("the key %s of certificate %s is missing; put it there, or remove the certificate, and a new one is made", k.key, k.cert)
	}
	if _, err := tls.X509KeyPair(certPEM, keyText); err != nil {
		return fmt.Errorf("certificate %s with key %s: %w; put matching files there, or remove both, and new ones are made", k.cert, k.key, err)
	}
	if isOurs(leaf) {
		k.tighten()
	}
	return k.renew(leaf, keyText)
}

// unreadable returns the first error that is not just absence.
func unreadable(errs ...error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// renew makes a usable certificate anew where that is needed.
func (k *own) renew(leaf *x509.Certificate, keyText []byte) error {
	why := ""
	lacking := missing(leaf, k.Hosts)
	switch {
	case k.now.After(leaf.NotAfter):
		why = "it has expired"
	case k.now.Add(renewBefore).After(leaf.NotAfter):
		why = "it expires soon"
	case k.now.Before(leaf.NotBefore):
		why = "it is not valid yet"
	case len(lacking) > 0:
		why = "it does not name all addresses of this machine"
	case k.RSA && leaf.PublicKeyAlgorithm != x509.RSA:
		why, keyText = "the chosen cipher suites need an RSA key", nil
	default:
		return nil
	}
	if !isOurs(leaf) {
		k.log.Warn("keep a certificate that does not fit because kuma-cp did not make it",
			"file", k.cert, "reason", why, "not_after", leaf.NotAfter, "missing", lacking)
		return nil
	}
	return k.make(keyText, why)
}

// make writes a certificate, with the key of keyText if there is one.
func (k *own) make(keyText []byte, why string) error {
	key, err := k.keyFor(keyText)
	if err != nil {
		return err
	}
	if keyText == nil {
		text, err := keyPEM(key)
		if err != nil {
			return err
		}
		if err := writeFile(k.key, text); err != nil {
			return fmt.Errorf("write the key of kuma-cp's certificate: %w", err)
		}
	}
	ca, err := k.authority()
	if err != nil {
		return err
	}
	text, err := ca.issue(key, k.Hosts, k.now)
	if err != nil {
		return err
	}
	if err := writeFile(k.cert, text); err != nil {
		return fmt.Errorf("write the certificate of kuma-cp: %w", err)
	}
	k.log.Info("made a certificate for the servers of kuma-cp", "file", k.cert, "reason", why, "names", k.Hosts, "not_after", k.now.Add(serverValidity))
	return nil
}

func (k *own) keyFor(keyText []byte) (crypto.Signer, error) {
	if keyText == nil {
		return newKey(k.RSA)
	}
	key, err := parseKey(keyText)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w; put its certificate %s there, or remove the key, and new ones are made", k.key, err, k.cert)
	}
	return key, nil
}

// tighten takes away what others may do with the key file.
func (k *own) tighten() {
	fi, err := os.Stat(k.key)
	if err != nil || fi.Mode().Perm()&0o077 == 0 {
		return
	}
	if err := os.Chmod(k.key, 0o600); err != nil {
		k.log.Warn("others can read the key of kuma-cp's certificate", "file", k.key, "mode", fi.Mode().Perm().String(), "error", err)
	}
}

// authority returns the authority of dir; a missing, broken or old one is made
// anew, of which everybody who trusted it has to be told.
func (k *own) authority() (*authority, error) {
	certFile, keyFile := filepath.Join(k.dir, ownCAFile), filepath.Join(k.dir, ownCAKeyFile)
	ca, err := readAuthority(certFile, keyFile)
	if err == nil && k.now.Add(renewBefore).Before(ca.cert.NotAfter) && !k.now.Before(ca.cert.NotBefore) {
		return ca, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		k.log.Warn("make a new authority for the certificate of kuma-cp; give it to those who were told to trust the old one", "file", certFile, "error", err)
	}
	if ca, err = newAuthority(k.now); err != nil {
		return nil, err
	}
	text, err := keyPEM(ca.key)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(writeFile(keyFile, text), writeFile(certFile, ca.pem)); err != nil {
		return nil, fmt.Errorf("write the authority of kuma-cp's certificate: %w", err)
	}
	return ca, nil
}

func readAuthority(certFile, keyFile string) (*authority, error) {
	text, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	keyText, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyText)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", keyFile, err)
	}
	return parseAuthority(text, key)
}

// writeFile replaces a file at once, readable by its owner only.
func writeFile(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
