package kinds

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"

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

// SecretNames returns the names of the Secrets of the mesh that the authority uses.
func (b *CABackend) SecretNames(mesh string) []string {
	switch b.Type {
	case CABuiltin:
		return []string{BuiltinCertSecret(mesh, b.Name), BuiltinKeySecret(mesh, b.Name)}
	case CAProvided:
		c, err := b.Provided()
		if err != nil {
			return nil
		}
		var out []string
		for _, s := range []*DataSource{c.Cert, c.Key} {
			if n := s.SecretName(); n != "" {
				out = append(out, n)
			}
		}
		return out
	}
	return nil
}

// BuiltinCertSecret returns the name of the Secret with the certificate of a
// builtin authority.
func BuiltinCertSecret(mesh, backend string) string { return mesh + ".ca-builtin-cert-" + backend }

// BuiltinKeySecret returns the name of the Secret with the key of a builtin authority.
func BuiltinKeySecret(mesh, backend string) string { return mesh + ".ca-builtin-key-" + backend }

// LoadData finds what a data source of a mesh refers to.
type LoadData func(s *DataSource) ([]byte, error)

// CheckCAs adds what is wrong with the certificate authorities of a mesh. It is
// apart from the kind's validation because it has to look at other objects. v is
// positioned at the object.
func (m *MeshSpec) CheckCAs(mesh string, load LoadData, v *model.Violations) {
	if m.MTLS == nil {
		return
	}
	for i := range m.MTLS.Backends {
		b := &m.MTLS.Backends[i]
		at := v.At("mtls", "backends", i)
		switch {
		case b.Type != CABuiltin && b.Type != CAProvided:
			at.At("type").Add("%q is no type of certificate authority that is known; use %s or %s", b.Type, CABuiltin, CAProvided)
		case m.MTLS.SkipValidation:
		case b.Type == CABuiltin:
			b.checkBuiltin(mesh, at)
		default:
			b.checkProvided(load, at.At("conf"))
		}
	}
}

// Bounds of the root key of a builtin certificate authority: smaller ones are
// broken, larger ones take minutes to make.
const (
	minRSABits = 1024
	maxRSABits = 8192
)

func (b *CABackend) checkBuiltin(mesh string, v *model.Violations) {
	var name model.Violations
	model.CheckName(BuiltinCertSecret(mesh, b.Name), &name)
	if !name.Empty() {
		// Clients know this path with the place repeated.
		v.At("conf", "mtls", "backends", "name").Add("%q cannot be part of the name of a secret: use lower case letters, digits and '-', and not too many", b.Name)
	}
	conf := v.At("conf")
	c, err := b.Builtin()
	if err != nil {
		conf.Add("cannot be read: %s", confProblem(err))
		return
	}
	if c.CACert == nil {
		return
	}
	if n := c.CACert.RSABits; n != nil && (*n < minRSABits || *n > maxRSABits) {
		conf.At("caCert", "RSAbits").Add("must be between %d and %d", minRSABits, maxRSABits)
	}
	if e := c.CACert.Expiration; e != "" {
		if _, err := ParseLifetime(e); err != nil {
			conf.At("caCert", "expiration").Add("%v", err)
		}
	}
}

func (b *CABackend) checkProvided(load LoadData, v *model.Violations) {
	c, err := b.Provided()
	if err != nil {
		v.Add("cannot be read: %s", confProblem(err))
		return
	}
	var form model.Violations
	c.Cert.Check(form.At("cert"))
	c.Key.Check(form.At("key"))
	if !form.Empty() {
		for _, w := range form.List() {
			v.At(w.Field).Add("%s", w.Message)
		}
		return
	}
	cert, err := load(c.Cert)
	if err != nil {
		err = fmt.Errorf("load the certificate from %s: %w", c.Cert, err)
	}
	key, kerr := load(c.Key)
	if kerr != nil && err == nil {
		err = fmt.Errorf("load the key from %s: %w", c.Key, kerr)
	}
	if err != nil { // neither is of use without the other
		v.At("cert").Add("%v", err)
		v.At("key").Add("%v", err)
		return
	}
	CheckCAPair(cert, key, v)
}

// confProblem is the text of an error of model.DecodeProto without its preamble.
func confProblem(err error) string {
	return strings.TrimPrefix(err.Error(), "invalid object: ")
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
