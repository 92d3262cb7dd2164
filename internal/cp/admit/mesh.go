package admit

import (
	"context"
	"errors"
	"fmt"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// checkMesh adds what is wrong with the certificate authorities of a mesh. The
// one in use may be exchanged: package identity sees to it that proxies trust the
// new one before it signs, and the old one as long as certificates of it are used.
func (g *Gate) checkMesh(ctx context.Context, o *model.Object, spec *kinds.MeshSpec, v *model.Violations) error {
	var unavailable error
	spec.CheckCAs(o.Meta.Name, func(s *kinds.DataSource) ([]byte, error) {
		b, err := g.load(ctx, o.Meta.Name, s)
		if errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
			unavailable = err
		}
		return b, err
	}, v)
	return unavailable
}

// load returns what a data source of a mesh refers to. Errors never show it.
func (g *Gate) load(ctx context.Context, mesh string, s *kinds.DataSource) ([]byte, error) {
	if b, ok := s.Literal(); ok {
		return b, nil
	}
	if name := s.SecretName(); name != "" {
		o, err := g.Reader.Get(ctx, kinds.Secret.Key(mesh, name))
		if errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("there is no Secret %q in mesh %q", name, mesh)
		}
		if err != nil {
			return nil, fmt.Errorf("look up Secret %q: %w", name, err)
		}
		return model.Spec[kinds.SecretSpec](o).Data, nil
	}
	if s.File == nil {
		return nil, errors.New("nothing is named")
	}
	if g.ReadFile == nil {
		return nil, errors.New("this control plane reads no files")
	}
	b, err := g.ReadFile(*s.File)
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	return b, nil
}
