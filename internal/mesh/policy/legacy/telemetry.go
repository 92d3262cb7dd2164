package legacy

import (
	"net/url"
	"strconv"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/meshaccesslog"
)

const (
	passthroughService = "pass_through"
	external           = "external"
	backendFile        = "file"
	backendTCP         = "tcp"
	backendZipkin      = "zipkin"
	backendDatadog     = "datadog"
	originTracing      = "tracing"
)

// log writes what happens on an outbound.
func (s *shaper) log(o *ir.Outbound) {
	line := meshaccesslog.Line{Destination: o.Destination.Name, Direction: "OUTBOUND", HTTP: o.HTTP != nil}
	o.AccessLogs = append(o.AccessLogs, s.logs(o.Destination.Name, line)...)
}

// logPassthrough writes what leaves the mesh.
func (s *shaper) logPassthrough() {
	if s.p.Transparent == nil {
		return
	}
	line := meshaccesslog.Line{Destination: external, Direction: "UNSPECIFIED"}
	s.p.Transparent.AccessLogs = append(s.p.Transparent.AccessLogs, s.logs(passthroughService, line)...)
}

// logs returns the entry of the policy for a service, if there is one.
func (s *shaper) logs(service string, line meshaccesslog.Line) []ir.AccessLog {
	o := s.m.outbound(TrafficLog, service)
	if o == nil {
		return nil
	}
	name := model.Spec[TrafficLogSpec](o).Conf.Name()
	b := (&kinds.MeshSpec{Logging: s.env.Logging}).LoggingBackend(name)
	if b == nil {
		s.missing(o, "logging", name)
		return nil
	}
	out := ir.AccessLog{Format: line.Text(b.Format, s.p)}
	if !policy.Fillable(out.Format) { // the gate of 2.10 let it in
		s.warn(o, "the format of the logging backend "+strconv.Quote(b.Name)+" holds a percent sign that begins no command like %REQ(x-id)%")
		return nil
	}
	switch b.Type {
	case backendFile:
		var c kinds.FileLogConf
		if model.DecodeProto(b.Conf, &c) != nil {
			return nil // was refused at the gate
		}
		out.File = c.Path
	case backendTCP:
		var c kinds.TCPLogConf
		if model.DecodeProto(b.Conf, &c) != nil {
			return nil
		}
		out.TCP = c.Address
	default:
		return nil
	}
	return []ir.AccessLog{out}
}

// missing tells that the backend which a policy names is missing.
func (s *shaper) missing(o *model.Object, what, name string) {
	message := "the mesh has no default " + what + " backend, and the policy names none"
	if name != "" {
		message = "the mesh has no " + what + " backend " + strconv.Quote(name)
	}
	s.warn(o, message)
}

// warn tells why a policy has no effect.
func (s *shaper) warn(o *model.Object, message string) {
	w := ir.Warning{Kind: o.Kind.Name, Name: o.Meta.Name, Message: message + "; the policy has no effect"}
	for _, old := range s.p.Warnings {
		if old == w {
			return
		}
	}
	s.p.Warnings = append(s.p.Warnings, w)
}

// trace sends spans of requests on an outbound.
func (s *shaper) trace(o *ir.Outbound) {
	if o.HTTP != nil {
		o.Tracing = s.tracing("_OUTBOUND_" + o.Destination.Name)
	}
}

// tracing returns where spans go, and adds the collector to the proxy. suffix
// tells the ports of a service apart where the backend wants that.
func (s *shaper) tracing(suffix string) *ir.Tracing {
	if s.m.trace == nil {
		return nil
	}
	name := model.Spec[TrafficTraceSpec](s.m.trace).Conf.Name()
	b := (&kinds.MeshSpec{Tracing: s.env.Tracing}).TracingBackend(name)
	if b == nil {
		s.missing(s.m.trace, "tracing", name)
		return nil
	}
	t := &ir.Tracing{Service: s.p.Service}
	if b.Sampling != nil {
		p := ir.Percent(*b.Sampling)
		t.Overall = &p
	}
	collector := ir.Backend{Name: "tracing:" + b.Name, Origin: originTracing}
	var ok bool
	switch b.Type {
	case backendZipkin:
		ok = zipkin(b, t, &collector)
	case backendDatadog:
		ok = datadog(b, t, &collector, suffix)
	}
	if !ok {
		return nil // was refused at the gate
	}
	t.Backend = collector.Name
	for _, have := range s.p.Backends {
		if have.Name == collector.Name {
			return t
		}
	}
	s.p.Backends = append(s.p.Backends, collector)
	return t
}

func zipkin(b *kinds.TracingBackend, t *ir.Tracing, to *ir.Backend) bool {
	var c kinds.ZipkinConf
	if model.DecodeProto(b.Conf, &c) != nil {
		return false
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Hostname() == "" {
		return false
	}
	t.Provider, t.Path, t.Hostname, t.APIVersion = "Zipkin", u.Path, u.Host, c.APIVersion
	t.TraceID128 = c.TraceID128bit
	t.SharedSpanContext = c.SharedSpanContext == nil || *c.SharedSpanContext
	port := 80
	to.TLS = u.Scheme == "https"
	if to.TLS {
		port = 443
	}
	if p, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		port = int(p)
	}
	to.Host, to.Port = u.Hostname(), uint32(port)
	return true
}

func datadog(b *kinds.TracingBackend, t *ir.Tracing, to *ir.Backend, suffix string) bool {
	var c kinds.DatadogConf
	if model.DecodeProto(b.Conf, &c) != nil || c.Address == "" || c.Port == 0 {
		return false
	}
	t.Provider = "Datadog"
	if c.SplitService {
		t.Service += suffix
	}
	to.Host, to.Port = c.Address, c.Port
	return true
}
