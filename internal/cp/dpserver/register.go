package dpserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weft/internal/cp/auth"
	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// registerTries is how often a registration is repeated when somebody else
// changed the object meanwhile.
const registerTries = 5

// register stores the object that a proxy brought along. Who overwrites an
// object must also be allowed to be the proxy that is stored.
func (s *Server) register(ctx context.Context, o *model.Object, credential string) error {
	for n := 1; ; n++ {
		err := s.registerOnce(ctx, o, credential)
		again := errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNotFound)
		if !again || n == registerTries {
			return err
		}
	}
}

func (s *Server) registerOnce(ctx context.Context, o *model.Object, credential string) error {
	prior, err := s.d.Store.Get(ctx, o.Key())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return s.create(ctx, o)
	case err != nil:
		return fmt.Errorf("look up %s: %w", o.Key(), err)
	}
	who, err := auth.ProxyOf(prior)
	if err != nil {
		return err
	}
	if err := s.d.Verifier.Verify(ctx, credential, who); err != nil {
		return &refusal{fmt.Errorf("%s exists already, and the credential does not allow to be that proxy: %w", o.Key(), err)}
	}
	return s.overwrite(ctx, o, prior)
}

func (s *Server) create(ctx context.Context, o *model.Object) error {
	admitted, _, err := s.d.Gate.Admit(ctx, o, nil)
	if err != nil {
		return err
	}
	if _, err := s.d.Store.Create(ctx, admitted); err != nil {
		return fmt.Errorf("create %s: %w", o.Key(), err)
	}
	return nil
}

// overwrite stores what differs; a proxy that only reconnects writes nothing.
func (s *Server) overwrite(ctx context.Context, o, prior *model.Object) error {
	o = o.Clone()
	o.Spec = model.CopyValue(o.Spec)
	keepStates(o, prior)
	admitted, _, err := s.d.Gate.Admit(ctx, o, prior)
	if err != nil {
		return err
	}
	same, err := equal(admitted, prior)
	if err != nil || same {
		return err
	}
	if _, err := s.d.Store.Update(ctx, admitted); err != nil {
		return fmt.Errorf("update %s: %w", o.Key(), err)
	}
	return nil
}

// keepStates lets what the probes of a proxy found out survive its reconnection:
// it brings along its definition, not the state of its workloads.
func keepStates(o, prior *model.Object) {
	now, ok := o.Spec.(*kinds.DataplaneSpec)
	if !ok || now.Networking == nil {
		return
	}
	before := model.Spec[kinds.DataplaneSpec](prior).Inbounds()
	for i := range now.Networking.Inbound {
		in := &now.Networking.Inbound[i]
		if in.ServiceProbe == nil || in.Ignored() {
			continue
		}
		k := slices.IndexFunc(before, func(b kinds.Inbound) bool {
			return b.Port == in.Port && b.Address == in.Address && b.ServiceProbe != nil && !b.Ignored()
		})
		if k >= 0 {
			in.State, in.Health = before[k].State, before[k].Health
		}
	}
}

// equal tells whether two versions of an object say the same.
func equal(a, b *model.Object) (bool, error) {
	x, err := content(a)
	if err != nil {
		return false, err
	}
	y, err := content(b)
	if err != nil {
		return false, err
	}
	return bytes.Equal(x, y), nil
}

func content(o *model.Object) ([]byte, error) {
	c := o.Clone()
	c.Meta.Created, c.Meta.Modified, c.Meta.Version = time.Time{}, time.Time{}, 0
	b, err := model.Encode(c)
	if err != nil {
		return nil, fmt.Errorf("compare versions of %s: %w", o.Key(), err)
	}
	return b, nil
}
