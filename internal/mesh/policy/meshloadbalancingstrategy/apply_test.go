package meshloadbalancingstrategy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/policy"
)

func conf(t *testing.T, doc string) *Conf {
	t.Helper()
	c := &Conf{}
	if err := json.Unmarshal([]byte(doc), c); err != nil {
		t.Fatal(err)
	}
	return c
}

// endpoints are three of the own zone and one of each other zone.
var endpoints = []ir.Endpoint{
	{Address: "1", Zone: "home", Tags: map[string]string{"node": "n1", "rack": "r1"}},
	{Address: "2", Zone: "home", Tags: map[string]string{"node": "n2", "rack": "r1"}},
	{Address: "3", Zone: "home", Tags: map[string]string{"node": "n3", "rack": "r3"}},
	{Address: "e", Zone: "east"}, {Address: "w", Zone: "west"},
}

func TestLocality(t *testing.T) {
	spread := "1@home/p0w0 2@home/p0w0 3@home/p0w0 e@east/p%[1]dw0 w@west/p%[1]dw0"
	own := "1@home/p0w1 2@home/p0w1 3@home/p0w1"
	for name, c := range map[string]struct {
		conf   string
		egress bool
		want   string
		over   uint32
	}{
		"own zone first":      {`{"loadBalancer":{"type":"Random"}}`, false, fmt.Sprintf(spread, 1), 0},
		"switched off":        {`{"localityAwareness":{"disabled":true,"localZone":{}}}`, false, fmt.Sprintf(spread, 0), 0},
		"only the own zone":   {`{"localityAwareness":{"localZone":{}}}`, false, own, 200},
		"affinity":            {`{"localityAwareness":{"localZone":{"affinityTags":[{"key":"node"},{"key":"rack"}]}}}`, false, "1@home,node=n1/p0w90 2@home,rack=r1/p0w9 3@home/p0w1", 200},
		"a tag without value": {`{"localityAwareness":{"localZone":{"affinityTags":[{"key":"nope"},{"key":"rack"}]}}}`, false, "1@home,rack=r1/p0w9 2@home,rack=r1/p0w9 3@home/p0w1", 200},
		"own weights":         {`{"localityAwareness":{"localZone":{"affinityTags":[{"key":"node","weight":5}]}}}`, false, "1@home,node=n1/p0w5 2@home/p0w1 3@home/p0w1", 200},
		"any":                 {`{"localityAwareness":{"crossZone":{"failover":[{"to":{"type":"Any"}}]}}}`, false, own + " e@east/p1w0 w@west/p1w0", 200},
		"only, then others":   {`{"localityAwareness":{"crossZone":{"failover":[{"to":{"type":"Only","zones":["west"]}},{"to":{"type":"AnyExcept","zones":["north"]}}]}}}`, false, own + " e@east/p2w0 w@west/p1w0", 200},
		"none":                {`{"localityAwareness":{"crossZone":{"failover":[{"to":{"type":"None"}}]}}}`, false, own, 200},
		"for other zones": {`{"localityAwareness":{"crossZone":{"failover":[{"from":{"zones":["east"]},"to":{"type":"Any"}},{"from":{"zones":["home"]},"to":{"type":"Only","zones":["east"]}}]}}}`, false,
			own + " e@east/p2w0", 200},
		"threshold":    {`{"localityAwareness":{"crossZone":{"failover":[{"to":{"type":"Any"}}],"failoverThreshold":{"percentage":70}}}}`, false, own + " e@east/p1w0 w@west/p1w0", 100},
		"threshold 33": {`{"localityAwareness":{"crossZone":{"failover":[],"failoverThreshold":{"percentage":"33"}}}}`, false, own, 300},
	} {
		t.Run(name, func(t *testing.T) {
			cl := &ir.Cluster{Endpoints: &ir.EndpointsRef{Name: "api"}}
			x := &policy.Context{
				Proxy: &ir.Proxy{Zone: "home", Tags: map[string][]string{"node": {"n1"}, "rack": {"r1"}}}, Env: &policy.Env{ZoneEgress: c.egress},
			}
			cluster(conf(t, c.conf), cl, x)
			rule := cl.Endpoints.Locality.Rule()
			if d := cmp.Diff(c.want, places(rule)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if rule.Overprovisioning != c.over {
				t.Errorf("overprovisioning %d, want %d", rule.Overprovisioning, c.over)
			}
		})
	}
}

func places(rule *ir.Locality) string {
	var out []string
	for _, e := range endpoints {
		p, ok := rule.Place(e)
		if !ok {
			continue
		}
		zone := p.Zone
		if p.SubZone != "" {
			zone += "," + p.SubZone
		}
		out = append(out, fmt.Sprintf("%s@%s/p%dw%d", e.Address, zone, p.Priority, p.Weight))
	}
	return strings.Join(out, " ")
}

// TestEgress: behind an egress all other zones are one place, whose name tells
// clients with different rules apart.
func TestEgress(t *testing.T) {
	zones := map[string]bool{}
	for _, doc := range []string{`{"type":"Any"}`, `{"type":"Only","zones":["east"]}`, `{"type":"AnyExcept","zones":["east"]}`} {
		c := conf(t, `{"localityAwareness":{"crossZone":{"failover":[{"to":`+doc+`}]}}}`)
		x := &policy.Context{Proxy: &ir.Proxy{Zone: "home"}, Env: &policy.Env{ZoneEgress: true}}
		rule := c.locality(&ir.Cluster{}, x)
		p, ok := rule.Place(ir.Endpoint{Zone: "east"})
		if !ok || !strings.HasPrefix(p.Zone, "egress_") || p.Priority != 1 {
			t.Errorf("%s: endpoint in the east is at %+v, %v", doc, p, ok)
		}
		zones[p.Zone] = true
		real := c.locality(&ir.Cluster{Destination: ir.Destination{Kind: policy.RefMeshMultiZoneService}}, x)
		if real.Egress != "" {
			t.Errorf("%s: a resource is reached through %s", doc, real.Egress)
		}
	}
	if len(zones) != 3 {
		t.Errorf("three rules have %d names", len(zones))
	}
}

// TestKey: the key of a rule holds all of it.
func TestKey(t *testing.T) {
	l := &ir.Locality{
		Zone: "z", Remote: 1, Ruled: true, Overprovisioning: 200, Egress: "egress_x",
		Affinity: []ir.Affinity{{Key: "a", Value: "b", Weight: 9}}, Failover: []ir.Failover{{Priority: 2, Zones: []string{"y"}, Except: true}},
	}
	if d := cmp.Diff(l, l.Key().Rule()); d != "" {
		t.Error(d)
	}
	if ir.LocalityKey("").Rule() != nil {
		t.Error("no key has a rule")
	}
}

func TestBalancer(t *testing.T) {
	small := uint32(99)
	got := conf(t, `{"loadBalancer":{"type":"RingHash","ringHash":{"maxRingSize":99},"maglev":{"tableSize":251}}}`).LoadBalancer.balancer()
	if d := cmp.Diff(&ir.Balancer{Type: "RingHash", MinRing: &small, MaxRing: &small}, got); d != "" {
		t.Errorf("a ring below the least default (-want +got):\n%s", d)
	}
	r := &ir.Route{}
	requests(conf(t, `{"loadBalancer":{"type":"Maglev","maglev":{"hashPolicies":[{"type":"SourceIP","connection":{}},{"type":"Header","header":{"name":"x"},"terminal":true}]}}}`), r, &ir.Outbound{}, &policy.Context{})
	want := []ir.HashPolicy{{Type: "Connection", SourceIP: true}, {Type: "Header", Name: "x", Terminal: true}}
	if d := cmp.Diff(want, r.HashPolicies); d != "" {
		t.Errorf("hash policies (-want +got):\n%s", d)
	}
}

func TestPrime(t *testing.T) {
	for n, want := range map[uint32]bool{0: false, 1: false, 2: true, 4: false, 251: true, 65537: true, 65539: true, 65541: false, 5000011: true} {
		if prime(n) != want {
			t.Errorf("%d is prime: %v", n, !want)
		}
	}
}
