package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"weft/internal/cp/view"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

const meshALPN = "kuma"

// backends finds destinations for routes and makes their clusters.
type backends struct {
	b    *builder
	own  map[*ir.Outbound]*view.Outbound
	used map[string]target // clusters that the proxy has
	// byKey are the destinations of the outbounds.
	byKey map[ir.DestKey]*view.Destination
}

func newBackends(b *builder) *backends {
	x := &backends{
		b: b, own: make(map[*ir.Outbound]*view.Outbound, len(b.p.Outbounds)),
		used:  make(map[string]target, len(b.p.Outbounds)),
		byKey: make(map[ir.DestKey]*view.Destination, len(b.p.Outbounds)),
	}
	for i, o := range b.p.Outbounds {
		x.own[o] = b.ends[i]
		x.byKey[b.ends[i].Dest.Key()] = b.ends[i].Dest
	}
	return x
}

func backendOf(d *view.Destination, tags map[string]string) policy.Backend {
	return policy.Backend{Destination: d.Destination, Protocol: effective(d.Protocol), Tags: tags}
}

// Own returns the destination that an outbound is for.
func (x *backends) Own(o *ir.Outbound) policy.Backend {
	end := x.own[o]
	return backendOf(end.Dest, restricting(end.Tags))
}

// restricting returns the tags that tell some endpoints of a service from others.
func restricting(tags map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range tags {
		if k != model.TagService && k != model.TagMesh {
			out[k] = v
		}
	}
	return out
}

// Resolve returns the destination that a route names.
func (x *backends) Resolve(ref policy.BackendRef, from policy.Source) (policy.Backend, bool) {
	t := x.b.in.Table
	if t == nil {
		return policy.Backend{}, false
	}
	if !ref.Real() {
		return backendOf(x.keep(t.Service(x.b.in.ID.Mesh, ref.Name)), ref.Tags), true
	}
	_, d := t.Backend(ref, from)
	if d == nil {
		return policy.Backend{}, false
	}
	return backendOf(x.keep(d), nil), true
}

func (x *backends) keep(d *view.Destination) *view.Destination {
	x.byKey[d.Key()] = d
	return d
}

// Labels returns the labels of a destination that is a resource.
func (x *backends) Labels(d ir.Destination) map[string]string {
	if v := x.byKey[keyOf(d)]; v != nil {
		return v.Labels
	}
	return nil
}

func keyOf(d ir.Destination) ir.DestKey {
	return ir.DestKey{Kind: d.Kind, Mesh: d.Mesh, Name: d.Name, Section: d.Section}
}

// target is what a cluster leads to.
type target struct {
	key    ir.DestKey
	subset string
}

// Use returns the name of the cluster for a backend and makes sure that the
// proxy has it.
func (x *backends) Use(be policy.Backend) string {
	to := target{keyOf(be.Destination), subset(restricting(be.Tags))}
	name := clusterName(be)
	byTag := shortNames[be.Destination.Kind] == "" // else its name is made here
	if has, taken := x.used[name]; taken && has != to || byTag && reserved(name) {
		name = to.apart(name)
	}
	if _, done := x.used[name]; done {
		return name
	}
	x.used[name] = to
	d := x.byKey[keyOf(be.Destination)]
	if d == nil { // made by Own or Resolve only
		panic(fmt.Sprintf("build: backend %v was not resolved here", be.Destination))
	}
	x.b.p.Clusters = append(x.b.p.Clusters, x.cluster(name, d, be.Tags))
	for _, w := range d.Warnings {
		if !slices.Contains(x.b.p.Warnings, w) {
			x.b.p.Warnings = append(x.b.p.Warnings, w)
		}
	}
	return name
}

// clusterName is the name of the cluster of a destination, or of some endpoints
// of it.
func clusterName(be policy.Backend) string {
	name := destinationName(be.Destination)
	if len(be.Tags) == 0 {
		return name
	}
	// Metrics tell such clusters by this form: 16 hex digits after a dash.
	tags := maps.Clone(be.Tags)
	tags[model.TagService] = be.Destination.Name
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		h.Write([]byte(k + tags[k]))
	}
	return name + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// apart returns a name that only this target has: no service can have a tilde in
// its name.
func (t target) apart(name string) string {
	h := sha256.Sum256([]byte(strings.Join([]string{t.key.Kind, t.key.Mesh, t.key.Name, t.key.Section, t.subset}, "\x00")))
	return name + "~" + hex.EncodeToString(h[:8])
}

// Names of clusters that are not services. Whoever starts a proxy chooses the name
// of its service: were it that of such a cluster of others, it would get their
// traffic.
var (
	ownClusters        = []string{"ads_cluster", "access_log_sink", "direct_access"}
	ownClusterPrefixes = []string{"localhost:", "inbound:", "outbound:", "kuma:", "_kuma:", "tracing:", "meshtrace:", "meshaccesslog:"}
	resourceCluster    = regexp.MustCompile(`_(msvc|extsvc|mzsvc)_[0-9]+$`)
)

// reserved tells whether a service may not have a cluster of that name.
func reserved(name string) bool {
	return slices.Contains(ownClusters, name) || resourceCluster.MatchString(name) ||
		slices.ContainsFunc(ownClusterPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// shortNames of resources in names of clusters.
var shortNames = map[string]string{
	policy.RefMeshService: "msvc", policy.RefMeshExternalService: "extsvc", policy.RefMeshMultiZoneService: "mzsvc",
}

// destinationName is what a destination is called in names and statistics.
func destinationName(d ir.Destination) string {
	short := shortNames[d.Kind]
	if short == "" {
		return d.Name
	}
	return d.Mesh + "_" + d.Display + "_" + d.Namespace + "_" + d.Zone + "_" + short + "_" + strconv.FormatUint(uint64(d.Port), 10)
}

func (x *backends) cluster(name string, d *view.Destination, tags map[string]string) *ir.Cluster {
	protocol := effective(d.Protocol)
	c := &ir.Cluster{Name: name, Destination: d.Destination, Protocol: protocol}
	if d.Kind == kinds.ExternalService.Name && !x.throughEgress() {
		if list := x.b.permitted(d); len(list) > 0 || len(d.Outside) == 0 {
			speak(c, protocol)
			c.DNSIPv6 = x.b.in.Node.IPv6
			outside(c, list)
			return c
		}
		// Nothing of it may be used: as a service of the mesh that nobody has.
		closed := *d
		closed.Kind, closed.External = "", false
		d, c.Destination = &closed, closed.Destination
	}
	c.Endpoints = &ir.EndpointsRef{Name: name, Dest: d.Key(), Subset: subset(tags)}
	// Proxies of the mesh speak HTTP/2 among each other, whatever the workloads do.
	c.HTTP2 = true
	if d.External {
		if x.b.in.Mesh.MTLS {
			speak(c, protocol)
		} else {
			c.Protocol = ir.ProtocolUnknown // without mutual TLS no egress takes it
		}
	}
	c.TLS = x.clientTLS(d, tags)
	return c
}

// speak sets the HTTP version of destinations that are no proxies.
func speak(c *ir.Cluster, p ir.Protocol) {
	c.HTTP1 = p == ir.ProtocolHTTP
	c.HTTP2 = p == ir.ProtocolHTTP2 || p == ir.ProtocolGRPC
}

// outside gives a cluster the endpoints of an ExternalService.
func outside(c *ir.Cluster, list []view.Outside) {
	for i := range list {
		o := &list[i]
		c.Static = append(c.Static, o.Endpoint)
		c.DNS = c.DNS || !isIP(o.Address)
		if o.TLS == nil {
			continue
		}
		if c.TLS == nil {
			c.TLS = &ir.ClientTLS{}
		}
		c.TLS.PerTags = append(c.TLS.PerTags, ir.TaggedTLS{Name: o.Address, Tags: o.Tags, External: o.TLS})
	}
}

// throughEgress tells whether ExternalServices are reached through the egress of the
// zone.
func (x *backends) throughEgress() bool { return x.b.in.Mesh.MTLS && x.b.in.Mesh.ZoneEgress }

// clientTLS secures connections to proxies of the mesh; nil = plain text. An egress
// takes nothing but TLS, by which it tells destinations apart.
func (x *backends) clientTLS(d *view.Destination, tags map[string]string) *ir.ClientTLS {
	m := x.b.in.Mesh
	if !m.MTLS || !d.External && (m.Leaving == kinds.LeavingPlain || m.TLSMode == ir.TLSPermissive && !d.TLSReady) {
		return nil
	}
	t := &ir.ClientTLS{
		MeshIdentity: true, IdentityMesh: x.b.in.ID.Mesh, Mesh: d.Mesh, ALPN: []string{meshALPN}, SNI: d.SNI,
	}
	if d.Kind == "" || d.Kind == kinds.ExternalService.Name {
		t.SNI = tagSNI(d.Name, d.Mesh, tags)
	}
	names := d.Identities
	switch {
	case d.External:
		names = []string{kinds.EgressService}
	case d.Kind == "":
		names = []string{d.Name}
	}
	for _, n := range names {
		t.ExactSANs = append(t.ExactSANs, "spiffe://"+d.Mesh+"/"+n)
	}
	if len(names) == 0 {
		t.PrefixSANs = []string{"spiffe://" + d.Mesh + "/"}
	}
	return t
}

// tagSNI is what clients of a service known by its tag ask for.
func tagSNI(service, mesh string, tags map[string]string) string {
	tags = maps.Clone(tags)
	if tags == nil {
		tags = map[string]string{}
	}
	tags[view.MeshKey] = mesh
	return service + "{" + subset(tags) + "}"
}

// subset writes tags as "k=v,k2=v2", sorted.
func subset(tags map[string]string) string {
	parts := make([]string, 0, len(tags))
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		parts = append(parts, k+"="+tags[k])
	}
	return strings.Join(parts, ",")
}
