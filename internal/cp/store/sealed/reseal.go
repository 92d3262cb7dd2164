package sealed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// Resealer writes anew what is not encrypted with the first key: what was written
// before there was one, and what an older key protects. The leader runs it.
type Resealer struct {
	Store store.Store
	Codec *Codec
	Log   *slog.Logger
	// Pause is the wait between two rounds; 0 = one minute.
	Pause time.Duration
}

// Run works until ctx ends.
func (r *Resealer) Run(ctx context.Context) error {
	if len(r.Codec.keys) == 0 {
		return nil
	}
	pause := r.Pause
	if pause == 0 {
		pause = time.Minute
	}
	for {
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			r.Log.Warn("secrets could not be encrypted with the newest key; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (r *Resealer) round(ctx context.Context) error {
	all := r.Codec.Stale()
	n := 0
	for _, id := range all {
		done, err := r.reseal(ctx, id)
		if err != nil {
			return err
		}
		if done {
			n++
		}
	}
	if n > 0 {
		r.Log.Info("encrypted stored secrets with the newest key", "objects", n, "key", r.Codec.keys[0].ID)
	}
	if n > 0 && len(r.Codec.Stale()) == 0 {
		r.Log.Info("no stored object needs an older encryption key; they can be taken out of the settings of all control planes")
	}
	return nil
}

// reseal writes an object as it is.
func (r *Resealer) reseal(ctx context.Context, id model.Key) (bool, error) {
	o, err := r.Store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		r.Codec.forget(id)
		return false, nil
	}
	if err == nil {
		_, err = r.Store.Update(ctx, o.Clone())
	}
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return false, nil // somebody else wrote it meanwhile
	}
	if err != nil {
		return false, fmt.Errorf("write %s: %w", id, err)
	}
	r.Codec.forget(id)
	return true, nil
}
