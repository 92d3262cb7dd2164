package auth

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
)

// Follower watches the secrets of the store: it keeps the file with the token of
// the administrator, and tells when credentials that were accepted have to be
// looked at again.
type Follower struct {
	Store store.Store
	Log   *slog.Logger
	// AdminTokenFile is written with what the GlobalSecret admin-user-token holds,
	// readable by its owner only; kumactl on this machine finds it. "" = no file.
	AdminTokenFile string
	// AdminTokenKept is called when the file has been brought in line with the
	// secret, or that was tried in vain; nil = nobody waits. It must not block.
	AdminTokenKept func()
	// Changed is called when signing keys or revocation lists changed: those of a
	// mesh, or (mesh "") global ones, which may concern everybody. nil = nobody asks.
	// It must not block.
	Changed func(mesh string)
	// Pause before another try when the store is away.
	Pause time.Duration
}

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	store.Follow(ctx, f.Store, f.Log, f.Pause, f.batch)
	return nil
}

func (f *Follower) batch(b store.Batch) {
	meshes := map[string]bool{}
	for _, e := range b.Events {
		if e.Key.Kind != kinds.Secret.Name && e.Key.Kind != kinds.GlobalSecret.Name {
			continue
		}
		if e.Key == adminToken() {
			f.keepFile(e)
			if f.AdminTokenKept != nil && e.Object != nil {
				f.AdminTokenKept()
			}
		}
		if mesh, ok := concerns(e.Key.Mesh, e.Key.Name); ok {
			meshes[mesh] = true
		}
	}
	if b.Full {
		// What happened in a gap is not known, so everybody is asked.
		meshes = map[string]bool{"": true}
	}
	if f.Changed != nil {
		for m := range meshes {
			f.Changed(m)
		}
	}
}

// concerns returns the mesh whose credentials depend on a secret, "" = all.
func concerns(mesh, name string) (string, bool) {
	switch {
	case strings.HasPrefix(name, "dataplane-token-revocations-") && mesh == "":
		return strings.TrimPrefix(name, "dataplane-token-revocations-"), true
	case strings.HasPrefix(name, "dataplane-token-"),
		strings.HasPrefix(name, "zone-token-"), strings.HasPrefix(name, "user-token-"):
		return mesh, true
	}
	return "", false
}

// keepFile brings the file in line with the secret. It is removed with the secret,
// because a token that was taken back must not lie around.
func (f *Follower) keepFile(e store.Event) {
	if f.AdminTokenFile == "" {
		return
	}
	if e.Object == nil {
		if err := os.Remove(f.AdminTokenFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.Log.Error("cannot remove the file with the token of the administrator", "file", f.AdminTokenFile, "error", err)
		}
		return
	}
	written, err := writePrivate(f.AdminTokenFile, dataOf(e.Object))
	if err != nil {
		f.Log.Error("cannot write the file with the token of the administrator; kumactl on this machine needs the token by hand", "file", f.AdminTokenFile, "error", err)
		return
	}
	if written {
		f.Log.Info("wrote the token of the administrator; kumactl on this machine uses it by itself", "file", f.AdminTokenFile)
	}
}

// writePrivate replaces a file at once, readable by its owner only, unless it is
// like that already.
func writePrivate(name string, data []byte) (written bool, err error) {
	if fi, err := os.Lstat(name); err == nil && fi.Mode().IsRegular() && fi.Mode().Perm() == 0o600 {
		if have, err := os.ReadFile(name); err == nil && string(have) == string(data) {
			return false, nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return false, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp") // mode 0600
	if err != nil {
		return false, err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return false, errors.Join(err, os.Remove(tmp.Name()))
	}
	return true, nil
}
