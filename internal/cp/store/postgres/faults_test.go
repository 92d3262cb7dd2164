package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weft/internal/cp/store"
	"weft/internal/cp/store/postgres"
	"weft/internal/cp/store/storetest"
	"weft/internal/mesh/model"
	"weft/internal/testkit/lockedbuf"
	"weft/internal/testkit/pgtest"
)

// writers count up one object each until stopped, whatever happens, and know how
// far they got for certain.
type writers struct {
	stop  chan struct{}
	done  sync.WaitGroup
	sure  []atomic.Int64 // acknowledged
	tried []atomic.Int64 // perhaps
	fails atomic.Int64
}

func startWriters(t *testing.T, stores ...store.Store) *writers {
	w := &writers{stop: make(chan struct{}), sure: make([]atomic.Int64, 6), tried: make([]atomic.Int64, 6)}
	for i := range w.sure {
		w.done.Go(func() { w.write(t, i, stores[i%len(stores)]) })
	}
	return w
}

func (w *writers) write(t *testing.T, i int, s store.Store) {
	ctx := context.WithoutCancel(t.Context())
	name := fmt.Sprint("w", i)
	for n := int64(1); ; {
		select {
		case <-w.stop:
			return
		default:
		}
		w.tried[i].Store(n)
		err := put(ctx, s, name, int(n))
		switch {
		case err == nil:
			w.sure[i].Store(n)
			n++
		case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrExists):
			w.fails.Add(1) // the write may have happened: read again, write again
			time.Sleep(time.Millisecond)
		default:
			t.Errorf("writer %d: %v", i, err)
			return
		}
	}
}

// put makes the object hold n.
func put(ctx context.Context, s store.Store, name string, n int) error {
	o, err := s.Get(ctx, storetest.Loose.Key("", name))
	if errors.Is(err, store.ErrNotFound) {
		_, err = s.Create(ctx, storetest.NewLoose(name, n))
		return err
	}
	if err != nil {
		return err
	}
	if at := model.Spec[storetest.LooseSpec](o).Count; at > n {
		return fmt.Errorf("%s holds %d, but only %d was written", name, at, n)
	}
	c := o.Clone()
	c.Spec = &storetest.LooseSpec{Count: n}
	_, err = s.Update(ctx, c)
	return err
}

// progress waits until every writer has written some more.
func (w *writers) progress(t *testing.T) {
	t.Helper()
	before := make([]int64, len(w.sure))
	for i := range w.sure {
		before[i] = w.sure[i].Load()
	}
	eventually(t, "writers get on", func() bool {
		for i := range w.sure {
			if w.sure[i].Load() < before[i]+3 {
				return false
			}
		}
		return true
	})
}

// settle stops the writers and checks that nothing that was acknowledged is
// lost, and that all consumers know the same.
func (w *writers) settle(t *testing.T, s store.Store, consumers ...*consumer) {
	t.Helper()
	close(w.stop)
	w.done.Wait()
	want := map[model.Key]uint64{}
	for i := range w.sure {
		o, err := s.Get(t.Context(), storetest.Loose.Key("", fmt.Sprint("w", i)))
		if err != nil {
			t.Fatal(err)
		}
		n := int64(model.Spec[storetest.LooseSpec](o).Count)
		if n < w.sure[i].Load() || n > w.tried[i].Load() {
			t.Errorf("writer %d: the store holds %d, acknowledged was %d, tried %d", i, n, w.sure[i].Load(), w.tried[i].Load())
		}
		want[o.Key()] = o.Meta.Version
	}
	for _, c := range consumers {
		c.until(t, func(now map[model.Key]*model.Object) bool {
			for k, v := range want {
				if now[k] == nil || now[k].Meta.Version != v {
					return false
				}
			}
			return len(now) == len(want)
		})
	}
	t.Logf("%d failed attempts", w.fails.Load())
}

// TestServerRestarts stops and kills the server under writers and watchers.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t, "fsync=off")
	c := config(server.Database(t))
	if _, err := postgres.Migrate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	a, b := open(t, c), open(t, c)
	ca, cb := watch(t, a), watch(t, b)
	w := startWriters(t, a, b)
	for _, stop := range []func(testing.TB){server.Stop, server.Kill} {
		w.progress(t)
		stop(t)
		if err := a.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("ping without a server: %v", err)
		}
		if _, err := a.List(t.Context(), storetest.Loose, ""); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("list without a server: %v", err)
		}
		server.Start(t)
	}
	w.progress(t)
	w.settle(t, b, ca, cb)
}

// TestConnectionsKilled ends all connections of the control planes at once, again
// and again, those of the watches too.
func TestConnectionsKilled(t *testing.T) {
	t.Parallel()
	d := pgtest.Start(t)
	c := config(d)
	if _, err := postgres.Migrate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	a, b := open(t, c), open(t, c)
	ca, cb := watch(t, a), watch(t, b)
	w := startWriters(t, a, b)
	for range 5 {
		w.progress(t)
		d.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'kuma-cp%'")
	}
	w.progress(t)
	w.settle(t, a, ca, cb)
}

// TestStoreDies closes one of two stores under writers; the other one goes on.
func TestStoreDies(t *testing.T) {
	t.Parallel()
	c := migrated(t)
	a, b := open(t, c), open(t, c)
	cb := watch(t, b)
	w := startWriters(t, b)
	other := make(chan struct{})
	go func() {
		defer close(other)
		for n := 1; ; n++ {
			if err := put(context.WithoutCancel(t.Context()), a, "w0", 0); errors.Is(err, store.ErrClosed) {
				return
			}
		}
	}()
	w.progress(t)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	<-other
	w.progress(t)
	w.settle(t, b, cb)
}

// TestCloseLeavesNothing: no connection outlives the store.
func TestCloseLeavesNothing(t *testing.T) {
	d := pgtest.Start(t)
	c := config(d)
	if _, err := postgres.Migrate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s := open(t, c)
	watch(t, s).until(t, func(now map[model.Key]*model.Object) bool { return true })
	w := startWriters(t, s)
	w.progress(t)
	w.settle(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	conn := d.Connect(t)
	eventually(t, "no connection is left", func() bool {
		var n int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'kuma-cp%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
}

// TestPoolIsBounded: many callers share few connections.
func TestPoolIsBounded(t *testing.T) {
	d := pgtest.Start(t)
	c := config(d)
	c.MaxOpenConnections = 3
	if _, err := postgres.Migrate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s := open(t, c)
	watch(t, s)
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			for n := range 5 {
				if err := put(t.Context(), s, fmt.Sprint(i), n); err != nil {
					t.Error(err)
				}
				if _, err := s.List(t.Context(), storetest.Loose, ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	conn := d.Connect(t)
	most := 0
	for range 50 {
		var n int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'kuma-cp%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		most = max(most, n)
	}
	wg.Wait()
	if most > 4 { // and the one of the watch
		t.Errorf("%d connections were open, want at most 4", most)
	}
}

// wire is a TCP proxy that can be cut, or made to swallow everything.
type wire struct {
	l      net.Listener
	target string

	mu      sync.Mutex
	conns   []net.Conn
	swallow atomic.Bool
}

func newWire(t *testing.T, d pgtest.DB) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l: l, target: net.JoinHostPort(d.Host, fmt.Sprint(d.Port))}
	go w.run()
	t.Cleanup(func() {
		_ = l.Close()
		w.cut()
	})
	return w
}

func (w *wire) port() int { return w.l.Addr().(*net.TCPAddr).Port }

func (w *wire) run() {
	for {
		in, err := w.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", w.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, in, out)
		w.mu.Unlock()
		go w.copy(in, out)
		go w.copy(out, in)
	}
}

func (w *wire) copy(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if n > 0 && !w.swallow.Load() {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut closes all connections.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// TestDatabaseHangs: a database that takes everything and answers nothing holds
// nobody longer than the timeout, and is found again when it answers.
func TestDatabaseHangs(t *testing.T) {
	t.Parallel()
	d := pgtest.Start(t)
	c := config(d)
	if _, err := postgres.Migrate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	direct := open(t, c)
	w := newWire(t, d)
	c.Port = w.port()
	c.ConnectionTimeout = 300 * time.Millisecond
	s, err := postgres.Open(t.Context(), postgres.Options{
		Config: c, Kinds: storetest.Kinds, OperationTimeout: 300 * time.Millisecond, Reconcile: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	seen := watch(t, s)
	seen.until(t, func(map[model.Key]*model.Object) bool { return true })
	if err := put(t.Context(), s, "a", 1); err != nil {
		t.Fatal(err)
	}
	w.swallow.Store(true)
	start := time.Now()
	for what, f := range map[string]func() error{
		"create": func() error { _, err := s.Create(t.Context(), storetest.NewLoose("b", 1)); return err },
		"delete": func() error { return s.Delete(t.Context(), storetest.Loose.Key("", "none")) },
		"get":    func() error { _, err := s.Get(t.Context(), storetest.Loose.Key("", "a")); return err },
		"ping":   func() error { return s.Ping(t.Context()) },
	} {
		if err := f(); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", what, err)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("four calls took %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.Get(ctx, storetest.Loose.Key("", "a")); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("get with a deadline of its own: %v", err)
	}
	if _, err := direct.Create(t.Context(), storetest.NewLoose("meanwhile", 1)); err != nil {
		t.Fatal(err)
	}
	w.swallow.Store(false)
	w.cut() // what was swallowed is missing in them
	eventually(t, "the store is found again", func() bool { return s.Ping(t.Context()) == nil })
	seen.until(t, func(now map[model.Key]*model.Object) bool { return now[storetest.Loose.Key("", "meanwhile")] != nil })
}

// TestNobodyNotifies: without the trigger changes are polled.
func TestNobodyNotifies(t *testing.T) {
	t.Parallel()
	d := pgtest.Start(t)
	c := config(d)
	if _, err := postgres.Migrate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	d.Exec(t, "DROP TRIGGER resources_notify ON resources")
	var log lockedbuf.Buffer
	s, err := postgres.Open(t.Context(), postgres.Options{Config: c, Kinds: storetest.Kinds, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	seen := watch(t, s)
	seen.until(t, func(map[model.Key]*model.Object) bool { return true })
	a, err := s.Create(t.Context(), storetest.NewLoose("a", 1))
	if err != nil {
		t.Fatal(err)
	}
	seen.until(t, func(now map[model.Key]*model.Object) bool { return now[a.Key()] != nil })
	if err := s.Delete(t.Context(), a.Key()); err != nil {
		t.Fatal(err)
	}
	seen.until(t, func(now map[model.Key]*model.Object) bool { return len(now) == 0 })
	if !strings.Contains(log.String(), "no trigger") {
		t.Errorf("the log does not tell of it: %s", log.String())
	}
}

// TestLostNotification: a change that nobody told of is found by comparing.
func TestLostNotification(t *testing.T) {
	t.Parallel()
	d := pgtest.Start(t)
	c := config(d)
	if _, err := postgres.Migrate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(t.Context(), postgres.Options{Config: c, Kinds: storetest.Kinds, Reconcile: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"a", "b"} {
		if _, err := s.Create(t.Context(), storetest.NewLoose(name, 1)); err != nil {
			t.Fatal(err)
		}
	}
	seen := watch(t, s)
	seen.until(t, func(now map[model.Key]*model.Object) bool { return len(now) == 2 })
	conn := d.Connect(t)
	for _, sql := range []string{
		"SET session_replication_role = replica", // no triggers in this session
		`UPDATE resources SET version = version + 1, spec = '{"count":2}' WHERE name = 'a'`,
		"DELETE FROM resources WHERE name = 'b'",
		"INSERT INTO resources (name, mesh, type, version, spec) VALUES ('c', '', 'Loose', 0, '{}')",
		"SELECT pg_notify('resource_events', 'not JSON')",
		`SELECT pg_notify('resource_events', '{"action":1,"data":[]}')`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	seen.until(t, func(now map[model.Key]*model.Object) bool {
		a := now[storetest.Loose.Key("", "a")]
		return len(now) == 2 && model.Spec[storetest.LooseSpec](a).Count == 2 && now[storetest.Loose.Key("", "c")] != nil
	})
}

// TestReadReplica: reads that may be stale go there in the given proportion, all
// others never; without it they go to the primary.
func TestReadReplica(t *testing.T) {
	t.Parallel()
	primary, replica := pgtest.StartServer(t, "fsync=off"), pgtest.StartServer(t, "fsync=off")
	c, other := config(primary.Database(t)), config(replica.Database(t))
	if c.DBName != other.DBName {
		t.Fatal("the databases must have the same name")
	}
	for i, c := range []postgres.Config{c, other} {
		if _, err := postgres.Migrate(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		// In reality it would hold the same; here one sees who answers.
		if _, err := open(t, c).Create(t.Context(), storetest.NewLoose("a", i)); err != nil {
			t.Fatal(err)
		}
	}
	c.ReadReplica = postgres.ReadReplica{Host: other.Host, Port: other.Port, Ratio: 30}
	s := open(t, c)
	asked := func(ctx context.Context) (n int) {
		for range 200 {
			o, err := s.Get(ctx, storetest.Loose.Key("", "a"))
			if err != nil {
				t.Fatal(err)
			}
			n += model.Spec[storetest.LooseSpec](o).Count
		}
		return n
	}
	if n := asked(t.Context()); n != 0 {
		t.Errorf("%d of 200 consistent reads went to the replica", n)
	}
	if n := asked(store.AllowStale(t.Context())); n < 20 || n > 110 {
		t.Errorf("%d of 200 stale reads went to the replica, want about 60", n)
	}
	replica.Stop(t)
	if n := asked(store.AllowStale(t.Context())); n != 0 {
		t.Errorf("%d answers came from a stopped replica", n)
	}
}

// TestPrimaryBecomesReadOnly: connections to a server that takes no writes any
// more are dropped, so that the new primary is found.
func TestPrimaryBecomesReadOnly(t *testing.T) {
	d := pgtest.Start(t)
	c := config(d)
	if _, err := postgres.Migrate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	d.Exec(t, "ALTER DATABASE "+d.Name+" SET default_transaction_read_only = on")
	s := open(t, c)
	_, err := s.Create(t.Context(), storetest.NewLoose("a", 1))
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("create on a read-only server: %v", err)
	}
	// A setting of the database counts for new connections only.
	admin := d
	admin.Name = "postgres"
	admin.Exec(t, "ALTER DATABASE "+d.Name+" RESET default_transaction_read_only")
	eventually(t, "writes work again", func() bool {
		err := put(t.Context(), s, "a", 1)
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func TestCollector(t *testing.T) {
	s := open(t, migrated(t))
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(s.Collector()); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue()
		}
	}
	if len(got) != 12 || got["store_postgres_connections_max rw"] != 8 || got["store_postgres_connections rw open_connections"] < 1 ||
		got["store_postgres_connection_acquire rw successful"] < 1 {
		t.Errorf("metrics: %v", got)
	}
}
