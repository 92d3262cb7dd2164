package meshratelimit

import (
	"testing"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

func rate(n uint32, d time.Duration) *Rate { return &Rate{Num: n, Interval: model.Duration(d)} }

func http() *ir.Inbound {
	return &ir.Inbound{Listener: ir.Listener{HTTP: &ir.HTTP{Routes: []*ir.Route{{}, {}}}}}
}

func TestInbound(t *testing.T) {
	status, off := uint32(418), true
	c := &Conf{Local: &Local{
		HTTP: &HTTP{RequestRate: rate(7, time.Second), OnRateLimit: &OnRateLimit{Status: &status}},
		TCP:  &TCP{ConnectionRate: rate(9, time.Minute)},
	}}
	i := http()
	inbound(c, i, &policy.Context{})
	for _, r := range i.HTTP.Routes {
		if r.RateLimit == nil || r.RateLimit.Num != 7 || r.RateLimit.StatusCode != status {
			t.Errorf("route limit %+v", r.RateLimit)
		}
	}
	if !i.HTTP.LocalRateLimit || i.ConnectionRate == nil || *i.ConnectionRate != (ir.Rate{Num: 9, Interval: time.Minute}) {
		t.Errorf("inbound %+v", i)
	}
	c.Local.HTTP.Disabled, c.Local.TCP.Disabled = &off, &off
	i = http()
	if inbound(c, i, &policy.Context{}); i.HTTP.LocalRateLimit || i.ConnectionRate != nil {
		t.Errorf("limits that are switched off: %+v", i)
	}
}

func TestOlderLimitStays(t *testing.T) {
	i := http()
	i.HTTP.LocalRateLimit = true
	inbound(&Conf{Local: &Local{TCP: &TCP{ConnectionRate: rate(1, time.Second)}}}, i, &policy.Context{})
	if i.ConnectionRate != nil {
		t.Error("a limit was added to an inbound with an older one")
	}
}

// TestStatus: Envoy refuses codes that it does not know.
func TestStatus(t *testing.T) {
	for s, want := range map[uint32]int{429: 0, 503: 0, 599: 1, 0: 1, 299: 1, 1000: 1} {
		var v model.Violations
		validate(&Conf{Local: &Local{HTTP: &HTTP{OnRateLimit: &OnRateLimit{Status: &s}}}}, &v, policy.Where{})
		if len(v.List()) != want {
			t.Errorf("status %d: %v", s, v.List())
		}
	}
}
