package dpserver

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"
)

// checkHost returns the host under which proxies shall reach this server: the
// configured one, else that of the request, for which the certificate must be
// valid because proxies verify it.
func (s *Server) checkHost(requested string) (string, error) {
	if h := s.d.Bootstrap.XDSHost; h != "" {
		return h, nil
	}
	h := requested
	if name, _, err := net.SplitHostPort(requested); err == nil {
		h = name
	}
	h = strings.Trim(h, "[]")
	leaf := s.d.Certificate.Leaf()
	if leaf.VerifyHostname(h) == nil {
		return h, nil
	}
	return "", wrong(http.StatusBadRequest, `this proxy connects to the control plane as %q, but the control plane's certificate is valid for %v only.
Use one of these in --cp-address of kuma-dp, or give the control plane a certificate for that name:
1) Make one: 'kumactl generate tls-certificate --type=server --hostname=%s', or let your certificate authority do it.
2) Set KUMA_GENERAL_TLS_CERT_FILE and KUMA_GENERAL_TLS_KEY_FILE (or the fields of that name in the control plane's configuration file) to it.
3) Restart the control plane, then start kuma-dp again.`, h, s.d.Certificate.SANs(), h)
}

// checkCA returns the authorities by which Envoy verifies this server: those that
// the request names, else the server's own certificate. What is marked as no
// authority cannot verify anything.
func (s *Server) checkCA(sent string) ([]byte, error) {
	ca := []byte(sent)
	if sent == "" {
		ca = s.d.Certificate.PEM()
	}
	certs, usable := 0, false
	for rest := ca; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, wrong(http.StatusBadRequest, "caCert holds a certificate that cannot be read: %v", err)
		}
		certs++
		usable = usable || !c.BasicConstraintsValid || c.IsCA
	}
	if certs == 0 {
		return nil, wrong(http.StatusBadRequest, "caCert holds no certificate in PEM form; give kuma-dp the certificate authority of the control plane with --ca-cert-file")
	}
	if !usable {
		return nil, wrong(http.StatusBadRequest, "the certificate by which this proxy verifies the control plane is not a certificate authority (its basic constraints say CA: false); give kuma-dp the authority that signed the control plane's certificate with --ca-cert-file or KUMA_CONTROL_PLANE_CA_CERT_FILE")
	}
	return ca, nil
}

// lookupTimeout bounds how long a bootstrap request waits for DNS.
const lookupTimeout = 2 * time.Second

// onlyIPv4 tells whether a name is known to have addresses of IPv4 only. If it
// cannot be resolved here, proxies have to find out themselves.
func (s *Server) onlyIPv4(ctx context.Context, name string) bool {
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := s.d.Lookup(ctx, "ip", name)
	if err != nil || len(addrs) == 0 {
		return false
	}
	for _, a := range addrs {
		if !a.Unmap().Is4() {
			return false
		}
	}
	return true
}

// maxCorefile bounds the template that is sent to every proxy.
const maxCorefile = 256 << 10

// corefile returns the operator's template for the proxies' DNS server, or nil.
func (s *Server) corefile() ([]byte, error) {
	path := s.d.Bootstrap.CorefileTemplatePath
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the template named by bootstrapServer.params.corefileTemplatePath: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCorefile+1))
	if err != nil {
		return nil, fmt.Errorf("read the template named by bootstrapServer.params.corefileTemplatePath: %w", err)
	}
	if len(b) > maxCorefile {
		return nil, fmt.Errorf("the template named by bootstrapServer.params.corefileTemplatePath is larger than %d bytes", maxCorefile)
	}
	return b, nil
}
