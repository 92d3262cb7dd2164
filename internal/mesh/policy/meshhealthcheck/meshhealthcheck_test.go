package meshhealthcheck

import (
	"encoding/json"
	"testing"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/policy"
)

// TestChoice: the destination's protocol chooses the probe; TCP steps in for one
// that is switched off, not for one that is absent.
func TestChoice(t *testing.T) {
	for _, c := range []struct {
		conf     string
		protocol ir.Protocol
		want     string
	}{
		{`{"http":{},"tcp":{},"grpc":{}}`, ir.ProtocolHTTP, "http"},
		{`{"http":{},"tcp":{},"grpc":{}}`, ir.ProtocolHTTP2, "http"},
		{`{"http":{},"tcp":{},"grpc":{}}`, ir.ProtocolGRPC, "grpc"},
		{`{"http":{},"tcp":{},"grpc":{}}`, ir.ProtocolTCP, "tcp"},
		{`{"http":{},"tcp":{},"grpc":{}}`, ir.ProtocolKafka, ""},
		{`{"tcp":{}}`, ir.ProtocolHTTP, ""},
		{`{"http":{"disabled":true},"tcp":{}}`, ir.ProtocolHTTP, "tcp"},
		{`{"http":{"disabled":true},"tcp":{"disabled":true}}`, ir.ProtocolHTTP, ""},
		{`{"grpc":{"disabled":true},"tcp":{}}`, ir.ProtocolGRPC, "tcp"},
		{`{"http":{"disabled":true},"tcp":{}}`, ir.ProtocolGRPC, ""},
		{`{"tcp":{"disabled":true}}`, ir.ProtocolTCP, ""},
	} {
		conf := &Conf{}
		if err := json.Unmarshal([]byte(c.conf), conf); err != nil {
			t.Fatal(err)
		}
		h, ok := conf.check(c.protocol, map[string][]string{"a": {"b"}})
		got := ""
		switch {
		case h.HTTP != nil:
			got = "http"
		case h.GRPC != nil:
			got = "grpc"
		case h.TCP != nil:
			got = "tcp"
		}
		x := &policy.Context{Proxy: &ir.Proxy{}, Origins: []ir.Origin{{Name: "p"}}}
		if cluster(conf, &ir.Cluster{Protocol: c.protocol}, x); (len(x.Origins) > 0) != ok {
			t.Errorf("%s for %s: claims to probe: %v, does: %v", c.conf, c.protocol, !ok, ok)
		}
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s for %s: %q (%v), want %q", c.conf, c.protocol, got, ok, c.want)
		}
	}
}
