package envoy

import (
	"encoding/json"
	"fmt"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	directresponse "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/direct_response/v3"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

const filterDirectResponse = "envoy.filters.network.direct_response"

// addPassage serves the port of a zone proxy.
func addPassage(l *list, p *ir.Proxy) error {
	if p.Passage == nil || p.Passage.Address == "" {
		return nil
	}
	name := "inbound:" + hostPort(p.Passage.Address, p.Passage.Port)
	msg, err := passageListener(name, p)
	if err != nil {
		return fmt.Errorf("listener %s: %w", name, err)
	}
	l.add(originEgress, xds.Listener, name, msg)
	return nil
}

func passageListener(name string, p *ir.Proxy) (*listener.Listener, error) {
	out := newListener(name, p.Passage.Address, p.Passage.Port, core.TrafficDirection_INBOUND)
	if len(p.Passage.Chains) == 0 {
		f, err := introduction(p)
		out.FilterChains = []*listener.FilterChain{{Filters: []*listener.Filter{f}}}
		return out, err
	}
	inspector, err := listenerFilter(filterTLSInspector, &tlsinspector.TlsInspector{})
	if err != nil {
		return nil, err
	}
	out.ListenerFilters = []*listener.ListenerFilter{inspector}
	guarded := false
	for _, c := range p.Passage.Chains {
		chain, err := passageChain(c, statName(name)+".", p.InternalCIDRs)
		if err != nil {
			return nil, err
		}
		out.FilterChains = append(out.FilterChains, chain)
		guarded = guarded || c.In.Access != nil && (c.In.HTTP == nil || c.In.Access.Network)
	}
	if guarded { // the log of a listener holds for all of its chains
		log, err := deniedLog(filterNetworkRBAC, map[string]string{
			"service": "%REQUESTED_SERVER_NAME%", "inbound": hostPort(p.Passage.Address, p.Passage.Port),
		})
		if err != nil {
			return nil, err
		}
		out.AccessLog = append(out.AccessLog, log)
	}
	return out, nil
}

// passageChain takes the connections for some names; stat prefixes the statistics of
// who may use it where the chain says nothing.
func passageChain(c *ir.Chain, stat string, cidrs []string) (*listener.FilterChain, error) {
	in := c.In
	if c.AccessStat != "" && in.Access != nil && in.Access.Network {
		stat = c.AccessStat
	}
	filters, err := guardedFilters(in, side{stat: c.Stat, route: c.Route, host: c.Host, cidrs: cidrs}, stat)
	if err != nil {
		return nil, err
	}
	out := &listener.FilterChain{
		Name: c.Name, Filters: filters,
		FilterChainMatch: &listener.FilterChainMatch{TransportProtocol: "tls", ServerNames: c.ServerNames},
	}
	if in.TLS != nil {
		out.TransportSocket, err = downstreamTLS(in.TLS)
	}
	return out, err
}

// introduction answers whoever connects to a proxy that leads nowhere yet.
func introduction(p *ir.Proxy) (*listener.Filter, error) {
	text, err := json.Marshal(struct {
		Proxy string `json:"proxy"`
		Zone  string `json:"zone"`
	}{p.ID.Mesh + "." + p.ID.Name, p.Zone})
	if err != nil {
		return nil, err
	}
	return networkFilter(filterDirectResponse, &directresponse.Config{Response: &core.DataSource{
		Specifier: &core.DataSource_InlineString{InlineString: string(text)},
	}})
}
