package identity

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"weft/internal/cp/state"
	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Keeper makes the key pairs of builtin authorities, as Secrets of their meshes,
// and new ones long before they end. The leader runs it where meshes are written:
// at global, or in a zone that stands alone.
//
// The API calls Ensure when it wrote a mesh, so that its keys are there at once.
// Of several that make the keys of a backend, he wins who wrote the private key.
type Keeper struct {
	Store store.Store
	State *state.State
	Log   *slog.Logger
	Now   func() time.Time

	mu sync.Mutex // one pair at a time
	// odd is since when a pair is not whole, by the name of its certificate.
	odd map[model.Key]time.Time
}

const (
	// renewAuthorityAfter is the share of an authority's life after which it is
	// replaced. What it signed stays good until it is signed anew.
	renewAuthorityAfter = 0.8
	keeperRound         = time.Hour
	keeperPause         = 2 * time.Second
	// oddFor is for how long a pair may be not whole: somebody may be writing it.
	oddFor = 10 * time.Second
)

// Run follows the snapshots until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-k.State.Ready():
	}
	var settled map[string][2]model.Hash // by mesh: of it and of its Secrets, when nothing was to be done
	var due time.Time
	for ctx.Err() == nil {
		if !k.Now().Before(due) { // what was good then may end soon now
			settled, due = map[string][2]model.Hash{}, k.Now().Add(keeperRound)
		}
		snap := k.State.Current()
		wait := keeperRound
		for _, row := range snap.Table(kinds.Mesh, "").Rows() {
			now := [2]model.Hash{row.Hash, snap.Table(kinds.Secret, row.Meta.Name).Hash()}
			if settled[row.Meta.Name] == now {
				continue
			}
			if k.settled(snap, row.Object) {
				settled[row.Meta.Name] = now
				k.forget(row.Object)
				continue
			}
			err := k.Ensure(ctx, row.Object)
			if err == nil {
				err = k.repair(ctx, row.Object)
			}
			if err != nil && ctx.Err() == nil {
				k.Log.Warn("the keys of a mesh's builtin authorities could not be made; trying again", "mesh", row.Meta.Name, "error", err)
			}
			wait = keeperPause
		}
		next, cancel := context.WithTimeout(ctx, wait)
		_ = k.State.WaitFor(next, snap.Rev+1) // the end of the wait is no error
		cancel()
	}
	return nil
}

// settled tells from a snapshot alone, without asking the store, that nothing is
// to be done for a mesh.
func (k *Keeper) settled(t model.Tables, mesh *model.Object) bool {
	for _, b := range builtins(mesh) {
		names := b.SecretNames(mesh.Meta.Name)
		cert, _ := t.Table(kinds.Secret, mesh.Meta.Name).Get(names[0])
		key, _ := t.Table(kinds.Secret, mesh.Meta.Name).Get(names[1])
		if cert.Object == nil || key.Object == nil || !k.good(cert.Object, key.Object) {
			return false
		}
	}
	return true
}

func builtins(mesh *model.Object) []*kinds.CABackend {
	mtls := model.Spec[kinds.MeshSpec](mesh).MTLS
	if mtls == nil {
		return nil
	}
	var out []*kinds.CABackend
	for i := range mtls.Backends {
		if mtls.Backends[i].Type == kinds.CABuiltin {
			out = append(out, &mtls.Backends[i])
		}
	}
	return out
}

// good tells whether two Secrets are a pair that lasts.
func (k *Keeper) good(cert, key *model.Object) bool {
	certPEM := []byte(model.Spec[kinds.SecretSpec](cert).Data)
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return false
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false
	}
	life := c.NotAfter.Sub(c.NotBefore)
	if k.Now().After(c.NotBefore.Add(time.Duration(float64(life) * renewAuthorityAfter))) {
		return false
	}
	_, err = newKeyPair(certPEM, model.Spec[kinds.SecretSpec](key).Data)
	return err == nil
}

// Ensure makes the key pairs of a mesh that do not exist.
func (k *Keeper) Ensure(ctx context.Context, mesh *model.Object) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range builtins(mesh) {
		cert, key, err := k.pair(ctx, mesh.Meta.Name, b)
		if err == nil && cert == nil && key == nil {
			err = k.make(ctx, mesh.Meta.Name, b, nil, nil)
		}
		if err != nil && !errors.Is(err, store.ErrExists) { // else somebody else was faster
			return fmt.Errorf("backend %q: %w", b.Name, err)
		}
	}
	return nil
}

// repair replaces the key pairs of a mesh that end soon, or are not whole for a while.
func (k *Keeper) repair(ctx context.Context, mesh *model.Object) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.odd == nil {
		k.odd = map[model.Key]time.Time{}
	}
	for _, b := range builtins(mesh) {
		id := certKey(mesh.Meta.Name, b)
		cert, key, err := k.pair(ctx, mesh.Meta.Name, b)
		if err != nil {
			return err
		}
		if cert != nil && key != nil && k.good(cert, key) {
			delete(k.odd, id)
			continue
		}
		since, known := k.odd[id]
		if !known {
			k.odd[id] = k.Now()
			continue
		}
		if k.Now().Sub(since) < oddFor {
			continue
		}
		if err := k.make(ctx, mesh.Meta.Name, b, cert, key); err != nil {
			return fmt.Errorf("backend %q: %w", b.Name, err)
		}
		delete(k.odd, id)
	}
	return nil
}

// forget is called when the pairs of a mesh are whole: the next time that one is
// not, its wait begins anew.
func (k *Keeper) forget(mesh *model.Object) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range builtins(mesh) {
		delete(k.odd, certKey(mesh.Meta.Name, b))
	}
}

func certKey(mesh string, b *kinds.CABackend) model.Key {
	return kinds.Secret.Key(mesh, b.SecretNames(mesh)[0])
}

// pair returns the Secrets of a backend, nil for what does not exist.
func (k *Keeper) pair(ctx context.Context, mesh string, b *kinds.CABackend) (cert, key *model.Object, err error) {
	names := b.SecretNames(mesh)
	if cert, err = k.get(ctx, mesh, names[0]); err != nil {
		return nil, nil, err
	}
	if key, err = k.get(ctx, mesh, names[1]); err != nil {
		return nil, nil, err
	}
	return cert, key, nil
}

// make writes a new key pair in place of the one given.
func (k *Keeper) make(ctx context.Context, mesh string, b *kinds.CABackend, cert, key *model.Object) error {
	conf, err := b.Builtin()
	if err != nil {
		return fmt.Errorf("read its conf: %w", err)
	}
	certPEM, keyPEM, err := newBuiltin(mesh, conf, k.Now())
	if err != nil {
		return err
	}
	names := b.SecretNames(mesh)
	// Between the two writes they are no pair: then what was loaded stays in use.
	if err := k.put(ctx, mesh, names[1], key, keyPEM); err != nil {
		return err
	}
	if err := k.put(ctx, mesh, names[0], cert, certPEM); err != nil {
		return err
	}
	if cert == nil {
		k.Log.Info("made the keys of a builtin authority", "mesh", mesh, "backend", b.Name)
	} else {
		k.Log.Info("replaced the keys of a builtin authority, which end soon or did not fit together", "mesh", mesh, "backend", b.Name)
	}
	return nil
}

// get returns a Secret, nil if there is none.
func (k *Keeper) get(ctx context.Context, mesh, name string) (*model.Object, error) {
	o, err := k.Store.Get(ctx, kinds.Secret.Key(mesh, name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // because absence is an answer here
	}
	if err != nil {
		return nil, fmt.Errorf("look up secret %q: %w", name, err)
	}
	return o, nil
}

func (k *Keeper) put(ctx context.Context, mesh, name string, prior *model.Object, data []byte) error {
	o := kinds.Secret.Make(mesh, name)
	var err error
	if prior == nil {
		o.Spec = &kinds.SecretSpec{Data: data}
		_, err = k.Store.Create(ctx, o)
	} else {
		o = prior.Clone()
		o.Spec = &kinds.SecretSpec{Data: data}
		_, err = k.Store.Update(ctx, o)
	}
	if err != nil {
		return fmt.Errorf("write secret %q: %w", name, err)
	}
	return nil
}
