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
	d, ok := o.Spec.(*kinds.DataplaneSpec)
	if !ok || len(d.Inbounds()) == 0 {
		return o
	}
	out := o.Clone()
	next := model.CopyValue(d).(*kinds.DataplaneSpec)
	for i := range next.Networking.Inbound {
		in := &next.Networking.Inbound[i]
		if in.State == kinds.InboundReady && in.Health == nil && in.ServiceProbe == nil {
			in.State = kinds.InboundNotReady
		}
	}
	out.Spec = next
	return out
}

// serving returns the object with its starting inbounds Ready; nil if it has none.
func serving(o *model.Object) *model.Object {
	d := model.Spec[kinds.DataplaneSpec](o)
	var next *kinds.DataplaneSpec
	for i := range d.Inbounds() {
		in := &d.Networking.Inbound[i]
		if in.State != kinds.InboundNotReady || in.Health != nil || in.ServiceProbe != nil {
			continue
		}
		if next == nil {
			next = model.CopyValue(d).(*kinds.DataplaneSpec)
		}
		next.Networking.Inbound[i].State = kinds.InboundReady
	}
	if next == nil {
		return nil
	}
	out := o.Clone()
	out.Spec = next
	return out
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
