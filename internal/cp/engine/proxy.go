package engine

import (
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"weft/internal/cp/envoy"
	"weft/internal/cp/identity"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// proxy is one connected proxy. The queue hands it to one worker at a time.
type proxy struct {
	key  model.Key
	sink xds.Sink

	mu    sync.Mutex
	md    view.Metadata
	gone  bool
	fp    model.Hash
	built bool
	refs  []ir.EndpointsRef // held in the mesh
	// set is what was published last. Its secrets have their own clock: needs and
	// tags say what they are for, and identity has the newest.
	set      *xds.Set
	secrets  []*xds.Resource
	needs    []*ir.Identity
	tags     map[string][]string
	identity *identity.Member // nil = nobody issues any
	told     []ir.Warning     // of a zone proxy, in the log
	// at is when the oldest change that is not built yet was received; the
	// queue guards it.
	at time.Time
}

// refresh builds the proxy if its inputs changed, or hands out its secrets if
// only those did: then nothing else is made or sent. at is when the oldest change
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
	in, ok := e.subject(p, m)
	if !ok {
		return // not in the store (yet, or any more): what it has stays
	}
	fp := in.Fingerprint()
	if p.built && fp == p.fp {
		result := "skip"
		if secrets := p.newestSecrets(); !slices.Equal(secrets, p.secrets) {
			p.publish(p.set.With(xds.Secret, secrets), secrets, at)
			result = "secrets"
		}
		e.metrics.built(p.md.ProxyType, result, e.Now().Sub(start))
		return
	}
	made, rs, refs, err := e.make(in)
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
	p.needs, p.tags = envoy.IdentityNeeds(made), made.Tags
	e.tell(p, made.Warnings)
	secrets := p.newestSecrets()
	set := xds.NewSet(rs, live).With(xds.Secret, secrets)
	set.Stage = in.Stage()
	p.publish(set, secrets, at)
	e.metrics.built(p.md.ProxyType, "changed", e.Now().Sub(start))
}

// tell logs what a zone proxy cannot do: no mesh has it among its findings.
func (e *Engine) tell(p *proxy, warnings []ir.Warning) {
	if p.key.Mesh != "" || slices.Equal(warnings, p.told) {
		return
	}
	for _, w := range warnings {
		if !slices.Contains(p.told, w) {
			e.Log.Warn("about the configuration of a zone proxy", "proxy", p.key.String(), "object", w.Kind+" "+w.Name, "warning", w.Message)
		}
	}
	p.told = warnings
}

// subject returns what a proxy is made from: of its mesh, or of all meshes for one
// that belongs to none. m is the state of its mesh.
func (e *Engine) subject(p *proxy, m *mesh) (view.Subject, bool) {
	if p.key.Kind != kinds.ZoneEgress.Name {
		in, ok := m.current().For(e.Kinds(p.key.Kind), p.key.Name, p.md)
		return in, ok
	}
	e.mu.Lock()
	names := slices.Sorted(maps.Keys(e.meshes))
	meshes := make([]*view.Mesh, 0, len(names))
	for _, name := range names {
		meshes = append(meshes, e.meshes[name].current())
	}
	e.mu.Unlock()
	in, ok := view.Egress(e.State.Current(), meshes, p.key.Name, p.md, &e.Settings)
	return in, ok
}

// newestSecrets returns the secrets that are there. Those that are not are
// published when they are: Envoy waits for what its listeners and clusters name,
// and takes in everything else meanwhile.
func (p *proxy) newestSecrets() []*xds.Resource {
	if p.identity == nil {
		return nil
	}
	return p.identity.Secrets(p.needs, p.tags)
}

// publish hands a set over to the stream; the caller has made it.
func (p *proxy) publish(set *xds.Set, secrets []*xds.Resource, at time.Time) {
	set.Changed = at
	p.set, p.secrets = set, secrets
	p.sink.Publish(set)
}
