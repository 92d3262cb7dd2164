package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// leaveLimit is how long a stage of leaving mutual TLS waits for proxies that do
// not take it in, beside the Hold.
const leaveLimit = time.Minute

// leave takes a mesh whose Mesh object does not ask for mutual TLS any more to
// plain text: servers accept both, then clients send plain text, then servers
// accept nothing else. A stage ends when all connected proxies have been in it for
// the Hold, since Envoy confirms clusters and listeners a moment before it uses them.
func (s *Switcher) leave(ctx context.Context, t model.Tables, mesh string, row *model.Object) (busy bool, err error) {
	trust, f, now := kinds.TrustOf(t, mesh), fleetOf(t, mesh, s.Now()), s.Now()
	if trust == nil || !f.secured() {
		return false, s.forget(ctx, mesh, row)
	}
	if trust.Leaving == "" {
		s.Log.Info("mutual TLS is turned off: servers accept plain text too", "mesh", mesh)
		return true, s.enter(ctx, mesh, row, trust, kinds.LeavingOpen)
	}
	waiting := f.notAt(trust.Leaving)
	if len(waiting) > 0 {
		delete(s.calm, mesh)
	} else if s.calm[mesh].Before(trust.Since) { // also if there is none
		s.calm[mesh] = now
	}
	over := len(waiting) == 0 && now.Sub(s.calm[mesh]) >= s.Hold
	if !over && now.Sub(trust.Since) < s.Hold+leaveLimit {
		return true, nil
	}
	if !over {
		s.Log.Warn("mutual TLS is turned off, and some proxies do not take it in: their requests may fail",
			"mesh", mesh, "stage", string(trust.Leaving), "proxies", few(waiting), "since", trust.Since)
	}
	if trust.Leaving == kinds.LeavingOpen {
		s.Log.Info("all servers accept plain text: clients use it from now on", "mesh", mesh)
		return true, s.enter(ctx, mesh, row, trust, kinds.LeavingPlain)
	}
	s.Log.Info("mutual TLS is off", "mesh", mesh)
	return false, s.forget(ctx, mesh, row)
}

// enter begins a stage.
func (s *Switcher) enter(ctx context.Context, mesh string, row *model.Object, trust *kinds.MeshTrust, stage kinds.LeavingStage) error {
	next := *trust
	next.Leaving, next.Since = stage, s.Now()
	return s.write(ctx, mesh, row, &next)
}

// forget deletes a MeshTrust.
func (s *Switcher) forget(ctx context.Context, mesh string, row *model.Object) error {
	delete(s.calm, mesh)
	if err := s.Store.Delete(ctx, row.Key()); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("forget whom mesh %q trusted: %w", mesh, err)
	}
	return nil
}
