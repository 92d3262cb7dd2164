package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"weft/internal/cp/store"
)

// once runs f for a caller of an open store.
func (s *Store) once(ctx context.Context, f func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.mirror.Ping(); err != nil {
		return err
	}
	err := s.bound(ctx, f)
	if err != nil && ctx.Err() == nil && s.mirror.Ping() != nil {
		return store.ErrClosed // in the meantime, which explains any error
	}
	return err
}

// bound runs f in bounded time, and says in the store's words what went wrong.
func (s *Store) bound(ctx context.Context, f func(ctx context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, s.o.OperationTimeout)
	defer cancel()
	return unavailable(ctx, f(bounded))
}

// retry is once for what may be done again without harm: a connection of the
// pool can have died since its last use, and a server that restarts is back soon.
func (s *Store) retry(ctx context.Context, f func(ctx context.Context) error) error {
	for pause := 50 * time.Millisecond; ; pause *= 3 {
		err := s.once(ctx, f)
		if !errors.Is(err, store.ErrUnavailable) || pause > 500*time.Millisecond {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return store.ErrClosed
		case <-time.After(pause):
		}
	}
}

// unavailable wraps with store.ErrUnavailable what may work later. ctx is the
// caller's: if it ended, that is the reason.
func unavailable(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, store.ErrUnavailable):
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		if later(pg.Code) {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		return err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: the database gave no answer or no connection in time: %w", store.ErrUnavailable, err)
	case broken(err):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// broken tells whether it is the connection that failed.
func broken(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// readOnly is the code for a write on a server that takes none: a standby.
const readOnly = "25006"

// later tells whether what the server refused now may work another time.
func later(code string) bool {
	for _, prefix := range []string{
		"08",                // connection
		"28",                // login: passwords get repaired
		"3D",                // no such database, yet
		"40",                // rolled back
		"53",                // out of connections, disk, memory
		"55P03", "57", "58", // locked; shutting down or starting; system error
		readOnly,
	} {
		if strings.HasPrefix(code, prefix) {
			return true
		}
	}
	return false
}

// undone tells whether the server itself refused a transaction, so that nothing
// of it was kept.
func undone(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && !strings.HasPrefix(pg.Code, "08") && !strings.HasPrefix(pg.Code, "57P")
}

// again tells whether the same may work at once: it lost against another
// transaction, or met a connection that had died in the pool.
func again(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return strings.HasPrefix(pg.Code, "40")
	}
	var connect *pgconn.ConnectError
	return pgconn.SafeToRetry(err) && !errors.As(err, &connect)
}

// storable tells whether the database accepts a text as it is.
func storable(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }
