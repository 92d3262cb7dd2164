package explain

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Request is what a workload sends.
type Request struct {
	// To is where to: a URL, host:port, a DNS name, an address, or the name of a
	// service. The path and query of a URL are those of the request.
	To      string
	Method  string // GET if empty
	Headers http.Header
}

// Outcome says what becomes of a request.
type Outcome string

// The outcomes.
const (
	Forwarded   Outcome = "forwarded"    // to an endpoint of the mesh or outside
	Redirected  Outcome = "redirected"   // the client gets another address
	Answered    Outcome = "answered"     // the proxy answers itself
	Refused     Outcome = "refused"      // by a policy, or since nothing is there
	PassedOn    Outcome = "passed on"    // leaves the mesh as it is
	NotCaptured Outcome = "not captured" // does not go through the proxy
)

// Answer explains what becomes of a request.
type Answer struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Outcome Outcome `json:"outcome"`
	// Why says it in a sentence.
	Why string `json:"why"`
	// Outbound caught the request; nil if none did.
	Outbound *Caught `json:"outbound,omitempty"`
	// Path is the request's as routes see it, Route the one that was taken;
	// Skipped came before it. Only with HTTP.
	Path    string    `json:"path,omitempty"`
	Route   *Route    `json:"route,omitempty"`
	Skipped []Skipped `json:"skipped,omitempty"`
	// Policies are those of the destination on the client's side.
	Policies []policy.Verdict `json:"policies"`
	Older    []Named          `json:"older,omitempty"`
	Clusters []Cluster        `json:"clusters,omitempty"`
}

// Caught is the outbound that a request goes through.
type Caught struct {
	Name        string      `json:"name,omitempty"` // the DNS name that led here
	Address     string      `json:"address"`
	Port        uint32      `json:"port"`
	Destination Destination `json:"destination"`
	Protocol    string      `json:"protocol"`
}

// Cluster is a group of endpoints that may get the request.
type Cluster struct {
	Name    string  `json:"name"`
	Percent float64 `json:"percent"`
	// TLS says how connections are secured.
	TLS       string           `json:"tls"`
	Policies  []policy.Verdict `json:"policies"`
	Endpoints []Endpoint       `json:"endpoints"`
	// Servers say what those at the endpoints do with the request, as far as they
	// are proxies of this mesh; of many only some are asked.
	Servers []Server `json:"servers,omitempty"`
}

// Endpoint is one of a cluster.
type Endpoint struct {
	Address  string `json:"address"`
	Port     uint32 `json:"port"`
	Zone     string `json:"zone,omitempty"`
	Priority uint32 `json:"priority"`
	Weight   uint32 `json:"weight"`
}

// Server is the proxy at an endpoint.
type Server struct {
	Proxy    string           `json:"proxy"`
	Port     uint32           `json:"port"`
	TLS      string           `json:"tls"`
	Allowed  bool             `json:"allowed"`
	Why      string           `json:"why"`
	Policies []policy.Verdict `json:"policies"`
	Older    []Named          `json:"older,omitempty"`
}

// Proxies finds the proxies at endpoints. It returns false for names that are no
// proxies of the mesh.
type Proxies func(name string) (Subject, bool, error)

// maxServers bounds how many proxies of a cluster are asked.
const maxServers = 3

// OfRequest explains what becomes of a request that the workload of a proxy
// sends. dataplanes are those of the mesh.
func OfRequest(s Subject, q Request, dataplanes *model.Table, proxies Proxies) (*Answer, error) {
	t, bad := parse(q.To)
	if bad != nil {
		return nil, bad
	}
	a := &Answer{From: s.Proxy.ID.Name, To: q.To, Policies: []policy.Verdict{}}
	x := verdicts(s)
	i, name, why := catch(s, t)
	if i < 0 {
		escape(a, s, t, x, why)
		return a, nil
	}
	o := s.Proxy.Outbounds[i]
	a.Outbound = &Caught{Name: name, Address: o.Address, Port: o.Port, Destination: destinationOf(o.Destination), Protocol: protocol(o.Protocol)}
	a.Policies = list(x.Outbounds[i].Destination)
	if l := s.Inputs.Legacy; l != nil && o.Destination.Kind == "" {
		a.Older = named(append(l.OnOutbound(o.Destination.Name), l.OnService(o.Destination.Name)...))
	}
	var splits []ir.Split
	if o.HTTP != nil {
		splits = a.request(o, &x.Outbounds[i], t, q)
	} else {
		splits = o.TCP.Splits
		a.Outcome, a.Why = Forwarded, "the connection goes to the destination"
		if len(splits) == 0 {
			a.Outcome, a.Why = Refused, "nothing to send to is known; the connection is closed"
		}
	}
	if a.Outcome != Forwarded {
		return a, nil
	}
	return a, a.forward(s, x, splits, dataplanes, proxies)
}

// target is where a request goes.
type target struct {
	host string
	port uint32 // 0 = not said
	// implied: the port is only that of the URL's scheme.
	implied bool
	path    string
	url     *url.URL
}

// TargetError says that where a request goes is not understood.
type TargetError struct{ Reason string }

func (e *TargetError) Error() string { return "to: " + e.Reason }

func parse(to string) (*target, *TargetError) {
	if to == "" {
		return nil, &TargetError{"say where the request goes: a URL, host:port, a DNS name or the name of a service"}
	}
	u := &url.URL{Host: to}
	rest, text, full := to, "//"+to, false
	if scheme, after, is := strings.Cut(to, "://"); is && !strings.ContainsAny(scheme, "/?#") {
		rest, text, full = after, to, true
	}
	path := ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 { // as it is written, which url.URL does not keep
		path, _, _ = strings.Cut(rest[i:], "#")
		path, _, _ = strings.Cut(path, "?")
		full = true
	}
	if full {
		var err error
		if u, err = url.Parse(text); err != nil {
			return nil, &TargetError{fmt.Sprintf("%q is no URL", to)}
		}
	}
	t := &target{host: u.Hostname(), path: cmp.Or(path, "/"), url: u}
	if net.ParseIP(to) != nil { // IPv6 without brackets
		t.host = to
		return t, nil
	}
	switch p := u.Port(); {
	case p != "":
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return nil, &TargetError{fmt.Sprintf("%q has no valid port: it is a number from 1 to 65535", to)}
		}
		t.port = uint32(n)
	case u.Scheme == "http":
		t.port, t.implied = 80, true
	case u.Scheme == "https":
		t.port, t.implied = 443, true
	}
	if t.host == "" {
		return nil, &TargetError{fmt.Sprintf("%q names no host", to)}
	}
	return t, nil
}

// catch returns the index of the outbound that gets the traffic, with the name
// that led to it. Without one it is -1, and why says what there is instead.
func catch(s Subject, t *target) (i int, name, why string) {
	addresses := map[string]bool{t.host: true}
	if d := s.Proxy.DNS; d != nil {
		for _, x := range d.Domains {
			if strings.EqualFold(x.Name, strings.TrimSuffix(t.host, ".")) {
				name = x.Name
				for _, a := range x.Addresses {
					addresses[a] = true
				}
			}
		}
	}
	byName := -1
	var ports []string
	for i, o := range s.Proxy.Outbounds {
		here := addresses[o.Address] || (o.Address == "127.0.0.1" && t.host == "localhost")
		switch {
		case here && (t.port == o.Port || t.port == 0):
			return i, name, ""
		case here:
			ports = append(ports, strconv.Itoa(int(o.Port)))
		case byName < 0 && (o.Destination.Name == t.host || o.Destination.Display == t.host) && (t.port == 0 || t.implied || t.port == o.Port || t.port == o.Destination.Port):
			byName = i
		}
	}
	switch {
	case byName >= 0 && len(ports) == 0:
		return byName, "", ""
	case len(ports) > 0:
		return -1, name, fmt.Sprintf("%s is known on port %s only", t.host, strings.Join(ports, ", "))
	case name != "":
		return -1, name, fmt.Sprintf("%s has an address, but this proxy has no port for it", t.host)
	}
	return -1, "", fmt.Sprintf("%s is no name or address of the mesh on this proxy", t.host)
}

// escape says what becomes of traffic that no outbound catches.
func escape(a *Answer, s Subject, t *target, x *policy.Explanation, why string) {
	tr := s.Proxy.Transparent
	if tr == nil {
		a.Outcome, a.Why = NotCaptured, why+"; without transparent proxying it does not go through the proxy at all"
		return
	}
	for _, d := range s.Proxy.DirectAccess {
		if d.Address == t.host && (t.port == 0 || d.Port == t.port) {
			a.Outcome, a.Why = Forwarded, "it is the address of a proxy that may be called directly (directAccessServices)"
			return
		}
	}
	a.Policies = append(list(x.Passthrough), x.Proxy...)
	switch {
	case tr.Passthrough && tr.Matches == nil:
		a.Outcome, a.Why = PassedOn, why+"; what is not of the mesh may leave it"
	case slices.ContainsFunc(tr.Matches, func(m ir.PassthroughMatch) bool { return passes(m, t) }):
		a.Outcome, a.Why = PassedOn, why+"; a MeshPassthrough allows it"
	case tr.Matches != nil:
		a.Outcome, a.Why = Refused, why+"; no match of the MeshPassthrough allows it"
	default:
		a.Outcome, a.Why = Refused, why+"; the mesh or a MeshPassthrough forbids to leave it"
	}
}

// passes tells whether a match of MeshPassthrough is for a target.
func passes(m ir.PassthroughMatch, t *target) bool {
	if m.Port != 0 && t.port != 0 && m.Port != t.port {
		return false
	}
	switch m.Type {
	case "CIDR":
		p, err := netip.ParsePrefix(m.Value)
		a, aerr := netip.ParseAddr(t.host)
		return err == nil && aerr == nil && p.Contains(a)
	case "Domain":
		if tail, wild := strings.CutPrefix(m.Value, "*"); wild {
			return strings.HasSuffix(t.host, tail) && len(t.host) > len(tail)
		}
	}
	return m.Value == t.host
}

// request takes a route and returns where it leads.
func (a *Answer) request(o *ir.Outbound, v *policy.OutboundVerdicts, t *target, q Request) []ir.Split {
	m, bad := messageOf(o.HTTP, t, q)
	if bad != "" {
		a.Outcome, a.Why = Refused, bad+"; the proxy answers 400"
		return nil
	}
	a.Path = m.path
	i, skipped := matchRoute(o.HTTP.Routes, m)
	a.Skipped = skipped
	if i < 0 {
		a.Outcome, a.Why = Refused, "no route matches; the proxy answers 404"
		return nil
	}
	r := o.HTTP.Routes[i]
	a.Route = &Route{Match: matchText(r.Match), Action: action(r), Splits: shares(r.Splits)}
	if v.Routes != nil {
		a.Route.Policies = v.Routes[i]
	}
	switch {
	case r.Redirect != nil:
		a.Outcome, a.Why = Redirected, "the route tells the client another address"
	case r.Respond != nil:
		a.Outcome, a.Why = Answered, fmt.Sprintf("the route answers %d by itself", r.Respond.StatusCode)
	case len(r.Splits) == 0:
		a.Outcome, a.Why = Refused, "the route leads nowhere; the proxy answers 503"
	default:
		a.Outcome, a.Why = Forwarded, "the route sends it on"
	}
	return r.Splits
}

// forward tells of the clusters, their endpoints and the proxies there.
func (a *Answer) forward(s Subject, x *policy.Explanation, splits []ir.Split, dataplanes *model.Table, proxies Proxies) error {
	some, allowed := false, false
	for _, sp := range shares(splits) {
		i := slices.IndexFunc(s.Proxy.Clusters, func(c *ir.Cluster) bool { return c.Name == sp.Cluster })
		if i < 0 {
			continue
		}
		c := s.Proxy.Clusters[i]
		out := Cluster{Name: c.Name, Percent: sp.Percent, TLS: tlsText(c.TLS), Policies: list(x.Clusters[i]), Endpoints: []Endpoint{}}
		endpoints := c.Static
		if c.Endpoints != nil {
			endpoints = s.Endpoints(*c.Endpoints)
		}
		for _, e := range endpoints {
			out.Endpoints = append(out.Endpoints, Endpoint{e.Address, e.Port, e.Zone, e.Priority, e.Weight})
		}
		var err error
		if out.Servers, err = serversOf(s, c, endpoints, dataplanes, proxies); err != nil {
			return err
		}
		some = some || len(endpoints) > 0
		allowed = allowed || len(out.Servers) == 0 || slices.ContainsFunc(out.Servers, func(v Server) bool { return v.Allowed })
		a.Clusters = append(a.Clusters, out)
	}
	switch {
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
func serversOf(s Subject, c *ir.Cluster, endpoints []ir.Endpoint, dataplanes *model.Table, proxies Proxies) ([]Server, error) {
	if c.Destination.External || c.Destination.Mesh != s.Proxy.ID.Mesh {
		return nil, nil
	}
	where := map[at]bool{}
	for _, e := range endpoints {
		where[at{e.Address, e.Port}] = true
	}
	var out []Server
	for _, row := range dataplanes.Rows() {
		spec := model.Spec[kinds.DataplaneSpec](row.Object)
		inbounds := spec.Inbounds()
		for i := range inbounds {
			in := &inbounds[i]
			if len(out) == maxServers || !where[at{spec.EndpointAddress(in), in.Port}] {
				continue
			}
			far, is, err := proxies(row.Meta.Name)
			if err != nil {
				return nil, err
			}
			if !is {
				continue
			}
			if v, has := serverOf(s, far, in); has {
				out = append(out, v)
			}
		}
	}
	return out, nil
}

// serverOf says what the proxy at an inbound does with the client's traffic.
func serverOf(client, far Subject, in *kinds.Inbound) (Server, bool) {
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
		out.Older = named(l.OnInbound(in.Tags))
	}
	out.Allowed, out.Why = admitted(client.Proxy, port)
	return out, true
}

// admitted tells whether an inbound lets a client in.
func admitted(client *ir.Proxy, in *ir.Inbound) (bool, string) {
	if in.Access == nil {
		return true, "without mutual TLS everybody may connect"
	}
	names := identities(client)
	if slices.ContainsFunc(in.Access.ShadowDeny, func(p ir.Principal) bool { return holds(p, names) }) &&
		slices.ContainsFunc(in.Access.Allow, func(p ir.Principal) bool { return holds(p, names) }) {
		return true, "allowed, but it would be denied by a rule that is being tried out (AllowWithShadowDeny)"
	}
	if slices.ContainsFunc(in.Access.Allow, func(p ir.Principal) bool { return holds(p, names) }) {
		return true, "a permission allows it"
	}
	if len(in.Access.Allow) == 0 {
		return false, "no permission allows anybody; write a MeshTrafficPermission"
	}
	return false, "no permission allows this client"
}

// identities returns the names in the certificate of a proxy.
func identities(p *ir.Proxy) []string {
	var out []string
	if p.Identity != nil {
		for _, s := range p.Identity.Services {
			out = append(out, "spiffe://"+p.Identity.Mesh+"/"+s)
		}
	}
	for k, values := range p.Tags {
		for _, v := range values {
			out = append(out, "kuma://"+k+"/"+v)
		}
	}
	return out
}
