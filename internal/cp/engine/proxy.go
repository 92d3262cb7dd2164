package engine

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"weft/internal/cp/build"
	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// proxy is one connected proxy. The queue hands it to one worker at a time.
type proxy struct {
	key  model.Key
	md   view.Metadata
	sink xds.Sink

	mu    sync.Mutex
	gone  bool
	fp    model.Hash
	built bool
	refs  []ir.EndpointsRef // held in the mesh
	// at is when the oldest change that is not built yet was received; the
	// queue guards it.
	at time.Time
}

// refresh builds the proxy if its inputs changed. at is when the oldest change
// was received that may have changed them. A panic stays with this proxy: it
// keeps its last good set.
func (e *Engine) refresh(p *proxy, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			e.metrics.panics.Inc()
			e.metrics.errors.Inc()
			e.Log.Error("building a proxy panicked; it keeps its last configuration",
				"proxy", p.key.String(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	start := e.Now()
	m := e.mesh(p.key.Mesh)
	in, ok := m.current().For(e.Kinds(p.key.Kind), p.key.Name, p.md)
	if !ok {
		return // not in the store (yet, or any more): what it has stays
	}
	fp := in.Fingerprint()
	if p.built && fp == p.fp {
		e.metrics.built(p.md.ProxyType, "skip", e.Now().Sub(start))
		return
	}
	_, rs, refs, err := e.make(in)
	if err != nil {
		e.metrics.errors.Inc()
		e.Log.Error("building a proxy failed; it keeps its last configuration", "proxy", p.key.String(), "error", err)
		return
	}
	for i, r := range rs {
		rs[i] = e.intern.of(r)
	}
	live := m.hold(refs, e.intern)
	m.release(p.refs)
	p.refs, p.fp, p.built = refs, fp, true
	set := xds.NewSet(rs, live)
	set.Changed = at
	p.sink.Publish(set)
	e.metrics.built(p.md.ProxyType, "changed", e.Now().Sub(start))
}

// maker is the way from inputs to resources; tests replace it.
type maker func(in *view.Inputs) (*ir.Proxy, []*xds.Resource, []ir.EndpointsRef, error)

// construct is the pure way from inputs to resources.
func construct(in *view.Inputs) (*ir.Proxy, []*xds.Resource, []ir.EndpointsRef, error) {
	p := build.Proxy(in)
	rs, refs, err := envoy.Resources(p)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("translate proxy %s/%s: %w", p.ID.Mesh, p.ID.Name, err)
	}
	return p, rs, refs, nil
}

// assignment encodes the endpoints of a ref as a view knows them.
func assignment(v *view.Mesh, ref ir.EndpointsRef) *xds.Resource {
	return envoy.Assignment(ref, v.Endpoints(ref))
}
