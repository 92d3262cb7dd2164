package services

import (
	"log/slog"
	"time"

	"weft/internal/cp/vip"
	"weft/internal/mesh/model"
)

// Settle returns objects as they are when the leader has done all there is to do
// about services at one moment. Objects are given in the order of their creation;
// new ones come last. It serves previews and tests of what comes after.
func Settle(objects []*model.Object, s Settings, now time.Time) []*model.Object {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	r := &run{Task: &Task{Settings: s}, meshes: map[string]*mesh{}}
	for version := uint64(1); ; version++ {
		r.follow(model.NewTables(objects...), now)
		if r.pools == nil {
			r.pools = r.newPools(now, map[string]vip.Mark{})
		}
		done := true
		for _, m := range r.meshes {
			if !m.dirty {
				continue
			}
			for _, w := range m.plan(r.gs, r.pools, now) {
				done = false
				objects = apply(objects, w, now, version)
			}
		}
		if done {
			return objects
		}
	}
}

// apply returns the objects after a write.
func apply(objects []*model.Object, w write, now time.Time, version uint64) []*model.Object {
	var out []*model.Object
	for _, o := range objects {
		switch {
		case w.was == nil || o != w.was:
			out = append(out, o)
		case w.now != nil:
			n := *w.now
			n.Meta.Version = o.Meta.Version + version
			out = append(out, &n)
		}
	}
	if w.was == nil {
		n := *w.now
		n.Meta.Created, n.Meta.Modified, n.Meta.Version = now, now, version
		out = append(out, &n)
	}
	return out
}
