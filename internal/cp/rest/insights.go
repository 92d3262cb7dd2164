package rest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"weft/internal/cp/summary"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// insightRoutes registers what is counted when it is asked for.
func (s *Server) insightRoutes() {
	s.listRoute("/mesh-insights", s.meshInsights)
	s.readRoute("/mesh-insights/{name}", s.meshInsight)
	s.listRoute("/service-insights", s.serviceInsights)
	s.listRoute("/meshes/{mesh}/service-insights", s.serviceInsights)
	s.readRoute("/meshes/{mesh}/service-insights/{name}", s.serviceInsight)
	s.readRoute("/global-insight", func(*call) (*reply, error) {
		return ok(summary.Everything(s.Tables(), s.Kinds, s.Now())), nil
	})
	s.readRoute("/global-insights", func(*call) (*reply, error) {
		return ok(map[string]any{"type": "GlobalInsights", "creationTime": s.Now(), "resources": summary.Kinds(s.Tables(), s.Kinds)}), nil
	})
	s.readRoute("/status/zones", s.zoneStatus)
}

func (s *Server) meshInsight(c *call) (*reply, error) {
	t := s.Tables()
	m, there := t.Table(kinds.Mesh, "").Get(c.params["name"])
	if !there {
		return nil, notFound()
	}
	return s.present(c.URL.Query(), summary.Mesh(t, s.Kinds, m.Object, s.Now()))
}

func (s *Server) meshInsights(c *call) (*reply, error) {
	keep, err := filters(c, kinds.MeshInsight)
	if err != nil {
		return nil, err
	}
	t := s.Tables()
	var objs []*model.Object
	for _, m := range t.Table(kinds.Mesh, "").Rows() {
		if o := summary.Mesh(t, s.Kinds, m.Object, s.Now()); keep(o) {
			objs = append(objs, o)
		}
	}
	return paged(c, len(objs), func(i int) any { return objs[i] })
}

// service is one service in the API's form.
type service struct {
	Type     string    `json:"type"`
	Mesh     string    `json:"mesh"`
	Name     string    `json:"name"`
	Created  time.Time `json:"creationTime"`
	Modified time.Time `json:"modificationTime"`
	kinds.ServiceSummary
}

func (s *Server) services(t model.Tables, mesh *model.Object) []service {
	all := summary.Services(t, mesh.Meta.Name, s.naming)
	out := make([]service, 0, len(all))
	for name, sum := range all {
		out = append(out, service{"ServiceInsight", mesh.Meta.Name, name, mesh.Meta.Created, s.Now(), sum})
	}
	slices.SortFunc(out, func(a, b service) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (s *Server) serviceInsight(c *call) (*reply, error) {
	if err := s.inMesh(c.Context(), kinds.ServiceInsight, c.params["mesh"]); err != nil {
		return nil, err
	}
	t, name := s.Tables(), c.params["name"]
	m, there := t.Table(kinds.Mesh, "").Get(c.params["mesh"])
	if !there {
		return nil, notFound()
	}
	for _, svc := range s.services(t, m.Object) {
		if svc.Name == name {
			return ok(svc), nil
		}
	}
	// A service nobody has is an internal one without proxies, as 2.10 has it.
	none := kinds.ServiceSummary{AddressPort: s.naming.Address(name), Dataplanes: &kinds.ServiceDataplaneStat{}}
	return ok(service{"ServiceInsight", m.Meta.Name, name, m.Meta.Created, s.Now(), none}), nil
}

func (s *Server) serviceInsights(c *call) (*reply, error) {
	mesh := c.params["mesh"]
	if err := s.inMesh(c.Context(), kinds.ServiceInsight, mesh); err != nil {
		return nil, err
	}
	types, err := serviceTypes(c.URL.Query().Get("type"))
	if err != nil {
		return nil, err
	}
	name := c.URL.Query().Get("name")
	t := s.Tables()
	var out []service
	for _, m := range t.Table(kinds.Mesh, "").Rows() {
		if mesh != "" && m.Meta.Name != mesh {
			continue
		}
		for _, svc := range s.services(t, m.Object) {
			if strings.Contains(svc.Name, name) && (types == nil || slices.Contains(types, svc.ServiceType)) {
				out = append(out, svc)
			}
		}
	}
	return paged(c, len(out), func(i int) any { return out[i] })
}

// serviceTypes reads type=internal,external,…; nil = all.
func serviceTypes(v string) ([]kinds.ServiceType, error) {
	if v == "" {
		return nil, nil
	}
	var out []kinds.ServiceType
	for part := range strings.SplitSeq(v, ",") {
		switch part {
		case "internal":
			out = append(out, kinds.ServiceInternal)
		case "external", "gateway_delegated", "gateway_builtin":
			out = append(out, kinds.ServiceType(part))
		default:
			return nil, badRequest("service type %q is not known: use internal, external, gateway_delegated, gateway_builtin", part)
		}
	}
	return out, nil
}

// zoneStatus tells which zones are there (GET /status/zones); null without any.
func (s *Server) zoneStatus(*call) (*reply, error) {
	type status struct {
		Name   string `json:"name"`
		Active bool   `json:"active"`
	}
	var out []status
	t := s.Tables()
	for _, z := range t.Table(kinds.Zone, "").Rows() {
		online := false
		if i, has := t.Table(kinds.ZoneInsight, "").Get(z.Meta.Name); has {
			online = model.Spec[kinds.ZoneInsightSpec](i.Object).Online()
		}
		out = append(out, status{z.Meta.Name, online && model.Spec[kinds.ZoneSpec](z.Object).IsEnabled()})
	}
	return ok(out), nil
}

// readOnlyRoutes answers writes of what is counted, as for every read-only kind.
func (s *Server) readOnlyRoutes(k *model.Kind, pattern string) {
	refuse := func(*call) (*reply, error) {
		if err := s.Gate.Writable(k); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%s is counted, not written", k.Name)
	}
	s.router.add(route{method: http.MethodPut, pattern: pattern, title: "Could not process a resource", handle: refuse})
	s.router.add(route{method: http.MethodDelete, pattern: pattern, title: "Could not delete a resource", handle: refuse})
}
