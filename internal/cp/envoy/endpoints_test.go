package envoy_test

import (
	"testing"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"weft/internal/cp/envoy"
	"weft/internal/mesh/ir"
)

func decodeList(t *testing.T, eps ...ir.Endpoint) *endpoint.ClusterLoadAssignment {
	t.Helper()
	m, err := envoy.Decode(envoy.Assignment(ir.EndpointsRef{Name: "web"}, eps))
	if err != nil {
		t.Fatal(err)
	}
	return m.(*endpoint.ClusterLoadAssignment)
}

// TestBadEndpointsCostNoOthers: Envoy refuses a whole list for one bad endpoint.
func TestBadEndpointsCostNoOthers(t *testing.T) {
	cla := decodeList(t,
		ir.Endpoint{Address: "10.0.0.1", Port: 80},
		ir.Endpoint{Port: 80},
		ir.Endpoint{Address: "web.example.org", Port: 80},
		ir.Endpoint{Address: "10.0.0.2", Port: 70000},
		ir.Endpoint{Address: "10.0.0.3", Port: 80, Tags: map[string]string{"a": "\xff"}},
		ir.Endpoint{Address: "fd00::1", Port: 80, Zone: "\xff"},
	)
	var got []string
	for _, l := range cla.Endpoints {
		for _, e := range l.LbEndpoints {
			got = append(got, e.GetEndpoint().Address.GetSocketAddress().Address)
		}
	}
	if len(got) != 3 || got[0] != "10.0.0.1" || got[1] != "10.0.0.3" || got[2] != "fd00::1" {
		t.Errorf("endpoints are %v; want the three good ones", got)
	}
}

// TestEqualListsAreEqualBytes: proxies share lists by their bytes, so the order
// in which endpoints are found must not matter.
func TestEqualListsAreEqualBytes(t *testing.T) {
	a := ir.Endpoint{Address: "10.0.0.1", Port: 80, Zone: "z", Tags: map[string]string{"k": "1", "l": "2", "m": "3"}}
	b := ir.Endpoint{Address: "10.0.0.2", Port: 80, Zone: "y"}
	c := ir.Endpoint{Address: "10.0.0.1", Port: 81, Zone: "z", Priority: 1}
	ref := ir.EndpointsRef{Name: "web"}
	want := envoy.Assignment(ref, []ir.Endpoint{a, b, c}).Version
	for _, eps := range [][]ir.Endpoint{{c, b, a}, {b, c, a}, {b, a, c}} {
		if envoy.Assignment(ref, eps).Version != want {
			t.Errorf("another order of endpoints gives other bytes: %v", eps)
		}
	}
}

func TestLocalities(t *testing.T) {
	cla := decodeList(t,
		ir.Endpoint{Address: "10.0.0.3", Port: 80, Zone: "far", Priority: 1},
		ir.Endpoint{Address: "10.0.0.2", Port: 80, Zone: "near"},
		ir.Endpoint{Address: "10.0.0.1", Port: 80, Zone: "near"},
	)
	if len(cla.Endpoints) != 2 || len(cla.Endpoints[0].LbEndpoints) != 2 || cla.Endpoints[1].Priority != 1 || cla.Endpoints[1].Locality.Zone != "far" {
		t.Errorf("list is %v; want near with two endpoints, then far with priority 1", cla)
	}
}
