// Package engine is the loop at the heart of kuma-cp: it follows the snapshots,
// derives a view per mesh, and gives each connected proxy a new resource set
// when, and only when, its inputs changed.
//
// Two roads lead to the proxies. Endpoints go straight from the loop to the
// streams that subscribed to them: nothing that is being built can delay the
// removal of an endpoint. Everything else goes through a queue of dirty proxies
// and a few workers, which always build from the newest view.
//
// All methods are safe for concurrent use.
package engine

import (
	"context"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"weft/internal/cp/envoy"
	"weft/internal/cp/identity"
	"weft/internal/cp/preview"
	"weft/internal/cp/state"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Snapshots are what the engine follows. *actual.Filter is one, *state.State is
// another, without what is only known beside the objects.
type Snapshots interface {
	Updates() <-chan state.Update
	Current() *state.Snapshot
}

// Deps is what an engine needs.
type Deps struct {
	State    Snapshots
	Settings view.Settings
	// Kinds of proxies are looked up by name.
	Kinds   func(name string) *model.Kind
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
	// Workers build proxies side by side; 0 = one per CPU.
	Workers int
	// Actual replaces what proxies declare by what is true, in tables that did not
	// come from State; nil = they are as they shall be.
	Actual func(model.Tables) model.Tables
	// Identities issue the certificates of proxies; nil = there are none.
	Identities *identity.Service
}

// Engine configures the connected proxies.
type Engine struct {
	Deps
	metrics *metrics
	queue   *queue
	intern  *intern
	make    preview.Maker // tests replace it

	mu      sync.Mutex
	meshes  map[string]*mesh
	proxies map[model.Key]*proxy
	rev     uint64        // newest revision whose views are current
	moved   chan struct{} // closed and replaced when rev moves
}

// New returns an engine; Run makes it work.
func New(d Deps) *Engine {
	if d.Workers == 0 {
		d.Workers = runtime.GOMAXPROCS(0)
	}
	return &Engine{
		Deps:    d,
		metrics: newMetrics(d.Metrics),
		queue:   newQueue(),
		intern:  newIntern(),
		make:    preview.Sharing(envoy.NewMemo()),
		meshes:  map[string]*mesh{},
		proxies: map[model.Key]*proxy{},
		moved:   make(chan struct{}),
	}
}

// Run follows the snapshots until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		e.queue.close()
		return nil
	})
	for range e.Workers {
		g.Go(func() error {
			for {
				p, at := e.queue.take()
				if p == nil {
					return nil
				}
				e.refresh(p, at)
				e.queue.done(p)
			}
		})
	}
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case u := <-e.State.Updates():
				e.update(u)
			}
		}
	})
	return g.Wait()
}

// update brings the views up to date, publishes endpoints and marks proxies.
func (e *Engine) update(u state.Update) {
	affected := u.Changes.Meshes()
	if u.Changes.Global || e.first() {
		affected = union(affected, u.Meshes())
	}
	changed := make(map[model.Key]bool, len(u.Changes.Keys))
	for _, k := range u.Changes.Keys {
		changed[k] = true
	}
	zone := u.Changes.Global
	for _, name := range affected {
		m := e.mesh(name)
		rebuild, reached := m.advance(u.Snapshot, u.At)
		zone = zone || reached
		if e.Identities != nil {
			e.Identities.Follow(u.Snapshot, name)
		}
		e.mark(name, rebuild, changed, u.At)
	}
	e.mark("", zone, changed, u.At) // zone proxies belong to no mesh
	e.metrics.update(e.Now().Sub(u.At))

	e.mu.Lock()
	e.rev = u.Rev
	close(e.moved)
	e.moved = make(chan struct{})
	e.mu.Unlock()
}

func (e *Engine) first() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rev == 0
}

// mesh returns the state of a mesh, making it at first use.
func (e *Engine) mesh(name string) *mesh {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.meshes[name]
	if m == nil {
		m = newMesh(view.NewMesh(name, e.Settings))
		e.meshes[name] = m
	}
	return m
}

// mark puts the proxies of a mesh into the queue: all of them, or those whose
// own object changed.
func (e *Engine) mark(mesh string, all bool, changed map[model.Key]bool, at time.Time) {
	e.mu.Lock()
	var dirty []*proxy
	if all {
		for _, p := range e.proxies {
			if p.key.Mesh == mesh {
				dirty = append(dirty, p)
			}
		}
	} else {
		for k := range changed {
			if p := e.proxies[k]; p != nil && k.Mesh == mesh {
				dirty = append(dirty, p)
			}
		}
	}
	e.mu.Unlock()
	for _, p := range dirty {
		e.queue.add(p, at)
	}
}

// Connect makes the engine configure a proxy through a sink until the returned
// function is called. A later Connect for the same proxy takes its place.
func (e *Engine) Connect(key model.Key, md view.Metadata, sink xds.Sink) (disconnect func()) {
	p := &proxy{key: key, md: md, sink: sink}
	if e.Identities != nil {
		p.identity = e.Identities.Join(key, e.regenerations(key), func() { e.queue.add(p, e.Now()) })
	}
	e.mu.Lock()
	before := e.proxies[key]
	e.proxies[key] = p
	e.metrics.connected(len(e.proxies))
	e.mu.Unlock()
	if before != nil {
		e.leave(before)
	}
	e.queue.add(p, e.Now())
	return func() {
		e.mu.Lock()
		if e.proxies[key] == p {
			delete(e.proxies, key)
		}
		e.metrics.connected(len(e.proxies))
		e.mu.Unlock()
		e.leave(p)
	}
}

// leave gives back what the proxy held.
func (e *Engine) leave(p *proxy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	e.mesh(p.key.Mesh).release(p.refs)
	p.refs = nil
	if p.identity != nil {
		p.identity.Leave()
	}
}

// regenerations returns how many certificates a proxy had before it connected.
func (e *Engine) regenerations(key model.Key) uint32 {
	row, ok := e.State.Current().Table(kinds.DataplaneInsight, key.Mesh).Get(key.Name)
	if !ok || key.Kind != kinds.Dataplane.Name {
		return 0
	}
	if mtls := model.Spec[kinds.DataplaneInsightSpec](row.Object).MTLS; mtls != nil {
		return mtls.CertificateRegenerations
	}
	return 0
}

// Holds is told which secrets the proxy that is connected through a sink has
// accepted.
func (e *Engine) Holds(key model.Key, sink xds.Sink, h xds.Holding) {
	e.mu.Lock()
	p := e.proxies[key]
	e.mu.Unlock()
	if p != nil && p.sink == sink && p.identity != nil {
		p.identity.Holds(h)
	}
}

// Settled waits until the views include the revision and no proxy is waiting
// to be built.
func (e *Engine) Settled(ctx context.Context, rev uint64) error {
	for {
		e.mu.Lock()
		cur, moved := e.rev, e.moved
		e.mu.Unlock()
		if cur >= rev {
			return e.queue.idle(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

// Preview builds a proxy from the tables given, which may differ from the
// current ones ("what if"). It returns false if the tables do not hold it.
func (e *Engine) Preview(t model.Tables, key model.Key, md view.Metadata) (*preview.Preview, bool, error) {
	return preview.Of(e.View(t, key.Mesh), e.Kinds(key.Kind), key.Name, md, e.make)
}

// View returns the view of a mesh for the tables given, which may differ from the
// current ones.
func (e *Engine) View(t model.Tables, mesh string) *view.Mesh {
	if e.Actual != nil {
		t = e.Actual(t)
	}
	return e.mesh(mesh).current().Next(t)
}

// Metadata returns what a connected proxy told about itself.
func (e *Engine) Metadata(key model.Key) (view.Metadata, bool) {
	e.mu.Lock()
	p := e.proxies[key]
	e.mu.Unlock()
	if p == nil {
		return view.Metadata{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.md, true
}

// SetAdminCert gives the proxy that is connected through a sink another
// certificate for its admin listener.
func (e *Engine) SetAdminCert(key model.Key, sink xds.Sink, cert *view.AdminCert) {
	e.mu.Lock()
	p := e.proxies[key]
	e.mu.Unlock()
	if p == nil || p.sink != sink {
		return
	}
	p.mu.Lock()
	p.md.AdminCert = cert
	p.mu.Unlock()
	e.queue.add(p, e.Now())
}

// Connected returns the keys of the connected proxies, sorted.
func (e *Engine) Connected() []model.Key {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.SortedFunc(maps.Keys(e.proxies), model.Key.Compare)
}

func union(a, b []string) []string {
	out := append(slices.Clone(a), b...)
	slices.SortFunc(out, strings.Compare)
	return slices.Compact(out)
}
