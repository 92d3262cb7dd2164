package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// routes registers everything.
func (s *Server) routes() {
	for _, k := range s.Kinds {
		switch k {
		case kinds.MeshInsight:
			s.readOnlyRoutes(k, "/mesh-insights/{name}")
		case kinds.ServiceInsight:
			s.readOnlyRoutes(k, "/meshes/{mesh}/service-insights/{name}")
		default:
			if !k.Hidden {
				s.kindRoutes(k)
			}
		}
	}
	s.insightRoutes()
	s.overviewRoutes()
	s.tokenRoutes()
	s.indexRoutes()
}

// kindRoutes registers what every kind has.
func (s *Server) kindRoutes(k *model.Kind) {
	one, list := "/"+k.Plural+"/{name}", "/"+k.Plural
	if k.Scope == model.InMesh {
		one = "/meshes/{mesh}" + one
		s.router.add(route{method: http.MethodGet, pattern: list, title: "Could not retrieve resources", handle: s.list(k)})
		list = "/meshes/{mesh}" + list
	}
	s.router.add(route{method: http.MethodPut, pattern: one, title: "Could not process a resource", handle: s.put(k)})
	s.router.add(route{method: http.MethodDelete, pattern: one, title: "Could not delete a resource", handle: s.remove(k)})
	s.router.add(route{method: http.MethodGet, pattern: one, title: "Could not retrieve a resource", handle: s.get(k)})
	s.router.add(route{method: http.MethodGet, pattern: list, title: "Could not retrieve resources", handle: s.list(k)})
}

// inMesh checks that the mesh of the path exists.
func (s *Server) inMesh(ctx context.Context, k *model.Kind, mesh string) error {
	if k.Scope == model.Global || mesh == "" {
		return nil
	}
	_, err := s.Store.Get(ctx, model.Key{Kind: "Mesh", Name: mesh})
	if errors.Is(err, store.ErrNotFound) {
		return &failure{status: http.StatusNotFound, title: "Failed to retrieve Mesh", detail: "Not found"}
	}
	if err != nil {
		return fmt.Errorf("look up mesh %q: %w", mesh, err)
	}
	return nil
}

func (s *Server) get(k *model.Kind) handler {
	return func(c *call) (*reply, error) {
		if err := s.Access.Read(c.user, k); err != nil {
			return nil, err
		}
		if err := s.inMesh(c.Context(), k, c.params["mesh"]); err != nil {
			return nil, err
		}
		o, err := s.Store.Get(c.Context(), k.Key(c.params["mesh"], c.params["name"]))
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", k.Name, err)
		}
		return s.present(c, o)
	}
}

// putAttempts bounds how often a write is tried again because a status writer
// came in between.
const putAttempts = 10

func (s *Server) put(k *model.Kind) handler {
	return func(c *call) (*reply, error) {
		if err := s.Gate.Writable(k); err != nil {
			return nil, err
		}
		if err := s.inMesh(c.Context(), k, c.params["mesh"]); err != nil {
			return nil, err
		}
		body, err := readBody(c)
		if err != nil {
			return nil, err
		}
		key := k.Key(c.params["mesh"], c.params["name"])
		o, err := decodeAs(k, key, body)
		if err != nil {
			return nil, err
		}
		if err := s.Access.Write(c.user, k); err != nil {
			return nil, err
		}
		for range putAttempts {
			var rep *reply
			if rep, err = s.write1(c.Context(), key, o); !errors.Is(err, store.ErrConflict) {
				return rep, err
			}
		}
		return nil, err
	}
}

// write1 tries once to create or update.
func (s *Server) write1(ctx context.Context, key model.Key, o *model.Object) (*reply, error) {
	prior, err := s.Store.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up %s: %w", key, err)
	}
	admitted, warnings, err := s.Gate.Admit(ctx, o, prior)
	if err != nil {
		return nil, err
	}
	rep := &reply{value: warned{warnings}}
	if prior == nil {
		_, err = s.Store.Create(ctx, admitted)
		rep.status = http.StatusCreated
		if errors.Is(err, store.ErrExists) { // somebody was faster: update it
			err = fmt.Errorf("%w: %w", store.ErrConflict, err)
		}
	} else {
		admitted.Meta.Version = prior.Meta.Version
		_, err = s.Store.Update(ctx, admitted)
		if errors.Is(err, store.ErrNotFound) {
			err = fmt.Errorf("%w: %w", store.ErrConflict, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", key, err)
	}
	if prior == nil && admitted.Kind == kinds.Mesh {
		if err := s.MeshCreated(ctx, admitted); err != nil {
			return nil, fmt.Errorf("give mesh %q what it starts with: %w", key.Name, err)
		}
	}
	if prior != nil && admitted.Kind == kinds.Mesh && s.MeshUpdated != nil {
		if err := s.MeshUpdated(ctx, admitted); err != nil {
			return nil, fmt.Errorf("give mesh %q what it needs: %w", key.Name, err)
		}
	}
	return rep, nil
}

// warned is the body of a successful write.
type warned struct {
	Warnings []string `json:"warnings,omitempty"`
}

// decodeAs decodes a body that must be the object that the path names.
func decodeAs(k *model.Kind, key model.Key, body []byte) (*model.Object, error) {
	head, err := model.PeekHead(body)
	if err != nil {
		return nil, named(err, k)
	}
	var v model.Violations
	if head.Name != key.Name {
		v.At("name").Add("is %q, but the URL names %q; make them equal", head.Name, key.Name)
	}
	if head.Type != k.Name {
		v.At("type").Add("is %q, but this collection holds %s", head.Type, k.Name)
	}
	if k.Scope == model.InMesh && head.Mesh != key.Mesh && (head.Mesh != "" || k.Shape == model.Flat) {
		v.At("mesh").Add("is %q, but the URL names %q; make them equal", head.Mesh, key.Mesh)
	}
	o, err := k.Decode(body)
	var inv *model.Invalid
	if err != nil && !errors.As(err, &inv) {
		return nil, err
	}
	if inv != nil {
		return nil, &model.Invalid{Violations: append(v.List(), inv.Violations...)}
	}
	o.Meta.Mesh, o.Meta.Name = key.Mesh, head.Name
	return o, v.Err()
}

// named puts the kind's name into an error about a document that has none yet.
func named(err error, k *model.Kind) error {
	var m *model.Malformed
	if errors.As(err, &m) && m.Kind == "" {
		c := *m
		c.Kind = k.Name
		return &c
	}
	return err
}

func (s *Server) remove(k *model.Kind) handler {
	return func(c *call) (*reply, error) {
		if err := s.Gate.Writable(k); err != nil {
			return nil, err
		}
		if err := s.inMesh(c.Context(), k, c.params["mesh"]); err != nil {
			return nil, err
		}
		if err := s.Access.Write(c.user, k); err != nil {
			return nil, err
		}
		key := k.Key(c.params["mesh"], c.params["name"])
		o, err := s.Store.Get(c.Context(), key)
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", key, err)
		}
		if err := s.Gate.AdmitDelete(c.Context(), o); err != nil {
			return nil, err
		}
		if err := s.Store.Delete(c.Context(), key); err != nil {
			return nil, fmt.Errorf("delete %s: %w", key, err)
		}
		return ok(struct{}{}), nil
	}
}
