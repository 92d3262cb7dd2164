package tlsutil

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// validity of certificates that we make for servers.
const validity = 10 * 365 * 24 * time.Hour

// ours marks certificates that kuma-cp made for itself and may replace.
var ours = pkix.Name{Organization: []string{"weft"}, OrganizationalUnit: []string{"made by kuma-cp"}, CommonName: "kuma-cp"}

// newKey returns a key for a server: ECDSA P-256, which takes no noticeable time
// to make and little to use, or RSA.
func newKey(asRSA bool) (crypto.Signer, error) {
	if asRSA {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// selfSigned returns the PEM form of a certificate that is its own authority:
// clients that are given it as CA trust it. Made anew with the same key it is
// still trusted by those who were given an earlier one, because the earlier one
// has the same name and key and is therefore a valid issuer.
func selfSigned(key crypto.Signer, hosts []string, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               ours,
		NotBefore:             now.Add(-5 * time.Minute),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// parseKey reads what keyPEM wrote.
func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("kuma-cp did not make it")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it cannot sign")
	}
	return signer, nil
}

// isOurs tells whether kuma-cp made the certificate for itself.
func isOurs(c *x509.Certificate) bool {
	return slices.Equal(c.Subject.Organization, ours.Organization) &&
		slices.Equal(c.Subject.OrganizationalUnit, ours.OrganizationalUnit) &&
		c.Subject.CommonName == ours.CommonName
}

// missing returns the hosts for which the certificate is not valid.
func missing(c *x509.Certificate, hosts []string) []string {
	have := SANs(c)
	var out []string
	for _, h := range hosts {
		if !slices.ContainsFunc(have, func(s string) bool { return strings.EqualFold(s, h) }) {
			out = append(out, h)
		}
	}
	return out
}

// LocalHosts returns the names and addresses under which this machine may be
// reached: its host name, localhost and all IP addresses of its interfaces but
// link-local IPv6 ones, which mean nothing without an interface.
func LocalHosts(hostname string, addrs []net.Addr) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if hostname != "" {
		hosts = append(hosts, hostname)
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := p.Addr().Unmap()
		if ip.Is6() && ip.IsLinkLocalUnicast() {
			continue
		}
		hosts = append(hosts, ip.WithZone("").String())
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}
