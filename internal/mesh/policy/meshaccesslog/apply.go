package meshaccesslog

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/policy"
)

// Lines where a backend gives no format.
const (
	tcpLine = "[%START_TIME%] %RESPONSE_FLAGS% %KUMA_MESH% %KUMA_SOURCE_ADDRESS_WITHOUT_PORT%(%KUMA_SOURCE_SERVICE%)" +
		"->%UPSTREAM_HOST%(%KUMA_DESTINATION_SERVICE%) took %DURATION%ms, sent %BYTES_SENT% bytes, received: %BYTES_RECEIVED% bytes"
	httpLine = `[%START_TIME%] %KUMA_MESH% "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% ` +
		`%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ` +
		`"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-B3-TRACEID?X-DATADOG-TRACEID)%" "%REQ(X-REQUEST-ID)%" ` +
		`"%REQ(:AUTHORITY)%" "%KUMA_SOURCE_SERVICE%" "%KUMA_DESTINATION_SERVICE%" "%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%" "%UPSTREAM_HOST%"`
)

const (
	unknown  = "unknown"  // a client that the line's proxy does not know
	external = "external" // what is outside the mesh
	otelPort = 4317
)

// ends are the two ends of the traffic that a line is about.
type ends struct {
	source, destination, direction string
	http                           bool
}

func inbound(c *Conf, i *ir.Inbound, x *policy.Context) {
	e := ends{source: unknown, destination: serviceOf(x.Proxy), direction: "INBOUND", http: i.HTTP != nil}
	i.AccessLogs = append(i.AccessLogs, c.logs(e, x)...)
}

func outbound(c *Conf, o *ir.Outbound, x *policy.Context) {
	to := o.Destination.Name
	if policy.Resource(o.Destination) {
		to = o.Destination.Display
	}
	e := ends{source: serviceOf(x.Proxy), destination: to, direction: "OUTBOUND", http: o.HTTP != nil}
	o.AccessLogs = append(o.AccessLogs, c.logs(e, x)...)
}

func passthrough(c *Conf, x *policy.Context) {
	e := ends{source: serviceOf(x.Proxy), destination: external, direction: "OUTBOUND"}
	x.Proxy.Transparent.AccessLogs = append(x.Proxy.Transparent.AccessLogs, c.logs(e, x)...)
	for i := range x.Proxy.DirectAccess {
		d := &x.Proxy.DirectAccess[i]
		e.destination = "direct_access_" + net.JoinHostPort(d.Address, strconv.FormatUint(uint64(d.Port), 10))
		d.AccessLogs = append(d.AccessLogs, c.logs(e, x)...)
	}
}

func serviceOf(p *ir.Proxy) string {
	if p.Service == "" {
		return unknown
	}
	return p.Service
}

// logs returns an entry for each backend.
func (c *Conf) logs(e ends, x *policy.Context) []ir.AccessLog {
	var out []ir.AccessLog
	fill := e.placeholders(x.Proxy)
	for i := range c.Backends {
		switch b := &c.Backends[i]; {
		case b.Type == backendFile && b.File != nil:
			l := b.File.Format.log(e, fill)
			l.File = b.File.Path
			out = append(out, l)
		case b.Type == backendTCP && b.TCP != nil:
			l := b.TCP.Format.log(e, fill)
			l.TCP = b.TCP.Address
			out = append(out, l)
		case b.Type == backendOTel && b.OpenTelemetry != nil:
			out = append(out, b.OpenTelemetry.log(e, fill, x.Proxy))
		}
	}
	return out
}

// filler fills in what the proxy itself does not know.
type filler [6][2]string

func (e ends) placeholders(p *ir.Proxy) *filler {
	return &filler{
		{"%KUMA_SOURCE_ADDRESS%", net.JoinHostPort(p.Address, "0")},
		{"%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%", p.Address},
		{"%KUMA_SOURCE_SERVICE%", e.source},
		{"%KUMA_DESTINATION_SERVICE%", e.destination},
		{"%KUMA_MESH%", p.ID.Mesh},
		{"%KUMA_TRAFFIC_DIRECTION%", e.direction},
	}
}

// Replace returns the text with the placeholders filled in. It is called for
// every port of every proxy, where a strings.Replacer would be built for one use.
func (f *filler) Replace(s string) string {
	for _, r := range f {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return s
}

func (e ends) line() string {
	if e.http {
		return httpLine
	}
	return tcpLine
}

// log returns an entry with the format; f may be nil.
func (f *Format) log(e ends, fill *filler) ir.AccessLog {
	if f == nil {
		return ir.AccessLog{Format: fill.Replace(e.line()) + "\n"}
	}
	omit := f.OmitEmptyValues != nil && *f.OmitEmptyValues
	switch {
	case f.Type == formatJSON:
		out := ir.AccessLog{OmitEmpty: omit, JSON: []ir.KeyValue{}}
		for _, kv := range f.JSON {
			out.JSON = append(out.JSON, ir.KeyValue{Key: fill.Replace(kv.Key), Value: fill.Replace(kv.Value)})
		}
		return out
	case f.Plain != nil:
		return ir.AccessLog{OmitEmpty: omit, Format: fill.Replace(*f.Plain) + "\n"}
	}
	return ir.AccessLog{OmitEmpty: omit, Format: fill.Replace(e.line()) + "\n"}
}

func (o *OpenTelemetry) log(e ends, fill *filler, p *ir.Proxy) ir.AccessLog {
	out := ir.AccessLog{OTel: collector(o.Endpoint, p), Format: fill.Replace(e.line())}
	if len(o.Body) > 0 {
		out.Body = json.RawMessage(fill.Replace(string(o.Body)))
	}
	for _, kv := range o.Attributes {
		// Left alone, our placeholders would make Envoy refuse the listener.
		out.Attributes = append(out.Attributes, ir.KeyValue{Key: kv.Key, Value: fill.Replace(kv.Value)})
	}
	return out
}

// origin groups the collectors for patches.
const origin = "meshaccesslog"

// collector returns the name of the backend for an endpoint, which it adds to
// the proxy. They are numbered in the order in which they are met.
func collector(endpoint string, p *ir.Proxy) string {
	host, port, _ := policy.Endpoint(endpoint) // was checked at the gate
	if port == 0 {
		port = otelPort
	}
	n := 0
	for _, b := range p.Backends {
		if b.Origin != origin {
			continue
		}
		if b.Host == host && b.Port == port {
			return b.Name
		}
		n++
	}
	name := "meshaccesslog:opentelemetry:" + strconv.Itoa(n)
	p.Backends = append(p.Backends, ir.Backend{Name: name, Host: host, Port: port, HTTP2: true, Origin: origin})
	return name
}
