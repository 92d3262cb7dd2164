// Package build turns the inputs of a proxy into the description of what it
// should do: first its shape (ports, routes, clusters), then what policies put
// on it. It is a pure function of view.Inputs and may be called from many
// goroutines; the engine and the API do.
package build

import (
	"slices"

	"weft/internal/cp/view"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// Of describes what a proxy should do.
func Of(s view.Subject) *ir.Proxy {
	if in, ok := s.(*view.ZoneInputs); ok {
		return Egress(in)
	}
	return Proxy(s.(*view.Inputs))
}

// Proxy describes what the proxy of a workload should do.
func Proxy(in *view.Inputs) *ir.Proxy {
	b := &builder{in: in, spec: model.Spec[kinds.DataplaneSpec](in.Own.Object)}
	b.p = &ir.Proxy{
		ID: in.ID, Type: ir.Sidecar,
		Service: b.spec.IdentifyingService(), Address: b.spec.Address(), Tags: b.spec.Tags(),
		Zone: in.CP.Zone, IPv6: in.Node.IPv6, WorkDir: in.Node.WorkDir,
		InternalCIDRs: internalCIDRs(in.CP, &in.Node),
	}
	b.inbounds()
	b.outbounds()
	env := b.env()
	b.shape(env)
	b.clientTags()
	b.transparent()
	b.directAccess()
	addAdmin(b.p, &b.in.Node)
	b.dns()
	b.probes()
	b.metrics()
	b.identity()
	legacy.Dress(b.p, in.Legacy, b.legacyEnv(env))
	policy.Dress(b.p, in.Policies, env, in.Memo)
	legacy.Patch(b.p, in.Legacy)
	b.open()
	b.limits()
	return b.p
}

// builder makes one proxy.
type builder struct {
	in   *view.Inputs
	spec *kinds.DataplaneSpec
	p    *ir.Proxy
	// ends are what the outbounds lead to, parallel to p.Outbounds.
	ends []*view.Outbound
}

// env is what policies need to know beside the proxy.
func (b *builder) env() *policy.Env {
	m, o := b.in.Mesh, b.in.Own.Object
	return &policy.Env{
		MTLS: m.MTLS, TLSMode: m.TLSMode, ZoneEgress: m.ZoneEgress, LocalityAware: m.LocalityAware,
		Passthrough: m.Passthrough,
		MetricsCert: b.in.Node.MetricsCert, MetricsKey: b.in.Node.MetricsKey,
		KubeNamespace: o.Label(model.LabelK8sNamespace), KubeName: kubeName(o),
		Backends: newBackends(b),
	}
}

// kubeName returns the name of the workload's pod; "" outside of Kubernetes.
func kubeName(o *model.Object) string {
	if o.Label(model.LabelEnv) != model.EnvKubernetes {
		return ""
	}
	return o.DisplayName()
}

// internalCIDRs leaves out ranges of IPv6 where the host has none.
func internalCIDRs(s *view.Settings, n *view.Metadata) []string {
	if n.IPv6 {
		return s.InternalCIDRs
	}
	return slices.DeleteFunc(slices.Clone(s.InternalCIDRs), isIPv6Prefix)
}

// identity says what the proxy proves itself with.
func (b *builder) identity() {
	if b.in.Mesh.MTLS {
		b.p.Identities = []*ir.Identity{{Mesh: b.in.ID.Mesh, Services: b.spec.Services(), Keep: b.in.Mesh.Leaving != ""}}
	}
}

// open makes inbounds accept plain text while mutual TLS is being turned off,
// whatever MeshTLS says.
func (b *builder) open() {
	if b.in.Mesh.Leaving == "" {
		return
	}
	for _, in := range b.p.Inbounds {
		if in.TLS != nil {
			in.TLS.Mode = ir.TLSPermissive
		}
	}
}

// limits takes away what the proxy's Envoy cannot do.
func (b *builder) limits() {
	if !b.in.Node.NoKafka {
		return
	}
	kafka := false
	drop := func(l *ir.Listener) {
		kafka = kafka || l.Kafka
		l.Kafka = false
	}
	for _, i := range b.p.Inbounds {
		drop(&i.Listener)
	}
	for _, o := range b.p.Outbounds {
		drop(&o.Listener)
	}
	if kafka {
		b.p.Warnings = append(b.p.Warnings, ir.Warning{
			Message: "this proxy's Envoy has no Kafka filter; Kafka traffic is handled as plain TCP and not counted by message",
		})
	}
}
