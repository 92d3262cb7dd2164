package whatif

import (
	"fmt"
	"time"

	"weft/internal/cp/inspect"
	"weft/internal/cp/preview"
	"weft/internal/cp/services"
	"weft/internal/cp/view"
	"weft/internal/cp/vip"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// World is what objects become in a zone. It is immutable.
type World struct {
	// Objects are all: those given, as the leader leaves them, and those it made.
	Objects []*model.Object
	tables  model.Tables
	set     Settings
	vips    map[string]view.VIPs
}

// New returns the world of objects that passed the gate, given in the order of
// their creation. Services keep the virtual addresses that their status has;
// others get the next ones in that order. What is known to before keeps the
// addresses that it has there; before may be nil.
func New(objects []*model.Object, s Settings, now time.Time, before *World) (*World, error) {
	if before != nil {
		objects = before.seed(objects)
	}
	w := &World{set: s, vips: map[string]view.VIPs{}}
	w.Objects = services.Settle(objects, s.Services, now)
	t := model.NewTables(w.Objects...)
	for _, row := range t.Table(kinds.Mesh, "").Rows() {
		mesh := row.Meta.Name
		entries, _ := vip.Entries(t, mesh, s.Zone)
		var had view.VIPs
		if before != nil {
			had = before.vips[mesh]
		}
		given, err := vip.Allocate(had, entries, s.VIPs, now)
		if err != nil {
			return nil, fmt.Errorf("mesh %q: %w", mesh, err)
		}
		text, err := given.Encode()
		if err != nil {
			return nil, fmt.Errorf("mesh %q: %w", mesh, err)
		}
		config := kinds.Config.Make("", view.VIPConfigName(mesh))
		config.Spec = &kinds.ConfigSpec{Config: text}
		w.Objects, w.vips[mesh] = append(w.Objects, config), given
	}
	w.tables = model.NewTables(w.Objects...)
	return w, nil
}

// seed returns objects with the status that they have in w, and with the services
// that w made for proxies as there are among the objects.
func (w *World) seed(objects []*model.Object) []*model.Object {
	out := make([]*model.Object, 0, len(objects))
	given, offered := map[model.Key]bool{}, map[model.Key]bool{}
	for _, o := range objects {
		given[o.Key()] = true
		if dp, is := o.Spec.(*kinds.DataplaneSpec); is {
			for _, service := range dp.Services() {
				offered[kinds.MeshService.Key(o.Meta.Mesh, service)] = true
			}
		}
	}
	known := map[model.Key]*model.Object{}
	for _, o := range w.Objects {
		known[o.Key()] = o
		if offered[o.Key()] && !given[o.Key()] && o.Label(model.LabelManagedBy) == model.ManagedByMSGen {
			out = append(out, o)
		}
	}
	for _, o := range objects {
		if was := known[o.Key()]; was != nil && was.Status != nil && was != o {
			c := *o
			c.Status = was.Status
			o = &c
		}
		out = append(out, o)
	}
	return out
}

// Tables are the objects, and what the control plane notes for itself.
func (w *World) Tables() model.Tables { return w.tables }

// Shadow returns the world in which the policies of a mesh with the label
// kuma.io/effect: shadow take part.
func (w *World) Shadow(mesh string) *World {
	s := *w
	s.tables = inspect.WithShadow(catalog.Policies, w.tables, mesh)
	return &s
}

// Proxies returns the keys of all proxies: the egresses of the zone and Dataplanes.
func (w *World) Proxies() []model.Key {
	var out []model.Key
	for _, row := range w.tables.Table(kinds.ZoneEgress, "").Rows() {
		if !model.Spec[kinds.ZoneEgressSpec](row.Object).RemoteTo(w.set.View.Zone) {
			out = append(out, row.Key())
		}
	}
	return append(out, w.Dataplanes()...)
}

// Dataplanes returns the keys of all Dataplanes.
func (w *World) Dataplanes() []model.Key {
	var out []model.Key
	for _, mesh := range w.Meshes() {
		for _, row := range w.tables.Table(kinds.Dataplane, mesh).Rows() {
			out = append(out, row.Key())
		}
	}
	return out
}

// View returns the view of a mesh.
func (w *World) View(mesh string) *view.Mesh {
	return view.NewMesh(mesh, w.set.View).Next(w.tables)
}

// Egress returns the configuration of an egress of the zone; false if there is no
// such egress. views are the Views of all meshes, sorted by name.
func (w *World) Egress(views []*view.Mesh, name string) (inspect.Config, bool, error) {
	// A real one tells where the authorities of its host are.
	md := view.Metadata{ProxyType: ir.ZoneEgress, SystemCAPath: "/etc/ssl/certs/ca-certificates.crt"}
	in, ok := view.Egress(w.tables, views, name, md, &w.set.View)
	if !ok {
		return nil, false, nil
	}
	p, err := preview.OfEgress(in)
	if err != nil {
		return nil, false, err
	}
	c, err := inspect.ConfigOf(p)
	return c, true, err
}

// Meshes returns the names of all meshes, sorted.
func (w *World) Meshes() []string {
	var out []string
	for _, row := range w.tables.Table(kinds.Mesh, "").Rows() {
		out = append(out, row.Meta.Name)
	}
	return out
}

// Config returns the configuration of a proxy as the API's _config shows it;
// false if there is no such proxy. v is the View of its mesh.
func Config(v *view.Mesh, name string) (inspect.Config, bool, error) {
	p, ok, err := preview.Of(v, kinds.Dataplane, name, view.Metadata{}, preview.Make)
	if !ok || err != nil {
		return nil, ok, err
	}
	c, err := inspect.ConfigOf(p)
	return c, true, err
}
