package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weft/internal/mesh/kinds"
)

// Authority issues the certificates of one backend. It is safe for concurrent use
// and does not change: one that reads other keys is another Authority.
type Authority interface {
	// ID tells authorities apart: a hash of the certificate that signs.
	ID() string
	// Roots are the certificates that those of the Authority are checked against, PEM.
	Roots() []byte
	// Expires is when the Authority's own certificate ends.
	Expires() time.Time
	// Issue makes a certificate. It may take as long as ctx lets it.
	Issue(ctx context.Context, r Request) (*Certificate, error)
}

// Request is what a certificate is to say.
type Request struct {
	// URIs are the names, in order.
	URIs []string
	// RSA asks for such a key; the usual one is ECDSA P-256.
	RSA bool
	// Lifetime is how long it is to be valid; the Authority may make it shorter.
	Lifetime time.Duration
	Now      time.Time
}

// Certificate is what a proxy proves itself with.
type Certificate struct {
	// CertPEM holds the leaf, followed by what leads from it to a root.
	CertPEM, KeyPEM []byte
	// Issued is when it was made, which is a little after its notBefore.
	Issued, NotAfter time.Time
}

// Source is what an Opener makes an Authority of.
type Source struct {
	Mesh    string
	Backend *kinds.CABackend
	// Read returns the data that a data source of the mesh refers to.
	Read kinds.LoadData
}

// Opener makes the Authority of a backend, for one type of backends. It may take
// as long as ctx lets it. Further issuers (Vault, ACM PCA, cert-manager) are
// further Openers.
type Opener func(ctx context.Context, s Source) (Authority, error)

// Openers returns those of the types that every control plane knows.
func Openers() map[string]Opener {
	return map[string]Opener{
		kinds.CABuiltin:  openBuiltin,
		kinds.CAProvided: openProvided,
	}
}

// openBuiltin takes the key pair that the Keeper made.
func openBuiltin(_ context.Context, s Source) (Authority, error) {
	names := s.Backend.SecretNames(s.Mesh)
	cert, err := s.Read(&kinds.DataSource{Secret: &names[0]})
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	key, err := s.Read(&kinds.DataSource{Secret: &names[1]})
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	return newKeyPair(cert, key)
}

// openProvided takes the key pair that the user gave.
func openProvided(_ context.Context, s Source) (Authority, error) {
	c, err := s.Backend.Provided()
	if err != nil {
		return nil, fmt.Errorf("read the conf of the backend: %w", err)
	}
	if c.Cert == nil || c.Key == nil {
		return nil, errors.New("the backend names no certificate or no key")
	}
	cert, err := s.Read(c.Cert)
	if err != nil {
		return nil, fmt.Errorf("read the certificate from %s: %w", c.Cert, err)
	}
	key, err := s.Read(c.Key)
	if err != nil {
		return nil, fmt.Errorf("read the key from %s: %w", c.Key, err)
	}
	return newKeyPair(cert, key)
}
