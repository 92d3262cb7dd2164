package rest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"weft/internal/cp/findings"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// findingsPage is the answer of the pages called _findings.
type findingsPage struct {
	Total int                `json:"total"`
	Items []findings.Finding `json:"items"`
}

// findingRoutes registers what is likely not meant.
func (s *Server) findingRoutes() {
	const title = "Could not look for findings"
	s.router.add(route{method: http.MethodGet, pattern: "/meshes/{mesh}/_findings", title: title, handle: s.meshFindings})
	s.router.add(route{method: http.MethodGet, pattern: "/meshes/{mesh}/dataplanes/{name}/_findings", title: title, handle: s.proxyFindings})
}

func (s *Server) meshFindings(c *call) (*reply, error) {
	key, err := s.previewed(c)
	if err != nil {
		return nil, err
	}
	return found(s.permitted(c.user, s.world(key.Mesh).All())), nil
}

func (s *Server) proxyFindings(c *call) (*reply, error) {
	key, err := s.previewed(c)
	if err != nil {
		return nil, err
	}
	list, err := s.findingsOf(c, key)
	if err != nil {
		return nil, err
	}
	return found(list), nil
}

// findingsOf returns the findings that concern a proxy.
func (s *Server) findingsOf(c *call, key model.Key) ([]findings.Finding, error) {
	row, ok := s.Tables().Table(kinds.Dataplane, key.Mesh).Get(key.Name)
	if !ok {
		return nil, notFound()
	}
	return s.permitted(c.user, s.world(key.Mesh).Concerning(row.Object)), nil
}

func found(list []findings.Finding) *reply { return ok(findingsPage{len(list), list}) }

// world is a mesh as of now.
func (s *Server) world(mesh string) *findings.World {
	t := s.Tables()
	return &findings.World{Mesh: mesh, Tables: t, View: s.Engine.View(t, mesh), Policies: catalog.Policies}
}

// permitted leaves out what tells whether there is a Secret to users who may not see any.
func (s *Server) permitted(u User, list []findings.Finding) []findings.Finding {
	if s.Access.Read(u, kinds.Secret) == nil {
		return list
	}
	return slices.DeleteFunc(list, func(f findings.Finding) bool { return f.Rule == findings.MissingSecret })
}

// Bounds of what a write tells.
const (
	// mostProxies is the size of a mesh up to which a write is followed by a look at
	// its proxies; larger ones have the page _findings.
	mostProxies  = 20_000
	mostWarnings = 10
	// catchUp is how long a write waits, if there is something to tell, until the
	// snapshot has what was written before it.
	catchUp = 200 * time.Millisecond
)

// warn adds to the warnings of a successful write what is likely not meant with the
// object. It never fails. Snapshots are a moment behind the store: what looks wrong
// is looked at again when they have the object.
func (s *Server) warn(ctx context.Context, u User, o *model.Object, warnings []string) (out []string) {
	out = warnings
	if s.Engine == nil || s.Config.IsGlobal() || o.Kind.Scope != model.InMesh || o.Kind == kinds.Dataplane {
		return out // proxies come in any order: what one calls often comes after it
	}
	defer func() {
		if r := recover(); r != nil {
			s.Log.Error("looking for what is wrong with a written object panicked", "object", o.Key().String(), "panic", fmt.Sprint(r))
		}
	}()
	if s.Tables().Table(kinds.Dataplane, o.Meta.Mesh).Len() > mostProxies {
		return out
	}
	list := s.worthTelling(u, o)
	if len(list) > 0 && s.behind(o) && s.await(ctx, catchUp, func() bool { return !s.behind(o) }) {
		list = s.worthTelling(u, o)
	}
	if len(list) > mostWarnings {
		list = list[:mostWarnings]
	}
	for i := range list {
		out = append(out, list[i].Text())
	}
	return out
}

func (s *Server) worthTelling(u User, o *model.Object) []findings.Finding {
	return slices.DeleteFunc(s.permitted(u, s.world(o.Meta.Mesh).Of(o)), func(f findings.Finding) bool {
		return !f.Severity.AtLeast(findings.Warning)
	})
}

// behind tells whether the snapshot does not have a write of an object yet.
func (s *Server) behind(o *model.Object) bool {
	row, ok := s.Tables().Table(o.Kind, o.Meta.Mesh).Get(o.Meta.Name)
	return !ok || row.Meta.Version != o.Meta.Version
}
