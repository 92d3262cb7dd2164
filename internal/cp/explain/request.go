package explain

import (
	"fmt"
	"net/http"

	"weft/internal/mesh/ir"
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
	TLS string `json:"tls"`
	// Destination and Tags say whose endpoints it has.
	Destination Destination `json:"destination"`
	Tags        string      `json:"tags,omitempty"`
	// Policies are those for its destination, if that is not the outbound's.
	Policies  []policy.Verdict `json:"policies"`
	Endpoints []Endpoint       `json:"endpoints"`
	// LeftOut are ports that would be endpoints, but are not used.
	LeftOut []LeftOut `json:"leftOut,omitempty"`
	// Servers say what those at the endpoints do with the request, as far as they
	// are proxies of this mesh or egresses; of many only some are asked.
	Servers []Server `json:"servers,omitempty"`
}

// Endpoint is one of a cluster.
type Endpoint struct {
	Address  string `json:"address"`
	Port     uint32 `json:"port"`
	Zone     string `json:"zone,omitempty"`
	SubZone  string `json:"subZone,omitempty"`
	Priority uint32 `json:"priority"` // 0 is first
	Weight   uint32 `json:"weight"`   // of the endpoint; 0 = as all others
}

// LeftOut is a port that is no endpoint.
type LeftOut struct {
	Proxy   string `json:"proxy,omitempty"`
	Address string `json:"address"`
	Port    uint32 `json:"port"`
	Because string `json:"because"`
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
	// Egress tells that it is the zone's egress, which sends what it accepts on to
	// LeadsTo, outside of the mesh.
	Egress  bool       `json:"egress,omitempty"`
	LeadsTo []Endpoint `json:"leadsTo,omitempty"`
}

// World is where the far ends of requests are looked up.
type World struct {
	Tables model.Tables
	// Proxies finds the proxies at endpoints. It returns false for names that are
	// no proxies of the mesh.
	Proxies func(name string) (Subject, bool, error)
	// Egress describes an egress of the zone as far as the mesh is concerned; nil =
	// they are not known. It returns false for names of none.
	Egress func(name string) (*ir.Proxy, bool)
}

// maxServers bounds how many proxies of a cluster are asked.
const maxServers = 3

// OfRequest explains what becomes of a request that the workload of a proxy
// sends.
func OfRequest(s Subject, q Request, w World) (*Answer, error) {
	t, bad := parse(q.To)
	if bad != nil {
		return nil, bad
	}
	a := &Answer{From: s.Proxy.ID.Name, To: q.To, Policies: []policy.Verdict{}}
	x := verdicts(s)
	c := catch(s, t)
	i := c.index
	if i < 0 {
		escape(a, s, t, x, c)
		return a, a.around(s, t, w)
	}
	o := s.Proxy.Outbounds[i]
	a.Outbound = &Caught{Name: c.name, Address: o.Address, Port: o.Port, Destination: destinationOf(o.Destination), Protocol: protocol(o.Protocol)}
	a.Policies = list(x.Outbounds[i].Destination)
	if l := s.Inputs.Legacy; l != nil && o.Destination.Kind == "" {
		a.Older = named(append(l.OnOutbound(o.Destination.Name), l.OnService(o.Destination.Name)...))
	}
	var splits []ir.Split
	if o.HTTP != nil && t.secured() {
		a.Outcome, a.Why = Refused, "the client speaks TLS, but here the proxy takes plain "+protocol(o.Protocol)+" and adds TLS itself; ask for http://"
		return a, nil
	}
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
	return a, a.forward(s, x, o.Destination, splits, w)
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
	a.Policies, a.Route.Policies = ofRoute(a.Policies, r)
	if v.Routes != nil {
		a.Route.Policies = append(a.Route.Policies, v.Routes[i]...)
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

// ofRoute parts verdicts into those for the whole destination, and what kinds
// that make routes say about one; the other routes are left out.
func ofRoute(all []policy.Verdict, r *ir.Route) (whole, one []policy.Verdict) {
	whole = []policy.Verdict{}
	for _, v := range all {
		if v.Kind != policy.RefMeshHTTPRoute {
			whole = append(whole, v)
			continue
		}
		of := v
		of.Values = nil
		for _, value := range v.Values {
			if value.Element == r.Name {
				of.Values = append(of.Values, value)
			}
		}
		if len(of.Values) > 0 {
			one = append(one, of)
		}
	}
	return whole, one
}
