package envoy

import (
	"bytes"

	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"weft/internal/cp/xds"
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
