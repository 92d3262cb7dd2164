package findings

import (
	"slices"
	"strings"

	"weft/internal/cp/inspect"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy/legacy"
)

// successors are the kinds that win over older ones where both act
// (policies-legacy.md 3).
var successors = map[string]string{
	legacy.TrafficPermission.Name: "MeshTrafficPermission",
	legacy.TrafficTrace.Name:      "MeshTrace",
	legacy.Retry.Name:             "MeshRetry",
}

// older looks at a policy of the older sort.
func (a at) older() {
	if a.o.Kind == legacy.TrafficPermission && !a.c.View.Facts().MTLS {
		a.add(Warning, ruleNeedsMTLS, nil, "enable mutual TLS in the Mesh", "has no effect: a TrafficPermission needs mutual TLS, and mesh %q has none", a.c.Mesh)
	}
	concerns := inspect.Concern(a.c.Policies, a.c.Tables, a.o)
	if concerns == nil || !a.c.known() {
		return
	}
	newer := catalog.ByName(successors[a.o.Kind.Name])
	some, replaced := false, newer != nil
	var by []string
	for _, dp := range a.c.proxies {
		if !concerns(dp) {
			continue
		}
		some = true
		if !replaced {
			break
		}
		names := a.c.selecting(newer, dp)
		replaced = len(names) > 0
		for _, n := range names {
			if !slices.Contains(by, n) {
				by = append(by, n)
			}
		}
	}
	switch {
	case !some:
		a.add(Warning, ruleSelectsNothing, nil, "correct the selectors, or start a proxy that they select",
			"selects no proxy: none of the %d Dataplanes of mesh %q has the tags", len(a.c.proxies), a.c.Mesh)
	case replaced:
		a.add(Warning, ruleReplaced, nil, "move what it says to a "+newer.Name+", and delete it",
			"is replaced: on every proxy that it concerns a %s acts, which wins (%s)", newer.Name, strings.Join(by, ", "))
	}
}

// selecting returns the names of the policies of a kind that select a proxy.
func (c *check) selecting(k *model.Kind, dp *model.Object) []string {
	f := *c.factsOf(dp)
	f.Shadow = false
	var out []string
	for _, s := range c.View.Policies().Match(&f).Selecting() {
		if s.Kind != k {
			continue
		}
		for _, o := range s.Objects {
			out = append(out, o.Meta.Name)
		}
	}
	return out
}

// predecessors are the kinds that win over newer ones on inbounds.
var predecessors = map[string]*model.Kind{
	"MeshFaultInjection": legacy.FaultInjection,
	"MeshRateLimit":      legacy.RateLimit,
}

// predecessor returns the older kind that may keep the policy from having an
// effect, nil if the mesh has none.
func (a at) predecessor() *model.Kind {
	k := predecessors[a.o.Kind.Name]
	if k == nil || a.c.Tables.Table(k, a.c.Mesh).Len() == 0 {
		return nil
	}
	return k
}

// inForce tells whether an older policy of a kind acts on an inbound of a proxy.
func (c *check) inForce(k *model.Kind, dp *model.Object, inbound map[string]string) bool {
	m := c.View.Older().Match(model.Spec[kinds.DataplaneSpec](dp))
	return slices.ContainsFunc(m.OnInbound(inbound), func(o *model.Object) bool { return o.Kind == k })
}
