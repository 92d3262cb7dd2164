package services

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"weft/internal/cp/store"
	"weft/internal/cp/vip"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// marksName is the Config that says how far the ranges were given out.
const marksName = "kuma-resource-vips"

// pools are the ranges of virtual addresses by kind of service.
type pools struct {
	of     map[string]*vip.Pool
	ranges map[string]netip.Prefix
	marks  map[string]vip.Mark // by range, as stored
	stored *model.Object       // the Config, nil if there is none
}

// openPools returns the pools as they were left, with the addresses that
// services have.
func (r *run) openPools(ctx context.Context, now time.Time) (*pools, error) {
	marks := map[string]vip.Mark{}
	key := kinds.Config.Key("", marksName)
	o, err := r.Store.Get(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", key, err)
	default:
		if err := json.Unmarshal([]byte(model.Spec[kinds.ConfigSpec](o).Config), &marks); err != nil {
			// The addresses that services have tell enough to go on: everything up
			// to the highest counts as given out.
			r.Log.Error("cannot read how far the ranges of virtual addresses were given out; it is written anew", "config", marksName, "error", err)
			marks = map[string]vip.Mark{}
		}
	}
	p := r.newPools(now, marks)
	p.stored = o
	return p, nil
}

// newPools returns pools that were given out as far as the marks say.
func (r *run) newPools(now time.Time, marks map[string]vip.Mark) *pools {
	p := &pools{
		of: map[string]*vip.Pool{}, marks: marks,
		ranges: map[string]netip.Prefix{
			kinds.MeshService.Name: r.MeshServices, kinds.MeshMultiZoneService.Name: r.MeshMultiZoneServices, kinds.MeshExternalService.Name: r.ExternalServices,
		},
	}
	for i, k := range serviceKinds {
		var mark *vip.Mark
		if m, ok := p.marks[p.ranges[k.Name].String()]; ok {
			mark = &m
		}
		p.of[k.Name] = vip.NewPool(p.ranges[k.Name], mark, r.holders(i), now)
	}
	return p
}

// holders returns the addresses that the services of a kind have, from the oldest.
func (r *run) holders(i int) []vip.Holder {
	var objects []*model.Object
	for _, m := range r.meshes {
		for _, o := range m.shelves[i].objects {
			objects = append(objects, o)
		}
	}
	slices.SortFunc(objects, func(a, b *model.Object) int { return cmp.Or(byAge(a, b), a.Key().Compare(b.Key())) })
	var out []vip.Holder
	for _, o := range objects {
		for _, a := range draftOf(o).vips() {
			out = append(out, vip.Holder{Key: o.Key(), Address: a})
		}
	}
	return out
}

// keep frees the addresses of services that are gone.
func (p *pools) keep(exists func(model.Key) bool, now time.Time) {
	for _, pool := range p.of {
		pool.Keep(exists, now)
	}
}

// save stores how far the ranges were given out, which must be known before
// anybody hears of an address.
func (p *pools) save(ctx context.Context, s store.Store) error {
	marks := map[string]vip.Mark{}
	for kind, pool := range p.of {
		if m, ok := pool.Unsaved(); ok {
			marks[kind] = m
		}
	}
	if len(marks) == 0 {
		return nil
	}
	for kind, m := range marks {
		p.marks[p.ranges[kind].String()] = m
	}
	text, err := json.Marshal(p.marks)
	if err != nil {
		return fmt.Errorf("write Config %s: %w", marksName, err)
	}
	o := kinds.Config.Make("", marksName)
	o.Spec = &kinds.ConfigSpec{Config: string(text)}
	if p.stored == nil {
		o, err = s.Create(ctx, o)
	} else {
		o.Meta.Labels, o.Meta.Version = p.stored.Meta.Labels, p.stored.Meta.Version
		o, err = s.Update(ctx, o)
	}
	if err != nil {
		// With another leader's mark the own one is worth nothing.
		return fmt.Errorf("store how far the ranges of virtual addresses were given out: %w", err)
	}
	p.stored = o
	for kind, m := range marks {
		p.of[kind].Saved(m)
	}
	return nil
}
