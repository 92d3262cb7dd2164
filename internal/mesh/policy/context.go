package policy

import (
	"weft/internal/mesh/ir"
)

// Env is what policies need to know beside the proxy itself.
type Env struct {
	// MTLS tells whether the mesh has an enabled certificate authority, TLSMode
	// its mode.
	MTLS    bool
	TLSMode ir.TLSMode
	// ZoneEgress tells whether traffic to other zones takes the zone's egress.
	ZoneEgress bool
	// LocalityAware is the mesh's own preference of the local zone.
	LocalityAware bool
	// Passthrough is the mesh's own permission to leave it.
	Passthrough bool
	// MetricsCert and MetricsKey are files on the proxy's host.
	MetricsCert, MetricsKey string
	// GatewayName is the MeshGateway of a builtin gateway.
	GatewayName string
	// Kubernetes: KubeNamespace and KubeName of the workload's pod, else empty.
	KubeNamespace, KubeName string
	Backends                Backends
}

// Backends finds destinations for routes. Package build implements it.
type Backends interface {
	// Own returns the destination that an outbound is for.
	Own(o *ir.Outbound) Backend
	// Resolve returns the destination that a route names. from is the policy
	// object that the reference stands in: its namespace and zone complete the
	// reference. false = there is no such destination.
	Resolve(ref BackendRef, from Source) (Backend, bool)
	// Use returns the name of the cluster for a backend and makes sure that the
	// proxy has it.
	Use(b Backend) string
	// Labels returns the labels of a destination that is a resource.
	Labels(d ir.Destination) map[string]string
}

// Backend is a destination to which traffic may be sent.
type Backend struct {
	Destination ir.Destination
	Protocol    ir.Protocol
	// Tags restrict a service known by its tag to some of its endpoints.
	Tags map[string]string
}

// Source is what of a policy object completes the references in it.
type Source struct{ Mesh, Zone, Namespace string }

// Context is what a hook may look at and where it leaves warnings.
type Context struct {
	Proxy *ir.Proxy
	Env   *Env
	// Kind is the policy kind that acts, Origins the rules behind the conf that
	// the hook got.
	Kind    string
	Origins []ir.Origin
}

// Ignore says that the hook did nothing with its conf, so that no origin is noted.
func (x *Context) Ignore() { x.Origins = nil }

// Warn leaves a warning on the proxy.
func (x *Context) Warn(message string) {
	w := ir.Warning{Kind: x.Kind, Message: message}
	if n := len(x.Origins); n > 0 {
		w.Name = x.Origins[n-1].Name
	}
	for _, old := range x.Proxy.Warnings {
		if old == w {
			return
		}
	}
	x.Proxy.Warnings = append(x.Proxy.Warnings, w)
}
