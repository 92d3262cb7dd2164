package rest

import (
	"errors"
	"slices"
	"strings"

	"weft/internal/cp/inspect"
	"weft/internal/cp/store"
	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// legacyInspectRoutes registers the older form of inspection, which kumactl uses.
// It tells of targetRef policies, of older policies on parts of sidecars, and of
// gateways; what older policies do to the listeners of builtin gateways it does
// not tell.
func (s *Server) legacyInspectRoutes(add func(pattern, title string, h handler)) {
	add("/meshes/{mesh}/dataplanes/{name}/policies", "Could not get the policies of the data plane", s.matchedPolicies)
	add("/meshes/{mesh}/dataplanes/{name}/rules", "Could not get the rules of the data plane", s.legacyRules)
	for _, k := range s.Kinds {
		if k.Scope != model.InMesh || k.Hidden {
			continue
		}
		at := "/meshes/{mesh}/" + k.Plural + "/{name}/dataplanes"
		switch {
		case k == kinds.MeshGateway, k == kinds.MeshGatewayRoute:
			add(at, "Could not get the data planes", s.attached(k, plainItem))
		case k.Policy != nil && k.Policy.TargetRef:
			add(at, "Could not get the data planes of the policy", s.attached(k, wholeItem))
		case k.Policy != nil && k.Policy.Inspectable:
			add(at, "Could not get the data planes of the policy", s.attached(k, s.partsItem))
		}
	}
}

// proxyRef names a Dataplane.
type proxyRef struct {
	Mesh string `json:"mesh"`
	Name string `json:"name"`
}

// attachment is a part of a proxy that policies act on.
type attachment struct {
	Type    string `json:"type"`
	Name    string `json:"name,omitempty"`
	Service string `json:"service,omitempty"`
}

// matchedItem is a part of a proxy with the policies that act on it.
type matchedItem struct {
	attachment
	Policies map[string][]policy.Meta `json:"matchedPolicies"`
}

// all is a list without pages.
type all[T any] struct {
	Kind  string `json:"kind,omitempty"`
	Total int    `json:"total"`
	Items []T    `json:"items"`
}

func (s *Server) matchedPolicies(c *call) (*reply, error) {
	dp, err := s.found(c, kinds.Dataplane)
	if err != nil {
		return nil, err
	}
	t := s.stored(c.Context())
	byKind := map[string][]policy.Meta{}
	for _, sel := range policy.Match(catalog.Policies, inspect.FactsOf(t, dp), t).Selecting() {
		for _, o := range sel.Objects {
			byKind[sel.Kind.Name] = append(byKind[sel.Kind.Name], policy.MetaOf(o))
		}
	}
	if t.err != nil {
		return nil, t.err
	}
	if g := inspect.GatewayOf(t, dp); g != nil {
		for _, k := range []*model.Kind{kinds.ProxyTemplate, legacy.TrafficTrace} {
			if o := inspect.ForProxy(t, k, dp); o != nil {
				byKind[k.Name] = []policy.Meta{policy.MetaOf(o)}
			}
		}
		return ok(gatewayPolicies(g, byKind)), nil
	}
	calls, err := s.calls(dp)
	if err != nil {
		return nil, err
	}
	answer := all[matchedItem]{Kind: "SidecarDataplane", Items: []matchedItem{{attachment{Type: "dataplane"}, byKind}}}
	for _, p := range inspect.PartsOf(t, dp, calls) {
		to := byKind
		if p.Type != "dataplane" {
			to = map[string][]policy.Meta{}
			answer.Items = append(answer.Items, matchedItem{attachmentOf(p), to})
		}
		for _, o := range p.Policies {
			to[o.Kind.Name] = append(to[o.Kind.Name], policy.MetaOf(o))
		}
	}
	for _, list := range byKind {
		slices.SortFunc(list, func(a, b policy.Meta) int { return strings.Compare(a.Name, b.Name) })
	}
	if len(byKind) == 0 {
		answer.Items = answer.Items[1:]
	}
	answer.Total = len(answer.Items)
	return ok(answer), t.err
}

func attachmentOf(p inspect.Part) attachment {
	return attachment{Type: p.Type, Name: p.Name, Service: p.Service}
}

// calls returns the ports on which a sidecar reaches services known by their
// tag: those that the control plane makes of it, else those of its definition.
func (s *Server) calls(dp *model.Object) ([]inspect.Call, error) {
	if s.Engine == nil || !model.Spec[kinds.DataplaneSpec](dp).IsTransparent() {
		return inspect.CallsOf(dp), nil
	}
	p, exists, err := s.Engine.Preview(s.Tables(), dp.Key(), view.Metadata{})
	if err != nil || !exists {
		return nil, err
	}
	var out []inspect.Call
	for _, o := range p.Proxy.Outbounds {
		if o.Destination.Kind == "" {
			out = append(out, inspect.Call{Address: o.Address, Port: o.Port, Service: o.Destination.Name})
		}
	}
	return out, nil
}

// gatewayPolicies is the answer for a builtin gateway. It holds one policy of
// each kind, the strongest.
func gatewayPolicies(g *model.Object, byKind map[string][]policy.Meta) any {
	one := make(map[string]policy.Meta, len(byKind))
	for kind, list := range byKind {
		one[kind] = list[len(list)-1]
	}
	return struct {
		Kind      string                 `json:"kind"`
		Gateway   proxyRef               `json:"gateway"`
		Listeners []any                  `json:"listeners"`
		Policies  map[string]policy.Meta `json:"policies,omitempty"`
	}{"MeshGatewayDataplane", proxyRef{g.Meta.Mesh, g.Meta.Name}, []any{}, one}
}

// attachedItem is a proxy that a policy acts on.
type attachedItem struct {
	Kind        string       `json:"kind,omitempty"`
	Dataplane   proxyRef     `json:"dataplane"`
	Attachments []attachment `json:"attachments,omitempty"`
}

// itemOf returns the entry of a proxy that an object concerns; false if it has none.
type itemOf func(t *storedTables, dp, o *model.Object) (attachedItem, bool, error)

// attached answers with the proxies that an object concerns. What does not exist
// concerns nobody.
func (s *Server) attached(k *model.Kind, itemOf itemOf) handler {
	return func(c *call) (*reply, error) {
		answer := all[attachedItem]{Items: []attachedItem{}}
		o, err := s.found(c, k)
		if errors.Is(err, store.ErrNotFound) {
			return ok(answer), nil
		}
		if err != nil {
			return nil, err
		}
		t := s.stored(c.Context())
		dps, _ := inspect.Affected(catalog.Policies, t, o)
		for _, dp := range dps {
			item, has, err := itemOf(t, dp, o)
			if err != nil {
				return nil, err
			}
			if has {
				answer.Items = append(answer.Items, item)
			}
		}
		answer.Total = len(answer.Items)
		return ok(answer), t.err
	}
}

// plainItem only names the proxy.
func plainItem(_ *storedTables, dp, _ *model.Object) (attachedItem, bool, error) {
	return attachedItem{Dataplane: proxyRef{dp.Meta.Mesh, dp.Meta.Name}}, true, nil
}

// wholeItem is for policies that act on the sidecar as a whole.
func wholeItem(_ *storedTables, dp, _ *model.Object) (attachedItem, bool, error) {
	return sidecarItem(dp, attachment{Type: "dataplane"}), true, nil
}

// partsItem tells on which parts of a sidecar an older policy is in force.
func (s *Server) partsItem(t *storedTables, dp, o *model.Object) (attachedItem, bool, error) {
	calls, err := s.calls(dp)
	if err != nil {
		return attachedItem{}, false, err
	}
	item := sidecarItem(dp)
	for _, p := range inspect.PartsOf(t, dp, calls) {
		if slices.ContainsFunc(p.Policies, func(x *model.Object) bool { return x.Key() == o.Key() }) {
			item.Attachments = append(item.Attachments, attachmentOf(p))
		}
	}
	return item, len(item.Attachments) > 0, nil
}

func sidecarItem(dp *model.Object, parts ...attachment) attachedItem {
	return attachedItem{Kind: "SidecarDataplane", Dataplane: proxyRef{dp.Meta.Mesh, dp.Meta.Name}, Attachments: parts}
}

func (s *Server) legacyRules(c *call) (*reply, error) {
	dp, err := s.found(c, kinds.Dataplane)
	if err != nil {
		return nil, err
	}
	t := s.stored(c.Context())
	items := inspect.LegacyRules(inspect.RulesOf(catalog.Policies, t, dp), model.Spec[kinds.DataplaneSpec](dp))
	if t.err != nil {
		return nil, t.err
	}
	return ok(all[inspect.LegacyRule]{Total: len(items), Items: items}), nil
}
