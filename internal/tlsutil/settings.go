// Package tlsutil makes, keeps and reloads the certificates of servers and turns
// TLS settings into TLS configurations. kuma-cp uses it for all its ports.
//
// A Certificate looks at its files again when handshakes come in, so a renewed
// certificate is served without a restart; a broken one leaves the old in use.
package tlsutil

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// versions by their names in settings.
var versions = map[string]uint16{"TLSv1_2": tls.VersionTLS12, "TLSv1_3": tls.VersionTLS13}

// ParseVersion returns the TLS version of a setting; "" is 0, which means no limit.
func ParseVersion(name string) (uint16, error) {
	if name == "" {
		return 0, nil
	}
	v, ok := versions[name]
	if !ok {
		return 0, fmt.Errorf("%q is not a TLS version that is supported; use TLSv1_2 or TLSv1_3", name)
	}
	return v, nil
}

// ParseCiphers returns the TLS 1.2 cipher suites of a setting. No names give nil,
// which is Go's selection. Suites that are known to be weak are refused.
func ParseCiphers(names []string) ([]uint16, error) {
	var out []uint16
	for _, name := range names {
		id, err := cipher(name)
		if err != nil {
			return nil, err
		}
		if id != 0 {
			out = append(out, id)
		}
	}
	return out, nil
}

// cipher returns the id of a suite; 0 for those of TLS 1.3, which are always on.
func cipher(name string) (uint16, error) {
	for _, s := range tls.CipherSuites() {
		if s.Name != name && !legacyName(s.ID, name) {
			continue
		}
		if !slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			return 0, nil
		}
		return s.ID, nil
	}
	for _, s := range tls.InsecureCipherSuites() {
		if s.Name == name {
			return 0, fmt.Errorf("cipher suite %q is not safe and not offered", name)
		}
	}
	return 0, fmt.Errorf("cipher suite %q is not known; those that can be chosen are %s", name, strings.Join(cipherNames(), ", "))
}

// legacyName tells whether name is an older spelling of a suite.
func legacyName(id uint16, name string) bool {
	switch id {
	case tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:
		return name == "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"
	case tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return name == "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"
	}
	return false
}

func cipherNames() []string {
	var out []string
	for _, s := range tls.CipherSuites() {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			out = append(out, s.Name)
		}
	}
	return out
}

// Settings are what can be set for the TLS of a server, as text.
type Settings struct {
	MinVersion   string
	MaxVersion   string
	CipherSuites []string
}

// ServerConfig returns the TLS configuration of a server with a certificate that
// may change at run time.
func ServerConfig(s Settings, c *Certificate) (*tls.Config, error) {
	minVersion, err := ParseVersion(s.MinVersion)
	if err != nil {
		return nil, fmt.Errorf("lowest version: %w", err)
	}
	maxVersion, err := ParseVersion(s.MaxVersion)
	if err != nil {
		return nil, fmt.Errorf("highest version: %w", err)
	}
	ciphers, err := ParseCiphers(s.CipherSuites)
	if err != nil {
		return nil, err
	}
	if err := CheckKeyFits(c.Leaf(), ciphers); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     max(minVersion, tls.VersionTLS12),
		MaxVersion:     maxVersion,
		CipherSuites:   ciphers,
		GetCertificate: c.Get,
	}, nil
}

// NeedsRSA tells whether the chosen suites work with RSA keys only.
func NeedsRSA(ciphers []uint16) bool {
	return len(ciphers) > 0 && !anyWith(ciphers, "_ECDSA_")
}

// CheckKeyFits says when none of the chosen suites works with the kind of key of
// the certificate: TLS 1.2 clients could then not connect at all.
func CheckKeyFits(leaf *x509.Certificate, ciphers []uint16) error {
	want := "_RSA_"
	if leaf.PublicKeyAlgorithm == x509.ECDSA || leaf.PublicKeyAlgorithm == x509.Ed25519 {
		want = "_ECDSA_"
	}
	if len(ciphers) == 0 || anyWith(ciphers, want) {
		return nil
	}
	return fmt.Errorf("none of the chosen cipher suites works with the %s key of the certificate; add a suite with %q in its name, or use another certificate",
		leaf.PublicKeyAlgorithm, strings.Trim(want, "_"))
}

func anyWith(ciphers []uint16, part string) bool {
	return slices.ContainsFunc(ciphers, func(id uint16) bool { return strings.Contains(tls.CipherSuiteName(id), part) })
}
