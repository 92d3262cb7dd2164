package identity

import (
	"slices"
	"time"

	"weft/internal/cp/envoy"
	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Member is a connected proxy. The Service's mutex guards it.
type Member struct {
	s       *Service
	key     model.Key
	changed func()
	gone    bool
	leaves  map[string]*leaf // by mesh
	guestOf []*mesh          // whose certificates it checks, too
	// regenerations counts the certificates that the proxy ever had in its mesh.
	regenerations uint32
	// reported is what was recorded last, by mesh; nil = that there is nothing.
	reported map[string]*kinds.DataplaneMTLS
}

// leaf is the identity of a proxy in a mesh.
type leaf struct {
	member *Member
	mesh   *mesh
	// wish is what the certificate is to be like.
	wish wish
	// now is the newest certificate, before the one that it replaced, which the
	// proxy may still hold.
	now, before *issued
	renewAt     time.Time
	state       leafState
	broken      bool // no certificate can say what is wished
	dropped     bool
	timer       timer
}

// leafState says where a leaf is on its way to a certificate.
type leafState uint8

const (
	idle leafState = iota
	queued
	issuing
)

// wish is what a proxy needs of its certificate.
type wish struct {
	uris []string
	rsa  bool
}

func (w wish) equal(o wish) bool { return w.rsa == o.rsa && slices.Equal(w.uris, o.uris) }

// issued is a certificate in the form in which the proxy gets it.
type issued struct {
	*Certificate
	ref      kinds.CARef
	wish     wish
	lifetime time.Duration // that was asked for
	secret   *xds.Resource
	number   uint32
}

// Join adds a connected proxy. changed is called, from any goroutine, whenever
// Secrets would return something else; it must not block. regenerations is how
// many certificates the proxy had before.
func (s *Service) Join(key model.Key, regenerations uint32, changed func()) *Member {
	return &Member{s: s, key: key, changed: changed, leaves: map[string]*leaf{}, regenerations: regenerations, reported: map[string]*kinds.DataplaneMTLS{}}
}

// Leave forgets the proxy.
func (m *Member) Leave() {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.gone = true
	for _, l := range m.leaves {
		m.s.drop(l)
	}
	m.visit(nil)
}

// visit makes the proxy a guest of these meshes and no others; s.mu is held.
func (m *Member) visit(names []string) {
	before := m.guestOf
	m.guestOf = nil
	for _, name := range names {
		other := m.s.meshOf(name)
		other.guests[m] = struct{}{}
		m.guestOf = append(m.guestOf, other)
	}
	for _, other := range before {
		if !slices.Contains(m.guestOf, other) {
			delete(other.guests, m)
			m.s.forgetUnused(other)
		}
	}
}

// Secrets says what the proxy needs from now on, one identity for each mesh at most,
// and returns what of it is there. What is not comes later: then changed is called.
func (m *Member) Secrets(needs []*ir.Identity, tags map[string][]string) []*xds.Resource {
	s := m.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.gone {
		return nil
	}
	for mesh, l := range m.leaves {
		if !slices.ContainsFunc(needs, func(n *ir.Identity) bool { return n.Mesh == mesh }) {
			s.drop(l)
			m.report(mesh, nil)
		}
	}
	if len(needs) == 0 {
		m.visit(nil)
		m.report(m.key.Mesh, nil) // also where an earlier connection had some
		return nil
	}
	var visited []string
	for _, need := range needs {
		visited = append(visited, need.CrossMesh...)
	}
	m.visit(visited)
	var out []*xds.Resource
	for _, need := range needs {
		if l := m.leafFor(need, tags); l.now != nil {
			out = append(out, l.now.secret)
		}
		out = append(out, s.bundles(need)...)
	}
	return out
}

// leafFor returns the proxy's identity in a mesh, asking for a certificate if there
// is none that fits; s.mu is held.
func (m *Member) leafFor(need *ir.Identity, tags map[string][]string) *leaf {
	l := m.leaves[need.Mesh]
	if l == nil {
		l = &leaf{member: m, mesh: m.s.meshOf(need.Mesh)}
		m.leaves[need.Mesh] = l
		l.mesh.leaves[l] = struct{}{}
	}
	if w := (wish{names(need.Mesh, need.Services, tags), need.RSA}); !w.equal(l.wish) {
		l.wish, l.broken = w, false
	}
	m.s.want(l)
	return l
}

// bundles returns the secrets to check others with.
func (s *Service) bundles(need *ir.Identity) []*xds.Resource {
	var out []*xds.Resource
	var all [][]byte
	for _, name := range append([]string{need.Mesh}, need.CrossMesh...) {
		p := s.meshOf(name).plan
		if p == nil || p.bundle == nil {
			continue
		}
		out = append(out, p.bundle)
		for _, c := range p.trusted {
			all = append(all, []byte(c.PEM))
		}
	}
	if len(need.CrossMesh) == 0 {
		return out
	}
	res, err := envoy.Authority(envoy.AllCASecret, all...)
	if err != nil {
		s.d.Log.Error("the authorities of several meshes cannot be sent together", "mesh", need.Mesh, "error", err)
		return out
	}
	return append(out, res)
}

// meshOf returns the state of a mesh, which may not have been described yet.
func (s *Service) meshOf(name string) *mesh {
	if m := s.meshes[name]; m != nil {
		return m
	}
	return s.newMesh(name)
}

// drop forgets a leaf; s.mu is held.
func (s *Service) drop(l *leaf) {
	l.dropped = true
	s.timers.stop(&l.timer)
	delete(l.mesh.leaves, l)
	delete(l.member.leaves, l.mesh.name)
	s.forgetUnused(l.mesh)
}

// Holds is told what the proxy has accepted, and keeps its insight up to date.
// A proxy counts as one that speaks TLS only when it has its certificate and the
// listeners that use it.
func (m *Member) Holds(h xds.Holding) {
	s := m.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.gone {
		return
	}
	for mesh, l := range m.leaves {
		if m.reported[mesh] != nil || h.Listeners {
			m.holds(mesh, l, h)
		}
	}
}

// holds looks at what was accepted of one mesh; s.mu is held.
func (m *Member) holds(mesh string, l *leaf, h xds.Holding) {
	var cert *issued
	var trusted []kinds.TrustedCA
	known := false
	for _, res := range h.Secrets {
		for _, c := range []*issued{l.before, l.now} {
			if c != nil && c.secret == res {
				cert = c
			}
		}
		for _, p := range []*plan{l.mesh.before, l.mesh.plan} {
			if p != nil && p.bundle != nil && p.bundle.Version == res.Version {
				trusted, known = p.trusted, true
			}
		}
	}
	stage := kinds.LeavingStage(h.Stage)
	switch {
	case cert != nil && known:
		d := describe(cert, trusted)
		d.Leaving = stage
		m.report(mesh, d)
	case m.reported[mesh] != nil && m.reported[mesh].Leaving != stage:
		// Its secrets are about to be replaced, or nothing uses them any more.
		d := *m.reported[mesh]
		d.Leaving = stage
		m.report(mesh, &d)
	}
}

func describe(c *issued, trusted []kinds.TrustedCA) *kinds.DataplaneMTLS {
	d := &kinds.DataplaneMTLS{
		CertificateExpirationTime: model.At(c.NotAfter), LastCertificateRegeneration: model.At(c.Issued),
		CertificateRegenerations: c.number, IssuedBackend: c.ref.Backend, IssuedAuthority: c.ref.ID,
	}
	for _, t := range trusted {
		d.SupportedAuthorities = append(d.SupportedAuthorities, t.ID)
		if !slices.Contains(d.SupportedBackends, t.Backend) {
			d.SupportedBackends = append(d.SupportedBackends, t.Backend)
		}
	}
	return d
}

// report records what is new; s.mu is held.
func (m *Member) report(mesh string, d *kinds.DataplaneMTLS) {
	old, told := m.reported[mesh]
	if m.s.d.Record == nil || told && old == nil && d == nil {
		return
	}
	if old != nil && d != nil && old.CertificateRegenerations == d.CertificateRegenerations && old.Leaving == d.Leaving &&
		slices.Equal(old.SupportedAuthorities, d.SupportedAuthorities) && slices.Equal(old.SupportedBackends, d.SupportedBackends) {
		return
	}
	m.reported[mesh] = d
	m.s.d.Record(m.key, mesh, d)
}
