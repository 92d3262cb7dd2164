package policy

import (
	"cmp"
	"slices"
	"strings"

	"weft/internal/mesh/model"
)

// compiled is a policy object, taken apart once. It is immutable.
type compiled struct {
	policy *Policy
	row    model.Row
	// hash covers the object and what its top level refers to.
	hash model.Hash
	// top is the effective target: with a MeshHTTPRoute the route's own. origin
	// is the object whose labels the gates look at.
	top    TargetRef
	origin *model.Object
	kind   string // of the policy's own target, which ranks it
	own    TargetRef
	parts  parts
	// routes are the rules of the MeshHTTPRoute that the top level names.
	routes  []RouteRule
	missing string // name of a MeshHTTPRoute that does not exist
	shadow  bool
	pos     int // position in the order of precedence
}

// RouteRule is a rule of a MeshHTTPRoute: the destination it is for and the hash
// of its matches, which is the name of the routes made from it.
type RouteRule struct {
	Target TargetRef
	Hash   string
}

// Routed is implemented by the spec of MeshHTTPRoute, so that policies can be
// applied to its routes.
type Routed interface{ RouteRules() []RouteRule }

// compile takes an object apart. routes is the table of MeshHTTPRoutes.
func (p *Policy) compile(row model.Row, routes *model.Table) *compiled {
	c := &compiled{policy: p, row: row, hash: row.Hash, origin: row.Object, parts: p.parts(row.Spec)}
	c.own = topOf(c.parts.target)
	c.top, c.kind = c.own, c.own.Kind
	c.shadow = row.Label(model.LabelEffect) == model.EffectShadow
	if c.kind != RefMeshHTTPRoute {
		return c
	}
	route, ok := findRoute(c.own, routes)
	if !ok {
		c.missing = c.own.Name
		if c.missing == "" {
			c.missing = "with the given labels"
		}
		return c
	}
	c.hash = model.Fold(row.Hash, route.Hash)
	c.origin = route.Object
	if r, ok := route.Spec.(Routed); ok {
		c.routes = r.RouteRules()
	}
	if t, ok := route.Spec.(interface{ Target() *TargetRef }); ok {
		c.top = topOf(t.Target())
	}
	return c
}

// findRoute returns the route that a policy's top level names: by its display
// name, or the oldest that has the labels.
func findRoute(ref TargetRef, routes *model.Table) (model.Row, bool) {
	var found model.Row
	ok := false
	for _, r := range routes.Rows() {
		if len(ref.Labels) > 0 {
			if labelsMatch(ref.Labels, r.Meta.Labels) && (!ok || r.Meta.Created.Before(found.Meta.Created)) {
				found, ok = r, true
			}
			continue
		}
		if r.DisplayName() == ref.Name && (ref.Namespace == "" || ref.Namespace == r.Label(model.LabelK8sNamespace)) {
			return r, true
		}
	}
	return found, ok
}

// order sorts policies from weak to strong (policies.md 1.6). The order does
// not depend on the proxy, so it is made once per table.
func order(cs []*compiled) {
	slices.SortStableFunc(cs, func(a, b *compiled) int {
		return cmp.Or(
			compareTargets(a.own, b.own),
			compareOrigins(a.row.Object, b.row.Object),
			compareGatewayTags(a.own, b.own),
			compareRoles(a.row.Object, b.row.Object),
			strings.Compare(b.row.DisplayName(), a.row.DisplayName()),
			// Equal to 2.10 up to here. Objects with equal display names keep an
			// order that does not depend on the order of arrival.
			strings.Compare(b.row.Meta.Name, a.row.Meta.Name),
		)
	})
	for i, c := range cs {
		c.pos = i
	}
}

// compareTargets orders by the kind of the target; of Dataplane targets those by
// name and those with a section are stronger.
func compareTargets(a, b TargetRef) int {
	if n := rank(a.Kind) - rank(b.Kind); n != 0 || a.Kind != RefDataplane {
		return n
	}
	return cmp.Or(compareBool(a.Name != "", b.Name != ""), compareBool(a.SectionName != "", b.SectionName != ""))
}

func compareOrigins(a, b *model.Object) int {
	return originRank(a.Label(model.LabelOrigin)) - originRank(b.Label(model.LabelOrigin))
}

func compareRoles(a, b *model.Object) int { return roleRank(RoleOf(a)) - roleRank(RoleOf(b)) }

func compareGatewayTags(a, b TargetRef) int {
	if a.Kind != RefMeshGateway || b.Kind != RefMeshGateway {
		return 0
	}
	return len(a.Tags) - len(b.Tags)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
