package auth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weft/internal/config"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/token"
)

// Proxy is who a connection claims to be.
type Proxy struct {
	// Type is token.TypeDataplane, TypeIngress or TypeEgress.
	Type string
	// Mesh is empty for zone proxies.
	Mesh, Name string
	// Tags are all tags of a data plane proxy with their values.
	Tags map[string][]string
}

// ProxyOf returns who an object (Dataplane, ZoneIngress, ZoneEgress) claims to be.
func ProxyOf(o *model.Object) (Proxy, error) {
	p := Proxy{Mesh: o.Meta.Mesh, Name: o.Meta.Name}
	switch spec := o.Spec.(type) {
	case *kinds.DataplaneSpec:
		p.Type, p.Tags = token.TypeDataplane, spec.Tags()
	case *kinds.ZoneIngressSpec:
		p.Type = token.TypeIngress
	case *kinds.ZoneEgressSpec:
		p.Type = token.TypeEgress
	default:
		return Proxy{}, fmt.Errorf("%s is no proxy", o.Key())
	}
	return p, nil
}

// Verifier checks the credential that a proxy sent (raw, without "Bearer")
// against who it claims to be. nil means that it is that proxy. Callers may ask
// again at any time with the same credential, to find out that it was revoked or
// has expired.
type Verifier interface {
	Verify(ctx context.Context, credential string, p Proxy) error
}

// Proxies is the Verifier of environment universal, by tokens.
type Proxies struct {
	tokens *Tokens
	// zone is this zone's name.
	zone      string
	trustDP   bool // authentication of data plane proxies is off
	trustZone bool // that of zone proxies is
}

// ErrNoCredential is the error for a proxy that sent no token.
var ErrNoCredential = errors.New("no token was sent; issue one with kumactl generate dataplane-token (or zone-token for an ingress or egress) and give it to kuma-dp with --dataplane-token-file")

// NewProxies returns the verifier for what the settings demand. serviceAccountToken
// is not among it: Kubernetes has its own Verifier.
func NewProxies(t *Tokens, a config.DPServerAuthn, zone string) (*Proxies, error) {
	p := &Proxies{tokens: t, zone: zone}
	switch a.DPProxy.Type {
	case config.ProxyAuthnDPToken:
	case config.ProxyAuthnNone:
		p.trustDP = true
	default:
		return nil, fmt.Errorf("dpServer.authn.dpProxy.type %q cannot be verified by tokens", a.DPProxy.Type)
	}
	switch a.ZoneProxy.Type {
	case config.ProxyAuthnZoneToken:
	case config.ProxyAuthnNone:
		p.trustZone = true
	default:
		return nil, fmt.Errorf("dpServer.authn.zoneProxy.type %q cannot be verified by tokens", a.ZoneProxy.Type)
	}
	return p, nil
}

// Needs tells whether a proxy of that type has to send a token at all.
func (p *Proxies) Needs(proxyType string) bool {
	if proxyType == token.TypeIngress || proxyType == token.TypeEgress {
		return !p.trustZone
	}
	return !p.trustDP
}

// Verify implements Verifier.
func (p *Proxies) Verify(ctx context.Context, credential string, who Proxy) error {
	if !p.Needs(who.Type) {
		return nil
	}
	text := strings.TrimSpace(credential)
	if text == "" {
		return ErrNoCredential
	}
	switch who.Type {
	case token.TypeDataplane:
		claims, err := p.tokens.VerifyDataplane(ctx, text, who.Mesh)
		if err != nil {
			return err
		}
		return matchDataplane(claims, who)
	case token.TypeIngress, token.TypeEgress:
		claims, err := p.tokens.VerifyZone(ctx, text)
		if err != nil {
			return err
		}
		return p.matchZone(claims, who)
	}
	return fmt.Errorf("proxies of type %q do not exist", who.Type)
}

// matchDataplane compares who a token is for with who sent it. What the token
// leaves open is not compared.
func matchDataplane(c *token.Dataplane, who Proxy) error {
	switch {
	case c.Type != "" && c.Type != who.Type:
		return fmt.Errorf("the token is for proxies of type %q, not for a dataplane", c.Type)
	case c.Name != "" && c.Name != who.Name:
		return fmt.Errorf("the token is for the proxy %q, not for %q", c.Name, who.Name)
	case c.Mesh != "" && c.Mesh != who.Mesh:
		return fmt.Errorf("the token is for mesh %q, not for %q", c.Mesh, who.Mesh)
	}
	for _, tag := range slices.Sorted(maps.Keys(c.Tags)) {
		have := who.Tags[tag]
		if len(have) == 0 {
			return fmt.Errorf("the token demands the tag %q, which the Dataplane does not have", tag)
		}
		for _, v := range have {
			if !slices.Contains(c.Tags[tag], v) {
				return fmt.Errorf("the token does not allow the tag %q with the value %q; allowed are %q", tag, v, c.Tags[tag])
			}
		}
	}
	return nil
}

func (p *Proxies) matchZone(c *token.Zone, who Proxy) error {
	if !slices.Contains(c.Scope, who.Type) {
		return fmt.Errorf("the token is for %q, not for a zone %s", c.Scope, who.Type)
	}
	if p.zone != "" && c.Zone != p.zone {
		return fmt.Errorf("the token is for zone %q; this is zone %q", c.Zone, p.zone)
	}
	return nil
}
