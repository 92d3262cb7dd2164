package vip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
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
}

// retryPause is the wait before another try when the store is away.
const retryPause = time.Second

// Run follows the snapshots until ctx ends.
func (t *Task) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-t.State.Ready():
	}
	seen := map[string]model.Hash{}
	for {
		snap := t.State.Current()
		failed := false
		for _, row := range snap.Table(kinds.Mesh, "").Rows() {
			mesh := row.Meta.Name
			h := sources(snap, mesh)
			if seen[mesh] == h {
				continue
			}
			if err := t.refresh(ctx, snap, mesh); err != nil {
				t.Log.Warn("virtual addresses could not be written, trying again", "mesh", mesh, "error", err)
				failed = true
				continue
			}
			seen[mesh] = h
		}
		if failed {
			select {
			case <-ctx.Done():
			case <-time.After(retryPause):
			}
		} else {
			_ = t.State.WaitFor(ctx, snap.Rev+1) // the error is that of ctx
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// sources is the hash of what the addresses of a mesh depend on.
func sources(t model.Tables, mesh string) model.Hash {
	return model.Fold(
		t.Table(kinds.Dataplane, mesh).Hash(), t.Table(kinds.ExternalService, mesh).Hash(),
		t.Table(kinds.VirtualOutbound, mesh).Hash(), t.Table(kinds.ZoneIngress, "").Hash())
}

// refresh brings the addresses of one mesh up to date.
func (t *Task) refresh(ctx context.Context, tables model.Tables, mesh string) error {
	entries, warnings := Entries(tables, mesh, t.Zone)
	for _, w := range warnings {
		t.Log.Warn("a virtual outbound gives no address", "mesh", mesh, "reason", w)
	}
	key := kinds.Config.Key("", view.VIPConfigName(mesh))
	have, err := t.Store.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read %s: %w", key, err)
	}
	before := view.VIPs{}
	if have != nil {
		if before, err = view.ParseVIPs(model.Spec[kinds.ConfigSpec](have).Config); err != nil {
			return fmt.Errorf("understand %s: %w", key, err)
		}
	}
	after, err := Allocate(before, entries, t.CIDR)
	if err != nil {
		return err
	}
	if len(after) == len(before) && (len(after) == 0 || reflect.DeepEqual(after, before)) {
		return nil
	}
	text, err := after.Encode()
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
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
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}
