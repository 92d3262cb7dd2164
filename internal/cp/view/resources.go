package view

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// meshService is a MeshService with the proxies that it selects.
type meshService struct {
	row       model.Row
	spec      *kinds.MeshServiceSpec
	members   []*member
	res       *Resource
	endpoints []*endpoints // parallel to the ports
}

// meshServices are the MeshServices of a mesh by name. They are immutable.
type meshServices struct {
	table  *model.Table
	byName map[string]*meshService
}

// next returns the MeshServices after they, or Dataplanes, changed.
func (s *meshServices) next(t *model.Table, all *members, changes []change, f *facts) *meshServices {
	sameTable := t.Hash() == s.table.Hash()
	if sameTable && len(changes) == 0 {
		return s
	}
	n := &meshServices{table: t, byName: make(map[string]*meshService, t.Len())}
	scan := newScan(all)
	for _, row := range t.Rows() {
		old := s.byName[row.Meta.Name]
		if old == nil || old.row.Hash != row.Hash {
			spec := model.Spec[kinds.MeshServiceSpec](row.Object)
			m := &meshService{row: row, spec: spec, members: scan.selected(spec)}
			n.byName[row.Meta.Name] = m.describe(f, old)
			continue
		}
		n.byName[row.Meta.Name] = old.after(changes, f)
	}
	return n
}

// after returns the service after Dataplanes changed: itself if none of them is
// or was its own.
func (s *meshService) after(changes []change, f *facts) *meshService {
	var mine map[*member]bool
	note := func(m *member, in bool) {
		if m != nil && s.spec.Selects(m.row.Meta.Name, m.spec) {
			if mine == nil {
				mine = map[*member]bool{}
			}
			mine[m] = in
		}
	}
	for _, c := range changes {
		note(c.old, false)
		note(c.now, true)
	}
	if mine == nil {
		return s
	}
	n := &meshService{row: s.row, spec: s.spec, members: replaceMembers(s.members, mine)}
	return n.describe(f, s)
}

// describe fills in the destinations and endpoints. What is equal is taken from old.
func (s *meshService) describe(f *facts, old *meshService) *meshService {
	o := s.row.Object
	remote := o.Label(model.LabelOrigin) == model.OriginGlobal
	status := model.Status[kinds.MeshServiceStatus](o)
	var identities []string
	for _, i := range s.spec.Identities {
		if i.Type == kinds.IdentityServiceTag {
			identities = append(identities, i.Value)
		}
	}
	s.res = &Resource{Object: o}
	for i := range s.spec.Ports {
		p := &s.spec.Ports[i]
		d := resourceDestination(o, kinds.MeshService.Name, p.SectionName(), uint32(p.Port))
		d.Protocol = ir.ParseProtocol(p.Protocol())
		d.Identities = identities
		if s.spec.Selector.DataplaneRef == nil {
			d.Selects = s.spec.Selector.DataplaneTags
		}
		d.TLSReady = remote || (status != nil && status.TLS.Status == kinds.TLSReady) || s.speakTLS(f)
		d.SNI = resourceSNI(sniName(o), o.Meta.Mesh, d.Port, "ms")
		s.res.Ports = append(s.res.Ports, d.seal())
		s.endpoints = append(s.endpoints, newEndpoints(s.portEndpoints(p)))
	}
	if old != nil {
		s.share(old)
	}
	return s
}

// speakTLS tells whether all proxies that the service selects do.
func (s *meshService) speakTLS(f *facts) bool {
	for _, m := range s.members {
		for _, name := range m.services {
			if !f.tls.ready(name) {
				return false
			}
		}
	}
	return f.tls != nil
}

// share takes over equal parts, so that they need not be compared again.
func (s *meshService) share(old *meshService) {
	for i := range min(len(s.endpoints), len(old.endpoints)) {
		if s.endpoints[i].hash == old.endpoints[i].hash {
			s.endpoints[i] = old.endpoints[i]
		}
	}
	if len(s.res.Ports) != len(old.res.Ports) || s.row.Hash != old.row.Hash {
		return
	}
	for i, d := range s.res.Ports {
		if d.hash != old.res.Ports[i].hash {
			return
		}
	}
	s.res = old.res
}

func (s *meshService) portEndpoints(p *kinds.MeshServicePort) []ir.Endpoint {
	target := p.Target()
	var out []ir.Endpoint
	for _, m := range s.members {
		for i := range m.inbounds {
			in := &m.inbounds[i]
			if in.healthy && target.Matches(in.number, in.name) {
				out = append(out, in.endpoint)
			}
		}
	}
	return out
}

// resourceDestination returns the parts that all resources have.
func resourceDestination(o *model.Object, kind, section string, port uint32) *Destination {
	return &Destination{
		Destination: ir.Destination{
			Kind: kind, Mesh: o.Meta.Mesh, Name: o.Meta.Name, Display: o.DisplayName(),
			Namespace: o.Label(model.LabelK8sNamespace), Zone: o.Label(model.LabelZone),
			Section: section, Port: port,
		},
		Labels: o.Meta.Labels,
	}
}

// sniName is the name of a MeshService in its SNI, equal in all zones.
func sniName(o *model.Object) string {
	ns := o.Label(model.LabelK8sNamespace)
	if o.Label(model.LabelOrigin) == model.OriginGlobal {
		if ns == "" {
			return o.DisplayName()
		}
		return o.DisplayName() + "." + ns
	}
	if o.Label(model.LabelEnv) == model.EnvUniversal && ns != "" {
		return o.Meta.Name + "." + ns
	}
	return o.Meta.Name
}

// sniLabelLimit is what is shown of long names; the hash has them whole.
const sniLabelLimit = 62

func resourceSNI(name, mesh string, port uint32, short string) string {
	h := fnv.New64a()
	h.Write([]byte(name + ";" + mesh + ";"))
	cut := func(s string) string {
		if len(s) > sniLabelLimit {
			return s[:sniLabelLimit] + "x"
		}
		return s
	}
	return fmt.Sprintf("a%016x.%s.%d.%s.%s", h.Sum64(), cut(name), port, cut(mesh), short)
}

// scan finds the Dataplanes that selectors select. With many selectors it
// makes an index by one pair of each first.
type scan struct {
	all   *members
	index map[[2]string][]*member
}

func newScan(all *members) *scan { return &scan{all: all} }

func (s *scan) selected(spec *kinds.MeshServiceSpec) []*member {
	var out []*member
	for _, m := range s.candidates(spec) {
		if spec.Selects(m.row.Meta.Name, m.spec) {
			out = append(out, m)
		}
	}
	return out
}

// candidates returns the Dataplanes that have one pair of the selector, sorted.
func (s *scan) candidates(spec *kinds.MeshServiceSpec) []*member {
	if ref := spec.Selector.DataplaneRef; ref != nil && ref.Name != "" {
		i, ok := slices.BinarySearchFunc(s.all.list, ref.Name, func(m *member, n string) int {
			return cmp.Compare(m.row.Meta.Name, n)
		})
		if !ok {
			return nil
		}
		return s.all.list[i : i+1]
	}
	if len(spec.Selector.DataplaneTags) == 0 {
		return nil
	}
	if s.index == nil {
		s.index = indexByTag(s.all)
	}
	var best []*member
	first := true
	for k, v := range spec.Selector.DataplaneTags {
		if list := s.index[[2]string{k, v}]; first || len(list) < len(best) {
			best, first = list, false
		}
	}
	return best
}

func indexByTag(all *members) map[[2]string][]*member {
	index := map[[2]string][]*member{}
	for _, m := range all.list {
		for i := range m.spec.Inbounds() {
			for k, v := range m.spec.Networking.Inbound[i].Tags {
				pair := [2]string{k, v}
				if l := index[pair]; len(l) == 0 || l[len(l)-1] != m {
					index[pair] = append(l, m)
				}
			}
		}
	}
	return index
}

// multiZone describes a MeshMultiZoneService: the union of the MeshServices that
// it selects, with their endpoints by port.
func multiZone(row model.Row, s *meshServices) (*Resource, []*endpoints) {
	o := row.Object
	spec := model.Spec[kinds.MeshMultiZoneServiceSpec](o)
	var joined []*meshService
	for _, ms := range s.byName {
		if spec.Selects(o, ms.row.Object) {
			joined = append(joined, ms)
		}
	}
	slices.SortFunc(joined, func(a, b *meshService) int { return cmp.Compare(a.row.Meta.Name, b.row.Meta.Name) })
	var identities []string
	for _, ms := range joined {
		for _, i := range ms.spec.Identities {
			if i.Type == kinds.IdentityServiceTag {
				identities = append(identities, i.Value)
			}
		}
	}
	slices.Sort(identities)
	identities = slices.Compact(identities)

	res := &Resource{Object: o}
	var eps []*endpoints
	for i := range spec.Ports {
		p := &spec.Ports[i]
		d := resourceDestination(o, kinds.MeshMultiZoneService.Name, p.SectionName(), uint32(p.Port))
		d.Protocol = ir.ParseProtocol(p.Protocol())
		d.Identities = identities
		d.TLSReady = true
		d.SNI = resourceSNI(o.DisplayName(), o.Meta.Mesh, d.Port, "mzms")
		res.Ports = append(res.Ports, d.seal())
		eps = append(eps, joinEndpoints(joined, p.Port))
	}
	return res, eps
}

func joinEndpoints(joined []*meshService, port int32) *endpoints {
	var out []ir.Endpoint
	for _, ms := range joined {
		for i := range ms.spec.Ports {
			if ms.spec.Ports[i].Port == port {
				out = append(out, ms.endpoints[i].list...)
			}
		}
	}
	return newEndpoints(out)
}

// external describes a MeshExternalService. Clients reach it through the egress
// of their zone.
func external(row model.Row) *Resource {
	o := row.Object
	spec := model.Spec[kinds.MeshExternalServiceSpec](o)
	port := uint32(spec.Match.Port)
	d := resourceDestination(o, kinds.MeshExternalService.Name, strconv.Itoa(spec.Match.Port), port)
	d.Protocol = ir.ParseProtocol(spec.Protocol())
	d.External = true
	d.TLSReady = true
	d.SNI = resourceSNI(o.DisplayName(), o.Meta.Mesh, port, "mes")
	return &Resource{Object: o, Ports: []*Destination{d.seal()}}
}

// egressEndpoints are the egresses of the own zone, by which clients reach what is
// outside of the mesh; they look like the endpoint that they stand for.
func egressEndpoints(t *model.Table, like ir.Endpoint, f *facts) []ir.Endpoint {
	var out []ir.Endpoint
	for _, row := range t.Rows() {
		spec := model.Spec[kinds.ZoneEgressSpec](row.Object)
		if n := spec.Networking; n != nil && n.Address != "" && !spec.RemoteTo(f.zone) {
			e := like
			e.Address, e.Port, e.Weight = n.Address, n.Port, 1
			out = append(out, e)
		}
	}
	return out
}

// byAge orders from the oldest, then by name.
func byAge(a, b *Resource) int {
	return cmp.Or(a.Object.Meta.Created.Compare(b.Object.Meta.Created), cmp.Compare(a.Object.Meta.Name, b.Object.Meta.Name))
}
