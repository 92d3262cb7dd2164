package policy

import (
	"slices"

	"weft/internal/mesh/model"
)

// selects tells whether a policy's top level selects a proxy, and which of its
// ports (policies.md 1.4).
func (c *compiled) selects(f *Facts) ([]int, bool) {
	if !f.egress && (!c.zoneGate(f) || !c.namespaceGate(f)) {
		return nil, false
	}
	t := c.top
	if f.egress && t.Kind == RefDataplane {
		return nil, false
	}
	switch t.Kind {
	case RefMesh, RefMeshSubset:
		if len(t.ProxyTypes) > 0 && !slices.Contains(t.ProxyTypes, f.proxyType()) {
			return nil, false
		}
		ports := f.portsWith(t.Tags)
		return ports, len(ports) > 0 || (f.Gateway == DelegatedGateway && tagsMatch(t.Tags, f.Tags))
	case RefDataplane:
		return c.selectsDataplane(f)
	case RefMeshService, RefMeshServiceSubset:
		tags := map[string]string{model.TagService: t.Name}
		for k, v := range t.Tags {
			tags[k] = v
		}
		ports := f.portsWith(tags)
		return ports, len(ports) > 0
	case RefMeshGateway:
		if f.Gateway != BuiltinGateway || f.Definition == nil || f.Definition.Name != t.Name {
			return nil, false
		}
		ports := f.portsWith(t.Tags)
		return ports, len(ports) > 0
	}
	return nil, false
}

// portsWith returns the indexes of the ports or listeners that have the tags.
func (f *Facts) portsWith(tags map[string]string) []int {
	var out []int
	if f.Gateway == BuiltinGateway {
		if f.Definition == nil {
			return nil
		}
		for i, l := range f.Definition.Listeners {
			if tagsMatch(tags, l.Tags) {
				out = append(out, i)
			}
		}
		return out
	}
	for i, p := range f.Ports {
		if !p.Ignored && tagsMatch(tags, p.Tags) {
			out = append(out, i)
		}
	}
	return out
}

func (c *compiled) selectsDataplane(f *Facts) ([]int, bool) {
	t := c.top
	if f.Gateway == BuiltinGateway {
		return nil, false
	}
	switch {
	case len(t.Labels) > 0:
		if !labelsMatch(t.Labels, f.Labels) {
			return nil, false
		}
	case t.Name != "" || t.Namespace != "":
		if refIdentity(t, c.origin) != f.identity() {
			return nil, false
		}
	}
	var out []int
	for i, p := range f.Ports {
		if !p.Ignored && (t.SectionName == "" || t.SectionName == p.Name) {
			out = append(out, i)
		}
	}
	return out, len(out) > 0
}

// zoneGate keeps the policies of a zone in that zone.
func (c *compiled) zoneGate(f *Facts) bool {
	o := c.origin
	if RoleOf(o) == RoleProducer {
		return true
	}
	labels := f.gateLabels()
	origin := labels[model.LabelOrigin]
	if origin == "" || origin == model.OriginGlobal {
		return true
	}
	zone := o.Label(model.LabelZone)
	if o.Label(model.LabelOrigin) != model.OriginZone || zone == "" {
		return true
	}
	own := labels[model.LabelZone]
	return origin == model.OriginZone && (own == "" || own == zone)
}

// namespaceGate keeps the policies of a namespace's users in that namespace.
func (c *compiled) namespaceGate(f *Facts) bool {
	switch RoleOf(c.origin) {
	case RoleConsumer, RoleWorkloadOwner:
		ns := c.origin.Label(model.LabelK8sNamespace)
		return ns != "" && ns == f.Labels[model.LabelK8sNamespace]
	}
	return true
}
