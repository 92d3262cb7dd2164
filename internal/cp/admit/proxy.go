package admit

import (
	"maps"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// putZone writes what the control plane of a zone knows into a new or changed
// Dataplane: the zone's tag, and that a probed workload is not ready before the
// first probe. The object is the gate's own copy.
func (g *Gate) putZone(o, prior *model.Object) {
	d, ok := o.Spec.(*kinds.DataplaneSpec)
	if !ok || d.Networking == nil || g.Global {
		return
	}
	for i := range d.Networking.Inbound {
		in := &d.Networking.Inbound[i]
		in.Tags = g.zoned(in.Tags)
		if prior == nil && in.ServiceProbe != nil && in.State != kinds.InboundIgnored {
			in.State = kinds.InboundNotReady
			in.Health = &kinds.InboundHealth{}
		}
	}
	if gw := d.Networking.Gateway; gw != nil {
		gw.Tags = g.zoned(gw.Tags)
	}
}

func (g *Gate) zoned(tags map[string]string) map[string]string {
	if g.Zone == "" {
		return tags
	}
	out := maps.Clone(tags)
	if out == nil {
		out = map[string]string{}
	}
	out[model.TagZone] = g.Zone
	return out
}

// checkMembership adds what keeps a proxy from being a member of the mesh.
func checkMembership(d *kinds.DataplaneSpec, mesh *model.Object, v *model.Violations) {
	c := model.Spec[kinds.MeshSpec](mesh).Constraints
	if c == nil || c.DataplaneProxy == nil {
		return
	}
	net := v.At("networking")
	if gw := d.Gateway(); gw != nil {
		checkTags(c.DataplaneProxy, gw.Tags, mesh.Meta.Name, net.At("gateway", "tags"))
	}
	for i, in := range d.Inbounds() {
		checkTags(c.DataplaneProxy, in.Tags, mesh.Meta.Name, net.At("inbound", i, "tags"))
	}
}

func checkTags(c *kinds.DataplaneConstraints, tags map[string]string, mesh string, v *model.Violations) {
	for i, r := range c.Restrictions {
		if matchRule(r.Tags, tags) {
			v.Add("mesh %q does not take proxies with the tags %s (restriction %d of its constraints)", mesh, kinds.TagsString(r.Tags), i)
			return
		}
	}
	if len(c.Requirements) == 0 {
		return
	}
	for _, r := range c.Requirements {
		if matchRule(r.Tags, tags) {
			return
		}
	}
	v.Add("the tags %s fulfil none of the requirements that mesh %q has for its proxies", kinds.TagsString(tags), mesh)
}

// matchRule is kinds.MatchTags with "*" meaning that the tag has some value.
func matchRule(rule, tags map[string]string) bool {
	for k, want := range rule {
		if have := tags[k]; have == "" || (want != kinds.MatchAll && have != want) {
			return false
		}
	}
	return true
}
