package meshproxypatch

import (
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// validate checks the form of modifications. Whether a value fits Envoy's own
// types is checked where these are known.
func validate(c *Conf, v *model.Violations, _ policy.Where) {
	if len(c.AppendModifications) == 0 {
		v.At("appendModifications").Add("must not be empty: say what is changed")
	}
	for i := range c.AppendModifications {
		m, at := &c.AppendModifications[i], v.At("appendModifications", i)
		n := 0
		for _, set := range []bool{m.Cluster != nil, m.Listener != nil, m.NetworkFilter != nil, m.HTTPFilter != nil, m.VirtualHost != nil} {
			if set {
				n++
			}
		}
		if n != 1 {
			at.Add("each element makes one change; %d are given here", n)
			continue
		}
		target, ch := m.change()
		ch.validate(target, at.At(target))
	}
}

func (c *change) validate(target string, v *model.Violations) {
	filter := target == targetNetworkFilter || target == targetHTTPFilter
	switch c.operation {
	case opRemove:
		if c.value != nil {
			v.At("value").Add("has no meaning when something is removed; leave it out")
		}
	case opPatch:
		if filter && c.match.Name == "" {
			v.At("match", "name").Add("is missing: say which filter is changed")
		}
		c.validatePatch(v)
	default:
		c.validateAdd(target, v)
	}
	for i := range c.patches {
		c.patches[i].validate(v.At("jsonPatches", i))
	}
	if _, err := c.json(); err != nil {
		v.At("value").Add("%v", err)
	}
}

func (c *change) validatePatch(v *model.Violations) {
	switch {
	case c.value != nil && len(c.patches) > 0:
		v.Add("give either value or jsonPatches, not both")
	case c.value == nil && len(c.patches) == 0:
		v.Add("says nothing: give value or jsonPatches")
	}
}

func (c *change) validateAdd(target string, v *model.Violations) {
	switch {
	case c.operation == opBefore && c.match.Name == "":
		v.At("match", "name").Add("is missing: say before which filter")
	case c.operation == opAfter && c.match.Name == "":
		v.At("match", "name").Add("is missing: say after which filter")
	case (target == targetCluster || target == targetListener) && c.matched:
		v.At("match").Add("has no meaning when something is added; leave it out")
	case target == targetVirtualHost && c.match.Name != "":
		v.At("match", "name").Add("has no meaning when something is added; the value holds the name")
	}
	if c.value == nil {
		v.At("value").Add("is missing: say what is added")
	}
}

func (p *JSONPatch) validate(v *model.Violations) {
	from := p.Op == "move" || p.Op == "copy"
	value := p.Op == "add" || p.Op == "replace"
	switch {
	case from && str(p.From) == "":
		v.At("from").Add("is missing: %s needs a place to take from", p.Op)
	case !from && p.From != nil:
		v.At("from").Add("has no meaning with %s; leave it out", p.Op)
	}
	switch {
	case value && len(p.Value) == 0:
		v.At("value").Add("is missing: %s needs a value", p.Op)
	case !value && len(p.Value) > 0:
		v.At("value").Add("has no meaning with %s; leave it out", p.Op)
	}
	switch path := str(p.Path); {
	case p.Path == nil:
		v.At("path").Add("is missing: say where")
	case p.Op == "remove" && (path == "" || path == "/"):
		v.At("path").Add("the whole resource cannot be removed this way; use the operation Remove")
	case path != "" && path[0] != '/':
		v.At("path").Add("must start with a slash, which %q does not", path)
	}
}
