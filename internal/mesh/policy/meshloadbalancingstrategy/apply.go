package meshloadbalancingstrategy

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/policy"
)

// defaultOverprovisioning lets half of the endpoints of the own zone fail before
// other zones help out.
const defaultOverprovisioning = 200

// defaultMinRing is the least size of a ring that names none.
const defaultMinRing = 1024

func cluster(c *Conf, cl *ir.Cluster, x *policy.Context) {
	if x.BehindEgress(cl.Destination) {
		x.Ignore()
		return
	}
	if c.LoadBalancer != nil {
		cl.Balancer = c.LoadBalancer.balancer()
	}
	if cl.Destination.Kind == policy.RefMeshExternalService {
		return // it has no zones
	}
	rule := c.locality(cl, x)
	cl.LocalityWeighted = cl.LocalityWeighted || len(c.affinityTags()) > 0
	if cl.Endpoints == nil { // outside of the mesh
		cl.Locality = rule
		return
	}
	ref := *cl.Endpoints
	ref.Locality = rule.Key()
	cl.Endpoints = &ref
}

func (lb *LoadBalancer) balancer() *ir.Balancer {
	b := &ir.Balancer{Type: lb.Type}
	switch {
	case lb.Type == leastRequest && lb.LeastRequest != nil:
		b.ChoiceCount = lb.LeastRequest.ChoiceCount
		if n := lb.LeastRequest.ActiveRequestBias; n != nil {
			f := n.Value()
			b.ActiveRequestBias = &f
		}
	case lb.Type == ringHash && lb.RingHash != nil:
		b.HashFunction, b.MinRing, b.MaxRing = lb.RingHash.HashFunction, lb.RingHash.MinRingSize, lb.RingHash.MaxRingSize
		if b.MaxRing != nil && (b.MinRing == nil && *b.MaxRing < defaultMinRing || b.MinRing != nil && *b.MinRing > *b.MaxRing) {
			b.MinRing = b.MaxRing // a least size above the greatest would be refused
		}
	case lb.Type == maglev && lb.Maglev != nil:
		b.TableSize = lb.Maglev.TableSize
	}
	return b
}

// requests says what consistent hashing looks at.
func requests(c *Conf, r *ir.Route, o *ir.Outbound, x *policy.Context) {
	if r.Redirect != nil || r.Respond != nil {
		x.Ignore()
		return
	}
	for _, h := range c.LoadBalancer.hashPolicies() {
		r.HashPolicies = append(r.HashPolicies, h.policy())
	}
	if len(r.HashPolicies) == 0 || x.BehindEgress(o.Destination) {
		x.Ignore() // nobody hashes
	}
}

// hashPolicies returns what consistent hashing looks at; lb may be nil.
func (lb *LoadBalancer) hashPolicies() []HashPolicy {
	switch {
	case lb == nil:
	case lb.Type == ringHash && lb.RingHash != nil:
		return lb.RingHash.HashPolicies
	case lb.Type == maglev && lb.Maglev != nil:
		return lb.Maglev.HashPolicies
	}
	return nil
}

func (h *HashPolicy) policy() ir.HashPolicy {
	out := ir.HashPolicy{Type: h.Type, Terminal: h.Terminal != nil && *h.Terminal}
	switch {
	case h.Type == hashHeader && h.Header != nil:
		out.Name = h.Header.Name
	case h.Type == hashCookie && h.Cookie != nil:
		out.Name, out.TTL = h.Cookie.Name, policy.Std(h.Cookie.TTL)
		if h.Cookie.Path != nil {
			out.Path = *h.Cookie.Path
		}
	case h.Type == hashConnection && h.Connection != nil:
		out.SourceIP = h.Connection.SourceIP != nil && *h.Connection.SourceIP
	case h.Type == hashSourceIP:
		out.Type, out.SourceIP = hashConnection, true
	case h.Type == hashQuery && h.QueryParameter != nil:
		out.Name = h.QueryParameter.Name
	case h.Type == hashState && h.FilterState != nil:
		out.Name = h.FilterState.Key
	}
	return out
}

func (c *Conf) affinityTags() []AffinityTag {
	if c.LocalityAwareness == nil || c.LocalityAwareness.LocalZone == nil {
		return nil
	}
	return c.LocalityAwareness.LocalZone.AffinityTags
}

// locality returns which endpoints come first for the proxy.
func (c *Conf) locality(cl *ir.Cluster, x *policy.Context) *ir.Locality {
	out := &ir.Locality{Zone: x.Proxy.Zone, Remote: 1}
	l := c.LocalityAwareness
	if l == nil {
		return out
	}
	if l.Disabled != nil && *l.Disabled {
		out.Remote = 0
		return out
	}
	if l.LocalZone == nil && l.CrossZone == nil {
		return out
	}
	out.Ruled, out.Overprovisioning = true, defaultOverprovisioning
	out.Affinity = affinity(c.affinityTags(), x.Proxy.Tags)
	if l.CrossZone != nil {
		out.Failover = l.CrossZone.failover(x.Proxy.Zone)
		if t := l.CrossZone.FailoverThreshold; t != nil {
			// Whole multiples only, as it always was: 50 % gives 200, 70 % gives 100.
			out.Overprovisioning = uint32(min(math.Floor(100/t.Percentage.Value()), 1_000_000)) * 100
		}
	}
	if x.Env.ZoneEgress && !policy.Resource(cl.Destination) && x.Proxy.Type != ir.ZoneEgress {
		out.Egress = "egress_" + egressRule(out.Failover)
	}
	return out
}

// affinity resolves the tags to the values that the client has. Without weights
// each tag gets nine tenths of what is left.
func affinity(tags []AffinityTag, own map[string][]string) []ir.Affinity {
	var out []ir.Affinity
	for i, t := range tags {
		if len(own[t.Key]) == 0 {
			continue
		}
		w := uint32(min(9*math.Pow10(len(tags)-i-1), 1_000_000_000))
		if t.Weight != nil {
			w = *t.Weight
		}
		out = append(out, ir.Affinity{Key: t.Key, Value: own[t.Key][0], Weight: w})
	}
	return out
}

// failover returns the rules for clients in a zone; their priorities are their
// places in the list.
func (c *CrossZone) failover(zone string) []ir.Failover {
	var out []ir.Failover
	for i := range c.Failover {
		f := &c.Failover[i]
		if !f.applies(zone) {
			continue
		}
		r := ir.Failover{Priority: uint32(i) + 1, Zones: slices.Sorted(slices.Values(f.To.Zones))}
		switch f.To.Type {
		case zonesOnly:
		case zonesAny:
			r.Zones, r.Except = nil, true
		case zonesExcept:
			r.Except = true
		default: // None accepts nothing
			continue
		}
		out = append(out, r)
	}
	return out
}

// egressRule names a set of failover rules, so that the egress can tell clients
// with different ones apart.
func egressRule(rules []ir.Failover) string {
	var b strings.Builder
	for _, r := range rules {
		zones := strings.Join(r.Zones, ",")
		switch {
		case !r.Except:
		case zones == "":
			zones = zonesAny
		default:
			zones = zonesExcept + ":" + zones
		}
		fmt.Fprintf(&b, "%d:%s;", r.Priority, zones)
	}
	h := sha256.Sum256([]byte(b.String()))
	return base64.StdEncoding.EncodeToString(h[:])[:8]
}
