package legacy

import (
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// TrafficLog writes connections and requests to a logging backend of the mesh.
var TrafficLog = define(names{
	"TrafficLog", "traffic-logs", "traffic-log", "traffic-logs", "Traffic Log", "Traffic Logs",
}, func() any { return new(TrafficLogSpec) }, func(o *model.Object, v *model.Violations) {
	model.Spec[TrafficLogSpec](o).check(v, true)
})

// TrafficTrace sends spans of requests to a tracing backend of the mesh.
var TrafficTrace = define(names{
	"TrafficTrace", "traffic-traces", "traffic-trace", "traffic-traces", "Traffic Trace", "Traffic Traces",
}, func() any { return new(TrafficTraceSpec) }, func(o *model.Object, v *model.Violations) {
	kinds.MatchRules(false).CheckSelectors(model.Spec[TrafficTraceSpec](o).Selectors, v.At("selectors"))
})

// TrafficLogSpec says what is logged where.
type TrafficLogSpec struct {
	Connections
	// Conf says where to.
	Conf *BackendConf `json:"conf,omitempty"`
}

// TrafficTraceSpec says which proxies send spans where.
type TrafficTraceSpec struct {
	// Selectors of the proxies by their tags. The most specific policy that
	// selects a proxy is used.
	Selectors []kinds.Selector `json:"selectors,omitempty"`
	// Conf says where to.
	Conf *BackendConf `json:"conf,omitempty"`
}

// BackendConf names a backend of the mesh.
type BackendConf struct {
	// Backend names one of the mesh's backends; empty = the mesh's default.
	Backend string `json:"backend,omitempty"`
}

// Name returns the name of the backend, "" for the mesh's default.
func (c *BackendConf) Name() string {
	if c == nil {
		return ""
	}
	return c.Backend
}
