package envoy_test

import (
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weft/internal/cp/envoy"
)

func TestLacksKafka(t *testing.T) {
	ext := func(names ...string) *core.Node {
		n := &core.Node{}
		for _, name := range names {
			n.Extensions = append(n.Extensions, &core.Extension{Name: name})
		}
		return n
	}
	for name, tc := range map[string]struct {
		node *core.Node
		want bool
	}{
		"tells nothing": {ext(), false},
		"has it":        {ext("envoy.filters.network.tcp_proxy", "envoy.filters.network.kafka_broker"), false},
		"lacks it":      {ext("envoy.filters.network.tcp_proxy"), true},
	} {
		if got := envoy.LacksKafka(tc.node); got != tc.want {
			t.Errorf("a node that %s: lacks Kafka %v, want %v", name, got, tc.want)
		}
	}
}
