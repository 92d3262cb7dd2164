package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Follow hands every batch of a store's changes to take until ctx ends. A store
// that cannot be watched is tried again after pause; the next watch then begins
// with everything.
func Follow(ctx context.Context, s Store, log *slog.Logger, pause time.Duration, take func(Batch)) {
	for {
		err := follow(ctx, s, take)
		if ctx.Err() != nil {
			return
		}
		log.Warn("cannot watch the store at the moment, trying again", "error", err, "pause", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func follow(ctx context.Context, s Store, take func(Batch)) error {
	w, err := s.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch the store: %w", err)
	}
	defer w.Close()
	for {
		b, err := w.Next(ctx)
		if err != nil {
			return fmt.Errorf("wait for changes of the store: %w", err)
		}
		take(b)
	}
}
