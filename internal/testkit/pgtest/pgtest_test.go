package pgtest_test

import (
	"testing"

	"weft/internal/testkit/pgtest"
)

func TestStart(t *testing.T) {
	a, b := pgtest.Start(t), pgtest.Start(t)
	a.Exec(t, "CREATE TABLE x (n int)")
	b.Exec(t, "CREATE TABLE x (n int)")
	if a.Server != b.Server || a.Name == b.Name {
		t.Fatal("databases must differ and share a server")
	}
}

func TestServerKeepsDataOverStops(t *testing.T) {
	s := pgtest.StartServer(t, "fsync=off")
	d := s.Database(t)
	d.Exec(t, "CREATE TABLE x (n int)")
	s.Stop(t)
	s.Start(t)
	d.Exec(t, "INSERT INTO x VALUES (1)")
	s.Kill(t)
	s.Start(t)
	var n int
	if err := d.Connect(t).QueryRow(t.Context(), "SELECT count(*) FROM x").Scan(&n); err != nil || n != 1 {
		t.Fatalf("got %d rows, %v", n, err)
	}
}
