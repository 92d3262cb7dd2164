package auth

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"

	"crypto/rsa"

	"weft/internal/config"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/token"
)

// keySet is the signing keys of one kind of token: secrets with a common prefix,
// then a dash and the key id. The secret named like the prefix itself has id 0.
type keySet struct {
	kind   *model.Kind
	mesh   string
	prefix string
}

func dataplaneKeys(mesh string) keySet {
	return keySet{kind: kinds.Secret, mesh: mesh, prefix: "dataplane-token-signing-key-" + mesh}
}

func userKeys() keySet { return keySet{kind: kinds.GlobalSecret, prefix: "user-token-signing-key"} }
func zoneKeys() keySet { return keySet{kind: kinds.GlobalSecret, prefix: "zone-token-signing-key"} }

// zonePublicKeys are what a zone gets of zoneKeys from its global control plane.
func zonePublicKeys() keySet {
	return keySet{kind: kinds.GlobalSecret, prefix: "zone-token-signing-public-key"}
}

// key returns the key of the secret with a key id.
func (s keySet) key(kid string) model.Key {
	if kid == "0" {
		return s.kind.Key(s.mesh, s.prefix)
	}
	return s.kind.Key(s.mesh, s.prefix+"-"+kid)
}

// idOf returns the key id and serial number of a secret; ok is false if it is
// none of this set. The id is taken as it is written ("0002"), because that is
// how verifiers look for it.
func (s keySet) idOf(name string) (kid string, serial uint64, ok bool) {
	if name == s.prefix {
		return "0", 0, true
	}
	kid, ok = strings.CutPrefix(name, s.prefix+"-")
	if !ok || kid == "0" { // id 0 leads to the secret without one
		return "", 0, false
	}
	serial, err := strconv.ParseUint(kid, 10, 63)
	if err != nil {
		return "", 0, false
	}
	return kid, serial, true
}

// possibleKID is what a key id in the name of a secret can look like.
var possibleKID = regexp.MustCompile(`^[a-z0-9._-]+$`)

// NoKey is the error for a signing key that does not exist.
type NoKey struct {
	KID string
	// Secret is where it would be; zero if the id cannot be part of a name.
	Secret model.Key
	// Volatile tells that the store forgets everything at a restart.
	Volatile bool
}

// Error says which secret is missing and what to do.
func (e *NoKey) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "there is no signing key with id %q", e.KID)
	if e.Secret.Name != "" {
		fmt.Fprintf(&b, ": %s %q", e.Secret.Kind, e.Secret.Name)
		if e.Secret.Mesh != "" {
			fmt.Fprintf(&b, " in mesh %q", e.Secret.Mesh)
		}
		b.WriteString(" does not exist")
	}
	b.WriteString("; after a change of signing keys, issue a new token")
	if e.Volatile {
		b.WriteString(" (store.type memory loses signing keys at every restart of the control plane)")
	}
	return b.String()
}

// HTTPStatus is how the API answers.
func (e *NoKey) HTTPStatus() (status int, title, detail string) {
	return http.StatusNotFound, "Signing Key not found", e.Error()
}

// BrokenKey is the error for a signing key that cannot be used.
type BrokenKey struct {
	Secret model.Key
	Err    error
}

// Error names the secret and what is wrong with it, not its content.
func (e *BrokenKey) Error() string {
	where := e.Secret.Kind + " " + strconv.Quote(e.Secret.Name)
	if e.Secret.Mesh != "" {
		where += " in mesh " + strconv.Quote(e.Secret.Mesh)
	}
	return fmt.Sprintf("signing key %s %s", where, e.Err)
}

// Unwrap returns what is wrong with the key.
func (e *BrokenKey) Unwrap() error { return e.Err }

// HTTPStatus is how the API answers.
func (e *BrokenKey) HTTPStatus() (status int, title, detail string) {
	return http.StatusInternalServerError, "Could not issue a token", e.Error()
}

// givenKeys are public keys from the settings.
type givenKeys []givenKey

type givenKey struct {
	kid, mesh string // mesh "" = every mesh
	key       *rsa.PublicKey
}

// find returns the key with that id for a mesh.
func (g givenKeys) find(kid, mesh string) (*rsa.PublicKey, bool) {
	for _, k := range g {
		if k.kid == kid && (k.mesh == "" || k.mesh == mesh) {
			return k.key, true
		}
	}
	return nil, false
}

// loadKeys reads public keys of the settings at path.
func loadKeys(path string, keys []config.MeshPublicKey) (givenKeys, error) {
	out := make(givenKeys, 0, len(keys))
	for i, k := range keys {
		at := fmt.Sprintf("%s[%d]", path, i)
		text := []byte(k.Key)
		if k.KeyFile != "" {
			var err error
			if text, err = os.ReadFile(k.KeyFile); err != nil {
				return nil, fmt.Errorf("%s.keyFile: %w", at, err)
			}
		}
		key, err := token.ParsePublicKey(text)
		if err != nil {
			return nil, fmt.Errorf("%s: key %q %w", at, k.KID, err)
		}
		out = append(out, givenKey{kid: k.KID, mesh: k.Mesh, key: key})
	}
	return out, nil
}

func anyMesh(keys []config.PublicKey) []config.MeshPublicKey {
	out := make([]config.MeshPublicKey, len(keys))
	for i, k := range keys {
		out[i].PublicKey = k
	}
	return out
}
