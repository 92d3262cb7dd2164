package rest

import (
	"fmt"
	"net/http"
	"strings"

	"weft/internal/cp/findings"
	"weft/internal/cp/inspect"
	"weft/internal/cp/preview"
	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// proxyConfig answers with the configuration that a Dataplane would get, and how
// it differs from that of now. A MeshGateway has none of its own: under its
// collection, too, the name is that of a Dataplane.
func (s *Server) proxyConfig(c *call) (*reply, error) {
	shadow, err := boolOf(c, "shadow")
	if err != nil {
		return nil, err
	}
	diff := false
	for _, v := range c.URL.Query()["include"] {
		for what := range strings.SplitSeq(v, ",") {
			if what != "diff" && what != "" {
				return nil, badRequest(`the query parameter "include" can only be diff`)
			}
			diff = diff || what == "diff"
		}
	}
	key, err := s.previewed(c)
	if err != nil {
		return nil, err
	}
	now := s.Tables()
	then := now
	if shadow {
		then = inspect.WithShadow(catalog.Policies, now, key.Mesh)
	}
	var answer struct {
		XDS  inspect.Config `json:"xds"`
		Diff *[]inspect.Op  `json:"diff,omitempty"`
	}
	if answer.XDS, err = s.configOf(then, key); err != nil {
		return nil, err
	}
	if diff {
		current := answer.XDS
		if shadow {
			if current, err = s.configOf(now, key); err != nil {
				return nil, err
			}
		}
		ops, err := inspect.Diff(current, answer.XDS)
		if err != nil {
			return nil, fmt.Errorf("compare configurations: %w", err)
		}
		answer.Diff = &ops
	}
	return ok(answer), nil
}

// previewed returns the key of the Dataplane that the path names, or says why
// there is nothing to preview.
func (s *Server) previewed(c *call) (model.Key, error) {
	key := kinds.Dataplane.Key(c.params["mesh"], c.params["name"])
	if err := s.Access.Read(c.user, kinds.Dataplane); err != nil {
		return key, err
	}
	if s.Engine == nil || s.Config.IsGlobal() {
		return key, &failure{status: http.StatusMethodNotAllowed, title: "Method not allowed",
			detail: "a global control plane configures no proxies; ask the control plane of the proxy's zone"}
	}
	s.settle(c.Context())
	return key, s.inMesh(c.Context(), kinds.Dataplane, key.Mesh)
}

func (s *Server) configOf(t model.Tables, key model.Key) (inspect.Config, error) {
	p, err := s.preview(t, key, view.Metadata{})
	if err != nil {
		return nil, err
	}
	return inspect.ConfigOf(p)
}

func (s *Server) preview(t model.Tables, key model.Key, md view.Metadata) (*preview.Preview, error) {
	p, exists, err := s.Engine.Preview(t, key, md)
	if err != nil {
		return nil, fmt.Errorf("preview %s: %w", key, err)
	}
	if !exists {
		return nil, notFound()
	}
	return p, nil
}

// intent answers with what a proxy should do, in the control plane's own words:
// what configuration is made of, with the policies that shaped it, and what could
// not be done. It is of the proxy as connected, if it is.
func (s *Server) intent(c *call) (*reply, error) {
	key, err := s.previewed(c)
	if err != nil {
		return nil, err
	}
	var md view.Metadata
	online := false
	if nodes, is := s.Engine.(connected); is {
		md, online = nodes.Metadata(key)
	}
	p, err := s.preview(s.Tables(), key, md)
	if err != nil {
		return nil, err
	}
	bare := *p.Proxy
	bare.Warnings = nil
	warnings := make([]any, 0, len(p.Proxy.Warnings))
	for _, w := range p.Proxy.Warnings {
		warnings = append(warnings, inspect.Plain(ir.Warning{Kind: w.Kind, Name: w.Name, Message: w.Message}))
	}
	list, err := s.findingsOf(c, key)
	if err != nil {
		return nil, err
	}
	return ok(struct {
		Connected bool               `json:"connected"`
		Intent    any                `json:"intent"`
		Warnings  []any              `json:"warnings"`
		Findings  []findings.Finding `json:"findings"`
	}{online, inspect.Plain(&bare), warnings, list}), nil
}
