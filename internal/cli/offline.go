package cli

import (
	"crypto/rsa"
	"fmt"
	"time"

	"weft/internal/mesh/token"
)

// sign makes a token here, with a key file and without a control plane.
func (t *tokenFlags) sign(claims token.Claims, now time.Time) (string, error) {
	key, err := readSigningKey(t.key)
	if err != nil {
		return "", err
	}
	out, err := token.Issue(claims, token.Key{ID: t.kid, PrivateKey: key}, now, t.validFor)
	if err != nil {
		return "", fmt.Errorf("make the token: %w", err)
	}
	return out, nil
}

// readSigningKey reads a private key. What it holds is in no error.
func readSigningKey(path string) (*rsa.PrivateKey, error) {
	s, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	key, err := token.ParsePrivateKey(s.text)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: it %w", path, err)
	}
	return key, nil
}
