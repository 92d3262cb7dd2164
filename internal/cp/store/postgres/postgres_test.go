package postgres_test

import (
	"testing"

	"weft/internal/cp/store"
	"weft/internal/cp/store/postgres"
	"weft/internal/cp/store/storetest"
	"weft/internal/testkit/pgtest"
)

// config returns how to reach a database of pgtest.
func config(d pgtest.DB) postgres.Config {
	return postgres.Config{Host: d.Host, Port: d.Port, User: d.User, Password: d.Password, DBName: d.Name, MaxOpenConnections: 8}
}

// migrated returns an empty database with the schema in place.
func migrated(t testing.TB) postgres.Config {
	t.Helper()
	c := config(pgtest.Start(t))
	if _, err := postgres.Migrate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t testing.TB, c postgres.Config) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), postgres.Options{Config: c, Kinds: storetest.Kinds})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place {
		c := migrated(t)
		return storetest.Place{Durable: true, Shared: true, Open: func() (store.Store, error) {
			return open(t, c), nil
		}}
	})
}
