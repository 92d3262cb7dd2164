// Package explain answers why: which policy set which value on a proxy, over
// which others, and what happens to one request on its way. It looks at the
// description from which the proxy's configuration is made (ir.Proxy), so it
// tells what is sent and not what a second reading of the policies might give.
// It is pure.
package explain

import (
	"slices"

	"weft/internal/cp/view"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// Subject is a proxy that is asked about. *preview.Preview has what it takes.
type Subject struct {
	Inputs *view.Inputs
	Proxy  *ir.Proxy
	// Endpoints returns those that a reference of the proxy stands for.
	Endpoints func(ref ir.EndpointsRef) []ir.Endpoint
}

// Proxy is what is in force on a proxy.
type Proxy struct {
	Mesh string `json:"mesh"`
	Name string `json:"name"`
	// Policies act on the proxy as a whole, Passthrough on what leaves the mesh.
	Policies    []policy.Verdict `json:"policies"`
	Passthrough []policy.Verdict `json:"passthrough"`
	Inbounds    []Inbound        `json:"inbounds"`
	Outbounds   []Outbound       `json:"outbounds"`
	// Older are the older policies in force on the proxy as a whole.
	Older    []Named  `json:"older,omitempty"`
	Warnings []string `json:"warnings"`
}

// Named names an object.
type Named struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Inbound is a port on which others reach the workload.
type Inbound struct {
	Name     string `json:"name,omitempty"`
	Address  string `json:"address"`
	Port     uint32 `json:"port"`
	Service  string `json:"service"`
	Protocol string `json:"protocol"`
	TLS      string `json:"tls"` // off, PERMISSIVE, STRICT
	// Access says who may connect: everybody, nobody, or those permitted.
	Access   string           `json:"access"`
	Policies []policy.Verdict `json:"policies"`
	Clients  []ByClient       `json:"clients"`
	Older    []Named          `json:"older,omitempty"`
}

// ByClient is a kind that tells the clients of an inbound apart.
type ByClient struct {
	Kind   string               `json:"kind"`
	Unused bool                 `json:"unused,omitempty"` // see policy.Verdict
	Groups []policy.ClientGroup `json:"groups"`
}

// Outbound is a port on which the workload reaches a destination.
type Outbound struct {
	Names       []string         `json:"names"`
	Address     string           `json:"address"`
	Port        uint32           `json:"port"`
	Destination Destination      `json:"destination"`
	Protocol    string           `json:"protocol"`
	Policies    []policy.Verdict `json:"policies"`
	Routes      []Route          `json:"routes,omitempty"`
	Splits      []Split          `json:"splits,omitempty"`
	Older       []Named          `json:"older,omitempty"`
	// Elsewhere are the clusters of other destinations that its traffic goes to.
	Elsewhere []Elsewhere `json:"elsewhere,omitempty"`
}

// Elsewhere is a cluster of another destination than the outbound's, with the
// policies for that.
type Elsewhere struct {
	Cluster  string           `json:"cluster"`
	Policies []policy.Verdict `json:"policies"`
}

// Destination is what an outbound leads to.
type Destination struct {
	// Kind is empty for a service that is known by its tag.
	Kind    string `json:"kind,omitempty"`
	Name    string `json:"name"`
	Section string `json:"section,omitempty"`
}

// Route is what happens to the requests that match.
type Route struct {
	Match string `json:"match"`
	// Action tells it in words.
	Action string  `json:"action"`
	Splits []Split `json:"splits,omitempty"`
	// Policies say something else for this route than for its destination.
	Policies []policy.Verdict `json:"policies,omitempty"`
}

// Split is the share of a cluster, in percent.
type Split struct {
	Cluster string  `json:"cluster"`
	Percent float64 `json:"percent"`
}

// Of explains a proxy.
func Of(s Subject) *Proxy {
	x := verdicts(s)
	out := &Proxy{
		Mesh: s.Proxy.ID.Mesh, Name: s.Proxy.ID.Name, Policies: list(x.Proxy), Passthrough: list(x.Passthrough),
		Inbounds: []Inbound{}, Outbounds: []Outbound{}, Warnings: []string{},
	}
	older := s.Inputs.Legacy
	if older != nil {
		out.Older = named(older.Whole())
	}
	tags := inboundTags(s.Inputs.Own.Object)
	for i, in := range s.Proxy.Inbounds {
		e := inboundOf(in, &x.Inbounds[i])
		if older != nil {
			e.Older = olderOn(in, older, tags[in.Port])
		}
		out.Inbounds = append(out.Inbounds, e)
	}
	names := namesOf(s)
	for i, o := range s.Proxy.Outbounds {
		e := outboundOf(o, &x.Outbounds[i], names)
		if older != nil && o.Destination.Kind == "" {
			e.Older = named(append(older.OnOutbound(o.Destination.Name), older.OnService(o.Destination.Name)...))
		}
		e.Elsewhere = elsewhere(s.Proxy, o, x)
		out.Outbounds = append(out.Outbounds, e)
	}
	for _, w := range s.Proxy.Warnings {
		out.Warnings = append(out.Warnings, warning(w))
	}
	return out
}

// elsewhere returns the clusters of other destinations that an outbound leads to.
func elsewhere(p *ir.Proxy, o *ir.Outbound, x *policy.Explanation) []Elsewhere {
	uses := map[string]bool{}
	use := func(splits []ir.Split) {
		for _, s := range splits {
			uses[s.Cluster] = true
		}
	}
	if o.TCP != nil {
		use(o.TCP.Splits)
	}
	if o.HTTP != nil {
		for _, r := range o.HTTP.Routes {
			use(r.Splits)
			for _, m := range r.Mirrors {
				uses[m.Cluster] = true
			}
		}
	}
	var out []Elsewhere
	for i, c := range p.Clusters {
		if uses[c.Name] && c.Destination != o.Destination {
			out = append(out, Elsewhere{c.Name, list(x.Clusters[i])})
		}
	}
	return out
}

func verdicts(s Subject) *policy.Explanation {
	return policy.Explain(s.Proxy, s.Inputs.Policies, labelsOf(s.Inputs), s.Inputs.Memo)
}

// labelsOf returns the labels of destinations that are resources.
func labelsOf(in *view.Inputs) func(ir.Destination) map[string]string {
	byKey := map[ir.DestKey]map[string]string{}
	for _, o := range in.Outbounds.List() {
		byKey[o.Dest.Key()] = o.Dest.Labels
	}
	return func(d ir.Destination) map[string]string {
		key := ir.DestKey{Kind: d.Kind, Mesh: d.Mesh, Name: d.Name, Section: d.Section}
		if labels, ok := byKey[key]; ok {
			return labels
		}
		if in.Table != nil {
			if r := in.Table.Resource(key); r != nil {
				return r.Labels
			}
		}
		return nil
	}
}

func list(v []policy.Verdict) []policy.Verdict {
	if v == nil {
		return []policy.Verdict{}
	}
	return v
}

func named(objects []*model.Object) []Named {
	var out []Named
	for _, o := range objects {
		out = append(out, Named{o.Kind.Name, o.Meta.Name})
	}
	return out
}

// olderOn names the older policies in force on an inbound with the tags. Where a
// newer permission decides, an older one does not; the others are for requests.
func olderOn(in *ir.Inbound, m *legacy.Matched, tags map[string]string) []Named {
	return slices.DeleteFunc(named(m.OnInbound(tags)), func(n Named) bool {
		if n.Kind != legacy.TrafficPermission.Name {
			return in.HTTP == nil
		}
		return in.Access == nil || !slices.ContainsFunc(in.Access.Origins, func(o ir.Origin) bool {
			return o.Kind == n.Kind && o.Name == n.Name
		})
	})
}

func warning(w ir.Warning) string {
	switch {
	case w.Kind == "":
		return w.Message
	case w.Name == "":
		return w.Kind + ": " + w.Message
	}
	return w.Kind + " " + w.Name + ": " + w.Message
}

// inboundTags returns the tags of a Dataplane's inbounds by port.
func inboundTags(dp *model.Object) map[uint32]map[string]string {
	out := map[uint32]map[string]string{}
	inbounds := model.Spec[kinds.DataplaneSpec](dp).Inbounds()
	for i := range inbounds {
		out[inbounds[i].Port] = inbounds[i].Tags
	}
	return out
}

func inboundOf(in *ir.Inbound, v *policy.InboundVerdicts) Inbound {
	out := Inbound{
		Name: in.Name, Address: in.Address, Port: in.Port, Service: in.Service, Protocol: protocol(in.Protocol), TLS: "off",
		Policies: list(v.All), Clients: []ByClient{},
	}
	if in.TLS != nil {
		out.TLS = string(in.TLS.Mode)
	}
	switch {
	case in.Access == nil:
		out.Access = "everybody"
	case len(in.Access.Allow) == 0:
		out.Access = "nobody"
	default:
		out.Access = "permitted"
	}
	for i := range v.Clients {
		out.Clients = append(out.Clients, ByClient{v.Clients[i].Kind, v.Clients[i].Unused, v.Clients[i].Groups()})
	}
	return out
}

func protocol(p ir.Protocol) string {
	if p == ir.ProtocolUnknown {
		return string(ir.ProtocolTCP)
	}
	return string(p)
}

// at is where an outbound listens.
type at struct {
	address string
	port    uint32
}

// namesOf returns the DNS names of the outbounds.
func namesOf(s Subject) map[at][]string {
	out := map[at][]string{}
	for _, o := range s.Inputs.Outbounds.List() {
		out[at{o.Address, o.Port}] = o.Names
	}
	return out
}

func outboundOf(o *ir.Outbound, v *policy.OutboundVerdicts, names map[at][]string) Outbound {
	out := Outbound{
		Names: names[at{o.Address, o.Port}], Address: o.Address, Port: o.Port, Destination: destinationOf(o.Destination),
		Protocol: protocol(o.Protocol), Policies: list(v.Destination),
	}
	if out.Names == nil {
		out.Names = []string{}
	}
	if o.TCP != nil {
		out.Splits = shares(o.TCP.Splits)
	}
	if o.HTTP == nil {
		return out
	}
	for i, r := range o.HTTP.Routes {
		e := Route{Match: matchText(r.Match), Action: action(r), Splits: shares(r.Splits)}
		if v.Routes != nil {
			e.Policies = v.Routes[i]
		}
		out.Routes = append(out.Routes, e)
	}
	return out
}

func destinationOf(d ir.Destination) Destination {
	name := d.Display
	if name == "" {
		name = d.Name
	}
	return Destination{Kind: d.Kind, Name: name, Section: d.Section}
}

func shares(splits []ir.Split) []Split {
	var total uint32
	for _, s := range splits {
		total += s.Weight
	}
	var out []Split
	for _, s := range splits {
		p := 0.0
		if total > 0 {
			p = float64(s.Weight) * 100 / float64(total)
		}
		out = append(out, Split{s.Cluster, p})
	}
	return out
}
