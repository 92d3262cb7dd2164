package kinds

import (
	"crypto/tls"
	"crypto/x509"

	"weft/internal/mesh/model"
)

// Builtin returns the conf of a builtin certificate authority.
func (b *CABackend) Builtin() (BuiltinCA, error) {
	var c BuiltinCA
	err := model.DecodeProto(b.Conf, &c)
	return c, err
}

// Provided returns the conf of a provided certificate authority.
func (b *CABackend) Provided() (ProvidedCA, error) {
	var c ProvidedCA
	err := model.DecodeProto(b.Conf, &c)
	return c, err
}

// CheckCAPair adds what is wrong with the PEM certificate and key of a provided
// certificate authority; v is positioned at its conf. What a CA certificate for
// workload identities must be like is written in the X509-SVID specification.
func CheckCAPair(cert, key []byte, v *model.Violations) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		// The error speaks about the form only, never about the key's content.
		v.At("cert").Add("is no certificate that fits the key: %v", err)
		return
	}
	for i, der := range pair.Certificate {
		at := v.At("cert", i)
		c, err := x509.ParseCertificate(der)
		if err != nil {
			at.Add("is no X.509 certificate: %v", err)
			continue
		}
		if !c.IsCA {
			at.Add("is no certificate of an authority: the basic constraint CA must be true")
		}
		if c.KeyUsage&x509.KeyUsageCertSign == 0 {
			at.Add("must have the key usage keyCertSign")
		}
		if c.KeyUsage&x509.KeyUsageKeyAgreement != 0 {
			at.Add("must not have the key usage keyAgreement")
		}
	}
}
