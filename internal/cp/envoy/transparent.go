package envoy

import (
	"fmt"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

// Source addresses that the kernel's redirection leaves alone, so that traffic
// to the workload is not sent back to the proxy.
const (
	sourceV4 = "127.0.0.6"
	sourceV6 = "::6"
)

// family is what the listeners of one IP family have in common.
type family struct{ suffix, any, source string }

// addTransparent adds listeners for redirected traffic.
func addTransparent(l *list, p *ir.Proxy) error {
	t := p.Transparent
	if t == nil {
		return nil
	}
	var families []family
	if t.IPv4 {
		families = append(families, family{"ipv4", "0.0.0.0", sourceV4})
	}
	if t.IPv6 {
		families = append(families, family{"ipv6", "::", sourceV6})
	}
	for _, f := range families {
		if err := addPassthrough(l, p, f); err != nil {
			return fmt.Errorf("passthrough of %s: %w", f.suffix, err)
		}
	}
	return nil
}

func addPassthrough(l *list, p *ir.Proxy, f family) error {
	out := "outbound:passthrough:" + f.suffix
	// Without its cluster the listener resets connections to where nothing of
	// the mesh is.
	if p.Transparent.Passthrough {
		l.add(originTransparent, xds.Cluster, out, originalDst(out, ""))
	}
	filter, err := tcpProxy(&ir.Listener{
		TCP:        &ir.TCP{Splits: []ir.Split{{Cluster: out}}},
		AccessLogs: p.Transparent.AccessLogs,
	}, side{stat: statName(out), logs: logSocket(p)})
	if err != nil {
		return err
	}
	msg := redirected(out, f.any, p.Transparent.OutboundPort, core.TrafficDirection_OUTBOUND, filter)
	if len(p.Transparent.Matches) > 0 {
		if err := addExits(l, p, msg, f.suffix == "ipv6"); err != nil {
			return err
		}
	}
	l.add(originTransparent, xds.Listener, out, msg)

	in := "inbound:passthrough:" + f.suffix
	l.add(originTransparent, xds.Cluster, in, originalDst(in, f.source))
	filter, err = plainTCP(statName(in), in)
	if err != nil {
		return err
	}
	l.add(originTransparent, xds.Listener, in,
		redirected(in, f.any, p.Transparent.InboundPort, core.TrafficDirection_INBOUND, filter))
	return nil
}

// redirected hands connections to the listener of where they were meant to go,
// and handles those itself that have none.
func redirected(name, address string, port uint32, d core.TrafficDirection, f *listener.Filter) *listener.Listener {
	out := newListener(name, address, port, d)
	out.UseOriginalDst = wrapperspb.Bool(true)
	out.FilterChains = []*listener.FilterChain{{Filters: []*listener.Filter{f}}}
	return out
}

// directName is the cluster to other proxies that are called by their address.
const directName = "direct_access"

func addDirectAccess(l *list, p *ir.Proxy) error {
	if len(p.DirectAccess) == 0 {
		return nil
	}
	c := originalDst(directName, "")
	if err := setUpstreamTLS(c, p.DirectTLS); err != nil {
		return fmt.Errorf("direct access: %w", err)
	}
	l.add(originDirect, xds.Cluster, directName, c)
	for _, d := range p.DirectAccess {
		name := directName + "_" + hostPort(d.Address, d.Port)
		f, err := tcpProxy(&ir.Listener{
			TCP:        &ir.TCP{Splits: []ir.Split{{Cluster: directName}}},
			AccessLogs: d.AccessLogs,
		}, side{stat: statName(name), logs: logSocket(p)})
		if err != nil {
			return fmt.Errorf("direct access to %s: %w", hostPort(d.Address, d.Port), err)
		}
		out := newListener(name, d.Address, d.Port, core.TrafficDirection_OUTBOUND)
		out.BindToPort = wrapperspb.Bool(false)
		out.FilterChains = []*listener.FilterChain{{Filters: []*listener.Filter{f}}}
		l.add(originDirect, xds.Listener, name, out)
	}
	return nil
}
