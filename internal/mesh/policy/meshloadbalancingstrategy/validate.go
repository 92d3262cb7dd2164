package meshloadbalancingstrategy

import (
	"fmt"
	"slices"
	"strings"

	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

func validateSpec(o *model.Object, p policy.Parts[Conf], v *model.Violations) {
	if len(p.To) == 0 {
		v.At("to").Add("give at least one item: it says how traffic is spread")
	}
	if p.Target == nil || p.Target.Kind != policy.RefMeshGateway {
		return
	}
	for i := range p.To {
		if p.To[i].Default.LoadBalancer != nil && p.To[i].TargetRef.Kind != policy.RefMesh {
			v.At("to", i, "targetRef", "kind").Add("a gateway has one algorithm for all destinations: select Mesh, or leave loadBalancer out")
		}
	}
}

func warn(_ *model.Object, p policy.Parts[Conf]) []string {
	var out []string
	for i := range p.To {
		lb := p.To[i].Default.LoadBalancer
		if lb == nil {
			continue
		}
		for field, list := range lb.policies {
			for j, h := range list {
				if h.Type == hashSourceIP {
					out = append(out, fmt.Sprintf("SourceIP as spec.to[%d].default.loadBalancer.%s.hashPolicies[%d].type is deprecated: use Connection", i, field, j))
				}
			}
		}
	}
	return out
}

// policies yields the lists of hash policies by field, in a fixed order.
func (lb *LoadBalancer) policies(yield func(field string, list []HashPolicy) bool) {
	if lb.RingHash != nil && !yield("ringHash", lb.RingHash.HashPolicies) {
		return
	}
	if lb.Maglev != nil {
		yield("maglev", lb.Maglev.HashPolicies)
	}
}

func validate(c *Conf, v *model.Violations, w policy.Where) {
	if c.LocalityAwareness != nil {
		c.LocalityAwareness.validate(v.At("localityAwareness"), w)
	}
	if c.LoadBalancer != nil {
		c.LoadBalancer.validate(v.At("loadBalancer"))
	}
}

func (l *LocalityAwareness) validate(v *model.Violations, w policy.Where) {
	if l.LocalZone != nil {
		validateAffinity(l.LocalZone.AffinityTags, v.At("localZone", "affinityTags"))
	}
	if l.CrossZone == nil {
		return
	}
	at := v.At("crossZone")
	if w.Ref != nil && w.Ref.Kind == policy.RefMeshService && (w.Ref.SectionName != "" || len(w.Ref.Labels) > 0) {
		at.Add("has no meaning here: a MeshService is in one zone; use a MeshMultiZoneService")
		return
	}
	for i := range l.CrossZone.Failover {
		l.CrossZone.Failover[i].validate(at.At("failover", i))
	}
	if t := l.CrossZone.FailoverThreshold; t != nil {
		at := at.At("failoverThreshold", "percentage")
		if f, ok := t.Percentage.Float(); ok && f <= 0 {
			at.Add("%s makes no sense: give a percentage above 0", t.Percentage)
		} else {
			policy.CheckPercent(&t.Percentage, at)
		}
	}
}

func validateAffinity(tags []AffinityTag, v *model.Violations) {
	weights := 0
	for i, t := range tags {
		if t.Key == "" {
			v.At(i, "key").Add("is missing: name a tag")
		}
		policy.CheckAboveZero(t.Weight, v.At(i, "weight"))
		if t.Weight != nil {
			weights++
		}
	}
	if weights > 0 && weights < len(tags) {
		v.Add("give all tags a weight, or none")
	}
}

func (f *Failover) validate(v *model.Violations) {
	if f.From != nil {
		at := v.At("from", "zones")
		if len(f.From.Zones) == 0 {
			at.Add("must not be empty: name zones, or leave from out for all")
		}
		for i, z := range f.From.Zones {
			if z == "" {
				v.At("from", "zones", i).Add("must not be empty: name a zone")
			}
		}
	}
	at := v.At("to", "zones")
	switch f.To.Type {
	case zonesAny, zonesNone:
		if len(f.To.Zones) > 0 {
			at.Add("has no meaning with the type %s; leave it out", f.To.Type)
		}
	case zonesOnly, zonesExcept:
		if len(f.To.Zones) == 0 {
			at.Add("are missing: the type %s needs names of zones", f.To.Type)
		}
	}
}

func (lb *LoadBalancer) validate(v *model.Violations) {
	if l := lb.LeastRequest; l != nil && l.ActiveRequestBias != nil {
		if f, ok := l.ActiveRequestBias.Float(); !ok || f < 0 {
			v.At("leastRequest", "activeRequestBias").Add("%q makes no sense: give a number from 0", l.ActiveRequestBias)
		}
	}
	if r := lb.RingHash; r != nil && r.MinRingSize != nil && r.MaxRingSize != nil && *r.MinRingSize > *r.MaxRingSize {
		v.At("ringHash", "minRingSize").Add("%d is above maxRingSize, %d", *r.MinRingSize, *r.MaxRingSize)
	}
	if m := lb.Maglev; m != nil && m.TableSize != nil && *m.TableSize <= 5000011 && !prime(*m.TableSize) {
		v.At("maglev", "tableSize").Add("%d is no prime number, which the algorithm needs; use one like 65537", *m.TableSize)
	}
	for field, list := range lb.policies {
		for i := range list {
			list[i].validate(v.At(field, "hashPolicies", i))
		}
	}
}

func prime(n uint32) bool {
	if n < 2 {
		return false
	}
	for d := uint32(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

func (h *HashPolicy) validate(v *model.Violations) {
	field, ok := "", true
	switch h.Type {
	case hashHeader:
		field, ok = "header", h.Header != nil
	case hashCookie:
		field, ok = "cookie", h.Cookie != nil
		if ok {
			policy.CheckNotNegative(h.Cookie.TTL, v.At("cookie", "ttl"))
		}
		if ok && h.Cookie.Path != nil && !strings.HasPrefix(*h.Cookie.Path, "/") {
			v.At("cookie", "path").Add("must start with a slash, which %q does not", *h.Cookie.Path)
		}
	case hashConnection, hashSourceIP:
		field, ok = "connection", h.Connection != nil
	case hashQuery:
		field, ok = "queryParameter", h.QueryParameter != nil
	case hashState:
		field, ok = "filterState", h.FilterState != nil
	}
	if !ok {
		v.At(field).Add("is missing: the type %s says that it is there", h.Type)
	}
}

// applies tells whether a failover rule holds for clients in a zone.
func (f *Failover) applies(zone string) bool {
	return f.From == nil || slices.Contains(f.From.Zones, zone)
}
