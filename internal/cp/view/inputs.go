// Package view derives, from the tables of one moment, what each proxy's
// configuration depends on: per mesh the derived tables (destinations,
// endpoints, policies, hostnames), per proxy its Inputs with a Fingerprint. It
// is pure: it reads no clock, no store, no environment. The engine calls it;
// package build receives nothing but an *Inputs.
//
// A Mesh is immutable and safe for concurrent use, as is everything that it
// gives out. Next returns the one for newer tables and shares with it whatever
// did not change.
package view

import (
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// Metadata is what a connected proxy's node tells about itself
// (data-plane.md §4). The zero value is a proxy that is not connected, as the
// API's _config shows it.
type Metadata struct {
	ProxyType     ir.ProxyType
	AdminPort     uint32
	AdminAddress  string
	DNSPort       uint32
	ReadinessPort uint32
	AppProbeProxy bool
	WorkDir       string
	MetricsCert   string
	MetricsKey    string
	SystemCAPath  string
	IPv6          bool // absent in the node = true
	Features      []string
	DPVersion     string
	EnvoyVersion  string
	// NoKafka: the proxy's Envoy lists its extensions, and the Kafka filter is
	// not among them. It would refuse listeners that have it.
	NoKafka bool
	// AdminCert protects the admin listener. It is no part of the node: who
	// accepts the connection fills it in. nil = only /ready is reachable.
	AdminCert *AdminCert
}

// AdminCert is a proxy's certificate for its admin listener, and the authority
// of those who may use it.
type AdminCert struct{ CertPEM, KeyPEM, CAPEM []byte }

// Settings are the parts of the control plane's configuration that proxies
// depend on. They do not change while the process runs.
type Settings struct {
	Zone           string
	InternalCIDRs  []string
	DNSDomain      string
	ServiceVIPPort uint32
	ServiceVIPs    bool
	// AutoReachable leaves out destinations that no permission lets a proxy reach.
	AutoReachable bool
	// Policies are the kinds that take part, in the order in which they act
	// (catalog.Policies).
	Policies []*policy.Policy
}

// MeshFacts are the parts of a Mesh object, and of what else there is in the
// mesh, that its proxies depend on.
type MeshFacts struct {
	// MTLS tells whether the mesh has an enabled certificate authority.
	MTLS    bool
	TLSMode ir.TLSMode
	// Leaving is set while mutual TLS is being turned off: it is still on then, and
	// plain text is accepted whatever policies say.
	Leaving kinds.LeavingStage
	// Passthrough allows connections to where nothing of the mesh is.
	Passthrough bool
	// ZoneEgress: what leaves the zone takes its egress. ForbidExternal closes that
	// for all MeshExternalServices.
	ZoneEgress, ForbidExternal bool
	LocalityAware              bool
	// ClientTags: someone in the mesh tells clients apart by their tags, so that
	// clients have to send them.
	ClientTags bool
	// Metrics is the enabled Prometheus backend, nil = none.
	Metrics *kinds.PrometheusConf
	// Logging and Tracing are the backends of older policies, nil = none.
	Logging *kinds.MeshLogging
	Tracing *kinds.MeshTracing
}

// Inputs is everything that one proxy's configuration depends on. Equal
// fingerprints mean equal configurations.
type Inputs struct {
	ID ir.ProxyID
	// Own is the proxy's own object.
	Own  model.Row
	Node Metadata
	CP   *Settings
	Mesh *MeshFacts
	// Policies are those that select the proxy.
	Policies *policy.Matched
	// Legacy are the older policies, by sources and destinations.
	Legacy *legacy.Matched
	// Outbounds are the ports on which the workload reaches destinations.
	Outbounds *Outbounds
	// Direct are the addresses of other proxies that may be called directly.
	Direct []ir.DirectAccess
	// Table has all destinations of the mesh. It is there only if routes that
	// apply to the proxy may name any of them.
	Table *Destinations
	// Memo remembers merged policies. It is no input, since it only saves time.
	Memo *policy.Memo

	meshHash, cpHash model.Hash
}

// Fingerprint covers everything in the inputs.
func (in *Inputs) Fingerprint() model.Hash {
	var h digest
	h.b = make([]byte, 0, 512)
	h.str(in.ID.Mesh)
	h.str(in.ID.Name)
	h.hash(in.Own.Hash)
	in.Node.digest(&h)
	h.hash(in.cpHash)
	h.hash(in.meshHash)
	if in.Policies != nil {
		h.hash(in.Policies.Hash())
	}
	if in.Legacy != nil {
		h.hash(in.Legacy.Hash())
	}
	if in.Outbounds != nil {
		h.hash(in.Outbounds.hash)
	}
	h.num(uint64(len(in.Direct)))
	for _, d := range in.Direct {
		h.str(d.Address)
		h.num(uint64(d.Port))
	}
	h.flag(in.Table != nil)
	if in.Table != nil {
		h.hash(in.Table.hash)
	}
	return h.sum()
}

func (m *Metadata) digest(h *digest) {
	h.str(string(m.ProxyType))
	h.str(m.AdminAddress)
	for _, n := range []uint32{m.AdminPort, m.DNSPort, m.ReadinessPort} {
		h.num(uint64(n))
	}
	for _, s := range []string{m.WorkDir, m.MetricsCert, m.MetricsKey, m.SystemCAPath, m.DPVersion, m.EnvoyVersion} {
		h.str(s)
	}
	for _, b := range []bool{m.AppProbeProxy, m.IPv6, m.NoKafka, m.AdminCert != nil} {
		h.flag(b)
	}
	h.strs(m.Features)
	if c := m.AdminCert; c != nil {
		h.str(string(c.CertPEM))
		h.str(string(c.KeyPEM))
		h.str(string(c.CAPEM))
	}
}

// digest covers all settings but the policies, which count by what they match.
func (s *Settings) digest() model.Hash {
	var h digest
	h.str(s.Zone)
	h.strs(s.InternalCIDRs)
	h.str(s.DNSDomain)
	h.num(uint64(s.ServiceVIPPort))
	h.flag(s.ServiceVIPs)
	h.flag(s.AutoReachable)
	return h.sum()
}
