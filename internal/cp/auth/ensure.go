package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/token"
)

// firstKID is the id of the signing keys that the control plane makes.
const firstKID = "1"

// adminToken is the secret with the token of the first administrator.
func adminToken() model.Key { return kinds.GlobalSecret.Key("", "admin-user-token") }

// EnsureMeshKey makes the signing key of a mesh's dataplane tokens unless it has one.
func (t *Tokens) EnsureMeshKey(ctx context.Context, mesh string) error {
	return t.ensureKey(ctx, dataplaneKeys(mesh))
}

// EnsureGlobalKeys makes the signing keys of zone and user tokens and the token
// of the first administrator, as far as the settings want them and they are missing.
func (t *Tokens) EnsureGlobalKeys(ctx context.Context) error {
	if !t.Federated {
		if err := t.ensureKey(ctx, zoneKeys()); err != nil {
			return err
		}
	}
	if !t.UserTokens {
		return nil
	}
	if err := t.ensureKey(ctx, userKeys()); err != nil {
		return err
	}
	if !t.User.BootstrapAdminToken {
		return nil
	}
	return t.ensureAdmin(ctx)
}

// ensureKey makes the first key of a set unless there is any secret with its prefix.
func (t *Tokens) ensureKey(ctx context.Context, set keySet) error {
	objects, err := t.store.List(ctx, set.kind, set.mesh)
	if err != nil {
		return fmt.Errorf("list signing keys: %w", err)
	}
	for _, o := range objects {
		if strings.HasPrefix(o.Meta.Name, set.prefix) {
			return nil
		}
	}
	text, err := t.newKey()
	if err != nil {
		return err
	}
	return t.create(ctx, set.kind, set.key(firstKID), text)
}

// create writes a secret; that another control plane was faster is fine.
func (t *Tokens) create(ctx context.Context, kind *model.Kind, key model.Key, data []byte) error {
	o := kind.Make(key.Mesh, key.Name)
	o.Spec = &kinds.SecretSpec{Data: data}
	_, err := t.store.Create(ctx, o)
	switch {
	case errors.Is(err, store.ErrExists):
		return nil
	case err != nil:
		return fmt.Errorf("create %s: %w", key, err)
	}
	t.log.Info("made a secret", "secret_name", key.Name, "mesh", key.Mesh)
	return nil
}

func (t *Tokens) ensureAdmin(ctx context.Context) error {
	data, found, err := t.secrets.get(ctx, adminToken(), true)
	if err != nil {
		return err
	}
	if found {
		if _, err := t.VerifyUser(ctx, strings.TrimSpace(string(data))); err != nil {
			t.log.Warn("the token of the administrator is no longer accepted; delete the GlobalSecret (where nobody else may, start kuma-cp once with KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN=true for that) and start kuma-cp again to get a new one",
				"secret_name", adminToken().Name, "reason", err)
		}
		return nil
	}
	admin := &token.User{Name: AdminName, Groups: []string{AdminGroup}}
	text, err := t.issue(ctx, userKeys(), admin, token.DefaultValidity)
	if err != nil {
		return fmt.Errorf("issue the token of the administrator: %w", err)
	}
	return t.create(ctx, kinds.GlobalSecret, adminToken(), []byte(text))
}
