package legacy

import "weft/internal/mesh/model"

// Timeout bounds how long clients wait.
var Timeout = define(names{
	"Timeout", "timeouts", "timeout", "timeouts", "Timeout", "Timeouts",
}, func() any { return new(TimeoutSpec) }, validateTimeout)

// TimeoutSpec says which clients wait how long, at which services.
type TimeoutSpec struct {
	Connections
	// Conf holds the times.
	Conf *TimeoutConf `json:"conf,omitempty"`
}

// TimeoutConf holds the times that clients wait.
type TimeoutConf struct {
	// ConnectTimeout is how long to wait for a connection. Absent = 5s.
	ConnectTimeout *model.ProtoDuration `json:"connectTimeout,omitempty"`
	// TCP is for services with the protocols tcp and kafka.
	TCP *TCPTimeout `json:"tcp,omitempty"`
	// HTTP is for services with the protocols http and http2.
	HTTP *HTTPTimeout `json:"http,omitempty"`
	// GRPC is for services with the protocol grpc.
	GRPC *GRPCTimeout `json:"grpc,omitempty"`
}

// TCPTimeout is for connections.
type TCPTimeout struct {
	// IdleTimeout closes a connection without traffic.
	IdleTimeout *model.ProtoDuration `json:"idleTimeout,omitempty"`
}

// HTTPTimeout is for HTTP requests.
type HTTPTimeout struct {
	// RequestTimeout is how long to wait for a whole response.
	RequestTimeout *model.ProtoDuration `json:"requestTimeout,omitempty"`
	// IdleTimeout closes a connection without requests.
	IdleTimeout *model.ProtoDuration `json:"idleTimeout,omitempty"`
	// StreamIdleTimeout ends a request without traffic.
	StreamIdleTimeout *model.ProtoDuration `json:"streamIdleTimeout,omitempty"`
	// MaxStreamDuration ends a request after that time.
	MaxStreamDuration *model.ProtoDuration `json:"maxStreamDuration,omitempty"`
}

// GRPCTimeout is for gRPC calls.
type GRPCTimeout struct {
	// StreamIdleTimeout ends a call without traffic.
	StreamIdleTimeout *model.ProtoDuration `json:"streamIdleTimeout,omitempty"`
	// MaxStreamDuration ends a call after that time.
	MaxStreamDuration *model.ProtoDuration `json:"maxStreamDuration,omitempty"`
}

func validateTimeout(o *model.Object, v *model.Violations) {
	s := model.Spec[TimeoutSpec](o)
	s.check(v, true)
	at, c := v.At("conf"), s.Conf
	if c == nil {
		at.Add("has to be defined: it holds the times")
		return
	}
	// 0 is accepted: it turns a timeout off.
	checkNotNegative(c.ConnectTimeout, at.At("connectTimeout"))
	if t := c.TCP; t != nil {
		checkSection(at.At("tcp"), times{{"idleTimeout", t.IdleTimeout}})
	}
	if h := c.HTTP; h != nil {
		checkSection(at.At("http"), times{
			{"requestTimeout", h.RequestTimeout},
			{"idleTimeout", h.IdleTimeout},
			{"streamIdleTimeout", h.StreamIdleTimeout},
			{"maxStreamDuration", h.MaxStreamDuration},
		})
	}
	if g := c.GRPC; g != nil {
		checkSection(at.At("grpc"), times{
			{"streamIdleTimeout", g.StreamIdleTimeout},
			{"maxStreamDuration", g.MaxStreamDuration},
		})
	}
}

type times []struct {
	name  string
	value *model.ProtoDuration
}

func checkSection(v *model.Violations, list times) {
	given := false
	for _, t := range list {
		given = given || t.value != nil
		checkNotNegative(t.value, v.At(t.name))
	}
	if !given {
		v.Add("must have at least one time, or be left out")
	}
}
