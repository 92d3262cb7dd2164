package envoy

import (
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacconfig "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	netrbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"

	"weft/internal/mesh/ir"
)

const (
	filterHTTPRBAC    = "envoy.filters.http.rbac"
	filterNetworkRBAC = "envoy.filters.network.rbac"
)

// httpRBAC decides per request, networkRBAC per connection.
func httpRBAC(a *ir.Access) *httprbac.RBAC {
	return &httprbac.RBAC{Rules: allowRules(a), ShadowRules: shadowRules(a)}
}

func networkRBAC(a *ir.Access, stat string) (*listener.Filter, error) {
	shadow := shadowRules(a)
	if shadow == nil {
		shadow = markDenied(a)
	}
	return networkFilter(filterNetworkRBAC, &netrbac.RBAC{Rules: allowRules(a), ShadowRules: shadow, StatPrefix: stat})
}

// allowRules allows the listed clients; without any, nobody passes.
func allowRules(a *ir.Access) *rbacconfig.RBAC {
	return rules(rbacconfig.RBAC_ALLOW, a.PolicyName, a.Allow)
}

// shadowRules only count whom they would deny.
func shadowRules(a *ir.Access) *rbacconfig.RBAC {
	if len(a.ShadowDeny) == 0 {
		return nil
	}
	return rules(rbacconfig.RBAC_DENY, a.PolicyName, a.ShadowDeny)
}

func rules(action rbacconfig.RBAC_Action, name string, clients []ir.Principal) *rbacconfig.RBAC {
	out := &rbacconfig.RBAC{Action: action}
	if len(clients) == 0 {
		return out
	}
	policy := &rbacconfig.Policy{Permissions: []*rbacconfig.Permission{{Rule: &rbacconfig.Permission_Any{Any: true}}}}
	for _, c := range clients {
		policy.Principals = append(policy.Principals, principal(c))
	}
	out.Policies = map[string]*rbacconfig.Policy{name: policy}
	return out
}

func principal(p ir.Principal) *rbacconfig.Principal {
	ids := identities(p.All)
	for _, except := range p.Except {
		ids = append(ids, not(allOf(identities(except))))
	}
	return allOf(ids)
}

func identities(ms []ir.IdentityMatch) []*rbacconfig.Principal {
	var out []*rbacconfig.Principal
	for _, m := range ms {
		out = append(out, identity(m))
	}
	return out
}

func allOf(ids []*rbacconfig.Principal) *rbacconfig.Principal {
	switch len(ids) {
	case 0:
		return &rbacconfig.Principal{Identifier: &rbacconfig.Principal_Any{Any: true}}
	case 1:
		return ids[0]
	}
	return &rbacconfig.Principal{Identifier: &rbacconfig.Principal_AndIds{AndIds: &rbacconfig.Principal_Set{Ids: ids}}}
}

func not(p *rbacconfig.Principal) *rbacconfig.Principal {
	return &rbacconfig.Principal{Identifier: &rbacconfig.Principal_NotId{NotId: p}}
}

func identity(m ir.IdentityMatch) *rbacconfig.Principal {
	name := exact(m.URI)
	if m.Prefix {
		name = prefix(m.URI)
	}
	p := &rbacconfig.Principal{Identifier: &rbacconfig.Principal_Authenticated_{
		Authenticated: &rbacconfig.Principal_Authenticated{PrincipalName: name},
	}}
	if m.Not {
		return not(p)
	}
	return p
}
