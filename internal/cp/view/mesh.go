package view

import (
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
	joined    map[ir.DestKey]*endpoints // of resources that are not MeshServices
	dests     *Destinations
	policies  *policy.Indexes
	legacy    *legacy.Set
	virtual   *Outbounds

	permissions *policy.Permissions
	// olderPermissions: the mesh has TrafficPermissions.
	olderPermissions bool
	trimmed          *trimmed

	meshHash, configHash model.Hash

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

// Exists tells whether there is a Mesh object.
func (m *Mesh) Exists() bool { return m.exists }

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
	if in.external.Len() > 0 {
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
func (n *Mesh) derive(m *Mesh, in *tables, vips model.Row) {
	n.describeMesh(in.mesh, in.tls)
	members, changes := m.members.next(in.dataplanes)
	services, resources := m.services, m.resources
	if *n.facts != *m.facts { // every endpoint may look different
		changes = changes[:0]
		for _, mb := range members.list {
			changes = append(changes, change{now: mb})
		}
		services, resources = nil, &meshServices{table: model.EmptyTable}
	}
	n.members = members
	n.services = services.next(changes, n.facts)
	n.resources = resources.next(in.services, members, changes, n.facts)

	if n.sameDestinations(m) {
		n.dests, n.joined = m.dests, m.joined
	} else {
		n.describeDestinations(m, in)
	}
	if n.dests == m.dests && n.src.vips == m.src.vips && n.mode == m.mode && n.exists == m.exists && m.policies != nil {
		n.virtual = m.virtual
	} else {
		n.describeVirtual(m, in, vips)
	}
	n.derivePermissions(m)
	n.id, n.before, n.changed = new(int64), m.id, n.differing(m)
	n.configHash = n.fold()
}

// derivePermissions prepares trimming. What was trimmed for the view before holds
// as long as nothing of it changed.
func (n *Mesh) derivePermissions(m *Mesh) {
	n.olderPermissions = n.src.older != model.Hash{}
	if n.virtual == m.virtual && n.mesh.MTLS == m.mesh.MTLS && n.mode == m.mode && n.src.older == m.src.older &&
		m.policies != nil && n.policies.Hash() == m.policies.Hash() {
		n.permissions, n.trimmed = m.permissions, m.trimmed
		return
	}
	n.permissions = n.policies.Permissions(n.cp.Zone)
	n.trimmed = &trimmed{byClient: map[string]*Outbounds{}}
}

// fold returns what ConfigHash returns.
func (n *Mesh) fold() model.Hash {
	var h digest
	h.flag(n.exists)
	h.hash(n.meshHash)
	h.hash(n.cpHash)
	h.hash(n.policies.Hash())
	h.hash(n.legacy.Hash())
	h.hash(n.dests.hash)
	h.hash(n.virtual.hash)
	h.hash(n.src.older)
	if n.members.direct > 0 {
		// Those proxies have a listener for each endpoint.
		h.hash(n.src.dataplanes)
	}
	return h.sum()
}

// describeMesh reads the Mesh object.
func (n *Mesh) describeMesh(row model.Row, tls *tlsState) {
	spec := &kinds.MeshSpec{}
	if n.exists {
		spec = model.Spec[kinds.MeshSpec](row.Object)
	}
	n.facts = &facts{mesh: n.name, zone: n.cp.Zone, localityAware: spec.LocalityAware(), mtls: spec.EnabledCA() != nil, tls: tls}
	n.mode = spec.MeshServicesMode()
	f := &MeshFacts{
		Passthrough: spec.Passthrough(), ZoneEgress: spec.ZoneEgress(), LocalityAware: spec.LocalityAware(),
		ClientTags: n.src.clientTags != model.Hash{} || n.legacy.ClientTags(),
		Logging:    spec.Logging, Tracing: spec.Tracing,
	}
	if ca := spec.EnabledCA(); ca != nil {
		f.MTLS, f.TLSMode = true, ir.TLSStrict
		if ca.Mode == kinds.MTLSPermissive {
			f.TLSMode = ir.TLSPermissive
		}
	}
	if b := spec.EnabledMetrics(); b != nil {
		var c kinds.PrometheusConf
		if model.DecodeProto(b.Conf, &c) == nil { // else it was refused at the gate
			f.Metrics = &c
		}
	}
	n.mesh = f
	n.meshHash = model.HashJSON(f)
}

// sameDestinations tells whether nothing that destinations, or the joined
// endpoints, are made of differs.
func (n *Mesh) sameDestinations(m *Mesh) bool {
	a, b := n.src, m.src
	if a.multiZone != b.multiZone || a.external != b.external || a.outside != b.outside || a.egresses != b.egresses || a.secrets != b.secrets {
		return false
	}
	if *n.facts != *m.facts || len(n.services) != len(m.services) || len(n.resources.byName) != len(m.resources.byName) {
		return false
	}
	for name, s := range n.services {
		old := m.services[name]
		if old == nil || (old != s && old.dest.hash != s.dest.hash) {
			return false
		}
	}
	for name, s := range n.resources.byName {
		if m.resources.byName[name] != s {
			return false
		}
	}
	return true
}

// describeDestinations makes the table of destinations. A name that both
// proxies and an ExternalService have belongs to the proxies.
func (n *Mesh) describeDestinations(m *Mesh, in *tables) {
	outside := outsideServices(in.outside, in.secrets, n.facts)
	byName := make(map[string]*Destination, len(n.services)+len(outside))
	maps.Copy(byName, outside)
	for name, s := range n.services {
		byName[name] = s.dest
	}
	resources := map[string][]*Resource{}
	for _, s := range n.resources.byName {
		resources[kinds.MeshService.Name] = append(resources[kinds.MeshService.Name], s.res)
	}
	n.joined = map[ir.DestKey]*endpoints{}
	for _, row := range in.multiZone.Rows() {
		res, eps := multiZone(row, n.resources)
		resources[row.Kind.Name] = append(resources[row.Kind.Name], res)
		for i, d := range res.Ports {
			n.joined[d.Key()] = eps[i]
		}
	}
	for _, row := range in.external.Rows() {
		res := external(row)
		resources[row.Kind.Name] = append(resources[row.Kind.Name], res)
		if n.mesh.MTLS { // the egress tells services apart by their SNI
			n.joined[res.Ports[0].Key()] = newEndpoints(egressEndpoints(in.egresses, row.Object, n.facts))
		}
	}
	for _, rs := range resources {
		slices.SortFunc(rs, byAge)
	}
	n.dests = newDestinations(byName, resources, m.dests)
}

// describeVirtual lists the outbounds on virtual addresses.
func (n *Mesh) describeVirtual(m *Mesh, in *tables, vips model.Row) {
	var list []Outbound
	if vips.Object != nil && n.mode != kinds.MeshServicesExclusive {
		// What the control plane wrote itself can be read; else there are none.
		given, _ := ParseVIPs(model.Spec[kinds.ConfigSpec](vips.Object).Config)
		list = n.legacyVIPs(given)
	}
	for _, kind := range []string{kinds.MeshService.Name, kinds.MeshExternalService.Name, kinds.MeshMultiZoneService.Name} {
		list = append(list, resourceVIPs(n.dests.resources[kind])...)
	}
	n.virtual = newOutbounds(list)
	if n.virtual.hash == m.virtual.hash {
		n.virtual = m.virtual
	}
}
