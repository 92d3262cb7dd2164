package meshaccesslog

import (
	"encoding/json"
	"strings"
	"testing"

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

func context(address string) *policy.Context {
	return &policy.Context{Proxy: &ir.Proxy{
		ID: ir.ProxyID{Mesh: "m", Name: "web-1"}, Service: "web", Address: address, Transparent: &ir.Transparent{},
		DirectAccess: []ir.DirectAccess{{Address: "10.0.0.9", Port: 80}, {Address: "10.0.0.9", Port: 81}},
	}}
}

const everything = `{"backends":[{"type":"File","file":{"path":"/l","format":{"type":"Plain","plain":` +
	`"%KUMA_SOURCE_ADDRESS% %KUMA_SOURCE_ADDRESS_WITHOUT_PORT% %KUMA_SOURCE_SERVICE% %KUMA_DESTINATION_SERVICE% %KUMA_MESH% %KUMA_TRAFFIC_DIRECTION% %START_TIME%"}}}]}`

func TestPlaceholders(t *testing.T) {
	c := conf(t, everything)
	o := &ir.Outbound{Destination: ir.Destination{Kind: policy.RefMeshService, Name: "api-hash", Display: "api"}}
	x := context("10.0.0.1")
	outbound(c, o, x)
	if got, want := o.AccessLogs[0].Format, "10.0.0.1:0 10.0.0.1 web api m OUTBOUND %START_TIME%\n"; got != want {
		t.Errorf("outbound line %q, want %q", got, want)
	}
	i := &ir.Inbound{}
	inbound(c, i, context("fd00::1"))
	if got, want := i.AccessLogs[0].Format, "[fd00::1]:0 fd00::1 unknown web m INBOUND %START_TIME%\n"; got != want {
		t.Errorf("inbound line %q, want %q", got, want)
	}
	passthrough(c, x)
	if got := x.Proxy.Transparent.AccessLogs[0].Format; !strings.Contains(got, " external ") {
		t.Errorf("passthrough line %q", got)
	}
	for _, d := range x.Proxy.DirectAccess {
		if len(d.AccessLogs) != 1 || !strings.Contains(d.AccessLogs[0].Format, "direct_access_10.0.0.9:8") {
			t.Errorf("direct access lines %+v", d.AccessLogs)
		}
	}
}

// TestCollectors: distinct endpoints are numbered, equal ones shared.
func TestCollectors(t *testing.T) {
	c := conf(t, `{"backends":[{"type":"OpenTelemetry","openTelemetry":{"endpoint":"a","body":{"x":"%KUMA_MESH%"}}},
		{"type":"OpenTelemetry","openTelemetry":{"endpoint":"b:1","attributes":[{"key":"k","value":"%KUMA_MESH%"}]}},
		{"type":"OpenTelemetry","openTelemetry":{"endpoint":"a:4317"}}]}`)
	x := context("10.0.0.1")
	x.Proxy.Backends = []ir.Backend{{Name: "other", Origin: "mesh-trace"}}
	o := &ir.Outbound{}
	outbound(c, o, x)
	var names []string
	for _, l := range o.AccessLogs {
		names = append(names, l.OTel)
	}
	if got, want := strings.Join(names, " "), "meshaccesslog:opentelemetry:0 meshaccesslog:opentelemetry:1 meshaccesslog:opentelemetry:0"; got != want {
		t.Errorf("collectors %s, want %s", got, want)
	}
	if len(x.Proxy.Backends) != 3 {
		t.Errorf("backends: %+v", x.Proxy.Backends)
	}
	if got := string(o.AccessLogs[0].Body); got != `{"x":"m"}` {
		t.Errorf("body %s", got)
	}
	if got := o.AccessLogs[1].Attributes[0].Value; got != "m" {
		t.Errorf("attribute %s", got)
	}
}

// TestDefaultLines: HTTP and TCP have lines of their own.
func TestDefaultLines(t *testing.T) {
	c := conf(t, `{"backends":[{"type":"Tcp","tcp":{"address":"h:514"}}]}`)
	tcp, http := &ir.Outbound{}, &ir.Outbound{Listener: ir.Listener{HTTP: &ir.HTTP{}}}
	outbound(c, tcp, context("10.0.0.1"))
	outbound(c, http, context("10.0.0.1"))
	if !strings.Contains(tcp.AccessLogs[0].Format, "took %DURATION%ms") || !strings.Contains(http.AccessLogs[0].Format, "%RESPONSE_CODE%") {
		t.Errorf("lines: %q, %q", tcp.AccessLogs[0].Format, http.AccessLogs[0].Format)
	}
	if tcp.AccessLogs[0].TCP != "h:514" || strings.Contains(http.AccessLogs[0].Format, "KUMA") {
		t.Errorf("entries: %+v, %+v", tcp.AccessLogs[0], http.AccessLogs[0])
	}
}
