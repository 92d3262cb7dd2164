// Package legacy holds the older policies, which select clients and servers by
// tags (sources and destinations) instead of by targetRef. It says what they may
// hold; a matcher that ends in the same places as that of package policy applies
// them. All values are pure and, once stored, immutable.
package legacy

import (
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Connections selects connections by the tags of both ends.
type Connections struct {
	// Sources select the clients by their tags.
	Sources []kinds.Selector `json:"sources,omitempty"`
	// Destinations select the servers by their tags.
	Destinations []kinds.Selector `json:"destinations,omitempty"`
}

// Between returns how specific the policy is for a client with one of the tag
// sets and a server with tags. ok is false if it does not select them.
func (c *Connections) Between(clients []map[string]string, server map[string]string) (s kinds.Specificity, ok bool) {
	from, ok := kinds.BestMatch(c.Sources, clients...)
	if !ok {
		return kinds.Specificity{}, false
	}
	to, ok := kinds.BestMatch(c.Destinations, server)
	return from.Plus(to), ok
}

// check adds what is wrong with both lists. Outbound policies need the service
// of the client, and select servers by nothing but their service.
func (c *Connections) check(v *model.Violations, outbound bool) {
	kinds.MatchRules(outbound).CheckSelectors(c.Sources, v.At("sources"))
	if outbound {
		kinds.CheckServiceSelectors(c.Destinations, v.At("destinations"))
	} else {
		kinds.MatchRules(false).CheckSelectors(c.Destinations, v.At("destinations"))
	}
}

// names are the names of a kind: its type, the REST collection, and what people
// and kumactl call one and many.
type names struct {
	kind, plural, one, many, display, displayPlural string
}

// define returns the descriptor of an older policy.
func define(n names, newSpec func() any, validate func(o *model.Object, v *model.Violations)) *model.Kind {
	return &model.Kind{
		Name: n.kind, Plural: n.plural, One: n.one, Many: n.many,
		Display: n.display, DisplayPlural: n.displayPlural,
		Scope: model.InMesh, Shape: model.Flat,
		Flow:     model.GlobalToZone | model.GlobalWrites,
		Feeds:    model.FeedsSpec,
		Policy:   &model.PolicyInfo{Inspectable: true},
		New:      newSpec,
		Validate: validate,
	}
}

func checkPercentage(p *float64, v *model.Violations) {
	if p == nil {
		v.Add("must be given: a percentage between 0 and 100")
	} else {
		checkPercent(*p, v)
	}
}

func checkPercent(p float64, v *model.Violations) {
	if !(p >= 0 && p <= 100) {
		v.Add("must be between 0 and 100")
	}
}

// checkPositive accepts an absent duration.
func checkPositive(d *model.ProtoDuration, v *model.Violations) {
	if d != nil && *d <= 0 {
		v.Add("must be longer than 0, or left out")
	}
}

// checkNotNegative accepts an absent duration and 0, which often means off.
func checkNotNegative(d *model.ProtoDuration, v *model.Violations) {
	if d != nil && *d < 0 {
		v.Add("must not be negative")
	}
}

// checkRequired wants a duration longer than 0.
func checkRequired(d *model.ProtoDuration, v *model.Violations) {
	if d == nil {
		v.Add("must be given")
		return
	}
	checkPositive(d, v)
}
