package services

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"weft/internal/cp/vip"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// mesh is what the task knows of one mesh.
type mesh struct {
	name string
	set  *Settings

	row      model.Row
	mode     kinds.MeshServicesMode
	mtls     bool
	fleet    *fleet
	services map[string]*service
	shelves  [3]*shelf // parallel to serviceKinds
	namers   [3]*namer
	named    [3]map[string]naming // nil = to be made again

	// dirty: there may be something to do.
	dirty bool
	// again is when there will be something to do, zero = never.
	again time.Time
	// counted is when counts of a service were written last.
	counted map[string]time.Time
	told    map[string]string
}

// serviceKinds are the kinds of services that are objects. MeshServices come
// first, since the others depend on them.
var serviceKinds = [3]*model.Kind{kinds.MeshService, kinds.MeshMultiZoneService, kinds.MeshExternalService}

func newMesh(name string, set *Settings) *mesh {
	m := &mesh{
		name: name, set: set, fleet: newFleet(), services: map[string]*service{}, dirty: true,
		counted: map[string]time.Time{}, told: map[string]string{},
	}
	for i := range serviceKinds {
		m.shelves[i], m.namers[i] = newShelf(), newNamer(set.Zone)
	}
	return m
}

// follow moves to newer tables.
func (m *mesh) follow(row model.Row, t model.Tables, now time.Time) {
	if row.Hash != m.row.Hash {
		spec := model.Spec[kinds.MeshSpec](row.Object)
		m.mode, m.mtls = spec.MeshServicesMode(), spec.EnabledCA() != nil
		m.dirty = true
	}
	m.row = row
	if turns := m.fleet.follow(t.Table(kinds.Dataplane, m.name), t.Table(kinds.DataplaneInsight, m.name)); len(turns) > 0 {
		m.turned(turns)
		m.dirty = true
	}
	for i, k := range serviceKinds {
		for _, a := range m.shelves[i].follow(t.Table(k, m.name), now) {
			m.dirty = true
			if a.renamed() {
				m.named[i] = nil
			}
			if a.now == nil && k == kinds.MeshService {
				delete(m.services, a.name())
				delete(m.counted, a.name())
				if g := m.fleet.groups[a.name()]; g != nil {
					g.ports = nil
				}
			}
			if k == kinds.MeshService && a.now != nil && managed(a.now) {
				if g := m.fleet.groups[a.name()]; g != nil {
					g.ports = nil // somebody may have changed them
				}
			}
		}
	}
	if !m.again.IsZero() && !now.Before(m.again) {
		m.dirty = true
	}
}

// wakeAt asks for another look at a time.
func (m *mesh) wakeAt(at time.Time) {
	if m.again.IsZero() || at.Before(m.again) {
		m.again = at
	}
}

// write is a change of one object. Both are set for an update.
type write struct{ was, now *model.Object }

// plan returns what has to be written so that all services are as they shall be.
func (m *mesh) plan(gs []generator, pools *pools, now time.Time) []write {
	m.dirty, m.again = false, time.Time{}
	var want [3]map[string]*draft
	for i := range serviceKinds {
		want[i] = make(map[string]*draft, len(m.shelves[i].objects))
		for name, o := range m.shelves[i].objects {
			want[i][name] = draftOf(o)
		}
	}
	before := len(want[0])
	m.generate(want[0], now)
	if len(want[0]) != before {
		m.named[0] = nil
	}
	m.status(want[0])
	m.joined(want[1], want[0])
	for i, k := range serviceKinds {
		if m.set.Hostnames {
			m.setNames(i, want[i], gs)
		}
		if m.set.Addresses {
			m.setVIPs(k, want[i], pools, now)
		}
	}
	return m.differences(want, now)
}

// setNames writes hostnames into the status of the services of a kind.
func (m *mesh) setNames(i int, want map[string]*draft, gs []generator) {
	if m.named[i] == nil {
		objects := make([]*model.Object, 0, len(want))
		for _, d := range want {
			objects = append(objects, d.now)
		}
		m.named[i] = m.namers[i].name(gs, objects)
	}
	for name, d := range want {
		has, shall := d.names(), m.named[i][name]
		if others := fromOthers(has.addresses); len(others) > 0 {
			shall.addresses = append(others, shall.addresses...)
		}
		if !has.equal(shall) {
			d.setNames(shall)
		}
	}
}

// fromOthers returns the addresses that no generator made.
func fromOthers(list []kinds.Address) []kinds.Address {
	return slices.DeleteFunc(slices.Clone(list), func(a kinds.Address) bool { return a.Origin == kinds.AddressFromGenerator })
}

// setVIPs gives a virtual address to the services of a kind that have none, or
// one that belongs to somebody else. The oldest come first.
func (m *mesh) setVIPs(k *model.Kind, want map[string]*draft, pools *pools, now time.Time) {
	pool := pools.of[k.Name]
	var without []*draft
	for _, d := range want {
		if k == kinds.MeshService && d.now.Label(model.LabelEnv) == model.EnvKubernetes && local(d.now) {
			continue // it has the addresses of its Kubernetes Service
		}
		if !m.keeps(d, pool, now) {
			without = append(without, d)
		}
	}
	slices.SortFunc(without, func(a, b *draft) int { return byAge(a.now, b.now) })
	for _, d := range without {
		a, err := pool.Take(d.now.Key(), now)
		if err != nil {
			m.once(slog.LevelWarn, "vip", d.now.Key().String(), "a service gets no virtual address", "object", d.now.Key().String(), "range", pools.ranges[k.Name], "error", err)
			m.wakeAt(now.Add(vip.Quarantine / 8))
			continue
		}
		d.setVIPs([]netip.Addr{a})
	}
}

// keeps tells whether a service has virtual addresses that are its own. It notes
// them in the pool.
func (m *mesh) keeps(d *draft, pool *vip.Pool, now time.Time) bool {
	has := d.vips()
	if len(has) == 0 {
		return false
	}
	inside := slices.DeleteFunc(slices.Clone(has), func(a netip.Addr) bool { return !pool.Contains(a) })
	if len(inside) == 0 {
		return true // of a range that was configured before
	}
	own := pool.Set(d.now.Key(), inside, now)
	if len(own) == len(inside) {
		return true
	}
	kept := slices.DeleteFunc(slices.Clone(has), func(a netip.Addr) bool { return pool.Contains(a) && !slices.Contains(own, a) })
	if len(kept) > 0 {
		d.setVIPs(kept)
	}
	return len(kept) > 0
}

// countInterval is the least time between two writes of nothing but the counts
// of a service.
const countInterval = time.Second

// differences returns the drafts that differ from what is there. Counts alone
// have time: a thousand proxies that connect shall not cost a thousand writes.
func (m *mesh) differences(want [3]map[string]*draft, now time.Time) []write {
	var out []write
	for i := range serviceKinds {
		for name, d := range want[i] {
			switch {
			case d.shaped:
			case d.counted && now.Sub(m.counted[name]) >= countInterval:
			case d.counted:
				m.wakeAt(m.counted[name].Add(countInterval))
				continue
			default:
				continue
			}
			if d.counted {
				m.counted[name] = now
			}
			out = append(out, write{d.was, d.now})
		}
		for name, o := range m.shelves[i].objects {
			if want[i][name] == nil {
				out = append(out, write{was: o})
			}
		}
	}
	slices.SortFunc(out, func(a, b write) int { return a.key().Compare(b.key()) })
	return out
}

func (w write) key() model.Key {
	if w.was != nil {
		return w.was.Key()
	}
	return w.now.Key()
}

// maxTold bounds what is remembered of findings that were logged.
const maxTold = 10_000

// once logs a finding, unless it was the same before.
func (m *mesh) once(level slog.Level, topic, name, message string, args ...any) {
	k, text := topic+" "+name, fmt.Sprint(args...)
	if m.told[k] == text {
		return
	}
	if len(m.told) >= maxTold {
		clear(m.told)
	}
	m.told[k] = text
	m.set.Log.Log(context.Background(), level, message, append([]any{"mesh", m.name}, args...)...) //nolint:sloglint // because callers give literals
}

// settled forgets a finding that does not hold any more.
func (m *mesh) settled(topic, name string) { delete(m.told, topic+" "+name) }
