package meshtcproute

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/policy"
)

type world struct{}

func (world) Own(o *ir.Outbound) policy.Backend { return policy.Backend{Destination: o.Destination} }

func (world) Resolve(ref policy.BackendRef, _ policy.Source) (policy.Backend, bool) {
	return policy.Backend{Destination: ir.Destination{Name: ref.Name}}, ref.Name != "nobody"
}
func (world) Use(b policy.Backend) string             { return b.Destination.Name }
func (world) Labels(ir.Destination) map[string]string { return nil }

func weight(n uint64) *uint64 { return &n }

func routeTo(names ...policy.BackendRef) *Conf {
	return &Conf{rules: []Rule{{Default: RuleConf{BackendRefs: names}}}}
}

func ref(name string, share *uint64) policy.BackendRef {
	return policy.BackendRef{TargetRef: policy.TargetRef{Kind: policy.RefMeshService, Name: name}, Weight: share}
}

func TestShape(t *testing.T) {
	own := []ir.Split{{Cluster: "db", Weight: 1}}
	for name, c := range map[string]struct {
		conf     *Conf
		protocol ir.Protocol
		http     bool // a MeshHTTPRoute speaks about the destination
		want     *ir.TCP
	}{
		"no policy":                      {nil, ir.ProtocolTCP, false, &ir.TCP{Splits: own}},
		"unknown protocol":               {nil, ir.ProtocolUnknown, false, &ir.TCP{Splits: own}},
		"HTTP is left to others":         {nil, ir.ProtocolHTTP, false, nil},
		"HTTP with a TCP route":          {routeTo(ref("a", nil)), ir.ProtocolHTTP, false, &ir.TCP{Splits: []ir.Split{{Cluster: "a", Weight: 1}}}},
		"HTTP with both routes":          {routeTo(ref("a", nil)), ir.ProtocolHTTP, true, nil},
		"TCP with an HTTP route":         {nil, ir.ProtocolTCP, true, &ir.TCP{Splits: own}},
		"no rules":                       {&Conf{}, ir.ProtocolTCP, false, &ir.TCP{Splits: own}},
		"shares":                         {routeTo(ref("a", weight(9)), ref("b", weight(1))), ir.ProtocolTCP, false, &ir.TCP{Splits: []ir.Split{{Cluster: "a", Weight: 9}, {Cluster: "b", Weight: 1}}}},
		"nobody may connect":             {routeTo(ref("a", weight(0))), ir.ProtocolTCP, false, &ir.TCP{}},
		"no backend exists":              {routeTo(ref("nobody", nil)), ir.ProtocolTCP, false, nil},
		"huge shares keep within bounds": {routeTo(ref("a", weight(1<<40))), ir.ProtocolTCP, false, &ir.TCP{Splits: []ir.Split{{Cluster: "a", Weight: 1<<32 - 2}}}},
	} {
		t.Run(name, func(t *testing.T) {
			o := &ir.Outbound{Listener: ir.Listener{Protocol: c.protocol}, Destination: ir.Destination{Name: "db"}}
			if c.http {
				o.Origins = ir.Origins{policy.RefMeshHTTPRoute: {{Name: "r"}}}
				o.HTTP = &ir.HTTP{}
			}
			shape(c.conf, o, &policy.Context{Proxy: &ir.Proxy{}, Env: &policy.Env{Backends: world{}}})
			if d := cmp.Diff(c.want, o.TCP); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if c.want != nil && (o.HTTP != nil || len(o.Origins) > 0) {
				t.Error("requests and connections are both routed")
			}
		})
	}
}

func TestKafka(t *testing.T) {
	o := &ir.Outbound{Listener: ir.Listener{Protocol: ir.ProtocolKafka}}
	shape(nil, o, &policy.Context{Env: &policy.Env{Backends: world{}}})
	if !o.Kafka {
		t.Error("messages are not counted")
	}
}
