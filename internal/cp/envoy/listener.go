package envoy

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

// tagsKey is the metadata namespace of tags on listeners.
const tagsKey = "io.kuma.tags"

const filterTLSInspector = "envoy.filters.listener.tls_inspector"

// hostPort joins an address and a port as names of listeners do.
func hostPort(address string, port uint32) string {
	return net.JoinHostPort(address, strconv.FormatUint(uint64(port), 10))
}

// newListener returns a listener without filter chains. Incoming ones are not
// shared among workers by the kernel, so that a draining proxy loses nothing.
func newListener(name string, address string, port uint32, direction core.TrafficDirection) *listener.Listener {
	l := &listener.Listener{Name: name, Address: socketAddress(address, port), TrafficDirection: direction}
	if direction == core.TrafficDirection_INBOUND {
		l.EnableReusePort = wrapperspb.Bool(false)
	}
	return l
}

// portListener is a listener for a port of the workload.
func portListener(name string, p *ir.Listener, direction core.TrafficDirection) *listener.Listener {
	l := newListener(name, p.Address, p.Port, direction)
	if !p.Bind {
		l.BindToPort = wrapperspb.Bool(false)
	}
	l.Metadata = &core.Metadata{FilterMetadata: map[string]*structpb.Struct{tagsKey: tagStruct(p.Tags)}}
	return l
}

func addInbounds(l *list, p *ir.Proxy) error {
	logs := logSocket(p)
	for _, in := range p.Inbounds {
		err := l.share(originInbound, xds.Cluster, in.Local.Name, func() (message, error) { return clusterOf(&in.Local) }, &in.Local)
		if err != nil {
			return err
		}
		name := "inbound:" + hostPort(in.Address, in.Port)
		err = l.share(originInbound, xds.Listener, name, func() (message, error) { return inboundListener(name, in, p.InternalCIDRs, logs) }, in, p.InternalCIDRs, logs)
		if err != nil {
			return fmt.Errorf("inbound %s: %w", hostPort(in.Address, in.Port), err)
		}
	}
	return nil
}

// inboundListener serves an inbound; cidrs are the mesh's own addresses, logs is
// the socket of kuma-dp.
func inboundListener(name string, in *ir.Inbound, cidrs []string, logs string) (*listener.Listener, error) {
	out := portListener(name, &in.Listener, core.TrafficDirection_INBOUND)
	for _, kind := range inboundChains(in.TLS) {
		chain, err := inboundChain(in, name, kind.secured, cidrs, logs)
		if err != nil {
			return nil, err
		}
		chain.FilterChainMatch = kind.match
		out.FilterChains = append(out.FilterChains, chain)
	}
	if in.TLS != nil && in.Access != nil && (in.HTTP == nil || in.Access.Network) {
		log, err := deniedLog(filterNetworkRBAC, deniedAt(in))
		if err != nil {
			return nil, err
		}
		out.AccessLog = append(out.AccessLog, log)
	}
	if in.TLS != nil && in.TLS.Mode == ir.TLSPermissive {
		f, err := listenerFilter(filterTLSInspector, &tlsinspector.TlsInspector{})
		if err != nil {
			return nil, err
		}
		out.ListenerFilters = append(out.ListenerFilters, f)
		if in.HTTP == nil { // the server may speak first: then there is nothing to tell by
			out.ListenerFiltersTimeout = durationpb.New(silence)
			out.ContinueOnListenerFiltersTimeout = true
		}
	}
	return out, nil
}

// silence is after how long a connection of which nothing came counts as plain
// text: who speaks TLS speaks first.
const silence = time.Second

// chainKind is one of the ways in which clients may talk to an inbound.
type chainKind struct {
	match   *listener.FilterChainMatch
	secured bool
}

// inboundChains lists the ways in. Permissive ones accept plain text, TLS of the
// application (passed through), and the mesh's TLS, told apart by its ALPN.
func inboundChains(t *ir.ServerTLS) []chainKind {
	if t == nil {
		return []chainKind{{}}
	}
	if t.Mode != ir.TLSPermissive {
		return []chainKind{{secured: true}}
	}
	return []chainKind{
		{match: &listener.FilterChainMatch{TransportProtocol: "raw_buffer"}},
		{match: &listener.FilterChainMatch{TransportProtocol: "tls"}},
		{match: &listener.FilterChainMatch{TransportProtocol: "tls", ApplicationProtocols: []string{meshALPN}}, secured: true},
	}
}

func inboundChain(in *ir.Inbound, name string, secured bool, cidrs []string, logs string) (*listener.FilterChain, error) {
	stat := fmt.Sprintf("localhost_%d", in.WorkloadPort)
	s := side{inbound: true, stat: stat, route: "inbound:" + in.Service, host: in.Service, cidrs: cidrs, logs: logs}
	if !secured {
		filters, err := networkFilters(&in.Listener, s)
		return &listener.FilterChain{Filters: filters}, err
	}
	filters, err := guardedFilters(in, s, statName(name)+".")
	if err != nil {
		return nil, err
	}
	tls, err := downstreamTLS(in.TLS)
	return &listener.FilterChain{Filters: filters, TransportSocket: tls}, err
}

// guardedFilters returns the filters of a chain with those that decide who may use
// it: for each request where requests can be told apart, else for each connection,
// with statistics under stat.
func guardedFilters(in *ir.Inbound, s side, stat string) ([]*listener.Filter, error) {
	if in.Access == nil {
		return networkFilters(&in.Listener, s)
	}
	if in.HTTP != nil && !in.Access.Network {
		log, err := deniedLog(filterHTTPRBAC, deniedAt(in))
		if err != nil {
			return nil, err
		}
		s.access, s.denied = in.Access, log
		return networkFilters(&in.Listener, s)
	}
	guard, err := networkRBAC(in.Access, stat)
	if err != nil {
		return nil, err
	}
	filters, err := networkFilters(&in.Listener, s)
	return append([]*listener.Filter{guard}, filters...), err
}

func addOutbounds(l *list, p *ir.Proxy) error {
	for _, o := range p.Outbounds {
		name := "outbound:" + hostPort(o.Address, o.Port)
		s := side{stat: statName(o.Stat), route: o.RouteName, host: o.Stat, cidrs: p.InternalCIDRs}
		// The socket is the proxy's own, so it counts only where it is used.
		if slices.ContainsFunc(o.AccessLogs, func(x ir.AccessLog) bool { return x.TCP != "" }) {
			s.logs = logSocket(p)
		}
		err := l.share(originOutbound, xds.Listener, name, func() (message, error) { return outboundListener(name, o, s) }, o, s.cidrs, s.logs)
		if err != nil {
			return fmt.Errorf("outbound %s: %w", hostPort(o.Address, o.Port), err)
		}
	}
	return nil
}

func outboundListener(name string, o *ir.Outbound, s side) (message, error) {
	msg := portListener(name, &o.Listener, core.TrafficDirection_OUTBOUND)
	filters, err := networkFilters(&o.Listener, s)
	if err != nil {
		return nil, err
	}
	msg.FilterChains = []*listener.FilterChain{{Filters: filters}}
	return msg, nil
}

func listenerFilter(name string, m message) (*listener.ListenerFilter, error) {
	packed, err := pack(m)
	if err != nil {
		return nil, err
	}
	return &listener.ListenerFilter{Name: name, ConfigType: &listener.ListenerFilter_TypedConfig{TypedConfig: packed}}, nil
}

func networkFilter(name string, m message) (*listener.Filter, error) {
	packed, err := pack(m)
	if err != nil {
		return nil, fmt.Errorf("filter %s: %w", name, err)
	}
	return &listener.Filter{Name: name, ConfigType: &listener.Filter_TypedConfig{TypedConfig: packed}}, nil
}
