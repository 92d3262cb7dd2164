package build

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/cp/view"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// redirection says how the workload's traffic is redirected; nil = it is not.
func (b *builder) redirection() *kinds.TransparentProxying {
	if b.spec.Networking == nil {
		return nil
	}
	return b.spec.Networking.TransparentProxying
}

// transparent adds listeners for redirected traffic.
func (b *builder) transparent() {
	t := b.redirection()
	if t == nil || t.RedirectPortOutbound == 0 {
		return
	}
	b.p.Transparent = &ir.Transparent{
		InboundPort: t.RedirectPortInbound, OutboundPort: t.RedirectPortOutbound,
		IPv4: true, IPv6: t.IPFamilyMode != kinds.IPFamilyIPv4,
		Passthrough: b.in.Mesh.Passthrough,
	}
}

func (b *builder) directAccess() {
	if len(b.in.Direct) == 0 {
		return
	}
	b.p.DirectAccess = slices.Clone(b.in.Direct)
	if b.in.Mesh.MTLS {
		mesh := b.in.ID.Mesh
		b.p.DirectTLS = &ir.ClientTLS{
			MeshIdentity: true, IdentityMesh: mesh, Mesh: mesh, ALPN: []string{meshALPN},
			PrefixSANs: []string{"spiffe://" + mesh + "/"},
		}
	}
}

// addAdmin makes the proxy's administration reachable.
func addAdmin(p *ir.Proxy, n *view.Metadata) {
	if n.AdminPort == 0 {
		return
	}
	a := &ir.Admin{Address: adminAddress(n.AdminAddress), Port: n.AdminPort, ReadinessPort: n.ReadinessPort}
	if a.Address == "" {
		p.Warnings = append(p.Warnings, ir.Warning{
			Message: "the admin address " + n.AdminAddress + " of this proxy is no loopback address; the admin port is not made reachable",
		})
		return
	}
	if p.Address != a.Address {
		a.ListenAddress = p.Address
	}
	if c := n.AdminCert; c != nil {
		a.CertPEM, a.KeyPEM, a.CAPEM = c.CertPEM, c.KeyPEM, c.CAPEM
	}
	p.Admin = a
}

// adminAddress is where the proxy itself reaches its admin port; "" for
// addresses that others could reach too.
func adminAddress(s string) string {
	switch s {
	case "", "0.0.0.0", "127.0.0.1":
		return "127.0.0.1"
	case "::", "::1":
		return "::1"
	}
	return ""
}

// dns lists the names of the addresses on which the workload reaches
// destinations.
func (b *builder) dns() {
	t := b.redirection()
	if b.in.Node.DNSPort == 0 || t == nil {
		return
	}
	addresses := map[string]string{} // the first address of a name counts
	for _, o := range b.in.Outbounds.List() {
		for _, n := range o.Names {
			if _, ok := addresses[n]; !ok {
				addresses[n] = o.Address
			}
		}
	}
	d := &ir.DNS{Port: b.in.Node.DNSPort}
	for name, address := range addresses {
		d.Domains = append(d.Domains, ir.Domain{Name: name, Addresses: answers(address, t.IPFamilyMode)})
	}
	slices.SortFunc(d.Domains, func(x, y ir.Domain) int { return strings.Compare(x.Name, y.Name) })
	b.p.DNS = d
}

// answers returns an address and, for clients that ask for IPv6, its form there.
func answers(address string, mode kinds.IPFamilyMode) []string {
	ip, err := netip.ParseAddr(address)
	if err != nil || !ip.Is4() || mode == kinds.IPFamilyIPv4 {
		return []string{address}
	}
	v := ip.As4()
	return []string{address, fmt.Sprintf("::ffff:%x:%x", uint16(v[0])<<8|uint16(v[1]), uint16(v[2])<<8|uint16(v[3]))}
}

// probes adds the virtual probes of Kubernetes, unless kuma-dp answers probes.
func (b *builder) probes() {
	p := b.spec.Probes
	if p == nil || b.in.Node.AppProbeProxy {
		return
	}
	out := &ir.Probes{Port: p.Port, Bind: !b.spec.IsTransparent()}
	for _, e := range p.Endpoints {
		pe := ir.ProbeEndpoint{Path: e.Path, InboundPort: e.InboundPort, InboundPath: e.InboundPath}
		for _, in := range b.p.Inbounds {
			if in.WorkloadPort == e.InboundPort {
				pe.Cluster = in.Local.Name
				break
			}
		}
		out.Endpoints = append(out.Endpoints, pe)
	}
	b.p.Probes = out
}

// metrics adds the older Prometheus listener of the mesh.
func (b *builder) metrics() {
	if b.in.Mesh.Metrics == nil || b.in.Node.AdminPort == 0 {
		return
	}
	conf := *b.in.Mesh.Metrics
	if own := b.spec.Metrics; own != nil {
		var c kinds.PrometheusConf
		if model.DecodeProto(own.Conf, &c) == nil { // else it was refused at the gate
			conf = conf.Over(c)
		}
	}
	for _, in := range b.spec.Inbounds() {
		if in.Port == conf.Port || in.WorkloadPort() == conf.Port {
			b.p.Warnings = append(b.p.Warnings, ir.Warning{
				Kind: kinds.Mesh.Name, Name: b.in.ID.Mesh,
				Message: "the port of the metrics listener is one of the workload's; metrics are not exposed by this proxy",
			})
			return
		}
	}
	m := &ir.MetricsListener{Port: conf.Port, Path: conf.Path}
	if e := conf.Envoy; e != nil {
		m.FilterRegex = e.FilterRegex
		m.UsedOnly = e.UsedOnly != nil && *e.UsedOnly
	}
	b.secureMetrics(m, conf)
	b.p.Metrics = m
}

func (b *builder) secureMetrics(m *ir.MetricsListener, c kinds.PrometheusConf) {
	mode := kinds.PrometheusActiveMTLS
	switch {
	case c.TLS != nil:
		mode = c.TLS.Mode
	case c.SkipMTLS != nil && *c.SkipMTLS:
		mode = kinds.PrometheusTLSDisabled
	}
	switch {
	case mode == kinds.PrometheusActiveMTLS && b.in.Mesh.MTLS:
		m.TLS = "mesh"
		m.ServerTLS = &ir.ServerTLS{Mesh: b.in.ID.Mesh, Mode: ir.TLSStrict}
	case mode == kinds.PrometheusProvidedTLS && b.in.Node.MetricsCert != "" && b.in.Node.MetricsKey != "":
		m.TLS = "files"
		m.CertPath, m.KeyPath = b.in.Node.MetricsCert, b.in.Node.MetricsKey
	}
}
