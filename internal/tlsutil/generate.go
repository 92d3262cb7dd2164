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

// How long what we make is valid. The authority outlives several server
// certificates, because everybody who trusts it has to be told of a new one.
const (
	serverValidity    = 10 * 365 * 24 * time.Hour
	authorityValidity = 3 * serverValidity
)

// subject marks certificates that kuma-cp made for itself and may replace.
func subject(name string) pkix.Name {
	return pkix.Name{Organization: []string{"weft"}, OrganizationalUnit: []string{"made by kuma-cp"}, CommonName: name}
}

// isOurs tells whether kuma-cp made the certificate for itself.
func isOurs(c *x509.Certificate) bool {
	s := subject("")
	return slices.Equal(c.Subject.Organization, s.Organization) && slices.Equal(c.Subject.OrganizationalUnit, s.OrganizationalUnit)
}

// newKey returns a key for a server: ECDSA P-256, which takes no noticeable time
// to make and little to use, or RSA.
func newKey(asRSA bool) (crypto.Signer, error) {
	if asRSA {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// authority signs server certificates.
type authority struct {
	cert *x509.Certificate
	pem  []byte
	key  crypto.Signer
}

// newAuthority makes an authority that can sign servers and nothing else.
func newAuthority(now time.Time) (*authority, error) {
	key, err := newKey(false)
	if err != nil {
		return nil, fmt.Errorf("make key of authority: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               subject("kuma-cp CA"),
		NotBefore:             now.Add(-5 * time.Minute),
		NotAfter:              now.Add(authorityValidity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate of authority: %w", err)
	}
	return parseAuthority(encodeCert(der), key)
}

func parseAuthority(text []byte, key crypto.Signer) (*authority, error) {
	cert, err := parseLeaf(text)
	if err != nil {
		return nil, err
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) || !cert.IsCA {
		return nil, errors.New("the authority and its key do not belong together")
	}
	return &authority{cert: cert, pem: text, key: key}, nil
}

// issue returns the PEM form of a server certificate followed by its authority,
// so that the text can be given to clients as what they have to trust. The server
// certificate has no basic constraints: kuma-dp's control planes refuse a text
// whose first certificate says that it is no authority.
func (a *authority) issue(key crypto.Signer, hosts []string, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	end := now.Add(serverValidity)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject("kuma-cp"),
		NotBefore:    now.Add(-5 * time.Minute),
		NotAfter:     end,
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return append(encodeCert(der), a.pem...), nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func parseLeaf(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it does not begin with a PEM certificate")
	}
	return x509.ParseCertificate(block.Bytes)
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
