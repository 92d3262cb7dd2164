package dpserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weft/internal/cp/store"
	"weft/internal/cp/xds"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// A proxy that registers itself is known in the mesh the moment its stream opens,
// milliseconds before its listeners are there. So that nobody is sent to a port
// that does not listen yet, its inbounds start as NotReady, and become Ready when
// it has accepted its listeners and the certificates that they wait for: only then
// Envoy opens ports. Inbounds with a probe wait for the probe, as
// ever. The mark of a start is NotReady without the older field health, which
// probes and people write.

// fresh tells whether a client has just started: it brings along nothing from an
// earlier stream. The inbounds of one that reconnects serve already.
func fresh(first *xds.Request) bool {
	return first.Version == "" && len(first.Have) == 0
}

// starting returns the object with its inbounds marked as starting. Zone proxies
// and gateways have none.
func starting(o *model.Object) *model.Object {
	next := kinds.ChangeStates(o, func(in *kinds.Inbound) bool {
		if in.State != kinds.InboundReady || in.Health != nil || in.ServiceProbe != nil {
			return false
		}
		in.State = kinds.InboundNotReady
		return true
	})
	if next == nil {
		return o
	}
	return next
}

// serving returns the object with its starting inbounds Ready; nil if it has none.
func serving(o *model.Object) *model.Object {
	return kinds.ChangeStates(o, func(in *kinds.Inbound) bool {
		if in.State != kinds.InboundNotReady || in.Health != nil || in.ServiceProbe != nil {
			return false
		}
		in.SetReady(true)
		return true
	})
}

// started makes the inbounds of a proxy Ready. It tries until the store takes it
// or the stream ends.
func (s *Server) started(ctx context.Context, key model.Key) {
	for ctx.Err() == nil {
		err := s.startedOnce(ctx, key)
		if err == nil || errors.Is(err, store.ErrNotFound) {
			return
		}
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		s.log.Warn("a proxy serves, but that could not be noted; trying again", "proxy", key.String(), "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

func (s *Server) startedOnce(ctx context.Context, key model.Key) error {
	o, err := s.d.Store.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("look up %s: %w", key, err)
	}
	next := serving(o)
	if next == nil {
		return nil
	}
	if _, err := s.d.Store.Update(ctx, next); err != nil {
		return fmt.Errorf("update %s: %w", key, err)
	}
	return nil
}
