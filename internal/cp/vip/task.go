package vip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"weft/internal/cp/state"
	"weft/internal/cp/store"
	"weft/internal/cp/view"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Task keeps the addresses of all meshes up to date. The leader runs it.
type Task struct {
	Store store.Store
	State *state.State
	// Zone is the name of this zone.
	Zone string
	// CIDR is where addresses come from.
	CIDR netip.Prefix
	Log  *slog.Logger
	Now  func() time.Time

	// warned are the warnings of each mesh that the log has.
	warned map[string][]string
}

// The waits before another try: when the store is away, and when every address
// is taken.
const (
	retryPause = time.Second
	fullPause  = 15 * time.Second
)

// Run follows the snapshots until ctx ends.
func (t *Task) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-t.State.Ready():
	}
	seen := map[string]sources{}
	again := map[string]time.Time{} // when an address of a mesh becomes free
	for ctx.Err() == nil {
		snap := t.State.Current()
		for _, row := range snap.Table(kinds.Mesh, "").Rows() {
			mesh := row.Meta.Name
			now := sourcesOf(snap, mesh)
			same := now.equal(seen[mesh])
			seen[mesh] = now
			if at := again[mesh]; same && (at.IsZero() || t.Now().Before(at)) {
				continue
			}
			next, err := t.refresh(ctx, snap, mesh)
			if err != nil && ctx.Err() == nil {
				t.Log.Warn("virtual addresses could not be given out, trying again", "mesh", mesh, "error", err)
				pause := retryPause
				if errors.Is(err, ErrFull) {
					pause = fullPause
				}
				next = t.Now().Add(pause)
			}
			again[mesh] = next
		}
		forget(seen, again, t.warned, snap)
		t.wait(ctx, snap.Rev+1, again)
	}
	return nil
}

// forget drops meshes that are gone.
func forget(seen map[string]sources, again map[string]time.Time, warned map[string][]string, snap *state.Snapshot) {
	for mesh := range seen {
		if _, ok := snap.Table(kinds.Mesh, "").Get(mesh); !ok {
			delete(seen, mesh)
			delete(again, mesh)
			delete(warned, mesh)
		}
	}
}

// wait waits for a newer snapshot, or until something has to be done without.
func (t *Task) wait(ctx context.Context, rev uint64, again map[string]time.Time) {
	var first time.Time
	for _, at := range again {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if !first.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, first.Sub(t.Now()))
		defer cancel()
	}
	_ = t.State.WaitFor(ctx, rev) // the error is that of ctx
}

// sources are the tables that the addresses of a mesh depend on.
type sources struct {
	dataplanes, external, virtual, ingresses *model.Table
}

func sourcesOf(t model.Tables, mesh string) sources {
	return sources{
		t.Table(kinds.Dataplane, mesh), t.Table(kinds.ExternalService, mesh),
		t.Table(kinds.VirtualOutbound, mesh), t.Table(kinds.ZoneIngress, ""),
	}
}

// equal tells whether both lead to the same addresses. Of proxies only the tags
// count, so that those whose health or address changes cost next to nothing.
func (s sources) equal(before sources) bool {
	if before.dataplanes == nil || s.external.Hash() != before.external.Hash() ||
		s.virtual.Hash() != before.virtual.Hash() || s.ingresses.Hash() != before.ingresses.Hash() {
		return false
	}
	same := true
	s.dataplanes.Diff(before.dataplanes, func(old, now model.Row) {
		same = same && slices.EqualFunc(offered(old), offered(now), maps.Equal)
	})
	return same
}

// offered returns the tags of the inbounds that need an address.
func offered(row model.Row) []map[string]string {
	var out []map[string]string
	if row.Object == nil {
		return nil
	}
	for _, in := range model.Spec[kinds.DataplaneSpec](row.Object).Inbounds() {
		if !in.Ignored() && in.Port != model.ServicelessPort {
			out = append(out, in.Tags)
		}
	}
	return out
}

// warn logs the warnings that are new: many services share a reason, and it stays
// with every change of the mesh.
func (t *Task) warn(mesh string, warnings []string) {
	slices.Sort(warnings)
	warnings = slices.Compact(warnings)
	for _, w := range warnings {
		if _, known := slices.BinarySearch(t.warned[mesh], w); !known {
			t.Log.Warn("a virtual outbound gives no address", "mesh", mesh, "reason", w)
		}
	}
	if t.warned == nil {
		t.warned = map[string][]string{}
	}
	t.warned[mesh] = warnings
}

// refresh brings the addresses of one mesh up to date. It returns when that has
// to be done again though nothing changes, zero = never.
func (t *Task) refresh(ctx context.Context, tables model.Tables, mesh string) (again time.Time, err error) {
	entries, warnings := Entries(tables, mesh, t.Zone)
	t.warn(mesh, warnings)
	key := kinds.Config.Key("", view.VIPConfigName(mesh))
	have, err := t.Store.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return time.Time{}, fmt.Errorf("read %s: %w", key, err)
	}
	before := view.VIPs{}
	if have != nil {
		if before, err = view.ParseVIPs(model.Spec[kinds.ConfigSpec](have).Config); err != nil {
			return time.Time{}, fmt.Errorf("understand %s: %w", key, err)
		}
	}
	after, full := Allocate(before, entries, t.CIDR, t.Now().UTC())
	again = nextRelease(after)
	if len(after) == len(before) && (len(after) == 0 || reflect.DeepEqual(after, before)) {
		return again, full
	}
	text, err := after.Encode()
	if err != nil {
		return again, fmt.Errorf("write %s: %w", key, err)
	}
	next := kinds.Config.Make("", key.Name)
	next.Spec = &kinds.ConfigSpec{Config: text}
	if have == nil {
		_, err = t.Store.Create(ctx, next)
	} else {
		next.Meta.Labels, next.Meta.Version = have.Meta.Labels, have.Meta.Version
		_, err = t.Store.Update(ctx, next)
	}
	if err != nil {
		return again, fmt.Errorf("write %s: %w", key, err)
	}
	return again, full
}
