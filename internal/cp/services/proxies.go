package services

import (
	"cmp"
	"strconv"
	"strings"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// proxy is what services depend on of a Dataplane.
type proxy struct {
	row  model.Row
	spec *kinds.DataplaneSpec
	known
}

// olderThan orders proxies from the oldest, then by name.
func (p *proxy) olderThan(o *proxy) bool {
	return cmp.Or(p.row.Meta.Created.Compare(o.row.Meta.Created), strings.Compare(p.row.Meta.Name, o.row.Meta.Name)) < 0
}

// healthy tells whether every port of a service has a ready inbound.
func (p *proxy) healthy(ports []kinds.MeshServicePort) bool {
	for i := range ports {
		if !p.serves(ports[i].Target()) {
			return false
		}
	}
	return true
}

func (p *proxy) serves(target kinds.TargetPort) bool {
	for i := range p.spec.Inbounds() {
		in := &p.spec.Networking.Inbound[i]
		if in.Healthy() && target.Matches(in.Port, in.Name) {
			return true
		}
	}
	return false
}

// offer returns the ports that the proxy offers for a value of kuma.io/service,
// in the order of its inbounds.
func (p *proxy) offer(service string) []kinds.MeshServicePort {
	var out []kinds.MeshServicePort
	seen := map[uint32]bool{}
	for i := range p.spec.Inbounds() {
		in := &p.spec.Networking.Inbound[i]
		if in.Service() != service || in.Port == model.ServicelessPort || seen[in.Port] {
			continue
		}
		seen[in.Port] = true // one address more for the same port is no other port
		port := kinds.MeshServicePort{
			Name: in.Name, Port: int32(in.Port), TargetPort: kinds.TargetPort{Number: int32(in.Port)}, AppProtocol: in.Protocol(),
		}
		if port.Name == "" {
			port.Name = strconv.Itoa(int(in.Port))
		}
		out = append(out, port)
	}
	return out
}

// offered returns the distinct services of the inbounds.
func (p *proxy) offered() []string {
	var out []string
	seen := map[string]bool{}
	for i := range p.spec.Inbounds() {
		in := &p.spec.Networking.Inbound[i]
		if s := in.Service(); s != "" && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// fleet are the proxies of a mesh.
type fleet struct {
	dataplanes, insights *model.Table
	byName               map[string]*proxy
	groups               map[string]*group // by kuma.io/service
}

// group are the proxies with one value of kuma.io/service.
type group struct {
	members map[string]*proxy
	// ports are what the MeshService made from them has; nil = to be chosen again.
	ports []kinds.MeshServicePort
}

func newFleet() *fleet {
	return &fleet{
		dataplanes: model.EmptyTable, insights: model.EmptyTable,
		byName: map[string]*proxy{}, groups: map[string]*group{},
	}
}

// turn is a proxy before and after; nil = was not, or is no more.
type turn struct{ old, now *proxy }

// follow moves to newer tables and returns the proxies that are different.
func (f *fleet) follow(dataplanes, insights *model.Table) []turn {
	touched := map[string]bool{}
	dataplanes.Diff(f.dataplanes, func(old, now model.Row) {
		switch {
		case old.Object == nil:
			touched[now.Meta.Name] = true
		case now.Object == nil || old.Hash != now.Hash:
			touched[old.Meta.Name] = true
		}
	})
	insights.Diff(f.insights, func(old, now model.Row) {
		if facts(old) != facts(now) {
			touched[cmp.Or(old.Object, now.Object).Meta.Name] = true
		}
	})
	f.dataplanes, f.insights = dataplanes, insights
	var out []turn
	for name := range touched {
		t := turn{old: f.byName[name]}
		delete(f.byName, name)
		if row, ok := dataplanes.Get(name); ok {
			insight, _ := insights.Get(name)
			t.now = &proxy{row: row, spec: model.Spec[kinds.DataplaneSpec](row.Object), known: facts(insight)}
			f.byName[name] = t.now
		}
		if t.old != nil || t.now != nil {
			f.regroup(t)
			out = append(out, t)
		}
	}
	return out
}

// known is what an insight tells about a proxy.
type known struct {
	online bool
	// certified: it has a certificate of the mesh.
	certified bool
}

// facts reads an insight; its object is nil where there is none.
func facts(insight model.Row) known {
	if insight.Object == nil {
		return known{}
	}
	spec := model.Spec[kinds.DataplaneInsightSpec](insight.Object)
	return known{spec.Online(), spec.MTLS != nil && spec.MTLS.IssuedBackend != ""}
}

func (f *fleet) regroup(t turn) {
	if t.old != nil {
		for _, s := range t.old.offered() {
			g := f.groups[s]
			delete(g.members, t.old.row.Meta.Name)
			if g.ports = nil; len(g.members) == 0 {
				delete(f.groups, s)
			}
		}
	}
	if t.now != nil {
		for _, s := range t.now.offered() {
			g := f.groups[s]
			if g == nil {
				g = &group{members: map[string]*proxy{}}
				f.groups[s] = g
			}
			g.members[t.now.row.Meta.Name] = t.now
			g.ports = nil
		}
	}
}

// selected returns the proxies that a selector selects, by name.
func (f *fleet) selected(spec *kinds.MeshServiceSpec) map[string]*proxy {
	among := f.byName
	if s := spec.Selector.DataplaneTags[model.TagService]; s != "" && spec.Selector.DataplaneRef == nil {
		if among = nil; f.groups[s] != nil {
			among = f.groups[s].members
		}
	}
	out := map[string]*proxy{}
	for name, p := range among {
		if spec.Selects(name, p.spec) {
			out[name] = p
		}
	}
	return out
}
