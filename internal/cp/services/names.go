package services

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// generator is a HostnameGenerator.
type generator struct {
	row  model.Row
	spec *kinds.HostnameGeneratorSpec
}

// generatorsOf returns the generators, those whose names win first: of a zone
// before those of global, then from the oldest.
func generatorsOf(t *model.Table) []generator {
	var out []generator
	for _, row := range t.Rows() {
		out = append(out, generator{row, model.Spec[kinds.HostnameGeneratorSpec](row.Object)})
	}
	later := func(g generator) int {
		if g.row.Label(model.LabelOrigin) == model.OriginZone {
			return 0
		}
		return 1
	}
	slices.SortFunc(out, func(a, b generator) int {
		return cmp.Or(later(a)-later(b), byAge(a.row.Object, b.row.Object))
	})
	return out
}

// byAge orders from the oldest, then by name. Objects that are not stored yet
// are the youngest.
func byAge(a, b *model.Object) int {
	if an, bn := a.Meta.Created.IsZero(), b.Meta.Created.IsZero(); an != bn {
		if an {
			return 1
		}
		return -1
	}
	return cmp.Or(a.Meta.Created.Compare(b.Meta.Created), strings.Compare(a.Meta.Name, b.Meta.Name))
}

// naming is what a status tells about hostnames.
type naming struct {
	addresses  []kinds.Address
	generators []kinds.HostnameGeneratorStatus
}

func (n naming) equal(o naming) bool {
	return slices.EqualFunc(n.addresses, o.addresses, func(a, b kinds.Address) bool {
		if (a.HostnameGeneratorRef == nil) != (b.HostnameGeneratorRef == nil) {
			return false
		}
		return a.Hostname == b.Hostname && a.Origin == b.Origin && (a.HostnameGeneratorRef == nil || *a.HostnameGeneratorRef == *b.HostnameGeneratorRef)
	}) && slices.EqualFunc(n.generators, o.generators, func(a, b kinds.HostnameGeneratorStatus) bool {
		return a.HostnameGeneratorRef == b.HostnameGeneratorRef && slices.Equal(a.Conditions, b.Conditions)
	})
}

// namer makes the hostnames of one kind in one mesh. It remembers what templates
// gave, since most services and generators are the same as before.
type namer struct {
	zone string
	memo map[string]*evaluated // by name of the service
}

// evaluated is what the generators made of one service.
type evaluated struct {
	labels model.Hash
	by     map[model.Hash]outcome // by generator
}

// outcome is what one generator made of one service.
type outcome struct {
	selected bool
	hostname string
	err      error
}

func newNamer(zone string) *namer { return &namer{zone: zone, memo: map[string]*evaluated{}} }

// outcome returns what a generator makes of a service.
func (n *namer) outcome(g generator, o *model.Object, labels model.Hash) outcome {
	e := n.memo[o.Meta.Name]
	if e == nil || e.labels != labels {
		e = &evaluated{labels: labels, by: map[model.Hash]outcome{}}
		n.memo[o.Meta.Name] = e
	}
	out, ok := e.by[g.row.Hash]
	if !ok {
		if out.selected = g.spec.Selects(o); out.selected {
			out.hostname, out.err = g.spec.Hostname(o, n.zone)
		}
		e.by[g.row.Hash] = out
	}
	return out
}

// name returns what the generators make of services, by name. A hostname belongs
// to the first service that gets it.
func (n *namer) name(gs []generator, objects []*model.Object) map[string]naming {
	n.forget(gs, objects)
	objects = slices.Clone(objects)
	slices.SortFunc(objects, byAge)
	labels := make([]model.Hash, len(objects))
	for i, o := range objects {
		labels[i] = model.HashJSON(o.Meta.Labels)
	}
	out := make(map[string]naming, len(objects))
	owner := map[string]string{}
	for _, g := range gs {
		ref := kinds.GeneratorRef{CoreName: g.row.Meta.Name}
		for i, o := range objects {
			r := n.outcome(g, o, labels[i])
			if !r.selected || (r.err == nil && r.hostname == "") {
				continue
			}
			c := kinds.Condition{Type: kinds.ConditionGenerated, Status: "False"}
			of := out[o.Meta.Name]
			first, taken := owner[r.hostname]
			switch {
			case r.err != nil:
				c.Reason, c.Message = kinds.ReasonTemplateError, r.err.Error()
			case taken && first != o.Meta.Name:
				c.Reason = kinds.ReasonCollision
				c.Message = fmt.Sprintf("the hostname %s belongs to %s %q; change the template or the labels that it selects", r.hostname, o.Kind.Name, first)
			default:
				owner[r.hostname] = o.Meta.Name
				c.Status, c.Reason = "True", kinds.ReasonGenerated
				of.addresses = append(of.addresses, kinds.Address{
					Hostname: r.hostname, Origin: kinds.AddressFromGenerator, HostnameGeneratorRef: &kinds.GeneratorRef{CoreName: ref.CoreName},
				})
			}
			of.generators = append(of.generators, kinds.HostnameGeneratorStatus{HostnameGeneratorRef: ref, Conditions: []kinds.Condition{c}})
			out[o.Meta.Name] = of
		}
	}
	for _, of := range out {
		slices.SortFunc(of.addresses, func(a, b kinds.Address) int {
			return strings.Compare(a.HostnameGeneratorRef.CoreName, b.HostnameGeneratorRef.CoreName)
		})
		slices.SortFunc(of.generators, func(a, b kinds.HostnameGeneratorStatus) int {
			return strings.Compare(a.HostnameGeneratorRef.CoreName, b.HostnameGeneratorRef.CoreName)
		})
	}
	return out
}

// forget drops what is remembered of services and generators that are gone.
func (n *namer) forget(gs []generator, objects []*model.Object) {
	if len(n.memo) > len(objects) {
		there := make(map[string]bool, len(objects))
		for _, o := range objects {
			there[o.Meta.Name] = true
		}
		for name := range n.memo {
			if !there[name] {
				delete(n.memo, name)
			}
		}
	}
	for _, e := range n.memo {
		if len(e.by) <= 2*len(gs) {
			continue
		}
		clear(e.by)
	}
}
