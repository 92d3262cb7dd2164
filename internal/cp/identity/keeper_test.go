package identity

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/mesh/kinds"
)

// Two control planes, and two tasks in each, that meet a new mesh at once all
// succeed and leave one pair whose halves fit.
func TestRivalsAgreeOnOneAuthority(t *testing.T) {
	s := memory.New()
	mesh := kinds.Mesh.Make("", "meadow")
	mesh.Spec = &kinds.MeshSpec{MTLS: &kinds.MeshMTLS{
		EnabledBackend: "ca",
		Backends:       []kinds.CABackend{{Name: "ca", Type: kinds.CABuiltin}},
	}}
	if _, err := s.Create(t.Context(), mesh); err != nil {
		t.Fatal(err)
	}
	var first, second = keeperOf(s), keeperOf(s)
	var wg sync.WaitGroup
	for _, k := range []*Keeper{first, first, second, second} {
		wg.Go(func() {
			if err := k.Ensure(t.Context(), mesh); err != nil {
				t.Errorf("ensure: %v", err)
			}
		})
	}
	wg.Wait()
	cert, key, err := first.pair(t.Context(), "meadow", builtins(mesh)[0])
	if err != nil || cert == nil || key == nil || !first.good(cert, key) {
		t.Errorf("the mesh has no good pair: certificate %t, key %t, error %v", cert != nil, key != nil, err)
	}
}

// What was not whole for a moment and then was counts anew the next time: another
// control plane may be between its two writes.
func TestAWholePairIsForgotten(t *testing.T) {
	s := memory.New()
	mesh := kinds.Mesh.Make("", "meadow")
	mesh.Spec = &kinds.MeshSpec{MTLS: &kinds.MeshMTLS{
		EnabledBackend: "ca",
		Backends:       []kinds.CABackend{{Name: "ca", Type: kinds.CABuiltin}},
	}}
	if _, err := s.Create(t.Context(), mesh); err != nil {
		t.Fatal(err)
	}
	k := keeperOf(s)
	now := time.Now()
	k.Now = func() time.Time { return now }
	if err := k.Ensure(t.Context(), mesh); err != nil {
		t.Fatal(err)
	}
	b := builtins(mesh)[0]
	cert, key, err := k.pair(t.Context(), "meadow", b)
	if err != nil {
		t.Fatal(err)
	}
	half := func() {
		t.Helper()
		if err := s.Delete(t.Context(), cert.Key()); err != nil {
			t.Fatal(err)
		}
		if err := k.repair(t.Context(), mesh); err != nil {
			t.Fatal(err)
		}
		if got, _, err := k.pair(t.Context(), "meadow", b); err != nil || got != nil {
			t.Fatalf("a pair that is not whole for a moment was replaced at once (error %v)", err)
		}
	}
	half()
	whole := kinds.Secret.Make("meadow", cert.Meta.Name)
	whole.Spec = cert.Spec
	if cert, err = s.Create(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	k.forget(mesh)
	now = now.Add(time.Hour)
	half()
	now = now.Add(oddFor)
	if err := k.repair(t.Context(), mesh); err != nil {
		t.Fatal(err)
	}
	got, other, err := k.pair(t.Context(), "meadow", b)
	if err != nil || got == nil || !k.good(got, other) || other.Meta.Version == key.Meta.Version {
		t.Errorf("a pair that stays broken is not replaced (error %v)", err)
	}
}

func keeperOf(s store.Store) *Keeper {
	return &Keeper{Store: s, Log: slog.New(slog.DiscardHandler), Now: time.Now}
}
