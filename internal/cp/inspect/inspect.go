// Package inspect answers questions about what the control plane makes of its
// objects: which rules and which configuration a proxy has, and which proxies an
// object concerns. It is pure: it gets tables and returns values for the API.
package inspect

import (
	"errors"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Rules are the rules of all policies for one proxy.
type Rules struct {
	Resource    policy.Meta        `json:"resource"`
	HTTPMatches []policy.HTTPMatch `json:"httpMatches"`
	Rules       []policy.KindRules `json:"rules"`
}

// ErrSelectsNothing is the answer about a MeshGateway without selectors.
var ErrSelectsNothing = errors.New("the MeshGateway has no selectors, so it is of no proxy; add a selector with the tag kuma.io/service")

// RulesOf returns the rules for a Dataplane.
func RulesOf(ps []*policy.Policy, t model.Tables, dp *model.Object) Rules {
	return rules(ps, t, FactsOf(t, dp), policy.MetaOf(dp))
}

// RulesOfGateway returns the rules for proxies of a MeshGateway, as far as they
// do not depend on a proxy's own labels.
func RulesOfGateway(ps []*policy.Policy, t model.Tables, gateway *model.Object) (Rules, error) {
	spec := model.Spec[kinds.MeshGatewaySpec](gateway)
	if len(spec.Selectors) == 0 {
		return Rules{}, ErrSelectsNothing
	}
	dp := kinds.Dataplane.Make(gateway.Meta.Mesh, gateway.Meta.Name)
	dp.Spec = &kinds.DataplaneSpec{Networking: &kinds.DataplaneNetworking{
		Gateway: &kinds.DataplaneGateway{Type: kinds.GatewayBuiltin, Tags: spec.Selectors[0].Match},
	}}
	return rules(ps, t, policy.FactsOf(dp, gateway), policy.MetaOf(gateway)), nil
}

func rules(ps []*policy.Policy, t model.Tables, f *policy.Facts, of policy.Meta) Rules {
	w, memo := policy.World{Tables: t}, policy.NewMemo()
	matched := policy.Match(ps, f, t)
	if mesh, ok := t.Table(kinds.Mesh, "").Get(of.Mesh); ok {
		w.Mesh = mesh.Object
		w.Exclusive = model.Spec[kinds.MeshSpec](mesh.Object).MeshServicesMode() == kinds.MeshServicesExclusive
	}
	list := matched.Rules(w, memo)
	// Hashes name the routes to resources too, where nothing has rules by tags.
	byTags := list
	if w.Exclusive {
		w.Exclusive = false
		byTags = matched.Rules(w, memo)
	}
	return Rules{Resource: of, HTTPMatches: policy.HTTPMatches(byTags), Rules: list}
}

// FactsOf returns what the choice of policies knows about a Dataplane.
func FactsOf(t model.Tables, dp *model.Object) *policy.Facts {
	return policy.FactsOf(dp, GatewayOf(t, dp))
}

// GatewayOf returns the MeshGateway of a builtin gateway: the one that selects it
// most specifically; nil if there is none.
func GatewayOf(t model.Tables, dp *model.Object) *model.Object {
	spec := model.Spec[kinds.DataplaneSpec](dp)
	if !spec.IsBuiltinGateway() {
		return nil
	}
	var (
		best  *model.Object
		score kinds.Specificity
	)
	for _, row := range t.Table(kinds.MeshGateway, dp.Meta.Mesh).Rows() {
		sel := model.Spec[kinds.MeshGatewaySpec](row.Object).Selectors
		s, ok := kinds.BestMatch(sel, spec.Gateway().Tags)
		if len(sel) == 0 || !ok {
			continue
		}
		if best == nil || kinds.CompareMatched(row.Object, best, s, score) < 0 {
			best, score = row.Object, s
		}
	}
	return best
}
