package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"weft/internal/cp/state"
	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Switcher takes meshes from one authority to the next, step by step (see
// kinds.MeshTrust). What the proxies hold it reads in their insights, so that
// it knows about those of all instances. The leader of a zone runs it.
type Switcher struct {
	Store store.Store
	State *state.State
	// Authorities are the ones that this instance has loaded.
	Authorities interface {
		Authorities(mesh string) (map[string]Authority, error)
	}
	// Hold is the least time for which a step lasts, for what cannot be seen:
	// proxies of other zones, instances that are late.
	Hold time.Duration
	Log  *slog.Logger
	Now  func() time.Time

	// calm is since when nobody was late in a stage of leaving, by mesh.
	calm map[string]time.Time
}

const (
	// HoldAlone is the Hold of a zone that stands alone.
	HoldAlone = 2 * time.Second
	// HoldZones is the Hold of a global control plane.
	HoldZones = time.Minute
	// absence is how long a proxy may have been disconnected and still count:
	// after a restart of a control plane all are for a moment.
	absence = 30 * time.Second
	// tick is the least pause between two looks, longTick the longest while
	// something is under way.
	tick     = 50 * time.Millisecond
	longTick = time.Second
	// complain is after how long a step that does not end is told.
	complain = time.Minute
)

// Run follows the snapshots until ctx ends.
func (s *Switcher) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.State.Ready():
	}
	s.calm = map[string]time.Time{}
	told := map[string]time.Time{} // when a step that does not end was told last
	for ctx.Err() == nil {
		snap := s.State.Current()
		busy := false
		for _, row := range snap.Table(kinds.Mesh, "").Rows() {
			under, err := s.step(ctx, snap, row.Object)
			if err != nil && ctx.Err() == nil {
				s.Log.Warn("the state of a mesh's mutual TLS could not be written; trying again", "mesh", row.Meta.Name, "error", err)
			}
			busy = busy || under || err != nil
			s.complain(snap, row.Meta.Name, told)
		}
		s.wait(ctx, snap.Rev+1, busy)
	}
	return nil
}

// wait waits for a newer snapshot; if something is under way, not for long, since
// time alone can make the next step due. Snapshots that follow each other closely
// are looked at together.
func (s *Switcher) wait(ctx context.Context, rev uint64, busy bool) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(tick):
	}
	if busy {
		short, cancel := context.WithTimeout(ctx, longTick)
		defer cancel()
		ctx = short
	}
	_ = s.State.WaitFor(ctx, rev) // the end of ctx is seen by the caller
}

// step takes the next step for a mesh, if it is due. It tells whether to look
// again soon.
func (s *Switcher) step(ctx context.Context, t model.Tables, mesh *model.Object) (busy bool, err error) {
	name := mesh.Meta.Name
	enabled := model.Spec[kinds.MeshSpec](mesh).EnabledCA()
	row, exists := t.Table(kinds.Config, "").Get(kinds.TrustName(name))
	if enabled == nil {
		if !exists {
			return false, nil
		}
		return s.leave(ctx, t, name, row.Object)
	}
	authorities, _ := s.Authorities.Authorities(name)
	wanted := authorities[enabled.Name]
	if wanted == nil {
		return true, nil // it is not loaded yet, or cannot be; the Service tells
	}
	before := kinds.TrustOf(t, name)
	next := s.next(before, trusted(enabled.Name, wanted), fleetOf(t, name, s.Now()))
	if next == nil {
		return before.Step() != kinds.TrustSteady || len(before.Plain) > 0, nil
	}
	s.tell(name, before, next)
	if before == nil && len(next.Plain) > 0 && enabled.Mode != kinds.MTLSPermissive {
		s.Log.Warn("mutual TLS is STRICT from the start in a mesh whose proxies spoke plain text: requests fail until all of them have taken it in; by way of PERMISSIVE none does",
			"mesh", name, "services", few(next.Plain))
	}
	return true, s.write(ctx, name, row.Object, next)
}

// next returns what follows on a state, nil if it stays.
func (s *Switcher) next(before *kinds.MeshTrust, wanted kinds.TrustedCA, f *fleet) *kinds.MeshTrust {
	now := s.Now()
	if before == nil {
		return &kinds.MeshTrust{Signer: wanted.CARef, Since: now, Trusted: []kinds.TrustedCA{wanted}, Plain: f.plain(nil)}
	}
	n := *before
	n.Trusted, n.Plain = slices.Clone(before.Trusted), slices.Clone(before.Plain)
	held := now.Sub(before.Since) >= s.Hold
	if n.Leaving != "" { // it was turned off and on again
		n.Leaving, n.Since, held = "", now, false
	}
	switch {
	case n.Signer.ID == wanted.ID:
		n.Signer = wanted.CARef // the same keys may have got another name
		if n.Next != nil {      // the wish was taken back
			n.Next, n.Since, held = nil, now, false
		}
	case n.Next == nil || n.Next.ID != wanted.ID:
		n.Next, n.Since, held = &wanted.CARef, now, false
	case held && f.allTrust(wanted.ID):
		n.Signer, n.Next, n.Since, held = wanted.CARef, nil, now, false
	}
	n.Trusted = addTrusted(n.Trusted, wanted)
	if held && n.Next == nil {
		n.Trusted = slices.DeleteFunc(n.Trusted, func(c kinds.TrustedCA) bool { return c.ID != n.Signer.ID && !f.uses(c.ID) })
	}
	if len(n.Plain) > 0 {
		n.Plain = f.plain(n.Plain)
	}
	if same(before, &n) {
		return nil
	}
	if n.Step() != before.Step() && n.Since.Equal(before.Since) {
		n.Since = now
	}
	return &n
}

// same compares what counts; the order of Trusted does not change by itself.
func same(a, b *kinds.MeshTrust) bool {
	return a.Signer == b.Signer && a.Leaving == b.Leaving && (a.Next == nil) == (b.Next == nil) && (a.Next == nil || *a.Next == *b.Next) &&
		slices.Equal(a.Trusted, b.Trusted) && slices.Equal(a.Plain, b.Plain)
}

func (s *Switcher) write(ctx context.Context, mesh string, prior *model.Object, trust *kinds.MeshTrust) error {
	text, err := trust.Encode()
	if err != nil {
		return err
	}
	o := kinds.Config.Make("", kinds.TrustName(mesh))
	if prior != nil {
		o = prior.Clone()
	}
	o.Spec = &kinds.ConfigSpec{Config: text}
	if prior == nil {
		_, err = s.Store.Create(ctx, o)
	} else {
		_, err = s.Store.Update(ctx, o)
	}
	// A conflict means that the snapshot was old; the next look sees the newer one.
	if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("write down whom mesh %q trusts: %w", mesh, err)
	}
	return nil
}

// tell logs the steps.
func (s *Switcher) tell(mesh string, before, next *kinds.MeshTrust) {
	log := s.Log.With("mesh", mesh)
	switch {
	case before == nil || before.Leaving != "":
		log.Info("mutual TLS is on", "backend", next.Signer.Backend, "authority", next.Signer.ID, "services_not_ready", len(next.Plain))
	case next.Next != nil && (before.Next == nil || *before.Next != *next.Next):
		log.Info("another authority is to sign: all proxies learn to trust it first",
			"from", before.Signer.Backend, "to", next.Next.Backend, "authority", next.Next.ID)
	case before.Signer.ID != next.Signer.ID:
		log.Info("all proxies trust the new authority: it signs from now on", "from", before.Signer.Backend, "to", next.Signer.Backend)
	case next.Step() == kinds.TrustSteady && before.Step() != kinds.TrustSteady:
		log.Info("nobody uses certificates of the former authority any more: it is not trusted from now on", "backend", next.Signer.Backend)
	case len(before.Plain) > 0 && len(next.Plain) == 0:
		log.Info("all services of the mesh speak TLS")
	}
}

// complain tells about steps that do not end.
func (s *Switcher) complain(t model.Tables, mesh string, told map[string]time.Time) {
	trust := kinds.TrustOf(t, mesh)
	now := s.Now()
	if trust == nil || trust.Step() == kinds.TrustSteady || trust.Leaving != "" || now.Sub(trust.Since) < s.Hold+complain {
		delete(told, mesh)
		return
	}
	if now.Sub(told[mesh]) < complain {
		return
	}
	told[mesh] = now
	f := fleetOf(t, mesh, now)
	if trust.Next != nil {
		s.Log.Warn("proxies do not trust the new authority of their mesh yet; the switch waits for them",
			"mesh", mesh, "to", trust.Next.Backend, "proxies", few(f.distrust(trust.Next.ID)), "since", trust.Since)
		return
	}
	s.Log.Warn("proxies still use certificates of the former authority of their mesh; it stays trusted",
		"mesh", mesh, "now", trust.Signer.Backend, "proxies", few(f.issuedByOthers(trust.Signer.ID)), "since", trust.Since)
}

// few bounds a list for the log.
func few(names []string) []string {
	const most = 10
	if len(names) > most {
		return append(names[:most:most], "…")
	}
	return names
}
