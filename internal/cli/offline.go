package cli

import (
	"crypto/rsa"
	"fmt"
	"os"
	"time"

	"weft/internal/mesh/token"
)

// Tokens that are signed here, with a key file and without a control plane.

func (a *App) signDataplane(t *tokenFlags, name, mesh string, tags map[string][]string, proxyType string) (string, error) {
	return sign(t, &token.Dataplane{Name: name, Mesh: mesh, Tags: tags, Type: proxyType}, a.Now())
}

func (a *App) signZone(t *tokenFlags, zone string, scope []string) (string, error) {
	return sign(t, &token.Zone{Zone: zone, Scope: scope}, a.Now())
}

func (a *App) signUser(t *tokenFlags, name string, groups []string) (string, error) {
	return sign(t, &token.User{Name: name, Groups: groups}, a.Now())
}

func sign(t *tokenFlags, claims token.Claims, now time.Time) (string, error) {
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

func readSigningKey(path string) (*rsa.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	key, err := token.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", path, err)
	}
	return key, nil
}
