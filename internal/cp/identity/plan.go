package identity

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"weft/internal/cp/envoy"
	"weft/internal/cp/xds"
	"weft/internal/mesh/kinds"
)

// plan says who signs for a mesh and whom its proxies trust. It is immutable.
type plan struct {
	// signer is nil while nobody can sign; ref is what it is called.
	signer Authority
	ref    kinds.CARef
	// lifetime and timeout are what the Mesh says of certificates.
	lifetime, timeout time.Duration
	// trusted are the authorities in the bundle, sorted.
	trusted []kinds.TrustedCA
	// bundle is the secret mesh_ca:secret:<mesh>, nil while nobody is trusted.
	bundle *xds.Resource
}

// loaded is what is known about a backend.
type loaded struct {
	authority Authority // the last that could be loaded; nil = none ever
	err       error     // of the last try
}

// newPlan decides from what the Mesh asks for, what could be loaded, and what the
// leader wrote down. known are authorities by id that this instance has seen, so
// that one which a Mesh does not name any more can sign until its successor is
// trusted by all.
func newPlan(mesh string, mtls *kinds.MeshMTLS, backends map[string]*loaded, trust *kinds.MeshTrust, known map[string]Authority) (*plan, error) {
	p := &plan{}
	for i := range mtls.Backends {
		b := &mtls.Backends[i]
		l := backends[b.Name]
		if l == nil || l.authority == nil {
			continue
		}
		p.trust(trusted(b.Name, l.authority))
		if b.Name == mtls.EnabledBackend {
			p.signer, p.ref = l.authority, kinds.CARef{Backend: b.Name, ID: l.authority.ID()}
		}
	}
	if trust != nil {
		for _, c := range trust.Trusted {
			p.trust(c)
		}
		if old := known[trust.Signer.ID]; old != nil && trust.Signer.ID != p.ref.ID {
			p.signer, p.ref = old, trust.Signer
		}
	}
	if p.signer != nil {
		b := find(mtls, p.ref.Backend)
		if b == nil { // the Mesh does not name it any more; its successor's settings are the newest wish
			b = find(mtls, mtls.EnabledBackend)
		}
		p.lifetime, p.timeout = b.CertLifetime(), b.CertTimeout()
	}
	slices.SortFunc(p.trusted, func(a, b kinds.TrustedCA) int {
		return cmp.Or(strings.Compare(a.Backend, b.Backend), strings.Compare(a.ID, b.ID))
	})
	if len(p.trusted) == 0 {
		return p, nil
	}
	roots := make([][]byte, 0, len(p.trusted))
	for _, c := range p.trusted {
		roots = append(roots, []byte(c.PEM))
	}
	var err error
	p.bundle, err = envoy.Authority(envoy.CASecret(mesh), roots...)
	return p, err
}

func (p *plan) trust(c kinds.TrustedCA) { p.trusted = addTrusted(p.trusted, c) }

// addTrusted adds an authority, once.
func addTrusted(list []kinds.TrustedCA, c kinds.TrustedCA) []kinds.TrustedCA {
	if slices.ContainsFunc(list, func(t kinds.TrustedCA) bool { return t.ID == c.ID }) {
		return list
	}
	return append(list, c)
}

func find(mtls *kinds.MeshMTLS, name string) *kinds.CABackend {
	for i := range mtls.Backends {
		if mtls.Backends[i].Name == name {
			return &mtls.Backends[i]
		}
	}
	return nil
}

func trusted(backend string, a Authority) kinds.TrustedCA {
	return kinds.TrustedCA{CARef: kinds.CARef{Backend: backend, ID: a.ID()}, PEM: string(bytes.TrimSpace(a.Roots())) + "\n"}
}

// sameSigner tells whether certificates of the one plan are what the other would
// make.
func (p *plan) sameSigner(o *plan) bool {
	if p == nil || o == nil {
		return p == o
	}
	return p.ref == o.ref && p.lifetime == o.lifetime
}

func (p *plan) sameBundle(o *plan) bool {
	if p == nil || o == nil || p.bundle == nil || o.bundle == nil {
		return p == o || (p != nil && o != nil && p.bundle == o.bundle)
	}
	return p.bundle.Version == o.bundle.Version
}
