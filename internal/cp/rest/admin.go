package rest

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"weft/internal/cp/auth"
	"weft/internal/cp/envoyadmin"
	"weft/internal/cp/view"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// adminPage is a page of a proxy's Envoy that may be asked for through the API.
type adminPage struct {
	page, action string
	json         bool // always; else only with format=json
}

var adminPages = map[string]adminPage{
	"xds":      {envoyadmin.ConfigDump, auth.ViewConfigDump, true},
	"stats":    {envoyadmin.Stats, auth.ViewStats, false},
	"clusters": {envoyadmin.Clusters, auth.ViewClusters, false},
}

// adminRoutes registers the pages of Envoys. Zone ingresses lie under another
// path than their objects, as in 2.10.
func (s *Server) adminRoutes() {
	for path, k := range map[string]*model.Kind{
		"/meshes/{mesh}/dataplanes": kinds.Dataplane, "/zoneingresses": kinds.ZoneIngress, "/zoneegresses": kinds.ZoneEgress,
	} {
		s.router.add(route{
			method: http.MethodGet, pattern: path + "/{name}/{page}", title: "Could not execute admin operation", handle: s.admin(k),
		})
	}
}

func (s *Server) admin(k *model.Kind) handler {
	return func(c *call) (*reply, error) {
		p, known := adminPages[c.params["page"]]
		if !known {
			return nil, notFound()
		}
		if err := s.Access.Action(c.user, p.action); err != nil {
			return nil, err
		}
		o, err := s.found(c, k)
		if err != nil {
			return nil, err
		}
		if err := s.reachable(o); err != nil {
			return nil, err
		}
		q, isJSON := p.query(c.URL.Query())
		body, err := s.Admin.Get(c.Context(), o, s.adminPort(o), p.page, q)
		var gone *envoyadmin.Unreachable
		if errors.As(err, &gone) {
			s.Log.Warn("administration of a proxy cannot be reached", "proxy", o.Key().String(), "error", err)
			return nil, &failure{status: http.StatusInternalServerError, detail: err.Error()}
		}
		if err != nil {
			return nil, fmt.Errorf("ask the proxy %s: %w", o.Key(), err)
		}
		if isJSON {
			return &reply{contentType: jsonType, text: body}, nil
		}
		return &reply{contentType: "text/plain", text: body}, nil
	}
}

// query returns what Envoy is asked, and whether it answers JSON. Nothing of the
// caller's query goes through but the switches that are known.
func (p adminPage) query(asked url.Values) (url.Values, bool) {
	q := url.Values{}
	switch {
	case p.json && asked.Get("include_eds") == "true":
		q.Set("include_eds", "")
	case !p.json && asked.Get("format") == "json":
		q.Set("format", "json")
		return q, true
	}
	return q, p.json
}

// reachable refuses proxies that this control plane cannot ask.
func (s *Server) reachable(o *model.Object) error {
	if s.Admin == nil || s.Config.IsGlobal() {
		return badRequest("a global control plane does not reach proxies; ask the control plane of the proxy's zone")
	}
	var remote bool
	zone := s.Config.Multizone.Zone.Name
	switch spec := o.Spec.(type) {
	case *kinds.ZoneIngressSpec:
		remote = spec.Zone != "" && spec.Zone != zone
	case *kinds.ZoneEgressSpec:
		remote = spec.Zone != "" && spec.Zone != zone
	}
	if z := o.Label(model.LabelZone); remote || z != "" && z != zone {
		return badRequest("the proxy is in another zone; ask the control plane of that zone")
	}
	return nil
}

// adminPort returns the admin port of a proxy: the one that it told when it
// connected, else that of its object.
func (s *Server) adminPort(o *model.Object) uint32 {
	if nodes, is := s.Engine.(interface {
		Metadata(key model.Key) (view.Metadata, bool)
	}); is {
		if md, connected := nodes.Metadata(o.Key()); connected {
			return md.AdminPort
		}
	}
	byDefault := uint32(s.Config.BootstrapServer.Params.AdminPort)
	switch spec := o.Spec.(type) {
	case *kinds.DataplaneSpec:
		return spec.AdminPort(byDefault)
	case *kinds.ZoneIngressSpec:
		return spec.AdminPort(byDefault)
	case *kinds.ZoneEgressSpec:
		return spec.AdminPort(byDefault)
	}
	return byDefault
}
