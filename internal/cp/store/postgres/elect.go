package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"weft/internal/cp/store"
)

// Election is the row of table locks that decides who leads. It is the one that
// version 2.10 uses, in the same way, so that instances of both can take turns:
// the leader raises record_version_number at every heartbeat; who sees it
// unchanged for a whole lease, or NULL, may take the row over. No clock is ever
// compared with another one: everybody only measures how long something lasts.
type Election struct {
	Name      string        // "kuma-cp-lock" if empty
	Owner     string        // the instance's id; it must be unique
	Lease     time.Duration // 5 s if 0
	Heartbeat time.Duration // 1 s if 0
}

// NewElector returns an elector that works with the store's database.
func (s *Store) NewElector(e Election) (store.Elector, error) {
	if e.Owner == "" {
		return nil, errors.New("elect a leader: the owner must be the id of this instance")
	}
	if e.Name == "" {
		e.Name = "kuma-cp-lock"
	}
	if e.Lease == 0 {
		e.Lease = 5 * time.Second
	}
	if e.Heartbeat == 0 {
		e.Heartbeat = time.Second
	}
	c := &campaign{Election: e, s: s, log: s.o.Log.With("lock", e.Name)}
	return store.NewElector(c.run, s.o.Log), nil
}

type campaign struct {
	Election
	s   *Store
	log *slog.Logger
}

const (
	takeSQL = `INSERT INTO locks (name, record_version_number, data, owner) VALUES ($1, nextval('locks_rvn'), '', $2)
	ON CONFLICT (name) DO UPDATE SET record_version_number = EXCLUDED.record_version_number, data = EXCLUDED.data, owner = EXCLUDED.owner
	WHERE locks.record_version_number IS NULL OR locks.record_version_number = $3
	RETURNING record_version_number`
	lookSQL = `SELECT coalesce(record_version_number, -1), coalesce(owner, '') FROM locks WHERE name = $1`
	beatSQL = `UPDATE locks SET record_version_number = nextval('locks_rvn')
	WHERE name = $1 AND owner = $2 AND record_version_number IS NOT NULL RETURNING record_version_number`
	freeSQL = `UPDATE locks SET record_version_number = NULL WHERE name = $1 AND owner = $2`
)

// run takes part until ctx ends.
func (c *campaign) run(ctx context.Context, lead func(ctx context.Context)) error {
	var seen int64 = -1
	since, quiet := time.Now(), false
	for {
		start := time.Now()
		won, at, err := c.try(ctx, seen, time.Since(since) >= c.Lease)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // because the end of ctx is how it is meant to end
		case errors.Is(err, store.ErrClosed):
			return err
		case err != nil && !quiet:
			c.log.Warn("leader election does not reach the database, trying again", "error", err)
		case err == nil && won:
			c.hold(ctx, start, lead)
			at, since = -1, time.Now()
		case err == nil && at != seen:
			since = time.Now()
		}
		if quiet = err != nil; quiet {
			// What happened in the meantime is unknown: the lease counts anew.
			at, since = seen, time.Now()
		}
		seen = at
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.Heartbeat):
		}
	}
}

// try looks at the row and takes it if it is free, or if it was seen unchanged
// for a lease. It returns the number that it saw.
func (c *campaign) try(ctx context.Context, seen int64, expired bool) (won bool, at int64, err error) {
	err = c.s.once(ctx, func(ctx context.Context) error {
		var owner string
		err := c.s.pool.QueryRow(ctx, lookSQL, c.Name).Scan(&at, &owner)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		free := err != nil || at < 0
		if !free && (at != seen || !expired) {
			return nil
		}
		if !free {
			c.log.Info("leader is silent, taking over", "owner", owner)
		}
		err = c.s.pool.QueryRow(ctx, takeSQL, c.Name, c.Owner, at).Scan(&at)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // another one was quicker
		}
		won = err == nil
		return err
	})
	return won, at, err
}

// hold leads as long as heartbeats succeed; good is a moment before the last one
// that did. If they do not for most of a lease, it ends before another instance
// may begin.
func (c *campaign) hold(ctx context.Context, good time.Time, lead func(ctx context.Context)) {
	if time.Since(good) >= c.Lease-c.Heartbeat {
		return // the database answered so late that the lease is nearly over
	}
	leading, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		lead(leading)
	}()
	// Heartbeats go on until all tasks have ended, so that nobody begins before.
	beating := context.WithoutCancel(ctx)
	for {
		select {
		case <-done:
			c.free(beating)
			return
		case <-time.After(c.Heartbeat):
		}
		start := time.Now()
		left := c.Lease - c.Heartbeat - time.Since(good)
		held, err := c.beat(beating, max(left, c.Heartbeat/2))
		switch {
		case err == nil && held:
			good = start
			continue
		case err == nil:
			c.log.Warn("another instance took over the leadership")
		case time.Since(good) < c.Lease-c.Heartbeat:
			c.log.Warn("leader's heartbeat did not reach the database", "error", err)
			continue
		default:
			c.log.Warn("giving up the leadership, the database was not reached for too long", "error", err)
		}
		stop()
		<-done
		return
	}
}

func (c *campaign) beat(ctx context.Context, within time.Duration) (held bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var n int64
	err = c.s.pool.QueryRow(ctx, beatSQL, c.Name, c.Owner).Scan(&n)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// free lets the next one begin at once.
func (c *campaign) free(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.Heartbeat)
	defer cancel()
	if _, err := c.s.pool.Exec(ctx, freeSQL, c.Name, c.Owner); err != nil {
		c.log.Warn("giving the leadership back failed, the next leader waits for the lease to end", "error", fmt.Errorf("update locks: %w", err))
	}
}
