package findings

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weft/internal/mesh/policy"
	"weft/internal/spelling"
)

// references tells which destinations the policy names that do not exist.
func (a at) references(p *policy.Policy) {
	for _, r := range p.References(a.o) {
		switch {
		case r.Ref.Kind == policy.RefMesh, r.Ref.Kind == policy.RefMeshSubset:
		case r.Backend != nil:
			a.backend(r)
		case r.Ref.SectionName != "" && a.section(r):
		case len(a.selectedBy(r.Ref)) == 0:
			a.unknown(r)
		}
	}
}

// backend looks at where a route sends traffic.
func (a at) backend(r policy.Reference) {
	table := a.c.View.Destinations()
	if !r.Backend.Real() {
		if a.c.known() && !a.c.offers(r.Ref.Name) {
			a.add(Warning, ruleUnknown, r.Path, "correct the name, or start a proxy that offers it",
				"goes nowhere: no proxy and no ExternalService offers the service %q%s", r.Ref.Name, a.similar(policy.RefMeshService, r.Ref.Name))
		}
		return
	}
	res, port := table.Backend(*r.Backend, policy.SourceOf(a.o))
	switch {
	case res == nil && a.mayCome(r.Ref):
	case res == nil:
		a.add(Warning, ruleUnknown, r.Path, "create it, or correct the reference",
			"goes nowhere: there is no %s %s in mesh %q%s", r.Ref.Kind, describe(r.Ref), a.c.Mesh, a.similar(r.Ref.Kind, r.Ref.Name))
	case port == nil:
		var have []string
		for _, d := range res.Ports {
			have = append(have, strconv.Itoa(int(d.Port)))
		}
		a.add(Warning, ruleUnknown, with(r.Path, "port"), "use one of its ports",
			"goes nowhere: %s %s has no port %d, but %s", r.Ref.Kind, describe(r.Ref), *r.Backend.Port, strings.Join(have, ", "))
	}
}

// mayCome tells whether what a reference names may exist as soon as there are
// proxies: of MeshServices most are made from them.
func (a at) mayCome(ref policy.TargetRef) bool {
	switch ref.Kind {
	case policy.RefMeshService, policy.RefMeshServiceSubset:
		return !a.c.known()
	}
	return false
}

// unknown says what is wrong with the target of an item that selects nothing.
func (a at) unknown(r policy.Reference) {
	if a.mayCome(r.Ref) {
		return
	}
	what := fmt.Sprintf("there is no %s %s in mesh %q", r.Ref.Kind, describe(r.Ref), a.c.Mesh)
	if r.Ref.Kind == policy.RefMeshService && !a.c.View.Exclusive() {
		what += ", and nobody offers a service of that name"
	}
	a.add(Warning, ruleUnknown, r.Path, "create it, or correct the reference", "acts on nothing: %s%s", what, a.similar(r.Ref.Kind, r.Ref.Name))
}

// section looks at the port that an item names. It returns true if there are
// resources of that name, but none with the port, and says so.
func (a at) section(r policy.Reference) bool {
	whole := r.Ref
	whole.SectionName = ""
	var have []string
	for _, d := range a.selectedBy(whole) {
		if d.Section == r.Ref.SectionName {
			return false
		}
		if d.Section != "" && !slices.Contains(have, d.Section) {
			have = append(have, d.Section)
		}
	}
	if len(have) > 0 {
		a.add(Warning, ruleUnknown, with(r.Path, "sectionName"), "use one of them, or leave it out for all",
			"%s %s has no port called %q, but %s", r.Ref.Kind, describe(whole), r.Ref.SectionName, strings.Join(have, ", "))
	}
	return len(have) > 0
}

// similar suggests a name that was likely meant.
func (a at) similar(kind, name string) string {
	best, least := "", 3
	for _, d := range a.c.dests {
		have := d.Display
		if d.Kind == "" {
			have = d.Name
		}
		if d.Kind != kind && (d.Kind != "" || kind == policy.RefMeshExternalService || kind == policy.RefMeshMultiZoneService) {
			continue
		}
		if n := spelling.Distance(name, have); n > 0 && n < least {
			best, least = have, n
		}
	}
	if best == "" || name == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// describe names what a reference refers to.
func describe(t policy.TargetRef) string {
	switch {
	case len(t.Labels) > 0:
		return "with the labels " + tags(t.Labels)
	case t.Namespace != "":
		return strconv.Quote(t.Name) + " in namespace " + strconv.Quote(t.Namespace)
	}
	return strconv.Quote(t.Name)
}

// lacks says what no proxy has of what a policy selects by.
func lacks(t policy.TargetRef) string {
	var parts []string
	switch {
	case len(t.Labels) > 0:
		parts = append(parts, "has the labels "+tags(t.Labels))
	case t.Kind == policy.RefMeshService || t.Kind == policy.RefMeshServiceSubset:
		parts = append(parts, "offers the service "+strconv.Quote(t.Name))
	case t.Name != "":
		parts = append(parts, "belongs to "+strconv.Quote(t.Name))
	}
	if len(t.Tags) > 0 {
		parts = append(parts, "has the tags "+tags(t.Tags))
	}
	if t.SectionName != "" {
		parts = append(parts, "has an inbound called "+strconv.Quote(t.SectionName))
	}
	if len(t.ProxyTypes) > 0 {
		parts = append(parts, "is a "+strings.Join(t.ProxyTypes, " or "))
	}
	if len(parts) == 0 {
		return "is selected"
	}
	return strings.Join(parts, " and ")
}
