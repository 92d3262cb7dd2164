package meshtimeout

import (
	"testing"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

func dur(d time.Duration) *model.Duration { m := model.Duration(d); return &m }

func text(d *time.Duration) string {
	if d == nil {
		return "-"
	}
	return d.String()
}

func want(t *testing.T, what string, got *time.Duration, want string) {
	t.Helper()
	if text(got) != want {
		t.Errorf("%s is %s, want %s", what, text(got), want)
	}
}

func httpOutbound(d ir.Destination) *ir.Outbound {
	return &ir.Outbound{
		Destination: d,
		Listener:    ir.Listener{Protocol: ir.ProtocolHTTP, HTTP: &ir.HTTP{Routes: []*ir.Route{{Timeout: new(time.Duration)}}}},
	}
}

var service = ir.Destination{Kind: policy.RefMeshService, Name: "api"}

// TestAbsent: without any policy resources have default timeouts, while services
// known by their tag keep what older policies say.
func TestAbsent(t *testing.T) {
	o := httpOutbound(service)
	outbound(nil, o, nil)
	requests(nil, o.HTTP.Routes[0], o, nil)
	want(t, "timeout", o.HTTP.Routes[0].Timeout, "15s")
	want(t, "stream idle", o.HTTP.Routes[0].IdleTimeout, "30m0s")
	want(t, "headers", o.HTTP.RequestHeadersTimeout, "0s")

	o = httpOutbound(ir.Destination{Name: "api"})
	outbound(nil, o, nil)
	requests(nil, o.HTTP.Routes[0], o, nil)
	want(t, "timeout of a service by tag", o.HTTP.Routes[0].Timeout, "0s")
	want(t, "stream idle of a service by tag", o.HTTP.Routes[0].IdleTimeout, "-")
	want(t, "connections of a service by tag", o.HTTP.IdleTimeout, "0s")

	cl := &ir.Cluster{Protocol: ir.ProtocolHTTP}
	(*Conf)(nil).cluster(cl)
	want(t, "connect", cl.ConnectTimeout, "5s")
	want(t, "idle", cl.IdleTimeout, "1h0m0s")
	want(t, "stream", cl.MaxStreamDuration, "0s")
}

func TestConf(t *testing.T) {
	c := &Conf{
		ConnectionTimeout: dur(3 * time.Second), IdleTimeout: dur(17 * time.Minute),
		HTTP: &HTTP{RequestTimeout: dur(0), MaxStreamDuration: dur(29 * time.Second)},
	}
	o := httpOutbound(ir.Destination{Name: "api"})
	outbound(c, o, nil)
	requests(c, o.HTTP.Routes[0], o, nil)
	want(t, "timeout", o.HTTP.Routes[0].Timeout, "0s")
	want(t, "stream idle", o.HTTP.Routes[0].IdleTimeout, "30m0s")

	tcp := &ir.Outbound{Listener: ir.Listener{TCP: &ir.TCP{}}}
	outbound(c, tcp, nil)
	want(t, "connections", tcp.TCP.IdleTimeout, "17m0s")

	for p, stream := range map[ir.Protocol]string{ir.ProtocolHTTP: "29s", ir.ProtocolHTTP2: "29s", ir.ProtocolGRPC: "-", ir.ProtocolTCP: "-"} {
		cl := &ir.Cluster{Protocol: p}
		c.cluster(cl)
		want(t, "connect of "+string(p), cl.ConnectTimeout, "3s")
		want(t, "stream of "+string(p), cl.MaxStreamDuration, stream)
	}
}

// TestInboundKeepsBase: what the port had before stays where the conf is silent.
func TestInboundKeepsBase(t *testing.T) {
	base := time.Minute
	i := &ir.Inbound{Listener: ir.Listener{HTTP: &ir.HTTP{Routes: []*ir.Route{{IdleTimeout: &base}}}}, Local: ir.Cluster{Protocol: ir.ProtocolHTTP}}
	inbound(nil, i, nil)
	want(t, "stream idle", i.HTTP.Routes[0].IdleTimeout, "1m0s")
	inbound(&Conf{HTTP: &HTTP{StreamIdleTimeout: dur(time.Hour)}}, i, nil)
	want(t, "stream idle of the conf", i.HTTP.Routes[0].IdleTimeout, "1h0m0s")
}

func TestRedirectsHaveNoTimeout(t *testing.T) {
	o := httpOutbound(service)
	r := &ir.Route{Redirect: &ir.Redirect{}}
	requests(&Conf{}, r, o, nil)
	want(t, "timeout", r.Timeout, "-")
}
