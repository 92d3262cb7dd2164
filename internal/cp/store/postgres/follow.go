package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// follower keeps the mirror equal to the database. It listens for notifications,
// reads again what they name, and hands on the changes in the order in which
// they were committed. After a lost connection it reads everything; the mirror
// makes the difference of it. Now and then it compares all versions, in case a
// notification got lost.
type follower struct {
	s    *Store
	log  *slog.Logger
	conn *pgx.Conn

	// ahead holds rows that were read before the notification of their version
	// came. Handed on at once they would overtake changes committed before.
	ahead map[model.Key]row
	// told remembers about which rows and kinds the log has been told.
	told map[any]bool

	deaf     bool // nobody notifies: the trigger is missing
	compared time.Time
}

const (
	channel = "resource_events"
	// heartbeat is how long the follower listens before it asks whether the
	// connection still works.
	heartbeat = 10 * time.Second
	// loadFactor is how many times longer than a usual call reading everything
	// may take.
	loadFactor = 4
	// deafPause is how often versions are compared if nobody notifies.
	deafPause = time.Second
	lastPause = 3 * time.Second
)

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	f.told = map[any]bool{}
	down := false
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, lastPause) {
		err := f.follow(ctx, func() {
			if down {
				f.log.Info("watching the database again")
			}
			down, pause = false, 50*time.Millisecond
		})
		if ctx.Err() != nil {
			return
		}
		if !down {
			f.log.Warn("watching the database broke, connecting again; changes are seen late meanwhile", "error", err)
		}
		down = true
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// follow follows on one connection until it breaks.
func (f *follower) follow(ctx context.Context, connected func()) error {
	config := f.s.pool.Config().ConnConfig
	config.RuntimeParams["application_name"] = "kuma-cp watch"
	var err error
	if f.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = f.conn.Close(closing) // nothing to be lost
	}()
	loading, cancel := context.WithTimeout(ctx, loadFactor*f.s.o.OperationTimeout)
	defer cancel()
	if err := f.start(loading); err != nil {
		return err
	}
	connected()
	for {
		if err := f.step(ctx); err != nil {
			return err
		}
	}
}

// timed runs f on the connection in bounded time.
func (f *follower) timed(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, f.s.o.OperationTimeout)
	defer cancel()
	return do(ctx)
}

// start listens, and only then reads everything: what changes in between is
// notified.
func (f *follower) start(ctx context.Context) error {
	if _, err := f.conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	var triggers int
	err := f.conn.QueryRow(ctx, "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'resources'::regclass AND NOT tgisinternal AND tgenabled <> 'D'").Scan(&triggers)
	if err != nil {
		return err
	}
	if f.deaf = triggers == 0; f.deaf {
		f.log.Warn("table resources has no trigger that notifies of changes: they are polled, which is slower", "interval", deafPause)
	}
	rows, err := query(ctx, f.conn, "SELECT "+columns+" FROM resources", nil)
	if err != nil {
		return err
	}
	f.ahead, f.compared = map[model.Key]row{}, time.Now()
	all := make([]store.Change, 0, len(rows))
	for _, r := range rows {
		if c := f.change(r.key, &r); !c.Gone {
			all = append(all, c)
		}
	}
	f.s.mirror.Load(all)
	return nil
}

// step waits for notifications and deals with those that have come.
func (f *follower) step(ctx context.Context) error {
	wait, every := heartbeat, f.s.o.Reconcile
	if f.deaf {
		every = deafPause
	}
	wait = max(0, min(wait, every-time.Since(f.compared)))
	listening, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	n, err := f.conn.WaitForNotification(listening)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return f.timed(ctx, func(ctx context.Context) error { return f.notified(ctx, n) })
	case !pgconn.Timeout(err) && listening.Err() == nil:
		return err
	case time.Since(f.compared) >= every:
		return f.timed(ctx, f.compare)
	}
	return f.timed(ctx, f.conn.Ping)
}

// note is what a notification says.
type note struct {
	key     model.Key
	gone    bool
	version *int64 // nil: the trigger of 2.10 does not tell
}

func (f *follower) parse(payload string) (note, bool) {
	var p struct {
		Action string `json:"action"`
		Data   struct {
			Name string `json:"name"`
			Mesh string `json:"mesh"`
			Type string `json:"type"`
		} `json:"data"`
		Version *int64 `json:"version"`
	}
	if err := json.Unmarshal([]byte(payload), &p); err != nil {
		f.once("payload", func() {
			f.log.Warn("notification of the database is not understood, its change is seen late", "channel", channel, "error", err)
		})
		return note{}, false
	}
	k := model.Key{Kind: p.Data.Type, Mesh: p.Data.Mesh, Name: p.Data.Name}
	return note{key: k, gone: p.Action == "DELETE", version: p.Version}, f.known(k.Kind)
}

// notified deals with a notification and all that came with it.
func (f *follower) notified(ctx context.Context, n *pgconn.Notification) error {
	over, cancel := context.WithCancel(ctx)
	cancel() // so that WaitForNotification returns only what is there already
	last := map[model.Key]note{}
	var order []model.Key
	for err := error(nil); err == nil && n != nil; n, err = f.conn.WaitForNotification(over) {
		if note, ok := f.parse(n.Payload); ok {
			order = append(order, note.key)
			last[note.key] = note
		}
	}
	// Of several notes about one object the last one tells when its turn is.
	slices.Reverse(order)
	seen := map[model.Key]bool{}
	order = slices.DeleteFunc(order, func(k model.Key) bool { twice := seen[k]; seen[k] = true; return twice })
	slices.Reverse(order)

	for keys := range slices.Chunk(order, f.s.o.Config.MaxListQueryElements) {
		found, err := f.reread(ctx, keys, last)
		if err != nil {
			return err
		}
		changes := make([]store.Change, 0, len(keys))
		for _, k := range keys {
			if c, ok := f.turn(last[k], found); ok {
				changes = append(changes, c)
			}
		}
		f.s.mirror.Apply(changes)
	}
	return nil
}

// reread returns the rows of keys that are there. What was read ahead is not
// read again if it is what the note speaks of.
func (f *follower) reread(ctx context.Context, keys []model.Key, last map[model.Key]note) (map[model.Key]row, error) {
	found := map[model.Key]row{}
	var ask []model.Key
	for _, k := range keys {
		if r, ok := f.ahead[k]; ok && last[k].version != nil && *last[k].version == r.version && !last[k].gone {
			found[k] = r
		} else {
			ask = append(ask, k)
		}
	}
	if len(ask) == 0 {
		return found, nil
	}
	rows, err := f.readKeys(ctx, ask)
	for _, r := range rows {
		found[r.key] = r
	}
	return found, err
}

func (f *follower) readKeys(ctx context.Context, keys []model.Key) ([]row, error) {
	names, meshes, kinds := make([]string, len(keys)), make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		names[i], meshes[i], kinds[i] = k.Name, k.Mesh, k.Kind
	}
	return query(ctx, f.conn, "SELECT "+columns+` FROM resources WHERE (name, mesh, type) IN
		(SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))`, []any{names, meshes, kinds})
}

// turn returns the change that a note stands for. ok is false if the row has
// been changed since: then the note of that change is still to come.
func (f *follower) turn(n note, found map[model.Key]row) (c store.Change, ok bool) {
	r, there := found[n.key]
	delete(f.ahead, n.key)
	switch {
	case n.gone && there: // made again
		if n.version != nil {
			f.ahead[n.key] = r
			return f.change(n.key, nil), true
		}
		return f.change(n.key, &r), true
	case n.gone:
		return f.change(n.key, nil), true
	case !there:
		return f.change(n.key, nil), n.version == nil
	case n.version != nil && *n.version != r.version:
		f.ahead[n.key] = r
		return c, false
	}
	return f.change(n.key, &r), true
}

// change returns what a row (nil = absent) means for the mirror. What cannot be
// read stays in the database, and is not there for those who watch.
func (f *follower) change(k model.Key, r *row) store.Change {
	if r == nil || !f.known(k.Kind) {
		return store.Change{Key: k, Gone: true}
	}
	o, err := f.s.object(*r)
	if err != nil {
		f.once([2]any{k, r.version}, func() {
			f.log.Error("stored object cannot be read, it is kept but has no effect: write it again or delete it", "key", k.String(), "error", err)
		})
		return store.Change{Key: k, Gone: true}
	}
	return store.Change{Key: k, Object: o}
}

func (f *follower) known(kind string) bool {
	if f.s.o.Kinds(kind) != nil {
		return true
	}
	f.once(kind, func() {
		f.log.Warn("the store holds objects of an unknown kind, they are kept but have no effect", "kind", kind)
	})
	return false
}

// once does something once for each subject, again only after very many others.
func (f *follower) once(about any, do func()) {
	if len(f.told) > 10000 {
		clear(f.told)
	}
	if !f.told[about] {
		f.told[about] = true
		do()
	}
}

// compare reads the versions of everything and then what differs.
func (f *follower) compare(ctx context.Context) error {
	rows, err := f.conn.Query(ctx, "SELECT type, mesh, name, version, creation_time, modification_time FROM resources")
	if err != nil {
		return err
	}
	marks, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (w row, err error) {
		return w, r.Scan(&w.key.Kind, &w.key.Mesh, &w.key.Name, &w.version, &w.created, &w.modified)
	})
	if err != nil {
		return err
	}
	stored := make(map[model.Key]model.Meta, len(marks))
	for _, r := range marks {
		if f.s.o.Kinds(r.key.Kind) != nil {
			var m model.Meta
			setMeta(&m, r.version, r.created, r.modified)
			stored[r.key] = m
		}
	}
	var differ []model.Key
	f.s.mirror.Each(func(o *model.Object) {
		m, ok := stored[o.Key()]
		if !ok || m.Version != o.Meta.Version || !m.Created.Equal(o.Meta.Created) || !m.Modified.Equal(o.Meta.Modified) {
			differ = append(differ, o.Key())
		}
		delete(stored, o.Key())
	})
	for k := range stored {
		differ = append(differ, k)
	}
	slices.SortFunc(differ, model.Key.Compare)
	for keys := range slices.Chunk(differ, f.s.o.Config.MaxListQueryElements) {
		if err := f.take(ctx, keys); err != nil {
			return fmt.Errorf("read what differs: %w", err)
		}
	}
	f.compared = time.Now()
	return nil
}

// take reads keys and hands them on without waiting for their notes.
func (f *follower) take(ctx context.Context, keys []model.Key) error {
	rows, err := f.readKeys(ctx, keys)
	if err != nil {
		return err
	}
	found := map[model.Key]*row{}
	for _, r := range rows {
		found[r.key] = &r
		delete(f.ahead, r.key)
	}
	changes := make([]store.Change, len(keys))
	for i, k := range keys {
		changes[i] = f.change(k, found[k])
	}
	f.s.mirror.Apply(changes)
	return nil
}
