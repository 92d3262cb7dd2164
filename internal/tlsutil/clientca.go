package tlsutil

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Authorities are the certificates by which client certificates are verified:
// those of a file and those in a folder, read again when they change. Safe for
// concurrent use.
type Authorities struct {
	file, dir string
	log       *slog.Logger
	now       func() time.Time

	mu      sync.Mutex
	pool    *x509.CertPool
	stamps  []string // what the files looked like when they were read
	checked time.Time
	problem string
}

// OpenAuthorities reads the certificates; file or dir may be empty.
func OpenAuthorities(file, dir string, log *slog.Logger, now func() time.Time) (*Authorities, error) {
	a := &Authorities{file: file, dir: dir, log: log, now: now}
	files, stamps, err := a.list()
	if err != nil {
		return nil, err
	}
	if a.pool, err = readPool(files); err != nil {
		return nil, err
	}
	a.stamps, a.checked = stamps, now()
	return a, nil
}

// Pool returns the certificates that are trusted now.
func (a *Authorities) Pool() *x509.CertPool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if d := now.Sub(a.checked); d >= 0 && d < recheckAfter {
		return a.pool
	}
	a.checked = now
	files, stamps, err := a.list()
	if err == nil && a.problem == "" && slices.Equal(stamps, a.stamps) {
		return a.pool
	}
	var pool *x509.CertPool
	if err == nil {
		pool, err = readPool(files)
	}
	if err != nil {
		if a.problem != err.Error() {
			a.problem = err.Error()
			a.log.Error("keep the old authorities of client certificates because the new ones cannot be used", "error", err)
		}
		return a.pool
	}
	a.pool, a.stamps, a.problem = pool, stamps, ""
	a.log.Info("use the new authorities of client certificates", "file", a.file, "folder", a.dir)
	return a.pool
}

// list returns the files to read and what they look like.
func (a *Authorities) list() (files, stamps []string, err error) {
	if a.file != "" {
		files = append(files, a.file)
	}
	if a.dir != "" {
		entries, err := os.ReadDir(a.dir)
		if err != nil {
			return nil, nil, fmt.Errorf("read the folder of client certificates: %w", err)
		}
		for _, e := range entries {
			if ext := strings.ToLower(filepath.Ext(e.Name())); ext == ".pem" || ext == ".crt" {
				files = append(files, filepath.Join(a.dir, e.Name()))
			}
		}
	}
	for _, f := range files {
		fi, err := os.Stat(f)
		if err != nil {
			return nil, nil, fmt.Errorf("read client certificates: %w", err)
		}
		stamps = append(stamps, fmt.Sprintf("%s %d %d", f, fi.Size(), fi.ModTime().UnixNano()))
	}
	return files, stamps, nil
}

func readPool(files []string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, f := range files {
		text, err := readFile(f)
		if err != nil {
			return nil, fmt.Errorf("read client certificates: %w", err)
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no PEM certificate", f)
		}
	}
	return pool, nil
}

// VerifyClients makes a server ask for client certificates and verify those that
// are given; require refuses clients without one.
func VerifyClients(c *tls.Config, a *Authorities, require bool) {
	base := c.Clone()
	base.ClientAuth = tls.VerifyClientCertIfGiven
	if require {
		base.ClientAuth = tls.RequireAndVerifyClientCert
	}
	c.ClientAuth = base.ClientAuth
	c.ClientCAs = a.Pool()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := base.Clone()
		now.ClientCAs = a.Pool()
		// A resumed session skips the verification, so a certificate whose
		// authority was taken away would still be accepted.
		now.SessionTicketsDisabled = true
		return now, nil
	}
}

// Pool reads certificates of authorities from PEM text, for clients.
func Pool(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("there is no PEM certificate in it")
	}
	return pool, nil
}
