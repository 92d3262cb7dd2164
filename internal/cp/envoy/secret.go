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

// IdentityNeeds returns what a proxy needs to prove itself with; none if nothing
// of it does: then no certificate has to be issued.
func IdentityNeeds(p *ir.Proxy) []*ir.Identity {
	var out []*ir.Identity
	for _, need := range p.Identities {
		if !need.Keep && !provesItself(p, need.Mesh) {
			continue
		}
		id := *need
		for _, in := range p.Inbounds {
			id.RSA = id.RSA || in.TLS != nil && onlyRSA(in.TLS.Ciphers)
		}
		out = append(out, &id)
	}
	return out
}

// onlyRSA tells whether none of the ciphers goes with another key.
func onlyRSA(ciphers []string) bool {
	return len(ciphers) > 0 && !slices.ContainsFunc(ciphers, func(c string) bool { return strings.Contains(c, "-ECDSA-") })
}

// provesItself tells whether some listener or cluster names the mesh's secrets.
func provesItself(p *ir.Proxy, mesh string) bool {
	if p.Passage != nil {
		return slices.ContainsFunc(p.Passage.Chains, func(c *ir.Chain) bool { return c.In.TLS != nil && c.In.TLS.Mesh == mesh })
	}
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
