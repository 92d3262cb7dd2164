package view

import (
	"cmp"
	"maps"
	"slices"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// Mesh is the view of one mesh at one moment.
type Mesh struct {
	name   string
	cp     Settings
	cpHash model.Hash
	memo   *policy.Memo

	src    sources
	exists bool
	facts  *facts
	mode   kinds.MeshServicesMode
	mesh   *MeshFacts

	members   *members
	services  services
	resources *meshServices
	joined    map[ir.DestKey]*endpoints // of what is neither a service of proxies nor a MeshService
	reached   []*Reached                // by the egress of this zone
	dests     *Destinations
	policies  *policy.Indexes
	legacy    *legacy.Set
	virtual   *Outbounds

	permissions *policy.Permissions
	// olderPermissions: the mesh has TrafficPermissions.
	olderPermissions bool
	trimmed          *trimmed

	meshHash, configHash, reachedHash model.Hash

	// id tells views apart; before is that of the view which this one was made
	// from, and changed what differs in endpoints. Only addresses of ids are used.
	id, before *int64
	changed    []ir.DestKey
}

// sources are the hashes of the tables that a view was derived from.
type sources struct {
	mesh, dataplanes, services, multiZone, external, outside, egresses, secrets, vips, trust, clientTags, older model.Hash
}

// NewMesh returns the view of a mesh of which nothing is known yet.
func NewMesh(name string, s Settings) *Mesh {
	m := &Mesh{
		name: name, cp: s, cpHash: s.digest(), memo: policy.NewMemo(),
		facts: &facts{mesh: name, zone: s.Zone}, mesh: &MeshFacts{Passthrough: true},
		members:   &members{table: model.EmptyTable},
		resources: &meshServices{table: model.EmptyTable},
		id:        new(int64),
		trimmed:   &trimmed{byClient: map[string]*Outbounds{}},
	}
	m.dests = newDestinations(nil, nil, nil)
	m.virtual = newOutbounds(nil)
	return m
}

// Name returns the name of the mesh.
func (m *Mesh) Name() string { return m.name }

// Settings returns what the view was made with.
func (m *Mesh) Settings() *Settings { return &m.cp }

// Exists tells whether there is a Mesh object.
func (m *Mesh) Exists() bool { return m.exists }

// Destinations returns what the proxies of the mesh may send to.
func (m *Mesh) Destinations() *Destinations { return m.dests }

// Facts returns what proxies depend on of the Mesh object.
func (m *Mesh) Facts() *MeshFacts { return m.mesh }

// Exclusive tells whether services are known as resources only.
func (m *Mesh) Exclusive() bool { return m.mode == kinds.MeshServicesExclusive }

// Policies returns the targetRef policies of the mesh.
func (m *Mesh) Policies() *policy.Indexes { return m.policies }

// Reached returns what the egress of this zone reaches for the mesh: none without
// mutual TLS, by which it tells clients and services apart.
func (m *Mesh) Reached() []*Reached { return m.reached }

// Older returns the older policies of the mesh.
func (m *Mesh) Older() *legacy.Set { return m.legacy }

// Memo returns what merged policies are remembered in.
func (m *Mesh) Memo() *policy.Memo { return m.memo }

// ConfigHash covers everything but endpoints and the proxies' own objects: if it
// is equal in two views, only proxies whose own object changed can differ.
func (m *Mesh) ConfigHash() model.Hash { return m.configHash }

// tables are the tables that a view is derived from, besides those of policies.
type tables struct {
	mesh                                                                  model.Row
	dataplanes, services, multiZone, external, outside, egresses, secrets *model.Table
	tls                                                                   *tlsState
}

// Next returns the view for newer tables: m itself if nothing changed.
func (m *Mesh) Next(t model.Tables) *Mesh {
	row, exists := t.Table(kinds.Mesh, "").Get(m.name)
	in := tables{
		mesh:       row,
		dataplanes: t.Table(kinds.Dataplane, m.name),
		services:   t.Table(kinds.MeshService, m.name),
		multiZone:  t.Table(kinds.MeshMultiZoneService, m.name),
		external:   t.Table(kinds.MeshExternalService, m.name),
		outside:    t.Table(kinds.ExternalService, m.name),
		egresses:   model.EmptyTable,
		secrets:    t.Table(kinds.Secret, m.name),
	}
	if in.external.Len()+in.outside.Len() > 0 {
		in.egresses = t.Table(kinds.ZoneEgress, "")
	}
	vips, _ := t.Table(kinds.Config, "").Get(VIPConfigName(m.name))
	trust, _ := t.Table(kinds.Config, "").Get(kinds.TrustName(m.name))
	src := sources{
		mesh: row.Hash, dataplanes: in.dataplanes.Hash(), services: in.services.Hash(),
		multiZone: in.multiZone.Hash(), external: in.external.Hash(), outside: in.outside.Hash(), egresses: in.egresses.Hash(),
		secrets: in.secrets.Hash(), vips: vips.Hash, trust: trust.Hash, clientTags: m.clientTags(t),
		older: m.hasOlderPermissions(t),
	}
	policies := policy.NewIndexes(m.cp.Policies, m.name, t, m.policies)
	older := legacy.NewSet(t, m.name, m.legacy)
	if older == m.legacy && src == m.src && exists == m.exists && m.policies != nil && policies.Hash() == m.policies.Hash() {
		return m
	}
	n := &Mesh{name: m.name, cp: m.cp, cpHash: m.cpHash, memo: m.memo, src: src, exists: exists, policies: policies, legacy: older}
	in.tls = m.facts.tls
	if src.trust != m.src.trust {
		in.tls = nextTLSState(kinds.TrustOf(t, m.name), m.facts.tls)
	}
	n.derive(m, &in, vips)
	return n
}

// clientTags covers what makes clients send their tags.
func (m *Mesh) clientTags(t model.Tables) model.Hash {
	for _, p := range m.cp.Policies {
		if p.Kind.Name == "MeshFaultInjection" && t.Table(p.Kind, m.name).Len() > 0 {
			return model.Hash{1}
		}
	}
	return model.Hash{}
}

// hasOlderPermissions tells whether the mesh has TrafficPermissions, if that counts.
func (m *Mesh) hasOlderPermissions(t model.Tables) model.Hash {
	if m.cp.AutoReachable && t.Table(legacy.TrafficPermission, m.name).Len() > 0 {
		return model.Hash{1}
	}
	return model.Hash{}
}

// derive fills in the derived tables. Those whose sources are the same are
// taken from the view before.
func (m *Mesh) derive(old *Mesh, in *tables, vips model.Row) {
	m.describeMesh(in.mesh, in.tls)
	members, changes := old.members.next(in.dataplanes)
	services, resources := old.services, old.resources
	if *m.facts != *old.facts { // every endpoint may look different
		changes = changes[:0]
		for _, mb := range members.list {
			changes = append(changes, change{now: mb})
		}
		services, resources = nil, &meshServices{table: model.EmptyTable}
	}
	m.members = members
	m.services = services.next(changes, m.facts)
	m.resources = resources.next(in.services, members, changes, m.facts)

	if m.sameDestinations(old) {
		m.dests, m.joined, m.reached = old.dests, old.joined, old.reached
	} else {
		m.describeDestinations(old, in)
	}
	if m.dests == old.dests && m.src.vips == old.src.vips && m.mode == old.mode && m.exists == old.exists && old.policies != nil {
		m.virtual = old.virtual
	} else {
		m.describeVirtual(old, vips)
	}
	m.derivePermissions(old)
	m.id, m.before, m.changed = new(int64), old.id, m.differing(old)
	m.configHash, m.reachedHash = m.fold(), m.foldReached()
}

// derivePermissions prepares trimming. What was trimmed for the view before holds
// as long as nothing of it changed.
func (m *Mesh) derivePermissions(old *Mesh) {
	m.olderPermissions = m.src.older != model.Hash{}
	if m.virtual == old.virtual && m.mesh.MTLS == old.mesh.MTLS && m.mode == old.mode && m.src.older == old.src.older &&
		old.policies != nil && m.policies.Hash() == old.policies.Hash() {
		m.permissions, m.trimmed = old.permissions, old.trimmed
		return
	}
	m.permissions = m.policies.Permissions(m.cp.Zone)
	m.trimmed = &trimmed{byClient: map[string]*Outbounds{}}
}

// fold returns what ConfigHash returns.
func (m *Mesh) fold() model.Hash {
	var h digest
	h.flag(m.exists)
	h.hash(m.meshHash)
	h.hash(m.cpHash)
	h.hash(m.policies.Hash())
	h.hash(m.legacy.Hash())
	h.hash(m.dests.hash)
	h.hash(m.virtual.hash)
	h.hash(m.src.older)
	if m.members.direct > 0 {
		// Those proxies have a listener for each endpoint.
		h.hash(m.src.dataplanes)
	}
	return h.sum()
}

// describeMesh reads the Mesh object.
func (m *Mesh) describeMesh(row model.Row, tls *tlsState) {
	spec := &kinds.MeshSpec{}
	if m.exists {
		spec = model.Spec[kinds.MeshSpec](row.Object)
	}
	m.facts = &facts{mesh: m.name, zone: m.cp.Zone, localityAware: spec.LocalityAware(), tls: tls}
	m.mode = spec.MeshServicesMode()
	f := &MeshFacts{
		Passthrough: spec.Passthrough(), ZoneEgress: spec.ZoneEgress(), ForbidExternal: spec.ForbidsMeshExternalServices(), LocalityAware: spec.LocalityAware(),
		ClientTags: m.src.clientTags != model.Hash{} || m.legacy.ClientTags(),
		Logging:    spec.Logging, Tracing: spec.Tracing,
	}
	if ca := spec.EnabledCA(); ca != nil {
		f.MTLS, f.TLSMode = true, ir.TLSStrict
		if ca.Mode == kinds.MTLSPermissive {
			f.TLSMode = ir.TLSPermissive
		}
	}
	if m.exists && !f.MTLS && tls != nil { // what was on is turned off in stages
		f.MTLS, f.TLSMode, f.Leaving = true, ir.TLSPermissive, cmp.Or(tls.leaving, kinds.LeavingOpen)
	}
	m.facts.mtls, m.facts.zoneEgress = f.MTLS, f.ZoneEgress
	if b := spec.EnabledMetrics(); b != nil {
		var c kinds.PrometheusConf
		if model.DecodeProto(b.Conf, &c) == nil { // else it was refused at the gate
			f.Metrics = &c
		}
	}
	m.mesh = f
	m.meshHash = model.HashJSON(f)
}

// sameDestinations tells whether nothing that destinations, or the joined
// endpoints, are made of differs.
func (m *Mesh) sameDestinations(old *Mesh) bool {
	a, b := m.src, old.src
	if a.multiZone != b.multiZone || a.external != b.external || a.outside != b.outside || a.egresses != b.egresses || a.secrets != b.secrets {
		return false
	}
	if *m.facts != *old.facts || len(m.services) != len(old.services) || len(m.resources.byName) != len(old.resources.byName) {
		return false
	}
	for name, s := range m.services {
		was := old.services[name]
		if was == nil || (was != s && was.dest.hash != s.dest.hash) {
			return false
		}
	}
	for name, s := range m.resources.byName {
		if old.resources.byName[name] != s {
			return false
		}
	}
	return true
}

// describeDestinations makes the table of destinations. A name that both
// proxies and an ExternalService have belongs to the proxies.
func (m *Mesh) describeDestinations(old *Mesh, in *tables) {
	outside := outsideServices(in.outside, in.secrets, m.facts)
	m.reached = nil
	byName := make(map[string]*Destination, len(m.services)+len(outside))
	maps.Copy(byName, outside)
	for name, s := range m.services {
		byName[name] = s.dest
	}
	resources := map[string][]*Resource{}
	for _, s := range m.resources.byName {
		resources[kinds.MeshService.Name] = append(resources[kinds.MeshService.Name], s.res)
	}
	m.joined = map[ir.DestKey]*endpoints{}
	for _, row := range in.multiZone.Rows() {
		res, eps := multiZone(row, m.resources)
		resources[row.Kind.Name] = append(resources[row.Kind.Name], res)
		for i, d := range res.Ports {
			m.joined[d.Key()] = eps[i]
		}
	}
	for _, row := range in.external.Rows() {
		res := external(row)
		resources[row.Kind.Name] = append(resources[row.Kind.Name], res)
		if m.mesh.MTLS { // the egress tells services apart by their SNI
			o := row.Object
			m.joined[res.Ports[0].Key()] = newEndpoints(egressEndpoints(in.egresses, ir.Endpoint{Tags: o.Meta.Labels, Zone: o.Label(model.LabelZone)}, m.facts))
		}
	}
	if m.mesh.MTLS {
		m.reached = reachedServices(resources[kinds.MeshExternalService.Name], in.secrets, m.facts)
	}
	if m.mesh.MTLS && m.mesh.ZoneEgress {
		m.reached = append(reachedOutside(outside, m.facts), m.reached...)
		for name, d := range outside {
			if byName[name] != d {
				continue
			}
			var list []ir.Endpoint
			for _, o := range d.Outside {
				o.Tags = maps.Clone(o.Tags)
				delete(o.Tags, model.TagExternalServiceName)
				list = append(list, egressEndpoints(in.egresses, o.Endpoint, m.facts)...)
			}
			m.joined[d.Key()] = newEndpoints(list)
		}
	}
	for _, rs := range resources {
		slices.SortFunc(rs, byAge)
	}
	m.dests = newDestinations(byName, resources, old.dests)
}

// describeVirtual lists the outbounds on virtual addresses.
func (m *Mesh) describeVirtual(old *Mesh, vips model.Row) {
	var list []Outbound
	if vips.Object != nil && m.mode != kinds.MeshServicesExclusive {
		// What the control plane wrote itself can be read; else there are none.
		given, _ := ParseVIPs(model.Spec[kinds.ConfigSpec](vips.Object).Config)
		list = m.legacyVIPs(given)
	}
	for _, kind := range []string{kinds.MeshService.Name, kinds.MeshExternalService.Name, kinds.MeshMultiZoneService.Name} {
		list = append(list, resourceVIPs(m.dests.resources[kind])...)
	}
	m.virtual = newOutbounds(list)
	if m.virtual.hash == old.virtual.hash {
		m.virtual = old.virtual
	}
}
