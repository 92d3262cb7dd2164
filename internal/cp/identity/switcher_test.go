package identity

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

func (w *world) step() string {
	if t := kinds.TrustOf(w.state.Current(), "m"); t != nil {
		return t.Step()
	}
	return "none"
}

// follows watches a switch until the step is steady: at every moment all proxies
// accept each other.
func (w *world) follows(t *testing.T, backend string, ps ...*proxy) (steps []string) {
	t.Helper()
	for range 2000 {
		rest(20 * time.Millisecond)
		everybody(t, "in step "+w.step(), ps...)
		if n := len(steps); n == 0 || steps[n-1] != w.step() {
			steps = append(steps, w.step())
		}
		done := len(steps) > 1 && w.step() == kinds.TrustSteady
		for _, p := range ps {
			m := p.mtls()
			done = done && m.IssuedBackend == backend && len(p.roots()) == 1
		}
		if done {
			return steps
		}
	}
	t.Fatalf("the switch does not end; it came through %v; log:\n%s", steps, w.log)
	return nil
}

var way = []string{kinds.TrustDistribute, kinds.TrustReissue, kinds.TrustSteady}

func TestSwitch(t *testing.T) {
	for name, second := range map[string][]kinds.CABackend{
		"both listed":   {backend("two", testType), backend("one", testType)},
		"one taken off": {backend("two", testType)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := map[string]Authority{"one": newTestAuthority(t), "two": newTestAuthority(t)}
				w := newWorld(t, func(d *Deps) { withTestType(d, all) })
				w.mesh(backend("one", testType))
				ps := []*proxy{w.join("a", "web"), w.join("b", "web"), w.join("c", "api")}
				rest(5 * time.Second)
				w.mesh(second...)
				steps := w.follows2(t, "two", len(second), ps...)
				if strings.Join(steps[len(steps)-len(way):], " ") != strings.Join(way, " ") {
					t.Errorf("it came through %v", steps)
				}
				ps = append(ps, w.join("d", "api"))
				rest(time.Second)
				everybody(t, "afterwards", ps...)
			})
		})
	}
}

// follows2 is follows with a number of roots at the end.
func (w *world) follows2(t *testing.T, backend string, roots int, ps ...*proxy) []string {
	t.Helper()
	if roots == 1 {
		return w.follows(t, backend, ps...)
	}
	var steps []string
	for range 500 {
		rest(20 * time.Millisecond)
		everybody(t, "in step "+w.step(), ps...)
		if n := len(steps); n == 0 || steps[n-1] != w.step() {
			steps = append(steps, w.step())
		}
	}
	for _, p := range ps {
		if m := p.mtls(); m.IssuedBackend != backend || len(p.roots()) != roots || len(m.SupportedBackends) != roots {
			t.Fatalf("%s has %+v", p.name, m)
		}
	}
	return steps
}

// The wish is taken back on the way.
func TestSwitchTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := map[string]Authority{"one": newTestAuthority(t), "two": newTestAuthority(t)}
		w := newWorld(t, func(d *Deps) { withTestType(d, all) })
		w.mesh(backend("one", testType))
		ps := []*proxy{w.join("a", "web"), w.join("b", "web")}
		rest(5 * time.Second)
		w.mesh(backend("two", testType))
		rest(300 * time.Millisecond)
		if w.step() != kinds.TrustDistribute {
			t.Fatalf("step %s", w.step())
		}
		w.mesh(backend("one", testType))
		w.follows(t, "one", ps...)
	})
}

// A proxy that does not accept the new bundle holds up the switch, and is named.
func TestSwitchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := map[string]Authority{"one": newTestAuthority(t), "two": newTestAuthority(t)}
		w := newWorld(t, func(d *Deps) { withTestType(d, all) })
		w.mesh(backend("one", testType))
		p, late := w.join("a", "web"), w.join("late", "web")
		rest(5 * time.Second)
		late.setDeaf(true)
		w.mesh(backend("two", testType))
		rest(5 * time.Minute)
		if w.step() != kinds.TrustDistribute || p.mtls().IssuedBackend != "one" {
			t.Errorf("step %s, signed by %s", w.step(), p.mtls().IssuedBackend)
		}
		if !strings.Contains(w.log.String(), "do not trust the new authority") || !strings.Contains(w.log.String(), "late") {
			t.Errorf("the log does not tell who holds up the switch:\n%s", w.log)
		}
		late.setDeaf(false)
		w.follows(t, "two", p, late)
	})
}

// A proxy that lost its control plane keeps its certificate good until it ends,
// but does not hold up the switch for longer than a moment.
func TestSwitchWithoutTheAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := map[string]Authority{"one": newTestAuthority(t), "two": newTestAuthority(t)}
		w := newWorld(t, func(d *Deps) { withTestType(d, all) })
		hour := func(name string) kinds.CABackend {
			b := backend(name, testType)
			b.DPCert = &kinds.DPCert{Rotation: &kinds.CertRotation{Expiration: "1h"}}
			return b
		}
		w.mesh(hour("one"))
		p, gone := w.join("a", "web"), w.join("gone", "web")
		rest(5 * time.Second)
		gone.member.Leave()
		o := kinds.DataplaneInsight.Make("m", "gone")
		o.Spec = &kinds.DataplaneInsightSpec{MTLS: gone.mtls(), Subscriptions: []kinds.DiscoverySubscription{
			{ID: "1", ConnectTime: model.At(time.Now()), DisconnectTime: model.At(time.Now())},
		}}
		w.put(o)
		w.mesh(hour("two"))
		rest(time.Minute)
		if p.mtls().IssuedBackend != "two" || w.step() != kinds.TrustReissue {
			t.Fatalf("step %s, signed by %s", w.step(), p.mtls().IssuedBackend)
		}
		if err := p.trusts(gone); err != nil {
			t.Errorf("the absent one, which still serves, is not accepted any more: %v", err)
		}
		rest(time.Hour)
		if w.step() != kinds.TrustSteady || len(p.roots()) != 1 {
			t.Errorf("an hour later: step %s, %d roots", w.step(), len(p.roots()))
		}
	})
}

// Services that were there before mutual TLS count as plain until all their
// proxies have certificates; what joins later does not.
func TestPlainServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.mesh()
		old, slow := w.join("old", "old"), w.join("slow", "slow")
		old.needs("")
		slow.needs("")
		rest(time.Second)
		plain := func() []string { return kinds.TrustOf(w.state.Current(), "m").Plain }
		slow.setDeaf(true)
		w.mesh(backend("ca", kinds.CABuiltin))
		rest(2 * longTick) // it may look once before the authority is loaded
		if got := plain(); !slices.Equal(got, []string{"old", "slow"}) {
			t.Errorf("plain are %v", got)
		}
		old.needs("old")
		fresh := w.join("fresh", "fresh")
		rest(2 * longTick)
		if got := plain(); !slices.Equal(got, []string{"slow"}) {
			t.Errorf("plain are %v", got)
		}
		slow.setDeaf(false)
		slow.needs("slow")
		rest(2 * longTick)
		if got := plain(); len(got) != 0 {
			t.Errorf("plain are %v", got)
		}
		everybody(t, "at the end", old, slow, fresh)
	})
}
