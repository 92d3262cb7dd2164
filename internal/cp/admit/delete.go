package admit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// AdmitDelete refuses to delete what is in use (*Clash) or belongs to another
// control plane (*ReadOnly).
func (g *Gate) AdmitDelete(ctx context.Context, o *model.Object) error {
	if err := g.owned(o); err != nil {
		return err
	}
	var v model.Violations
	var err error
	switch o.Kind {
	case kinds.Mesh:
		err = g.checkMeshDelete(ctx, o, &v)
	case kinds.Secret:
		err = g.checkSecretDelete(ctx, o, &v)
	case kinds.Zone:
		err = g.checkZoneDelete(ctx, o, &v)
	}
	if err != nil {
		return err
	}
	return clash(&v)
}

func (g *Gate) checkMeshDelete(ctx context.Context, o *model.Object, v *model.Violations) error {
	if g.UnsafeDelete {
		return nil
	}
	dps, err := g.Reader.List(ctx, kinds.Dataplane, o.Meta.Name)
	if err != nil {
		return fmt.Errorf("list the proxies of mesh %q: %w", o.Meta.Name, err)
	}
	if len(dps) > 0 {
		v.At("mesh").Add("still has proxies (%d, such as %q); stop them and delete their Dataplanes first", len(dps), dps[0].Meta.Name)
	}
	return nil
}

func (g *Gate) checkSecretDelete(ctx context.Context, o *model.Object, v *model.Violations) error {
	mesh, err := g.Reader.Get(ctx, kinds.Mesh.Key("", o.Meta.Mesh))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up mesh %q: %w", o.Meta.Mesh, err)
	}
	mtls := model.Spec[kinds.MeshSpec](mesh).MTLS
	if mtls == nil {
		return nil
	}
	for i := range mtls.Backends {
		b := &mtls.Backends[i]
		if slices.Contains(b.SecretNames(o.Meta.Mesh), o.Meta.Name) {
			v.At("name").Add("the secret %q is in use by backend %q of mesh %q; remove the backend, or its reference, first",
				o.Meta.Name, b.Name, o.Meta.Mesh)
		}
	}
	return nil
}

func (g *Gate) checkZoneDelete(ctx context.Context, o *model.Object, v *model.Violations) error {
	if g.UnsafeDelete {
		return nil
	}
	insight, err := g.Reader.Get(ctx, kinds.ZoneInsight.Key("", o.Meta.Name))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up the insight of zone %q: %w", o.Meta.Name, err)
	}
	if model.Spec[kinds.ZoneInsightSpec](insight).Online() {
		v.At("zone").Add("the control plane of zone %q is connected; stop it first", o.Meta.Name)
	}
	return nil
}
