package postgres

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
)

// config returns the TLS settings for connections to host, nil = none. The files
// are read again for every connection, so certificates can be renewed under a
// running control plane. It is made here and not by the driver, which looks for
// files in the home directory and sends the host name also where it should not.
func (t TLS) config(host string) (*tls.Config, error) {
	if t.Mode == Disable || t.Mode == "" {
		return nil, nil
	}
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Not unverified: the standard verification cannot leave out the host name
		// or do without SNI, so verify does it all.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { return t.verify(host, s) },
	}
	if !t.DisableSNI && net.ParseIP(host) == nil {
		c.ServerName = host
	}
	if t.CAPath != "" {
		if _, err := t.roots(); err != nil {
			return nil, err
		}
	}
	if t.CertPath != "" {
		if _, err := t.certificate(nil); err != nil {
			return nil, err
		}
		c.GetClientCertificate = t.certificate
	}
	return c, nil
}

func (t TLS) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(t.CertPath, t.KeyPath)
	if err != nil {
		return nil, fmt.Errorf("load client certificate %q with key %q: %w", t.CertPath, t.KeyPath, err)
	}
	return &c, nil
}

func (t TLS) roots() (*x509.CertPool, error) {
	pem, err := os.ReadFile(t.CAPath)
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read CA: %q holds no certificate in PEM form", t.CAPath)
	}
	return pool, nil
}

// verify checks the server's certificate as far as the mode says.
func (t TLS) verify(host string, s tls.ConnectionState) error {
	if t.Mode == VerifyNone {
		return nil
	}
	roots, err := t.roots()
	if err != nil {
		return err
	}
	if len(s.PeerCertificates) == 0 {
		return errors.New("the database server sent no certificate")
	}
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	if t.Mode == VerifyFull {
		o.DNSName = host
	}
	if _, err := s.PeerCertificates[0].Verify(o); err != nil {
		return fmt.Errorf("verify the certificate of the database server: %w", err)
	}
	return nil
}
