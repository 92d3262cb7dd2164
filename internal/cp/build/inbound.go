package build

import (
	"fmt"
	"net/netip"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// What holds for inbounds where no policy says anything.
const (
	inboundConnect    = 10 * time.Second
	inboundIdle       = 2 * time.Hour
	inboundStreamIdle = time.Hour
)

// Source addresses that the kernel's redirection leaves alone, so that traffic
// to the workload is not sent back to the proxy.
const (
	sourceV4 = "127.0.0.6"
	sourceV6 = "::6"
)

func (b *builder) inbounds() {
	if a := b.spec.Address(); a != "" && !isIP(a) {
		b.p.Warnings = append(b.p.Warnings, ir.Warning{
			Kind: kinds.Dataplane.Name, Name: b.in.ID.Name,
			Message: "networking.address is the name " + a + ", on which Envoy cannot listen; give an IP address",
		})
	}
	for i := range b.spec.Inbounds() {
		in := &b.spec.Networking.Inbound[i]
		if in.Port == model.ServicelessPort {
			continue // a workload that no service selects has an identity, but no port
		}
		b.p.Inbounds = append(b.p.Inbounds, b.inbound(in))
	}
	b.tellApart()
}

func (b *builder) inbound(in *kinds.Inbound) *ir.Inbound {
	protocol := effective(ir.ParseProtocol(in.Tags[model.TagProtocol]))
	out := &ir.Inbound{
		Listener: ir.Listener{
			Address: b.spec.ListenAddress(in), Port: in.Port, Bind: !b.spec.IsTransparent(),
			Tags: in.Tags, Protocol: protocol, Kafka: protocol == ir.ProtocolKafka,
		},
		Name: in.Name, Service: in.Service(),
		WorkloadAddress: b.spec.WorkloadAddress(in), WorkloadPort: in.WorkloadPort(),
	}
	if b.spec.IsTransparent() {
		out.SourceAddress = sourceFor(out.WorkloadAddress)
	}
	out.Local = b.localCluster(out)
	if protocol.HTTPLike() {
		out.HTTP = &ir.HTTP{
			IdleTimeout: ptr(inboundIdle), StreamIdleTimeout: ptr(inboundStreamIdle), GRPCStats: protocol == ir.ProtocolGRPC,
			Routes: []*ir.Route{{
				Match: ir.Match{Prefix: "/"}, Timeout: ptr(time.Duration(0)),
				Splits: []ir.Split{{Cluster: out.Local.Name}},
			}},
		}
	} else {
		out.TCP = &ir.TCP{IdleTimeout: ptr(inboundIdle), Splits: []ir.Split{{Cluster: out.Local.Name}}}
	}
	if b.in.Mesh.MTLS {
		out.TLS = &ir.ServerTLS{Mesh: b.in.ID.Mesh, Mode: b.in.Mesh.TLSMode}
		out.Access = &ir.Access{} // nobody, until a permission says otherwise
	}
	return out
}

// localCluster leads to the workload behind an inbound.
func (b *builder) localCluster(in *ir.Inbound) ir.Cluster {
	c := ir.Cluster{
		Name:           fmt.Sprintf("localhost:%d", in.WorkloadPort),
		Destination:    ir.Destination{Mesh: b.in.ID.Mesh, Name: in.Service},
		Protocol:       in.Protocol,
		Static:         []ir.Endpoint{{Address: in.WorkloadAddress, Port: in.WorkloadPort}},
		DNS:            !isIP(in.WorkloadAddress),
		DNSIPv6:        b.in.Node.IPv6,
		HTTP1:          in.Protocol == ir.ProtocolHTTP,
		HTTP2:          in.Protocol == ir.ProtocolHTTP2 || in.Protocol == ir.ProtocolGRPC,
		SourceAddress:  in.SourceAddress,
		ConnectTimeout: ptr(inboundConnect),
	}
	if in.Protocol.HTTPLike() {
		c.IdleTimeout = ptr(inboundIdle)
	}
	return c
}

// tellApart gives clusters of one workload port names of their own where they
// lead to different places or speak different protocols. 2.10 lets the last one
// win, so that the other inbounds reach the wrong workload.
func (b *builder) tellApart() {
	type talk struct {
		address string
		port    uint32
		http1   bool
		http2   bool
	}
	first := map[string]talk{}
	for _, in := range b.p.Inbounds {
		t := talk{in.WorkloadAddress, in.WorkloadPort, in.Local.HTTP1, in.Local.HTTP2}
		other, taken := first[in.Local.Name]
		if !taken {
			first[in.Local.Name] = t
			continue
		}
		if other == t {
			continue
		}
		name := in.Local.Name
		if other.address != t.address {
			name += ":" + t.address
		}
		if _, taken := first[name]; taken || other.address == t.address {
			name += ":" + protocolName(in.Protocol)
		}
		first[name] = t
		in.Local.Name = name
		if in.HTTP != nil {
			in.HTTP.Routes[0].Splits[0].Cluster = name
		} else {
			in.TCP.Splits[0].Cluster = name
		}
	}
}

func protocolName(p ir.Protocol) string {
	if p == ir.ProtocolUnknown {
		return string(ir.ProtocolTCP)
	}
	return string(p)
}

// effective is the protocol by which a port is handled: an application's TLS is
// bytes, and other protocols are not understood.
func effective(p ir.Protocol) ir.Protocol {
	if p == ir.ProtocolTLS || p == ir.ProtocolMySQL {
		return ir.ProtocolTCP
	}
	return p
}

func sourceFor(workload string) string {
	ip, err := netip.ParseAddr(workload)
	switch {
	case err != nil:
		return sourceV4
	case ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || ip == netip.IPv6Loopback():
		return ""
	case ip.Is4():
		return sourceV4
	}
	return sourceV6
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func isIPv6Prefix(s string) bool {
	p, err := netip.ParsePrefix(s)
	return err == nil && !p.Addr().Is4()
}

func ptr[T any](v T) *T { return &v }
