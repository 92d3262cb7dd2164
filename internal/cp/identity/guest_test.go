package identity

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/cp/envoy"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
)

// visits makes the proxy one that checks certificates of other meshes, too.
func (p *proxy) visits(meshes ...string) {
	p.mu.Lock()
	p.need = []*ir.Identity{{Mesh: "m", Services: []string{"gate"}, CrossMesh: meshes}}
	p.mu.Unlock()
	p.refresh()
}

// trusted returns the ids of the authorities in a secret of the proxy, sorted.
func (p *proxy) trusted(secret string) []string {
	p.w.t.Helper()
	p.mu.Lock()
	res := p.secrets[secret]
	p.mu.Unlock()
	if res == nil {
		return nil
	}
	var out []string
	for _, c := range parse(p.w.t, secretOf(p.w.t, res).GetValidationContext().GetTrustedCa().GetInlineBytes()) {
		out = append(out, string(c.AuthorityKeyId)+string(c.SubjectKeyId)+c.SerialNumber.String())
	}
	slices.Sort(out)
	return out
}

// A proxy that talks to other meshes knows their authorities, each by itself and
// all together, and follows when they change; when it leaves nothing is kept.
func TestOtherMeshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.mesh(backend("ca", kinds.CABuiltin))
		w.meshNamed("other", backend("ca", kinds.CABuiltin))
		gate := w.join("gate", "gate")
		gate.visits("other", "none")
		rest(5 * time.Second)
		own, other, all := gate.trusted(envoy.CASecret("m")), gate.trusted(envoy.CASecret("other")), gate.trusted(envoy.AllCASecret)
		if len(own) != 1 || len(other) != 1 || own[0] == other[0] {
			t.Fatalf("it trusts %q of its own mesh, %q of the other", own, other)
		}
		both := []string{own[0], other[0]}
		slices.Sort(both)
		if !slices.Equal(all, both) {
			t.Errorf("all are %q, want %q", all, both)
		}

		w.meshNamed("other", backend("second", kinds.CABuiltin), backend("ca", kinds.CABuiltin))
		rest(10 * time.Second)
		if got := gate.trusted(envoy.CASecret("other")); len(got) != 2 || !slices.Contains(got, other[0]) {
			t.Errorf("after a change it trusts %q", got)
		}
		if got := gate.trusted(envoy.AllCASecret); len(got) != 3 {
			t.Errorf("after a change all are %q", got)
		}
		w.meshNamed("other")
		rest(10 * time.Second)
		if got := gate.trusted(envoy.AllCASecret); !slices.Equal(got, own) {
			t.Errorf("without the other mesh all are %q", got)
		}
		gate.needs("gate")
		rest(time.Second)
		if got := gate.trusted(envoy.AllCASecret); got != nil {
			t.Errorf("it visits nobody and trusts %q", got)
		}
		gate.member.Leave()
		w.service.mu.Lock()
		defer w.service.mu.Unlock()
		if len(w.service.meshes) != 1 || len(w.service.meshes["m"].guests) != 0 {
			t.Errorf("%d meshes are kept", len(w.service.meshes))
		}
	})
}

// Certificates are issued at a bounded rate; what waits is not forgotten.
func TestRateOfIssuance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(d *Deps) { d.Rate, d.Workers = 10, 4 })
		w.mesh(backend("ca", kinds.CABuiltin))
		rest(3 * time.Second)
		var ps []*proxy
		for _, name := range []string{"a", "b", "c"} {
			for _, n := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"} {
				ps = append(ps, w.join(name+n, name))
			}
		}
		certified := func() (n int) {
			for _, p := range ps {
				if p.leaf() != nil {
					n++
				}
			}
			return n
		}
		rest(time.Second)
		if n := certified(); n < 8 || n > 13 {
			t.Errorf("after a second %d of %d have a certificate, at a rate of 10", n, len(ps))
		}
		rest(3 * time.Second)
		everybody(t, "at the end", ps...)
	})
}
