// Package token reads and writes the signed tokens by which proxies and users
// prove who they are: JWTs with RS256. kuma-cp issues and verifies them, kumactl
// issues them offline. The functions are pure: time and keys come in as arguments.
package token

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// MaxLength bounds what Parse looks at; real tokens have about a kilobyte.
const MaxLength = 16 << 10

// MaxKID bounds the key id in a token's header.
const MaxKID = 100

// DefaultValidity is how long a dataplane or zone token is valid if nobody says otherwise.
const DefaultValidity = 10 * 365 * 24 * time.Hour

// clockSkew is how far back the beginning of a token's validity is set.
const clockSkew = 5 * time.Minute

// Stamp is what every token has, whoever it is for.
type Stamp struct {
	// ID is what revocation lists name.
	ID        string           `json:"jti"`
	IssuedAt  *jwt.NumericDate `json:"iat"`
	NotBefore *jwt.NumericDate `json:"nbf"`
	ExpiresAt *jwt.NumericDate `json:"exp"`
}

// Dataplane are the claims of a dataplane token. What is empty is not checked.
type Dataplane struct {
	Stamp
	Name string
	Mesh string
	// Tags are those that the proxy may have, with the values that are allowed.
	Tags map[string][]string
	// Type is the kind of proxy: "", dataplane, ingress or egress.
	Type string
}

// Zone are the claims of a zone token.
type Zone struct {
	Stamp
	Zone string
	// Scope lists what the token is good for: ingress, egress, cp.
	Scope []string
}

// User are the claims of a user token.
type User struct {
	Stamp
	Name   string
	Groups []string
}

// Values of Dataplane.Type and in Zone.Scope.
const (
	TypeDataplane = "dataplane"
	TypeIngress   = "ingress"
	TypeEgress    = "egress"
	ScopeCP       = "cp"
)

// Claims are *Dataplane, *Zone or *User.
type Claims interface {
	jwt.Claims
	stamp() *Stamp
	tidy()
}

func (s *Stamp) stamp() *Stamp { return s }

// GetExpirationTime implements jwt.Claims.
func (s *Stamp) GetExpirationTime() (*jwt.NumericDate, error) { return s.ExpiresAt, nil }

// GetIssuedAt implements jwt.Claims.
func (s *Stamp) GetIssuedAt() (*jwt.NumericDate, error) { return s.IssuedAt, nil }

// GetNotBefore implements jwt.Claims.
func (s *Stamp) GetNotBefore() (*jwt.NumericDate, error) { return s.NotBefore, nil }

// GetIssuer implements jwt.Claims; these tokens name none.
func (s *Stamp) GetIssuer() (string, error) { return "", nil }

// GetSubject implements jwt.Claims; these tokens name none.
func (s *Stamp) GetSubject() (string, error) { return "", nil }

// GetAudience implements jwt.Claims; these tokens name none.
func (s *Stamp) GetAudience() (jwt.ClaimStrings, error) { return nil, nil }

// tidy brings the claims into the form that 2.10 writes: tags without values are
// left out, the object is there even if it is empty.
func (d *Dataplane) tidy() {
	tags := make(map[string][]string, len(d.Tags))
	for k, vs := range d.Tags {
		if len(vs) > 0 {
			tags[k] = vs
		}
	}
	d.Tags = tags
}

func (*Zone) tidy() {}
func (*User) tidy() {}

// Key signs tokens.
type Key struct {
	// ID goes into the header, so that the verifier finds the key.
	ID string
	*rsa.PrivateKey
}

// Issue signs claims with a new id; they are valid from now (a little earlier,
// for clocks that differ) for validFor.
func Issue(c Claims, key Key, now time.Time, validFor time.Duration) (string, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return "", fmt.Errorf("make token id: %w", err)
	}
	*c.stamp() = Stamp{
		ID:        id.String(),
		IssuedAt:  jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now.Add(-clockSkew)),
		ExpiresAt: jwt.NewNumericDate(now.Add(validFor)),
	}
	c.tidy()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, c)
	t.Header["kid"] = key.ID
	signed, err := t.SignedString(key.PrivateKey)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed, nil
}

// What is wrong with a token; Parse returns them, or the error of keyFor. None of
// them quotes the token.
var (
	ErrMalformed  = errors.New("is not a JWT; give it exactly as it was issued")
	ErrTooLong    = fmt.Errorf("is longer than %d bytes", MaxLength)
	ErrNoKID      = errors.New("names no signing key: the header needs kid as text")
	ErrBadKID     = fmt.Errorf("names a signing key that cannot exist: kid must have at most %d printable characters", MaxKID)
	ErrAlgorithm  = errors.New("is not signed with RS256, the only algorithm that is accepted")
	ErrCritical   = errors.New("demands extensions (header crit), none of which is supported")
	ErrSignature  = errors.New("has a signature that does not fit to the signing key it names")
	ErrExpired    = errors.New("has expired; issue a new one")
	ErrNotYet     = errors.New("is not valid yet; compare the clocks of this machine and of the one that issued it")
	ErrUnlimited  = errors.New("names no end of its validity (claim exp)")
	ErrIncomplete = errors.New("has no id (claim jti), so that it could not be revoked")
)

// Parse verifies a token and fills in its claims. keyFor returns the key of a key
// id; the claims are not verified when it is called. Revocation is not checked.
func Parse(text string, c Claims, now time.Time, keyFor func(kid string) (*rsa.PublicKey, error)) error {
	if len(text) > MaxLength {
		return ErrTooLong
	}
	var cause error // what is wrong, found while looking for the key
	find := func(t *jwt.Token) (any, error) {
		var key *rsa.PublicKey
		kid, err := kidOf(t)
		if err == nil {
			key, err = keyFor(kid)
		}
		cause = err
		return key, err
	}
	p := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodRS256.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now }))
	t, err := p.ParseWithClaims(text, c, find)
	switch {
	case cause != nil:
		return cause
	case err != nil:
		return reason(t, err)
	case c.stamp().ID == "":
		return ErrIncomplete
	}
	return nil
}

// Expires returns when a token ends, as it says itself: nothing is verified. It
// returns false for what is no token or has no end.
func Expires(text string) (time.Time, bool) {
	if len(text) > MaxLength {
		return time.Time{}, false
	}
	var s Stamp
	if _, _, err := jwt.NewParser().ParseUnverified(text, &s); err != nil || s.ExpiresAt == nil {
		return time.Time{}, false
	}
	return s.ExpiresAt.Time, true
}

func kidOf(t *jwt.Token) (string, error) {
	if _, ok := t.Header["crit"]; ok {
		return "", ErrCritical
	}
	kid, ok := t.Header["kid"].(string)
	if !ok || kid == "" {
		return "", ErrNoKID
	}
	if len(kid) > MaxKID || strings.ContainsFunc(kid, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", ErrBadKID
	}
	return kid, nil
}

// reason turns an error of the library, whose text may quote parts of the token,
// into one of ours.
func reason(t *jwt.Token, err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return ErrMalformed
	case t != nil && t.Method != nil && t.Method.Alg() != jwt.SigningMethodRS256.Alg():
		return ErrAlgorithm
	case errors.Is(err, jwt.ErrTokenExpired):
		return ErrExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return ErrNotYet
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return ErrUnlimited
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return ErrSignature
	case errors.Is(err, jwt.ErrTokenUnverifiable): // an algorithm that the library does not know
		return ErrAlgorithm
	}
	return ErrMalformed
}
