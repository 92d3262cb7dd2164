package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"weft/internal/cp/inspect"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// inspectRoutes registers the questions about what the control plane makes of its
// objects.
func (s *Server) inspectRoutes() {
	add := func(pattern, title string, h handler) {
		s.router.add(route{method: http.MethodGet, pattern: pattern, title: title, handle: h})
	}
	for _, k := range s.Kinds {
		if k.Scope != model.InMesh || k.Hidden {
			continue
		}
		one := "/meshes/{mesh}/" + k.Plural + "/{name}"
		names := noHostnames
		if inspect.HasHostnames(k) {
			names = s.hostnames(k)
		}
		add(one+"/_hostnames", "could not retrieve service", names)
		if k.Policy != nil || k == kinds.MeshService {
			add(one+"/_resources/dataplanes", "Could not retrieve policy", s.affected(k))
		}
	}
	add("/meshes/{mesh}/{kind}/{name}/_hostnames", "", noHostnames)
	for _, k := range []*model.Kind{kinds.Dataplane, kinds.MeshGateway} {
		add("/meshes/{mesh}/"+k.Plural+"/{name}/_rules", "Could not retrieve the rules", s.rules(k))
		add("/meshes/{mesh}/"+k.Plural+"/{name}/_config", "Failed to inspect proxy config", s.proxyConfig)
	}
	add("/meshes/{mesh}/dataplanes/{name}/_intent", "Failed to inspect proxy config", s.intent)
	s.legacyInspectRoutes(add)
	s.explainRoutes()
	s.findingRoutes()
}

// found returns the object that the path names, if the user may see it.
func (s *Server) found(c *call, k *model.Kind) (*model.Object, error) {
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
	return o, nil
}

// stored returns tables of what is in the store now: whoever has just written
// sees the effect, on whichever instance. Tables that nobody asks for are not read.
func (s *Server) stored(ctx context.Context) *storedTables {
	return &storedTables{ctx: ctx, server: s, read: map[string]*model.Table{}}
}

type storedTables struct {
	ctx    context.Context
	server *Server
	read   map[string]*model.Table
	err    error
}

// Table implements model.Tables; what fails is told by err afterwards.
func (t *storedTables) Table(k *model.Kind, mesh string) *model.Table {
	if k.Scope == model.Global {
		mesh = ""
	}
	at := k.Name + "/" + mesh
	if table := t.read[at]; table != nil {
		return table
	}
	table := model.EmptyTable
	if list, err := t.server.Store.List(t.ctx, k, mesh); err != nil {
		t.err = errors.Join(t.err, fmt.Errorf("list %s: %w", k.Plural, err))
	} else {
		rows := make([]model.Row, len(list))
		for i, o := range list {
			rows[i] = model.Row{Object: o, Hash: model.ContentHash(o)}
		}
		table = model.NewTable(rows)
	}
	t.read[at] = table
	return table
}

func (s *Server) rules(k *model.Kind) handler {
	return func(c *call) (*reply, error) {
		o, err := s.found(c, k)
		if err != nil {
			return nil, err
		}
		t := s.stored(c.Context())
		var rules inspect.Rules
		if k == kinds.MeshGateway {
			rules, err = inspect.RulesOfGateway(catalog.Policies, t, o)
		} else {
			rules = inspect.RulesOf(catalog.Policies, t, o)
		}
		if errors.Is(err, inspect.ErrSelectsNothing) {
			return nil, badRequest("%v", err)
		}
		if err := errors.Join(err, t.err); err != nil {
			return nil, err
		}
		return ok(rules), nil
	}
}

// affectedPage is a page of the proxies that an object concerns; the last page
// has no next.
type affectedPage struct {
	Total int           `json:"total"`
	Items []policy.Meta `json:"items"`
	Next  *string       `json:"next,omitempty"`
}

func (s *Server) affected(k *model.Kind) handler {
	return func(c *call) (*reply, error) {
		o, err := s.found(c, k)
		if err != nil {
			return nil, err
		}
		if err := s.Access.Read(c.user, kinds.Dataplane); err != nil {
			return nil, err
		}
		q := c.URL.Query()
		size, offset, err := window(q)
		if err != nil {
			return nil, err
		}
		t := s.stored(c.Context())
		dps, _ := inspect.Affected(catalog.Policies, t, o)
		if t.err != nil {
			return nil, t.err
		}
		p := affectedPage{Items: []policy.Meta{}}
		for _, dp := range dps {
			if !strings.Contains(dp.Meta.Name, q.Get("name")) {
				continue
			}
			if p.Total++; p.Total > offset && (size == 0 || p.Total <= offset+size) {
				p.Items = append(p.Items, policy.MetaOf(dp))
			}
		}
		if size > 0 && offset+size < p.Total {
			next := nextURL(c.Request, offset+size)
			p.Next = &next
		}
		return ok(p), nil
	}
}

func (s *Server) hostnames(k *model.Kind) handler {
	return func(c *call) (*reply, error) {
		o, err := s.found(c, k)
		if err != nil {
			return nil, err
		}
		t := s.stored(c.Context())
		zone := s.Config.Multizone.Zone.Name
		if s.Config.IsGlobal() {
			zone = ""
		}
		list := inspect.Hostnames(t, o, zone)
		if t.err != nil {
			return nil, t.err
		}
		return ok(struct {
			Total int                `json:"total"`
			Items []inspect.Hostname `json:"items"` // null if there are none
		}{len(list), list}), nil
	}
}

// noHostnames answers for collections, also such that do not exist, whose objects
// are no services.
func noHostnames(*call) (*reply, error) {
	return nil, &failure{
		status: http.StatusBadRequest, title: `only "meshservices,meshexternalservices,meshmultizoneservices" are available for inspection`,
		detail: "objects of this collection have no hostnames; ask for those of a service",
	}
}

// boolOf reads a query parameter that is true, false or absent.
func boolOf(c *call, name string) (bool, error) {
	v := c.URL.Query().Get(name)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, badRequest("the query parameter %q must be true or false", name)
	}
	return b, nil
}
