// Package pgtest starts a real PostgreSQL for tests. Start gives a test an empty
// database on a server that the whole test binary shares; StartServer gives it a
// server of its own, to be stopped and started as it likes.
//
// Without PostgreSQL on the machine the tests are skipped, loudly; they fail
// instead where the environment variable REQUIRE contains "postgres".
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// DB is an empty database, and how to reach it.
type DB struct {
	Host     string // "127.0.0.1"
	Port     int
	User     string
	Password string
	Name     string
	// Server runs it. Others may use it too, unless it came from StartServer.
	Server *Server
}

// URL returns the connection string.
func (d DB) URL() string {
	return fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=disable", d.User, d.Password, d.Host, d.Port, d.Name)
}

// Connect returns a connection, which is closed at the end of the test.
func (d DB) Connect(t testing.TB) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), d.URL())
	if err != nil {
		t.Fatalf("connect to %s: %v", d.Name, err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

// Exec runs statements in a connection of its own.
func (d DB) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), d.URL())
	if err != nil {
		t.Fatalf("connect to %s: %v", d.Name, err)
	}
	defer c.Close(t.Context())
	if _, err := c.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// shared is the one server of a test binary.
var shared struct {
	sync.Once
	server *Server
	err    error
}

// Start returns an empty database on the shared server. The server ends with the
// test binary, however that ends.
func Start(t testing.TB) DB {
	t.Helper()
	shared.Do(func() {
		if shared.server, shared.err = newServer("fsync=off"); shared.err == nil {
			shared.err = shared.server.start()
		}
	})
	available(t, shared.err)
	return shared.server.Database(t)
}

// StartServer returns a running server that only this test uses, with settings
// like "max_connections=5".
func StartServer(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := newServer(settings...)
	if err == nil {
		t.Cleanup(func() { _ = s.stop("") })
		err = s.start()
	}
	available(t, err)
	return s
}

// available skips or fails a test that cannot have a server.
func available(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, errAbsent) && !slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "postgres"):
		t.Skipf("NOT TESTED: %v", err)
	default:
		t.Fatal(err)
	}
}

var errAbsent = errors.New("no PostgreSQL found: put initdb and postgres on the PATH, or install the package postgresql")
