package identity

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/mesh/kinds"
)

// left returns how far the mesh is.
func (w *world) left() kinds.LeavingStage {
	if t := kinds.TrustOf(w.state.Current(), "m"); t != nil {
		return t.Leaving
	}
	return "off"
}

func (w *world) stands(t *testing.T, want kinds.LeavingStage, when string) {
	t.Helper()
	if got := w.left(); got != want {
		t.Errorf("%s: stage %q, want %q; log:\n%s", when, got, want, w.log)
	}
}

// Mutual TLS is turned off in stages, each of which waits for all proxies that are
// connected; until the last is over they keep their certificates and renew them.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.mesh(backend("ca", kinds.CABuiltin))
		a, b := w.join("a", "web"), w.join("b", "api")
		rest(5 * time.Second)
		w.mesh()
		rest(10 * testHold)
		w.stands(t, kinds.LeavingOpen, "nobody has taken it in")
		everybody(t, "open", a, b)
		a.enters(kinds.LeavingOpen)
		rest(10 * testHold)
		w.stands(t, kinds.LeavingOpen, "one has taken it in")
		b.enters(kinds.LeavingOpen)
		rest(10 * testHold)
		w.stands(t, kinds.LeavingPlain, "both have taken it in")
		late := w.join("late", "web") // gets a certificate, too: others may still speak TLS
		rest(time.Second)
		everybody(t, "plain", a, b, late)
		for _, p := range []*proxy{a, b, late} {
			p.enters(kinds.LeavingPlain)
		}
		rest(10 * testHold)
		w.stands(t, "off", "all speak plain text")
		for _, p := range []*proxy{a, b, late} {
			p.needs("")
			if p.mtls() != nil {
				t.Errorf("%s: %+v", p.name, p.mtls())
			}
		}
		if w.service.meshOf("m").plan != nil {
			t.Error("the authorities are still there")
		}
	})
}

// A proxy that takes nothing in holds up no stage for ever; it is named.
func TestLeaveWithoutSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.mesh(backend("ca", kinds.CABuiltin))
		w.join("deaf", "web")
		rest(5 * time.Second)
		w.mesh()
		rest(leaveLimit / 2)
		w.stands(t, kinds.LeavingOpen, "soon")
		rest(leaveLimit)
		w.stands(t, kinds.LeavingPlain, "later")
		rest(leaveLimit + 5*time.Second)
		w.stands(t, "off", "at the end")
		if !strings.Contains(w.log.String(), "deaf") {
			t.Errorf("the log does not name it:\n%s", w.log)
		}
	})
}

// Who changes his mind has mutual TLS again; a mesh without proxies is off at once.
func TestLeaveAndReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.mesh(backend("ca", kinds.CABuiltin))
		rest(time.Second)
		w.mesh()
		rest(3 * testHold)
		w.stands(t, "off", "nobody is there")

		w.mesh(backend("ca", kinds.CABuiltin))
		a, b := w.join("a", "web"), w.join("b", "api")
		rest(5 * time.Second)
		w.mesh()
		rest(time.Second)
		w.stands(t, kinds.LeavingOpen, "off again")
		w.mesh(backend("two", kinds.CABuiltin))
		rest(5 * time.Second)
		w.stands(t, "", "back")
		everybody(t, "back", a, b)
		if got := a.mtls().IssuedBackend; got != "two" {
			t.Errorf("certificates are of %q", got)
		}
	})
}
