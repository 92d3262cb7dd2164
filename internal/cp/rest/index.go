package rest

import (
	"net/http"
	"slices"
	"strings"

	"weft/internal/mesh/model"
)

// indexRoutes registers what describes the control plane itself.
func (s *Server) indexRoutes() {
	get := func(pattern, title string, h handler) {
		s.router.add(route{method: http.MethodGet, pattern: pattern, title: title, handle: h})
	}
	s.router.add(route{method: http.MethodGet, pattern: "/", open: true, handle: s.index})
	get("/who-am-i", "Could not tell who you are", func(c *call) (*reply, error) { return ok(c.user), nil })
	get("/config", "Could not retrieve the configuration", func(c *call) (*reply, error) {
		if err := s.Access.Action(c.user, "controlPlaneMetadata"); err != nil {
			return nil, err
		}
		return ok(s.Config.Shown()), nil
	})
	get("/_resources", "Could not list the kinds", func(*call) (*reply, error) { return ok(s.resources()), nil })
	get("/policies", "Could not list the policies", func(*call) (*reply, error) { return ok(s.policies()), nil })
}

// index says which control plane this is, and where its GUI is.
func (s *Server) index(*call) (*reply, error) {
	i := s.Instance()
	if s.hasGUI() {
		i.GUI = s.gui
		if u := s.Config.APIServer.GUI.RootURL; u != "" {
			i.GUI = u
		}
	}
	return ok(i), nil
}

// hasGUI tells whether the GUI is served: zones leave it to global.
func (s *Server) hasGUI() bool { return s.Config.APIServer.GUI.Enabled && !s.Config.IsFederatedZone() }

// readOnly tells whether all kinds are shown as read-only: so they are on a
// federated zone, although some can be written there, as in 2.10.
func (s *Server) readOnly() bool { return s.Config.APIServer.ReadOnly || s.Config.IsFederatedZone() }

type kindInfo struct {
	IncludeInFederation bool        `json:"includeInFederation"`
	Name                string      `json:"name"`
	Path                string      `json:"path"`
	PluralDisplayName   string      `json:"pluralDisplayName"`
	Policy              *policyInfo `json:"policy,omitempty"`
	ReadOnly            bool        `json:"readOnly"`
	Scope               string      `json:"scope"`
	SingularDisplayName string      `json:"singularDisplayName"`
}

type policyInfo struct {
	HasFromTargetRef bool `json:"hasFromTargetRef"`
	HasToTargetRef   bool `json:"hasToTargetRef"`
	IsFromAsRules    bool `json:"isFromAsRules"`
	IsTargetRef      bool `json:"isTargetRef"`
}

// listed returns the kinds that the API shows, sorted by name.
func (s *Server) listed() []*model.Kind {
	var out []*model.Kind
	for _, k := range s.Kinds {
		if !k.Hidden {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b *model.Kind) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// resources describes the kinds (GET /_resources).
func (s *Server) resources() any {
	out := []kindInfo{}
	for _, k := range s.listed() {
		info := kindInfo{
			IncludeInFederation: k.Flow&model.GlobalToZone != 0 && !k.ReadOnly,
			Name:                k.Name, Path: k.Plural, PluralDisplayName: k.DisplayPlural, SingularDisplayName: k.Display,
			ReadOnly: k.ReadOnly || s.readOnly(), Scope: "Mesh",
		}
		if k.Scope == model.Global {
			info.Scope = "Global"
		}
		if p := k.Policy; p != nil {
			info.Policy = &policyInfo{HasFromTargetRef: p.From, HasToTargetRef: p.To, IsFromAsRules: p.FromAsRules, IsTargetRef: p.TargetRef}
		}
		out = append(out, info)
	}
	return map[string]any{"resources": out}
}

type policyEntry struct {
	IsExperimental      bool   `json:"isExperimental"`
	IsInbound           bool   `json:"isInbound"`
	IsOutbound          bool   `json:"isOutbound"`
	IsTargetRefBased    bool   `json:"isTargetRefBased"`
	Name                string `json:"name"`
	Path                string `json:"path"`
	PluralDisplayName   string `json:"pluralDisplayName"`
	ReadOnly            bool   `json:"readOnly"`
	SingularDisplayName string `json:"singularDisplayName"`
}

// policies describes the policy kinds (GET /policies).
func (s *Server) policies() any {
	out := []policyEntry{}
	for _, k := range s.listed() {
		if k.Policy == nil {
			continue
		}
		out = append(out, policyEntry{
			IsInbound: k.Policy.From, IsOutbound: k.Policy.To, IsTargetRefBased: k.Policy.TargetRef,
			Name: k.Name, Path: k.Plural, PluralDisplayName: k.DisplayPlural, SingularDisplayName: k.Display,
			ReadOnly: k.ReadOnly || s.readOnly(),
		})
	}
	return map[string]any{"policies": out}
}
