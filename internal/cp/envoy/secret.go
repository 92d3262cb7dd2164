package envoy

import (
	"bytes"
	"slices"
	"strings"

	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

// Identity returns the secret with which a proxy proves that it belongs to a
// mesh.
func Identity(mesh string, certPEM, keyPEM []byte) (*xds.Resource, error) {
	name := IdentitySecret(mesh)
	return encode(xds.Secret, name, &tls.Secret{Name: name, Type: &tls.Secret_TlsCertificate{
		TlsCertificate: &tls.TlsCertificate{CertificateChain: inlineBytes(certPEM), PrivateKey: inlineBytes(keyPEM)},
	}})
}

// Authority returns the secret with the roots that identities are checked
// against: CASecret of a mesh, or AllCASecret.
func Authority(name string, roots ...[]byte) (*xds.Resource, error) {
	return encode(xds.Secret, name, &tls.Secret{Name: name, Type: &tls.Secret_ValidationContext{
		ValidationContext: &tls.CertificateValidationContext{TrustedCa: inlineBytes(bytes.Join(roots, []byte("\n")))},
	}})
}

// IdentityNeeds returns what a proxy needs to prove itself with; nil if nothing
// of it does: then no certificate has to be issued.
func IdentityNeeds(p *ir.Proxy) *ir.Identity {
	if p.Identity == nil || !p.Identity.Keep && !provesItself(p) {
		return nil
	}
	id := *p.Identity
	for _, in := range p.Inbounds {
		id.RSA = id.RSA || in.TLS != nil && onlyRSA(in.TLS.Ciphers)
	}
	return &id
}

// onlyRSA tells whether none of the ciphers goes with another key.
func onlyRSA(ciphers []string) bool {
	return len(ciphers) > 0 && !slices.ContainsFunc(ciphers, func(c string) bool { return strings.Contains(c, "-ECDSA-") })
}

// provesItself tells whether some listener or cluster names the mesh's secrets.
func provesItself(p *ir.Proxy) bool {
	if p.DirectTLS != nil || p.Metrics != nil && p.Metrics.ServerTLS != nil {
		return true
	}
	for _, in := range p.Inbounds {
		if in.TLS != nil {
			return true
		}
	}
	for _, c := range p.Clusters {
		if c.TLS != nil && c.TLS.MeshIdentity {
			return true
		}
	}
	return false
}
