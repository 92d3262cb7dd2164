package postgres_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/cp/store"
	"weft/internal/cp/store/postgres"
	"weft/internal/cp/store/storetest"
	"weft/internal/testkit/pgtest"
)

// Short times, in the proportion of the real ones.
const (
	lease     = 2500 * time.Millisecond
	heartbeat = 250 * time.Millisecond
)

// cabinet watches that never two lead.
type cabinet struct {
	t       *testing.T
	leaders atomic.Int64
}

// candidate is an instance that takes part in elections.
type candidate struct {
	store.Elector
	stop func() // and wait
}

func (c *cabinet) candidate(s *postgres.Store, id string, slow time.Duration) *candidate {
	c.t.Helper()
	e, err := s.NewElector(postgres.Election{Owner: id, Lease: lease, Heartbeat: heartbeat})
	if err != nil {
		c.t.Fatal(err)
	}
	e.OnLeader("count", func(ctx context.Context) error {
		if n := c.leaders.Add(1); n != 1 {
			c.t.Errorf("%s begins while another one leads", id)
		}
		<-ctx.Done()
		if slow > 0 {
			time.Sleep(slow) // work that takes a while to end
		}
		c.leaders.Add(-1)
		return nil
	})
	ctx, cancel := context.WithCancel(c.t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := e.Run(ctx); err != nil {
			c.t.Errorf("%s: %v", id, err)
		}
	})
	out := &candidate{Elector: e, stop: func() { cancel(); done.Wait() }}
	c.t.Cleanup(out.stop)
	return out
}

func (c *cabinet) leads(who *candidate) {
	c.t.Helper()
	eventually(c.t, "it leads", func() bool { return who.Leading() && c.leaders.Load() == 1 })
}

// holds checks that the leader stays for some leases.
func (c *cabinet) holds(who, other *candidate) {
	c.t.Helper()
	for end := time.Now().Add(2 * lease); time.Now().Before(end); time.Sleep(heartbeat / 4) {
		if !who.Leading() || other.Leading() {
			c.t.Fatal("the leadership wandered without a reason")
		}
	}
}

func TestHandOver(t *testing.T) {
	t.Parallel()
	c := migrated(t)
	cab := &cabinet{t: t}
	a := cab.candidate(open(t, c), "a", 2*lease)
	cab.leads(a)
	b := cab.candidate(open(t, c), "b", 0)
	cab.holds(a, b)
	// A leader that stops keeps the lock until its work has ended, then gives it
	// back at once.
	start := time.Now()
	a.stop()
	if took := time.Since(start); took < 2*lease {
		t.Errorf("stopped after %v, before its task ended", took)
	}
	start = time.Now()
	cab.leads(b)
	if took := time.Since(start); took > lease {
		t.Errorf("handing over took %v, as if the leader had crashed", took)
	}
}

// TestLeaderCutOff: a leader that does not reach the database gives up before
// the next one begins, and takes part again later.
func TestLeaderCutOff(t *testing.T) {
	t.Parallel()
	d := pgtest.Start(t)
	c := config(d)
	if _, err := postgres.Migrate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w := newWire(t, d)
	far := c
	far.Port, far.ConnectionTimeout = w.port(), heartbeat
	sa, err := postgres.Open(t.Context(), postgres.Options{Config: far, Kinds: storetest.Kinds, OperationTimeout: 2 * heartbeat})
	if err != nil {
		t.Fatal(err)
	}
	defer sa.Close()
	cab := &cabinet{t: t}
	a := cab.candidate(sa, "a", 0)
	cab.leads(a)
	b := cab.candidate(open(t, c), "b", 0)
	cab.holds(a, b)
	w.swallow.Store(true)
	start := time.Now()
	cab.leads(b)
	t.Logf("the next one leads after %v, lease is %v", time.Since(start), lease)
	if a.Leading() {
		t.Error("the old leader does not know that it is none any more")
	}
	w.swallow.Store(false)
	w.cut()
	eventually(t, "the store is found again", func() bool { return sa.Ping(t.Context()) == nil })
	cab.holds(b, a)
	b.stop()
	cab.leads(a)
}

func TestElectionOverRestart(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t, "fsync=off")
	c := config(server.Database(t))
	if _, err := postgres.Migrate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	cab := &cabinet{t: t}
	a, b := cab.candidate(open(t, c), "a", 0), cab.candidate(open(t, c), "b", 0)
	one := func() bool { return cab.leaders.Load() == 1 && a.Leading() != b.Leading() }
	eventually(t, "one leads", one)
	server.Kill(t)
	eventually(t, "nobody leads without a database", func() bool { return cab.leaders.Load() == 0 })
	server.Start(t)
	eventually(t, "one leads again", one)
}

// TestElectionWithOlderVersion: an instance of version 2.10 holds the row its way.
func TestElectionWithOlderVersion(t *testing.T) {
	t.Parallel()
	d := pgtest.Start(t)
	c := config(d)
	if _, err := postgres.Migrate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	conn := d.Connect(t)
	exec := func(sql string) int64 {
		t.Helper()
		tag, err := conn.Exec(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		return tag.RowsAffected()
	}
	exec("INSERT INTO locks (name, record_version_number, data, owner) VALUES ('kuma-cp-lock', nextval('locks_rvn'), '', 'older')")
	cab := &cabinet{t: t}
	a := cab.candidate(open(t, c), "a", 0)
	for end := time.Now().Add(3 * lease); time.Now().Before(end); time.Sleep(heartbeat) {
		if exec("UPDATE locks SET record_version_number = nextval('locks_rvn') WHERE name = 'kuma-cp-lock' AND owner = 'older'") != 1 || a.Leading() {
			t.Fatal("the row was taken from a living leader")
		}
	}
	start := time.Now()
	cab.leads(a)
	if took := time.Since(start); took < lease-2*heartbeat {
		t.Errorf("the row was taken over after %v, before the lease ended", took)
	}
	// The older one takes over after it saw the row unchanged, which it does not;
	// but if it had, ours must notice.
	exec("UPDATE locks SET record_version_number = nextval('locks_rvn'), owner = 'older' WHERE name = 'kuma-cp-lock'")
	eventually(t, "ours gives way", func() bool { return !a.Leading() && cab.leaders.Load() == 0 })
	// Giving back is NULL.
	exec("UPDATE locks SET record_version_number = NULL WHERE name = 'kuma-cp-lock'")
	cab.leads(a)
	a.stop()
	if exec("UPDATE locks SET owner = owner WHERE name = 'kuma-cp-lock' AND record_version_number IS NULL") != 1 {
		t.Error("the row was not given back")
	}
}

func TestElectionNeedsOwner(t *testing.T) {
	if _, err := open(t, migrated(t)).NewElector(postgres.Election{}); err == nil {
		t.Fatal("an elector without an owner was made")
	}
}
