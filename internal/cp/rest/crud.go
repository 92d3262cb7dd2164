package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"weft/internal/cp/admit"
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
	s.adminRoutes()
	s.inspectRoutes()
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
		if o, err = s.visible(c.user, o); err != nil {
			return nil, err
		}
		return s.present(c.URL.Query(), o)
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
		d := draft{key: k.Key(c.params["mesh"], c.params["name"])}
		if err := d.decode(k, body); err != nil {
			return nil, err
		}
		if err := s.Access.Write(c.user, k); err != nil {
			return nil, err
		}
		if err := checkPlaceholders(d.object); err != nil {
			return nil, err
		}
		for range putAttempts {
			var rep *reply
			if rep, err = s.write1(c, d); !errors.Is(err, store.ErrConflict) {
				return rep, err
			}
		}
		return nil, err
	}
}

// draft is an object on its way into the store.
type draft struct {
	key    model.Key // of the URL
	object *model.Object
	// misnamed is what differs between the URL and the object.
	misnamed []model.Violation
}

// decode reads a body. That it is not what the URL names is told together with
// what else is wrong, so it only counts later.
func (d *draft) decode(k *model.Kind, body []byte) error {
	if k.Shape == model.Flat && string(bytes.TrimSpace(body)) == "null" {
		body = []byte("{}")
	}
	o, err := k.Decode(body)
	if err != nil {
		return err
	}
	head, err := model.PeekHead(body)
	if err != nil {
		return err
	}
	var v model.Violations
	admit.CheckIdentity(k, d.key, head, &v)
	d.misnamed = v.List()
	o.Meta.Mesh = d.key.Mesh
	if k.Shape == model.Flat && k.Scope == model.InMesh && head.Mesh == "" {
		o.Meta.Mesh = "" // flat kinds have to say it
	}
	d.object = o
	return nil
}

// write1 tries once to create or update.
func (s *Server) write1(c *call, d draft) (*reply, error) {
	ctx := c.Context()
	prior, err := s.Store.Get(ctx, d.key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up %s: %w", d.key, err)
	}
	title := "Could not create a resource"
	if prior != nil {
		title = "Could not update a resource"
	}
	admitted, warnings, err := s.Gate.Admit(ctx, d.object, prior)
	if err != nil || len(d.misnamed) > 0 {
		return nil, d.refused(title, err)
	}
	var stored *model.Object
	if prior == nil {
		stored, err = s.create(ctx, admitted)
	} else {
		stored, err = s.update(ctx, admitted, prior)
	}
	if err != nil {
		return nil, withTitle(title, err)
	}
	s.wrote(stored, false)
	rep := &reply{value: warned{s.warn(ctx, c.user, stored, warnings)}}
	if prior == nil {
		rep.status = http.StatusCreated
	}
	return rep, nil
}

// refused puts what the gate found together with what differs from the URL. What
// the gate finds late goes under the title of what was tried.
func (d *draft) refused(title string, err error) error {
	var late interface{ Late() bool }
	isLate := errors.As(err, &late) && late.Late()
	var invalid *model.Invalid
	switch {
	case len(d.misnamed) > 0 && !isLate && errors.As(err, &invalid):
		return &model.Invalid{Violations: append(slices.Clone(d.misnamed), invalid.Violations...)}
	case len(d.misnamed) > 0:
		return &model.Invalid{Violations: d.misnamed}
	case isLate:
		return withTitle(title, err)
	}
	return err
}

func (s *Server) create(ctx context.Context, o *model.Object) (*model.Object, error) {
	stored, err := s.Store.Create(ctx, o)
	if errors.Is(err, store.ErrExists) { // somebody was faster: update it
		return nil, fmt.Errorf("%w: %w", store.ErrConflict, err)
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", o.Key(), err)
	}
	if o.Kind == kinds.Mesh {
		if err := s.MeshCreated(ctx, o); err != nil {
			return nil, fmt.Errorf("give mesh %q what it starts with: %w", o.Meta.Name, err)
		}
	}
	return stored, nil
}

func (s *Server) update(ctx context.Context, o, prior *model.Object) (*model.Object, error) {
	o.Meta.Version = prior.Meta.Version
	stored, err := s.Store.Update(ctx, o)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", store.ErrConflict, err)
	}
	if err != nil {
		return nil, fmt.Errorf("update %s: %w", o.Key(), err)
	}
	if o.Kind == kinds.Mesh && s.MeshUpdated != nil {
		if err := s.MeshUpdated(ctx, o); err != nil {
			return nil, fmt.Errorf("give mesh %q what it needs: %w", o.Meta.Name, err)
		}
	}
	return stored, nil
}

// warned is the body of a successful write.
type warned struct {
	Warnings []string `json:"warnings,omitempty"`
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
		s.wrote(o, true)
		return ok(struct{}{}), nil
	}
}
