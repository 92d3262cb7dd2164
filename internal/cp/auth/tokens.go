package auth

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"weft/internal/config"
	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/token"
)

// Options say how tokens are issued and verified here.
type Options struct {
	DP   config.DPToken
	Zone config.ZoneToken
	User config.APIServerAuthnTokens
	// Federated: zone tokens are issued by global, and this zone has public keys only.
	Federated bool
	// UserTokens: callers of the API prove who they are by user tokens.
	UserTokens bool
	// Volatile: the store forgets everything at a restart.
	Volatile bool
}

// OptionsOf returns what the settings say.
func OptionsOf(c *config.Config) Options {
	return Options{
		DP: c.DPServer.Authn.DPProxy.DPToken, Zone: c.DPServer.Authn.ZoneProxy.ZoneToken, User: c.APIServer.Authn.Tokens,
		UserTokens: c.APIServer.Authn.Type == config.AuthnTokens,
		Federated:  c.IsFederatedZone(), Volatile: c.Store.Type == config.StoreMemory,
	}
}

// Tokens issues and verifies tokens.
type Tokens struct {
	Options
	secrets *secrets
	store   store.Store
	log     *slog.Logger
	now     func() time.Time
	newKey  func() ([]byte, error)

	dpKeys, zoneKeys, userKeys givenKeys
}

// NewTokens returns the issuer and verifier. It reads the public keys of the settings.
func NewTokens(o Options, st store.Store, log *slog.Logger, now func() time.Time) (*Tokens, error) {
	t := &Tokens{Options: o, secrets: newSecrets(st, now), store: st, log: log, now: now, newKey: token.NewKey}
	var errs [3]error
	t.dpKeys, errs[0] = loadKeys("dpServer.authn.dpProxy.dpToken.validator.publicKeys", o.DP.Validator.PublicKeys)
	t.zoneKeys, errs[1] = loadKeys("dpServer.authn.zoneProxy.zoneToken.validator.publicKeys", anyMesh(o.Zone.Validator.PublicKeys))
	t.userKeys, errs[2] = loadKeys("apiServer.authn.tokens.validator.publicKeys", anyMesh(o.User.Validator.PublicKeys))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return t, nil
}

// ErrRevoked is the error for a token whose id is on a revocation list.
var ErrRevoked = errors.New("is revoked; issue a new one")

// ErrIssuerOff is the error for issuing a kind of token that is switched off.
var ErrIssuerOff = errors.New("issuing these tokens is switched off in the settings of the control plane; issue them with kumactl --signing-key-path")

// Lists of revoked tokens. For dataplane tokens 2.10 documents the Secret and
// reads the GlobalSecret; both count here.
func dataplaneRevocations(mesh string) []model.Key {
	name := "dataplane-token-revocations-" + mesh
	return []model.Key{kinds.Secret.Key(mesh, name), kinds.GlobalSecret.Key("", name)}
}

func zoneRevocations() []model.Key {
	return []model.Key{kinds.GlobalSecret.Key("", "zone-token-revocations")}
}

func userRevocations() []model.Key {
	return []model.Key{kinds.GlobalSecret.Key("", "user-token-revocations")}
}

// VerifyDataplane returns the claims of a dataplane token, verified with the keys of a mesh.
func (t *Tokens) VerifyDataplane(ctx context.Context, text, mesh string) (*token.Dataplane, error) {
	c := &token.Dataplane{}
	v := verification{given: t.dpKeys, mesh: mesh, useSecrets: t.DP.Validator.UseSecrets, set: dataplaneKeys(mesh), revoked: dataplaneRevocations(mesh)}
	if err := t.verify(ctx, text, c, &c.ID, v); err != nil {
		return nil, fmt.Errorf("dataplane token %w", err)
	}
	return c, nil
}

// VerifyZone returns the claims of a zone token.
func (t *Tokens) VerifyZone(ctx context.Context, text string) (*token.Zone, error) {
	c := &token.Zone{}
	v := verification{given: t.zoneKeys, useSecrets: t.Zone.Validator.UseSecrets, set: zoneKeys(), revoked: zoneRevocations()}
	if t.Federated {
		v.set = zonePublicKeys()
	}
	if err := t.verify(ctx, text, c, &c.ID, v); err != nil {
		return nil, fmt.Errorf("zone token %w", err)
	}
	return c, nil
}

// VerifyUser returns the user of a user token.
func (t *Tokens) VerifyUser(ctx context.Context, text string) (User, error) {
	c := &token.User{}
	v := verification{given: t.userKeys, useSecrets: t.User.Validator.UseSecrets, set: userKeys(), revoked: userRevocations()}
	if err := t.verify(ctx, text, c, &c.ID, v); err != nil {
		return User{}, fmt.Errorf("user token %w", err)
	}
	return User{Name: c.Name, Groups: append(c.Groups, AuthenticatedGroup)}, nil
}

// verification is where the keys and revocation lists of a token are.
type verification struct {
	given      givenKeys
	mesh       string
	useSecrets bool
	set        keySet
	revoked    []model.Key
}

// verify parses a token into c; id points to the id within c.
func (t *Tokens) verify(ctx context.Context, text string, c token.Claims, id *string, v verification) error {
	find := func(kid string) (*rsa.PublicKey, error) {
		key, err := t.publicKey(ctx, kid, v)
		if err != nil {
			return nil, fmt.Errorf("cannot be verified: %w", err)
		}
		return key, nil
	}
	if err := token.Parse(text, c, t.now(), find); err != nil {
		return fmt.Errorf("cannot be accepted: it %w", err)
	}
	revoked, err := t.secrets.revoked(ctx, *id, v.revoked...)
	if err != nil {
		return fmt.Errorf("cannot be checked for revocation: %w", err)
	}
	if revoked {
		return fmt.Errorf("cannot be accepted: it %w", ErrRevoked)
	}
	return nil
}

func (t *Tokens) publicKey(ctx context.Context, kid string, v verification) (*rsa.PublicKey, error) {
	if key, ok := v.given.find(kid, v.mesh); ok {
		return key, nil
	}
	if !v.useSecrets || !possibleKID.MatchString(kid) {
		return nil, &NoKey{KID: kid}
	}
	at := v.set.key(kid)
	data, found, err := t.secrets.get(ctx, at, false)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, &NoKey{KID: kid, Secret: at, Volatile: t.Volatile}
	}
	key, err := t.secrets.publicKey(data)
	if err != nil {
		return nil, &BrokenKey{Secret: at, Err: err}
	}
	return key, nil
}

// IssueDataplane issues a dataplane token with the newest key of its mesh.
func (t *Tokens) IssueDataplane(ctx context.Context, c *token.Dataplane, validFor time.Duration) (string, error) {
	if !t.DP.EnableIssuer {
		return "", ErrIssuerOff
	}
	return t.issue(ctx, dataplaneKeys(c.Mesh), c, validFor)
}

// IssueZone issues a zone token.
func (t *Tokens) IssueZone(ctx context.Context, c *token.Zone, validFor time.Duration) (string, error) {
	if !t.Zone.EnableIssuer {
		return "", ErrIssuerOff
	}
	return t.issue(ctx, zoneKeys(), c, validFor)
}

// IssueUser issues a user token.
func (t *Tokens) IssueUser(ctx context.Context, c *token.User, validFor time.Duration) (string, error) {
	if !t.User.EnableIssuer {
		return "", ErrIssuerOff
	}
	return t.issue(ctx, userKeys(), c, validFor)
}

func (t *Tokens) issue(ctx context.Context, set keySet, c token.Claims, validFor time.Duration) (string, error) {
	key, err := t.newestKey(ctx, set)
	if err != nil {
		return "", err
	}
	return token.Issue(c, key, t.now(), validFor)
}

// newestKey returns the signing key with the highest serial number.
func (t *Tokens) newestKey(ctx context.Context, set keySet) (token.Key, error) {
	if set.kind.Scope == model.InMesh && set.mesh == "" {
		return token.Key{}, errors.New("a dataplane token needs a mesh")
	}
	objects, err := t.store.List(ctx, set.kind, set.mesh)
	if err != nil {
		return token.Key{}, fmt.Errorf("list signing keys: %w", err)
	}
	var best *model.Object
	bestID, highest := "", uint64(0)
	for _, o := range objects {
		if kid, serial, ok := set.idOf(o.Meta.Name); ok && (best == nil || serial > highest) {
			best, bestID, highest = o, kid, serial
		}
	}
	if best == nil {
		return token.Key{}, &NoKey{KID: firstKID, Secret: set.key(firstKID), Volatile: t.Volatile}
	}
	key, err := token.ParsePrivateKey(dataOf(best))
	if err != nil {
		return token.Key{}, &BrokenKey{Secret: best.Key(), Err: err}
	}
	return token.Key{ID: bestID, PrivateKey: key}, nil
}
