package policy

import (
	"slices"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Permissions tell who might connect to whom, without looking at the proxies of
// a destination: what is known of it are some tags that all of them have. They
// serve to leave out what a client cannot reach anyway, so in doubt they say yes.
type Permissions struct {
	list []*compiled // from strong to weak
	conf func(c any) bool
	zone string
}

// Permissions returns those of the mesh, for clients in a zone.
func (x *Indexes) Permissions(zone string) *Permissions {
	p := &Permissions{zone: zone}
	for _, ix := range x.list {
		if ix.policy.permits == nil {
			continue
		}
		p.conf = ix.policy.permits
		for _, c := range ix.all {
			if !c.shadow {
				p.list = append(p.list, c)
			}
		}
	}
	slices.Reverse(p.list)
	return p
}

// Allow tells whether a client with these tags may reach a destination whose
// proxies have the tags to, and maybe more. decided is false if no permission
// may speak about the destination.
func (p *Permissions) Allow(client kinds.MultiTags, to map[string]string) (allowed, decided bool) {
	for _, c := range p.list {
		applies, surely := c.mayApply(to, p.zone)
		if !applies {
			continue
		}
		decided = true
		for i := range slices.Backward(c.parts.from) {
			it := &c.parts.from[i]
			tags, ok := subsetOf(it.ref)
			if !ok || !hasAllOf(client, tags) {
				continue
			}
			if p.conf(it.conf) {
				return true, true
			}
			if surely {
				return false, true
			}
			break // stronger than the rest of this policy, for the proxies that it selects
		}
	}
	return false, decided
}

// mayApply tells whether the policy can select proxies that have the tags, and
// whether it surely selects all of them.
func (c *compiled) mayApply(to map[string]string, zone string) (applies, surely bool) {
	t := c.top
	want := map[string]string{}
	switch RoleOf(c.origin) {
	case RoleConsumer, RoleWorkloadOwner: // in its namespace only
	default:
		from := c.origin.Label(model.LabelZone)
		surely = c.origin.Label(model.LabelOrigin) != model.OriginZone || from == "" || from == zone
	}
	switch t.Kind {
	case RefMesh, RefMeshSubset:
		if len(t.ProxyTypes) > 0 && !slices.Contains(t.ProxyTypes, TypeSidecar) {
			return false, false
		}
	case RefMeshService, RefMeshServiceSubset:
		want[model.TagService] = t.Name
	case RefDataplane:
		return true, false
	default:
		return false, false
	}
	for k, v := range t.Tags {
		want[k] = v
	}
	for k, v := range want {
		have, known := to[k]
		if known && v != have && v != kinds.MatchAll {
			return false, false
		}
		surely = surely && known
	}
	return true, surely
}

// hasAllOf tells whether a client has each of the tags; "*" stands for any value.
func hasAllOf(client kinds.MultiTags, tags subset) bool {
	for k, v := range tags {
		if !slices.Contains(client[k], v) && (v != kinds.MatchAll || len(client[k]) == 0) {
			return false
		}
	}
	return true
}
