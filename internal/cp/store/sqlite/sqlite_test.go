package sqlite

import (
	"path/filepath"
	"testing"

	"weft/internal/cp/store"
	"weft/internal/cp/store/storetest"
)

func open(t *testing.T, path string) (*Store, error) {
	t.Helper()
	return Open(t.Context(), Options{Path: path, Kinds: storetest.Kinds, LockWait: 1})
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place {
		path := filepath.Join(t.TempDir(), "a ?#%é.db")
		return storetest.Place{Durable: true, Open: func() (store.Store, error) {
			s, err := open(t, path)
			if err != nil {
				return nil, err // not a nil *Store in an interface
			}
			return s, nil
		}}
	})
}

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) store.Store {
		s, err := Open(b.Context(), Options{Path: filepath.Join(b.TempDir(), "kuma.db"), Kinds: storetest.Kinds})
		if err != nil {
			b.Fatal(err)
		}
		return s
	})
}
