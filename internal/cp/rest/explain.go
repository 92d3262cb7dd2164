package rest

import (
	"errors"
	"net/http"
	"strings"

	"weft/internal/cp/build"
	"weft/internal/cp/explain"
	"weft/internal/cp/preview"
	"weft/internal/cp/view"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// explainRoutes registers the answers to "why".
func (s *Server) explainRoutes() {
	add := func(page string, h handler) {
		s.router.add(route{
			method: http.MethodGet, pattern: "/meshes/{mesh}/dataplanes/{name}/" + page,
			title: "Could not explain the proxy", handle: h,
		})
	}
	add("_explain", s.explainProxy)
	add("_explain-request", s.explainRequest)
}

// explainProxy answers which policies set what on a proxy.
func (s *Server) explainProxy(c *call) (*reply, error) {
	key, err := s.previewed(c)
	if err != nil {
		return nil, err
	}
	p, err := s.preview(s.Tables(), key, s.metadata(key))
	if err != nil {
		return nil, err
	}
	return ok(explain.Of(subject(p))), nil
}

// explainRequest answers what becomes of a request that the workload of a proxy
// sends: to (needed), method, and any number of header=name:value.
func (s *Server) explainRequest(c *call) (*reply, error) {
	key, err := s.previewed(c)
	if err != nil {
		return nil, err
	}
	query := c.URL.Query()
	q := explain.Request{To: query.Get("to"), Method: strings.ToUpper(query.Get("method")), Headers: http.Header{}}
	for _, h := range query["header"] {
		name, value, has := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); !has || name == "" {
			return nil, badRequest("the query parameter header has to be like name:value, got %q", h)
		}
		q.Headers.Add(name, strings.TrimSpace(value))
	}
	t := s.Tables()
	p, err := s.preview(t, key, s.metadata(key))
	if err != nil {
		return nil, err
	}
	far := func(name string) (explain.Subject, bool, error) {
		other := kinds.Dataplane.Key(key.Mesh, name)
		p, err := s.preview(t, other, s.metadata(other))
		var f *failure
		if errors.As(err, &f) && f.status == http.StatusNotFound {
			return explain.Subject{}, false, nil
		}
		if err != nil {
			return explain.Subject{}, false, err
		}
		return subject(p), true, nil
	}
	a, err := explain.OfRequest(subject(p), q, explain.World{Tables: t, Proxies: far, Egress: s.egress(t, key.Mesh)})
	var bad *explain.TargetError
	if errors.As(err, &bad) {
		return nil, badRequest("%v", bad)
	}
	if err != nil {
		return nil, err
	}
	return ok(a), nil
}

// egress describes egresses of this zone as far as a mesh is concerned.
func (s *Server) egress(t model.Tables, mesh string) func(name string) (*ir.Proxy, bool) {
	return func(name string) (*ir.Proxy, bool) {
		v := s.Engine.View(t, mesh)
		in, is := view.Egress(t, []*view.Mesh{v}, name, s.metadata(kinds.ZoneEgress.Key("", name)), v.Settings())
		if !is {
			return nil, false
		}
		return build.Egress(in), true
	}
}

func subject(p *preview.Preview) explain.Subject {
	return explain.Subject{Inputs: p.Inputs, Proxy: p.Proxy, Endpoints: p.Endpoints}
}

// metadata returns what a proxy told about itself, nothing if it is not connected.
func (s *Server) metadata(key model.Key) view.Metadata {
	if nodes, is := s.Engine.(connected); is {
		md, _ := nodes.Metadata(key)
		return md
	}
	return view.Metadata{}
}

// connected knows the proxies that are connected. *engine.Engine does.
type connected interface {
	Metadata(key model.Key) (view.Metadata, bool)
}
