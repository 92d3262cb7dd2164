package tlsutil

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// recheckAfter is how long a certificate is served before its files are looked at again.
const recheckAfter = time.Second

// maxFile bounds the size of a certificate or key file.
const maxFile = 1 << 20

// Certificate is the certificate of a server, read from two files and read again
// when they change. Safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	mu      sync.Mutex
	pair    *tls.Certificate
	pem     []byte
	content [sha256.Size]byte // of both files, as served
	stamp   [2]stamp
	checked time.Time
	problem string // what was wrong at the last look, to log it once
}

// stamp tells cheaply that a file may have changed.
type stamp struct {
	size int64
	mod  time.Time
}

// Open reads the certificate and its key. now is the clock of the checks.
func Open(certFile, keyFile string, log *slog.Logger, now func() time.Time) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, now: now}
	c.stamp = c.stamps()
	if err := c.load(); err != nil {
		return nil, err
	}
	c.checked = now()
	return c, nil
}

// Get returns the certificate for a handshake; it is a tls.Config.GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	return c.pair, nil
}

// Leaf returns the certificate that is served now.
func (c *Certificate) Leaf() *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	return c.pair.Leaf
}

// PEM returns the certificate file as it is served now: the leaf, then others.
// Who has to trust this server can use it if the leaf is its own authority.
func (c *Certificate) PEM() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	return bytes.Clone(c.pem)
}

// SANs returns the DNS names and IP addresses for which the certificate is valid.
func (c *Certificate) SANs() []string { return SANs(c.Leaf()) }

// Watch looks at the files until ctx ends even when no handshakes come, so that a
// bad file is reported before it is needed.
func (c *Certificate) Watch(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.Leaf()
		}
	}
}

// refresh loads the files again if they changed; the caller holds mu.
func (c *Certificate) refresh() {
	now := c.now()
	if d := now.Sub(c.checked); d >= 0 && d < recheckAfter {
		return
	}
	c.checked = now
	stamps := c.stamps()
	if stamps == c.stamp && c.problem == "" {
		return
	}
	before := c.content
	err := c.load()
	if err != nil {
		// Often just between the writing of two files; the next look tells.
		if c.problem != err.Error() {
			c.problem = err.Error()
			c.log.Error("keep the old certificate because the new one cannot be used", "file", c.certFile, "error", err)
		}
		return
	}
	c.problem, c.stamp = "", stamps
	if c.content != before {
		c.log.Info("serve the new certificate", "file", c.certFile, "not_after", c.pair.Leaf.NotAfter, "names", SANs(c.pair.Leaf))
	}
}

func (c *Certificate) stamps() [2]stamp {
	var out [2]stamp
	for i, f := range []string{c.certFile, c.keyFile} {
		if fi, err := os.Stat(f); err == nil {
			out[i] = stamp{size: fi.Size(), mod: fi.ModTime()}
		}
	}
	return out
}

// load reads the files; nothing changes if they are not usable.
func (c *Certificate) load() error {
	certPEM, err := readFile(c.certFile)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	keyPEM, err := readFile(c.keyFile)
	if err != nil {
		return fmt.Errorf("read key of certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	h := sha256.New()
	h.Write(certPEM)
	h.Write(keyPEM)
	c.pair, c.pem, c.content = &pair, certPEM, [sha256.Size]byte(h.Sum(nil))
	return nil
}

func readFile(name string) ([]byte, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, more than a certificate or key can have", name, fi.Size())
	}
	return os.ReadFile(name)
}

// SANs returns the DNS names and IP addresses of a certificate.
func SANs(c *x509.Certificate) []string {
	out := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}
