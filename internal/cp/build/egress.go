package build

import (
	"time"

	"weft/internal/cp/view"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// egressConnect is how long the egress waits for a connection.
const egressConnect = 5 * time.Second

// Egress describes what the egress of a zone should do: for each mesh, take what
// members send to services outside, and send it there.
func Egress(in *view.ZoneInputs) *ir.Proxy {
	spec := model.Spec[kinds.ZoneEgressSpec](in.Own.Object)
	n := spec.Networking
	if n == nil {
		n = &kinds.ZoneEgressNetworking{}
	}
	p := &ir.Proxy{
		ID: in.ID, Type: ir.ZoneEgress, Service: kinds.EgressService, Address: n.Address,
		Tags: map[string][]string{model.TagService: {kinds.EgressService}},
		Zone: in.CP.Zone, IPv6: in.Node.IPv6, WorkDir: in.Node.WorkDir,
		InternalCIDRs: internalCIDRs(in.CP, &in.Node),
		Passage:       &ir.Passage{Address: n.Address, Port: n.Port},
	}
	used := names{"cluster kuma:envoy:admin": true, "cluster kuma:readiness": true}
	for _, m := range in.Meshes {
		e := &egress{p: p, in: in, mesh: m, facts: m.Facts(), used: used}
		resources := m.Policies().MatchResources()
		for _, r := range m.Reached() {
			p.Warnings = append(p.Warnings, r.Warnings...)
			sni := r.Dest.SNI
			if sni == "" {
				sni = tagSNI(r.Dest.Name, r.Dest.Mesh, nil)
			}
			if !used.take("asked", sni) {
				p.Warnings = append(p.Warnings, ir.Warning{
					Kind: r.Dest.Kind, Name: r.Dest.Name,
					Message: "cannot be reached: clients know another one of mesh " + r.Dest.Mesh + " by the same name and port",
				})
				continue
			}
			if r.Dest.Kind == kinds.ExternalService.Name {
				e.service(r, sni)
			} else {
				e.resource(r, sni, resources)
			}
		}
		p.Identities = append(p.Identities, &ir.Identity{Mesh: m.Name(), Services: []string{kinds.EgressService}})
	}
	addAdmin(p, &in.Node)
	return p
}

// egress adds what one mesh reaches to the egress.
type egress struct {
	p     *ir.Proxy
	in    *view.ZoneInputs
	mesh  *view.Mesh
	facts *view.MeshFacts
	used  names
}

// names are those that are taken on an egress: of clusters and chains, which
// services of two meshes may share, and what clients ask for. Envoy refuses all of a
// listener that has two chains for one name.
type names map[string]bool

// take reports whether nothing of a sort had the name.
func (n names) take(sort, name string) bool {
	had := n[sort+" "+name]
	n[sort+" "+name] = true
	return !had
}

// apart returns the name, or another one if something of the sort has it.
func (n names) apart(sort, name string, d *view.Destination) string {
	if !n.take(sort, name) {
		name = target{key: d.Key()}.apart(name)
	}
	return name
}

// resource adds a MeshExternalService. Who may use it is one decision for all of
// them in the mesh.
func (e *egress) resource(r *view.Reached, sni string, policies *policy.Matched) {
	d := r.Dest
	name := e.used.apart("cluster", destinationName(d.Destination), d)
	cl := e.cluster(name, d)
	if r.SystemCA && e.in.Node.SystemCAPath == "" {
		e.p.Warnings = append(e.p.Warnings, ir.Warning{
			Kind: d.Kind, Name: d.Name,
			Message: "cannot be reached by egress " + e.in.ID.Name + ": no authorities were found on its host to check the service's certificate with; give tls.verification.caCert, or say where they are (KUMA_DATAPLANE_RUNTIME_DYNAMIC_SYSTEM_CA_PATH)",
		})
	} else {
		e.lead(cl, r)
	}
	c := e.chain(d, cl, sni)
	c.Name, c.Stat, c.Route, c.Host = name, name, name, name
	c.In.Access = &ir.Access{PolicyName: "MeshTrafficPermission"}
	if !e.facts.ForbidExternal {
		c.In.Access.Allow = []ir.Principal{{}}
	}
	part := e.part(cl)
	// Its routes are dressed as those of an outbound are.
	part.Outbounds = []*ir.Outbound{{Listener: c.In.Listener, Destination: d.Destination}}
	env := e.env()
	env.Backends = &labelled{r.Dest}
	policy.Dress(part, policies, env, e.mesh.Memo())
	e.take(part, c)
}

// service adds an ExternalService, which policies select by its tags as they select
// an inbound.
func (e *egress) service(r *view.Reached, sni string) {
	d := r.Dest
	cl := e.cluster(e.used.apart("cluster", d.Mesh+":"+d.Name, d), d)
	outside(cl, d.Outside)
	c := e.chain(d, cl, sni)
	c.Name, c.Stat, c.Route, c.Host, c.AccessStat = e.used.apart("chain", d.Name+"_"+d.Mesh, d), d.Name, "outbound:"+d.Name, d.Name, d.Name+"."
	if c.In.TCP != nil {
		c.In.TCP.Subset = map[string]string{view.MeshKey: d.Mesh}
	}
	c.In.Access = &ir.Access{} // nobody, until a permission says otherwise
	c.In.Tags = map[string]string{model.TagService: d.Name}
	if len(d.Outside) > 0 {
		for k, v := range d.Outside[0].Tags {
			if k != view.MeshKey && k != model.TagExternalServiceName {
				c.In.Tags[k] = v
			}
		}
	}
	part := e.part(cl)
	part.Inbounds = []*ir.Inbound{c.In}
	env := e.env()
	older := e.mesh.Older().Match(&kinds.DataplaneSpec{Networking: &kinds.DataplaneNetworking{
		Inbound: []kinds.Inbound{{Port: c.In.Port, Tags: c.In.Tags}},
	}})
	legacy.Dress(part, older, &legacy.Env{Env: env})
	policy.Dress(part, e.mesh.Policies().MatchService(c.In.Address, c.In.Port, c.In.Tags), env, e.mesh.Memo())
	e.take(part, c)
}

// cluster leads to a service outside.
func (e *egress) cluster(name string, d *view.Destination) *ir.Cluster {
	c := &ir.Cluster{
		Name: name, Destination: d.Destination, Protocol: effective(d.Protocol),
		ConnectTimeout: ptr(egressConnect), DNSIPv6: e.in.Node.IPv6,
	}
	speak(c, c.Protocol)
	return c
}

// lead gives a cluster the endpoints of a MeshExternalService.
func (e *egress) lead(c *ir.Cluster, r *view.Reached) {
	for _, x := range r.Endpoints {
		c.Static = append(c.Static, x)
		c.DNS = c.DNS || !isIP(x.Address)
	}
	if r.TLS == nil || len(r.Endpoints) == 0 {
		return
	}
	tls := *r.TLS
	if r.SystemCA {
		tls.SystemCAPath = e.in.Node.SystemCAPath
	}
	c.TLS = &ir.ClientTLS{PerTags: []ir.TaggedTLS{{Name: r.Endpoints[0].Address, External: &tls}}}
}

// chain takes the connections for a destination, from members of the mesh.
func (e *egress) chain(d *view.Destination, cl *ir.Cluster, sni string) *ir.Chain {
	in := &ir.Inbound{
		Listener: ir.Listener{Address: e.p.Passage.Address, Port: e.p.Passage.Port, Protocol: cl.Protocol},
		Service:  d.Name,
		TLS:      &ir.ServerTLS{Mesh: d.Mesh, Mode: ir.TLSStrict},
	}
	splits := []ir.Split{{Cluster: cl.Name}}
	if cl.Protocol.HTTPLike() {
		in.HTTP = &ir.HTTP{RawPath: true, DropClientTags: e.facts.ClientTags, Routes: []*ir.Route{{
			Match: ir.Match{Prefix: "/"}, Timeout: ptr(time.Duration(0)), AutoHostRewrite: true, Splits: splits,
		}}}
	} else {
		in.TCP = &ir.TCP{Splits: splits}
	}
	return &ir.Chain{ServerNames: []string{sni}, In: in}
}

// part is a proxy for one service, to be dressed by what is about that service.
func (e *egress) part(cl *ir.Cluster) *ir.Proxy {
	p := *e.p
	p.Passage, p.Clusters, p.Warnings, p.Identities = nil, []*ir.Cluster{cl}, nil, nil
	p.Tags = nil // not a client whose tags count
	return &p
}

func (e *egress) take(part *ir.Proxy, c *ir.Chain) {
	e.p.Clusters = append(e.p.Clusters, part.Clusters...)
	e.p.Warnings = append(e.p.Warnings, part.Warnings...)
	e.p.Passage.Chains = append(e.p.Passage.Chains, c)
}

func (e *egress) env() *policy.Env {
	return &policy.Env{MTLS: true, TLSMode: ir.TLSStrict, ZoneEgress: e.facts.ZoneEgress, LocalityAware: e.facts.LocalityAware}
}

// labelled tells policies the labels of one destination; there is nothing else to
// route to.
type labelled struct{ d *view.Destination }

func (l *labelled) Labels(ir.Destination) map[string]string { return l.d.Labels }
func (l *labelled) Own(*ir.Outbound) policy.Backend         { return backendOf(l.d, nil) }
func (l *labelled) Use(be policy.Backend) string            { return destinationName(be.Destination) }
func (l *labelled) Resolve(policy.BackendRef, policy.Source) (policy.Backend, bool) {
	return policy.Backend{}, false
}
