package explain

import (
	"fmt"
	"slices"
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// forward tells of the clusters, their endpoints and the proxies there. to is
// what the outbound leads to.
func (a *Answer) forward(s Subject, x *policy.Explanation, to ir.Destination, splits []ir.Split, w World) error {
	some, allowed := false, false
	for _, sp := range shares(splits) {
		i := slices.IndexFunc(s.Proxy.Clusters, func(c *ir.Cluster) bool { return c.Name == sp.Cluster })
		if i < 0 {
			continue
		}
		c := s.Proxy.Clusters[i]
		out := Cluster{Name: c.Name, Percent: sp.Percent, TLS: tlsText(c.TLS), Destination: destinationOf(c.Destination), Policies: []policy.Verdict{}, Endpoints: []Endpoint{}}
		if c.Endpoints != nil {
			out.Tags = c.Endpoints.Subset
		}
		if c.Destination != to {
			out.Policies = list(x.Clusters[i])
		}
		var endpoints []ir.Endpoint
		endpoints, out.LeftOut = endpointsOf(s, c, w.Tables)
		for _, e := range endpoints {
			out.Endpoints = append(out.Endpoints, Endpoint{e.Address, e.Port, e.Zone, e.SubZone, e.Priority, e.Weight})
		}
		var err error
		if out.Servers, err = serversOf(s, c, endpoints, w); err != nil {
			return err
		}
		some = some || len(endpoints) > 0 || c.OriginalDestination
		allowed = allowed || len(out.Servers) == 0 || slices.ContainsFunc(out.Servers, func(v Server) bool { return v.Allowed })
		a.Clusters = append(a.Clusters, out)
	}
	switch {
	case !some && a.Route == nil:
		a.Outcome, a.Why = Refused, "the destination has no endpoint that may be used now; the connection is closed"
	case !some:
		a.Outcome, a.Why = Refused, "the destination has no endpoint that may be used now; the proxy answers 503"
	case !allowed:
		a.Outcome, a.Why = Refused, "it reaches the destination, whose proxy refuses it"
	}
	return nil
}

func tlsText(t *ir.ClientTLS) string {
	switch {
	case t == nil:
		return "plain text"
	case t.MeshIdentity:
		return "mutual TLS of mesh " + t.Mesh
	case len(t.PerTags) > 0 || t.External != nil:
		return "TLS"
	}
	return "plain text"
}

// serversOf asks the proxies at the endpoints.
func serversOf(s Subject, c *ir.Cluster, endpoints []ir.Endpoint, w World) ([]Server, error) {
	where := map[at]bool{}
	for _, e := range endpoints {
		where[at{e.Address, e.Port}] = true
	}
	if c.Destination.External {
		return egressesOf(s, c, where, w), nil
	}
	if c.Destination.Mesh != s.Proxy.ID.Mesh {
		return nil, nil
	}
	selects := selector(c, w.Tables)
	var out []Server
	for _, row := range w.Tables.Table(kinds.Dataplane, s.Proxy.ID.Mesh).Rows() {
		spec := model.Spec[kinds.DataplaneSpec](row.Object)
		inbounds := spec.Inbounds()
		for i := range inbounds {
			in := &inbounds[i]
			if len(out) == maxServers || !where[at{spec.EndpointAddress(in), in.Port}] || selects != nil && !selects(row.Meta.Name, in) {
				continue
			}
			far, is, err := w.Proxies(row.Meta.Name)
			if err != nil {
				return nil, err
			}
			if !is {
				continue
			}
			if v, has := serverOf(s, c, far, in); has {
				out = append(out, v)
			}
		}
	}
	return out, nil
}

// egressesOf asks the egresses at the endpoints; clients tell them by SNI where they
// want to go.
func egressesOf(client Subject, c *ir.Cluster, where map[at]bool, w World) []Server {
	if w.Egress == nil || c.TLS == nil || !c.TLS.MeshIdentity {
		return nil
	}
	var out []Server
	for _, row := range w.Tables.Table(kinds.ZoneEgress, "").Rows() {
		n := model.Spec[kinds.ZoneEgressSpec](row.Object).Networking
		if n == nil || !where[at{n.Address, n.Port}] || len(out) == maxServers {
			continue
		}
		far, is := w.Egress(row.Meta.Name)
		if !is {
			continue
		}
		v := Server{Proxy: row.Meta.Name, Port: n.Port, TLS: string(ir.TLSStrict), Policies: []policy.Verdict{}, Egress: true, Why: "it leads to no such service"}
		for _, chain := range far.Passage.Chains {
			if slices.Contains(chain.ServerNames, c.TLS.SNI) {
				v.Allowed, v.Why = letOut(client.Proxy, c.Destination, chain.In)
				v.LeadsTo = behind(far, chain)
			}
		}
		out = append(out, v)
	}
	return out
}

// letOut tells whether an egress lets a client use a service.
func letOut(client *ir.Proxy, d ir.Destination, in *ir.Inbound) (bool, string) {
	if d.Kind == kinds.MeshExternalService.Name {
		if len(in.Access.Allow) == 0 {
			return false, "the Mesh closes all MeshExternalServices (routing.defaultForbidMeshExternalServiceAccess)"
		}
		return true, "members of the mesh may use all MeshExternalServices"
	}
	by := ""
	if n := len(in.Access.Origins); n > 0 {
		by = in.Access.Origins[n-1].Kind + " " + in.Access.Origins[n-1].Name
	}
	allowed, why := admitted(client, in, by)
	if !allowed && len(in.Access.Origins) == 0 {
		why = "no permission is about this service, and without one the egress lets nobody use it; write a MeshTrafficPermission that selects its tags"
	}
	return allowed, why
}

// behind returns where a chain of an egress leads.
func behind(far *ir.Proxy, chain *ir.Chain) []Endpoint {
	var splits []ir.Split
	if chain.In.HTTP != nil {
		splits = chain.In.HTTP.Routes[0].Splits
	} else {
		splits = chain.In.TCP.Splits
	}
	var out []Endpoint
	for _, c := range far.Clusters {
		if c.Name != splits[0].Cluster {
			continue
		}
		for _, e := range c.Static {
			out = append(out, Endpoint{e.Address, e.Port, e.Zone, e.SubZone, e.Priority, e.Weight})
		}
	}
	return out
}

// serverOf says what the proxy at an inbound does with the client's traffic.
func serverOf(client Subject, c *ir.Cluster, far Subject, in *kinds.Inbound) (Server, bool) {
	i := slices.IndexFunc(far.Proxy.Inbounds, func(x *ir.Inbound) bool { return x.Port == in.Port && x.Service == in.Service() })
	if i < 0 {
		return Server{}, false
	}
	port := far.Proxy.Inbounds[i]
	v := verdicts(far).Inbounds[i]
	out := Server{Proxy: far.Proxy.ID.Name, Port: port.Port, TLS: "off", Policies: list(v.All)}
	if port.TLS != nil {
		out.TLS = string(port.TLS.Mode)
	}
	for k := range v.Clients {
		if verdict, is := v.Clients[k].For(client.Proxy.Tags); is {
			out.Policies = append(out.Policies, verdict)
		}
	}
	if l := far.Inputs.Legacy; l != nil {
		out.Older = olderOn(port, l, in.Tags)
	}
	secured := c.TLS != nil && c.TLS.MeshIdentity
	switch {
	case port.TLS == nil:
		out.Allowed, out.Why = true, "without mutual TLS everybody may connect"
	case !secured && port.TLS.Mode == ir.TLSStrict:
		out.Why = "it takes mutual TLS only, and this is sent in plain text"
	case !secured:
		out.Allowed, out.Why = true, "plain text is let in, and permissions do not count for it (PERMISSIVE)"
	default:
		out.Allowed, out.Why = admitted(client.Proxy, port, permission(port, out.Policies))
	}
	return out, true
}

// permission names the rule that decided about a client, "" if none did.
func permission(in *ir.Inbound, verdicts []policy.Verdict) string {
	for _, v := range verdicts {
		if v.Kind == "MeshTrafficPermission" && !v.Unused {
			by := v.Values[0].From[len(v.Values[0].From)-1]
			return fmt.Sprintf("%s %s, %s", by.Kind, by.Name, strings.TrimSuffix(by.Path, ".default"))
		}
	}
	if in.Access != nil && len(in.Access.Origins) > 0 && in.Access.Origins[0].Kind == legacy.TrafficPermission.Name {
		o := in.Access.Origins[0]
		return o.Kind + " " + o.Name
	}
	return ""
}

// admitted tells whether an inbound lets in a client that proves who it is. by
// is the rule that decided.
func admitted(client *ir.Proxy, in *ir.Inbound, by string) (bool, string) {
	if in.Access == nil {
		return true, "nothing restricts who may connect"
	}
	names := identities(client)
	among := func(ps []ir.Principal) bool {
		return slices.ContainsFunc(ps, func(p ir.Principal) bool { return holds(p, names) })
	}
	switch allowed := among(in.Access.Allow); {
	case allowed && among(in.Access.ShadowDeny):
		return true, "allowed by " + by + ", which would deny it if it were not only tried out (AllowWithShadowDeny)"
	case allowed:
		return true, "allowed by " + by
	case len(in.Access.Origins) == 0:
		return false, "no permission is about this inbound, and without one nobody may connect; write a MeshTrafficPermission"
	case by == "" || in.Access.Origins[0].Kind == legacy.TrafficPermission.Name:
		return false, "no permission for this inbound names this client"
	}
	return false, "denied by " + by
}

// identities returns the names in the certificate of a proxy.
func identities(p *ir.Proxy) []string {
	var out []string
	for _, id := range p.Identities {
		for _, s := range id.Services {
			out = append(out, "spiffe://"+id.Mesh+"/"+s)
		}
	}
	for k, values := range p.Tags {
		for _, v := range values {
			out = append(out, "kuma://"+k+"/"+v)
		}
	}
	return out
}
