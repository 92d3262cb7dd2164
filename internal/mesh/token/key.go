package token

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
)

// keyBits of the keys that NewKey makes, and the bounds of those that are accepted.
const (
	keyBits    = 2048
	minKeyBits = 1024
	maxKeyBits = 8192
)

// MaxKeyLength bounds the text of a key.
const MaxKeyLength = 64 << 10

// NewKey makes a key and returns its PEM form, PKCS#1.
func NewKey() ([]byte, error) { return newKey(rand.Reader) }

func newKey(random io.Reader) ([]byte, error) {
	key, err := rsa.GenerateKey(random, keyBits)
	if err != nil {
		return nil, fmt.Errorf("make RSA key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), nil
}

// ParsePrivateKey reads an RSA private key: PEM (PKCS#1 or PKCS#8) or, as old
// control planes stored it, PKCS#1 without PEM. Errors do not quote the key.
func ParsePrivateKey(text []byte) (*rsa.PrivateKey, error) {
	der, kind, err := decode(text)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "", "RSA PRIVATE KEY":
		if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
			return key, checkBits(&key.PublicKey)
		}
	case "PRIVATE KEY":
		if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
			if rsaKey, ok := key.(*rsa.PrivateKey); ok {
				return rsaKey, checkBits(&rsaKey.PublicKey)
			}
			return nil, errors.New("is a private key, but not an RSA key; tokens are signed with RS256")
		}
	case "RSA PUBLIC KEY", "PUBLIC KEY":
		return nil, errors.New("is a public key; signing needs the private key")
	default:
		return nil, fmt.Errorf("is PEM of type %.40q; an RSA PRIVATE KEY is needed", kind)
	}
	return nil, errors.New("is not a usable RSA private key; make one with: kumactl generate signing-key --format=pem")
}

// ParsePublicKey reads an RSA public key (PEM: PKCS#1, PKIX or a certificate), or
// takes it out of a private key.
func ParsePublicKey(text []byte) (*rsa.PublicKey, error) {
	der, kind, err := decode(text)
	if err != nil {
		return nil, err
	}
	var key any
	switch kind {
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(der)
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(der)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(der); err == nil {
			key = cert.PublicKey
		}
	default:
		private, err := ParsePrivateKey(text)
		if err != nil {
			return nil, err
		}
		return &private.PublicKey, nil
	}
	if err != nil {
		return nil, errors.New("is not a usable RSA public key; get one with: kumactl generate public-key")
	}
	rsaKey, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("is a public key, but not an RSA key; tokens are signed with RS256")
	}
	return rsaKey, checkBits(rsaKey)
}

// EncodePublicKey returns the PEM form of a public key, PKCS#1.
func EncodePublicKey(key *rsa.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(key)})
}

// decode returns the bytes of the first PEM block and its type, or the text
// itself if it is not PEM.
func decode(text []byte) (der []byte, kind string, err error) {
	switch {
	case len(text) == 0:
		return nil, "", errors.New("is empty; an RSA key in PEM is needed")
	case len(text) > MaxKeyLength:
		return nil, "", fmt.Errorf("has %d bytes, more than a key can have", len(text))
	}
	if block, _ := pem.Decode(text); block != nil {
		return block.Bytes, block.Type, nil
	}
	return text, "", nil
}

func checkBits(key *rsa.PublicKey) error {
	if n := key.N.BitLen(); n < minKeyBits || n > maxKeyBits {
		return fmt.Errorf("has %d bits; between %d and %d are possible, %d are usual", n, minKeyBits, maxKeyBits, keyBits)
	}
	return nil
}
