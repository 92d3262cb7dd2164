package engine

import (
	"sync"
	"time"

	"weft/internal/cp/preview"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// mesh is the newest view of a mesh with the endpoint lists that proxies hold.
type mesh struct {
	mu   sync.Mutex
	view *view.Mesh
	// refs by destination, so that a changed destination finds its lists.
	refs map[ir.DestKey]map[ir.EndpointsRef]*held
}

// held is a shared endpoint list with the number of proxies that hold it.
type held struct {
	live  *xds.Live
	count int
}

func newMesh(v *view.Mesh) *mesh {
	return &mesh{view: v, refs: map[ir.DestKey]map[ir.EndpointsRef]*held{}}
}

func (m *mesh) current() *view.Mesh {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view
}

// advance moves to the view of newer tables and publishes the endpoints that
// differ; at is when the change was received. It tells whether all proxies of the
// mesh must be asked, and whether egresses must.
func (m *mesh) advance(t model.Tables, at time.Time) (rebuild, reached bool) {
	old := m.current()
	next := old.Next(t)
	if next == old {
		return false, false
	}
	m.mu.Lock()
	m.view = next
	type publication struct {
		live *xds.Live
		res  *xds.Resource
	}
	var out []publication
	for _, dest := range next.ChangedEndpoints(old) {
		for ref, h := range m.refs[dest] {
			out = append(out, publication{h.live, preview.Assignment(next, ref)})
		}
	}
	m.mu.Unlock()
	for _, p := range out {
		p.live.StoreAt(p.res, at)
	}
	return next.ConfigHash() != old.ConfigHash(), next.ReachedHash() != old.ReachedHash()
}

// hold returns the live lists of refs by cluster name and counts one more holder.
func (m *mesh) hold(refs []ir.EndpointsRef, in *intern) map[string]*xds.Live {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]*xds.Live, len(refs))
	for _, ref := range refs {
		byRef := m.refs[ref.Dest]
		if byRef == nil {
			byRef = map[ir.EndpointsRef]*held{}
			m.refs[ref.Dest] = byRef
		}
		h := byRef[ref]
		if h == nil {
			h = &held{live: xds.NewLive(in.of(preview.Assignment(m.view, ref)))}
			byRef[ref] = h
		}
		h.count++
		out[ref.Name] = h.live
	}
	return out
}

// release counts one holder less.
func (m *mesh) release(refs []ir.EndpointsRef) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ref := range refs {
		byRef := m.refs[ref.Dest]
		h := byRef[ref]
		if h == nil {
			continue
		}
		if h.count--; h.count > 0 {
			continue
		}
		if delete(byRef, ref); len(byRef) == 0 {
			delete(m.refs, ref.Dest)
		}
	}
}
