package postgres_test

import (
	"testing"

	"weft/internal/cp/store"
	"weft/internal/cp/store/postgres"
	"weft/internal/cp/store/storetest"
	"weft/internal/testkit/pgtest"
)

// BenchmarkStore runs on a server that flushes every commit, as in production.
func BenchmarkStore(b *testing.B) {
	server := pgtest.StartServer(b)
	storetest.Benchmark(b, func(b *testing.B) store.Store {
		c := config(server.Database(b))
		if _, err := postgres.Migrate(b.Context(), c); err != nil {
			b.Fatal(err)
		}
		return open(b, c)
	})
}
