// Package defaults makes the objects that are there without anybody having
// written them: the zone, the first mesh with its policies and keys, the default
// hostname generators. The leader runs Ensure once after it was elected; rest
// calls MeshCreated. Everything is idempotent.
package defaults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Keys makes the keys that sign tokens.
type Keys interface {
	// EnsureMeshKey makes the key of a mesh's dataplane tokens unless there is one.
	EnsureMeshKey(ctx context.Context, mesh string) error
	// EnsureGlobalKeys makes those of user and zone tokens, and the first admin's token.
	EnsureGlobalKeys(ctx context.Context) error
}

// Authorities makes the key pairs of builtin certificate authorities.
type Authorities interface {
	Ensure(ctx context.Context, mesh *model.Object) error
}

// Deps is what the maker needs.
type Deps struct {
	Store store.Store
	Keys  Keys
	// Authorities is nil where others make them (a federated zone).
	Authorities Authorities
	Log         *slog.Logger
	// Policies returns the policies that a new mesh starts with.
	Policies func(mesh *model.Object) []*model.Object
	// Zone is this zone's name, "" on a global control plane.
	Zone string
	// Federated zones get their meshes and generators from global.
	Federated  bool
	Kubernetes bool
	// Skip* turn parts off.
	SkipMesh, SkipGenerators, SkipAll bool
}

// Maker makes default objects.
type Maker struct{ Deps }

// New returns a maker.
func New(d Deps) *Maker { return &Maker{d} }

// Ensure makes what is missing. A store that is away is tried again for ten
// minutes.
func (m *Maker) Ensure(ctx context.Context) error {
	const (
		pause = 5 * time.Second
		limit = 10 * time.Minute
	)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := m.ensure(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		m.Log.Warn("default objects could not be made, trying again", "error", err, "pause", pause)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (m *Maker) ensure(ctx context.Context) error {
	if m.SkipAll {
		return nil
	}
	if err := m.Keys.EnsureGlobalKeys(ctx); err != nil {
		return fmt.Errorf("make signing keys: %w", err)
	}
	if err := m.zone(ctx); err != nil {
		return err
	}
	if !m.SkipMesh && !m.Federated {
		mesh := kinds.Mesh.Make("", model.DefaultMesh)
		created, err := m.create(ctx, mesh)
		if err != nil {
			return err
		}
		if created {
			if err := m.MeshCreated(ctx, mesh); err != nil {
				return err
			}
		}
	}
	if err := m.meshKeys(ctx); err != nil {
		return err
	}
	if !m.SkipGenerators {
		for _, g := range Generators(m.Zone, m.Kubernetes) {
			if _, err := m.create(ctx, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// zone makes the Zone object of this zone; any other is from before a renaming.
func (m *Maker) zone(ctx context.Context) error {
	if m.Zone == "" {
		return nil
	}
	zones, err := m.Store.List(ctx, kinds.Zone, "")
	if err != nil {
		return fmt.Errorf("list zones: %w", err)
	}
	for _, z := range zones {
		if z.Meta.Name == m.Zone {
			continue
		}
		m.Log.Info("removing the object of another zone: this zone was renamed", "zone", z.Meta.Name)
		if err := m.Store.Delete(ctx, z.Key()); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("delete zone %q: %w", z.Meta.Name, err)
		}
	}
	_, err = m.create(ctx, kinds.Zone.Make("", m.Zone))
	return err
}

// meshKeys makes the signing keys that meshes lack, whoever made the meshes.
func (m *Maker) meshKeys(ctx context.Context) error {
	meshes, err := m.Store.List(ctx, kinds.Mesh, "")
	if err != nil {
		return fmt.Errorf("list meshes: %w", err)
	}
	for _, mesh := range meshes {
		if err := m.Keys.EnsureMeshKey(ctx, mesh.Meta.Name); err != nil {
			return fmt.Errorf("make the signing key of mesh %q: %w", mesh.Meta.Name, err)
		}
	}
	return nil
}

// MeshCreated gives a new mesh its signing key and its first policies.
func (m *Maker) MeshCreated(ctx context.Context, mesh *model.Object) error {
	if err := m.Keys.EnsureMeshKey(ctx, mesh.Meta.Name); err != nil {
		return fmt.Errorf("make the signing key of mesh %q: %w", mesh.Meta.Name, err)
	}
	for _, p := range m.Policies(mesh) {
		if _, err := m.create(ctx, p); err != nil {
			return err
		}
	}
	return m.MeshUpdated(ctx, mesh)
}

// MeshUpdated gives a mesh the keys of the builtin authorities that it names.
func (m *Maker) MeshUpdated(ctx context.Context, mesh *model.Object) error {
	if m.Authorities == nil {
		return nil
	}
	if err := m.Authorities.Ensure(ctx, mesh); err != nil {
		return fmt.Errorf("make the certificate authorities of mesh %q: %w", mesh.Meta.Name, err)
	}
	return nil
}

// create makes an object unless it is there.
func (m *Maker) create(ctx context.Context, o *model.Object) (bool, error) {
	_, err := m.Store.Create(ctx, o)
	if errors.Is(err, store.ErrExists) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create %s: %w", o.Key(), err)
	}
	return true, nil
}
