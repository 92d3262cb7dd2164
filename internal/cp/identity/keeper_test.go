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

func keeperOf(s store.Store) *Keeper {
	return &Keeper{Store: s, Log: slog.New(slog.DiscardHandler), Now: time.Now}
}
