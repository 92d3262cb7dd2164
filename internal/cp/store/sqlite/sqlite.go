// Package sqlite keeps objects in one SQLite file: the store of a control plane
// that runs alone, and the default.
//
// A write is acknowledged when it is in the file's write-ahead log and the log
// was flushed to the disk, so neither kill -9 nor a power cut loses it. Writers
// that wait at the same time share one flush. Reads come from a store.Mirror of
// the file, which is complete because the file belongs to one process: a second
// one is refused. All methods are safe for concurrent use.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// Options say how to open a Store.
type Options struct {
	// Path of the file; it is made if absent. SQLite puts two more files beside it.
	Path string
	// Kinds returns the kind of that name, nil if there is none. Objects of other
	// kinds stay in the file, unseen.
	Kinds func(name string) *model.Kind
	// Codec encrypts what is kept; nil = store.Plain.
	Codec store.Codec
	// Log is where the store tells what it met; nil = nowhere.
	Log *slog.Logger
	// Now gives creation and modification times; nil = time.Now.
	Now func() time.Time
	// LockWait is how long Open waits for another process that still holds the
	// file, as at a restart; 0 = 5 s.
	LockWait time.Duration
}

// Store implements store.Store.
type Store struct {
	o      Options
	mirror *store.Mirror
	ctx    context.Context //nolint:containedctx // because database/sql wants one where nothing may be interrupted

	line *store.Line[op]
	done chan struct{} // the writer has ended
	file *file         // only the writer uses it; nil = to be opened again

	closing sync.Once
}

// Open opens the file, makes or upgrades its schema, checks it and loads it.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Path == "" || o.Kinds == nil {
		return nil, errors.New("open sqlite store: path and kinds must be given")
	}
	abs, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, fmt.Errorf("open sqlite store %q: %w", o.Path, err)
	}
	o.Path = abs
	if o.Codec == nil {
		o.Codec = store.Plain{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.LockWait == 0 {
		o.LockWait = 5 * time.Second
	}
	s := &Store{
		o: o, mirror: store.NewMirror(), ctx: context.WithoutCancel(ctx),
		line: store.NewLine[op](), done: make(chan struct{}),
	}
	if err := s.reopen(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.done)
		s.line.Serve(maxGroup, s.commit)
	}()
	return s, nil
}

// reopen opens the file and makes the mirror equal to it.
func (s *Store) reopen() error {
	f, err := openFile(s.ctx, s.o.Path, s.o.LockWait, s.o.Log)
	if err != nil {
		return fmt.Errorf("open sqlite store %q: %w", s.o.Path, err)
	}
	all, err := s.load(f)
	if err != nil {
		_ = f.close() // the load error says more
		return fmt.Errorf("load sqlite store %q: %w", s.o.Path, explain(err))
	}
	s.file = f
	s.mirror.Load(all)
	return nil
}

// load reads all rows. What cannot be read stays in the file and is reported.
func (s *Store) load(f *file) ([]store.Change, error) {
	var out []store.Change
	unknown := map[string]int{}
	err := f.each(func(r row) error {
		c := store.Change{Key: r.key, Owner: r.owner}
		kind := s.o.Kinds(r.key.Kind)
		if kind == nil {
			unknown[r.key.Kind]++
			out = append(out, c)
			return nil
		}
		o, err := r.record.Decode(s.o.Codec, kind, r.key)
		if err != nil {
			s.o.Log.Error("stored object cannot be read, it is kept but has no effect: write it again or delete it", "key", r.key.String(), "error", err)
			out = append(out, c)
			return nil
		}
		o.Meta.Version, o.Meta.Created, o.Meta.Modified = r.version, r.created, r.modified
		c.Object = o
		out = append(out, c)
		return nil
	})
	for kind, n := range unknown {
		s.o.Log.Warn("the store holds objects of an unknown kind, they are kept but have no effect", "kind", kind, "objects", n)
	}
	return out, err
}

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, o *model.Object) (out *model.Object, err error) {
	err = s.put(ctx, o, func(d *store.Draft) (err error) {
		out, err = d.Create(o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, o *model.Object) (out *model.Object, err error) {
	err = s.put(ctx, o, func(d *store.Draft) (err error) {
		out, err = d.Update(o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Store) put(ctx context.Context, o *model.Object, f func(*store.Draft) error) error {
	if err := store.Check(o); err != nil {
		return err
	}
	// Encoding needs no turn, so callers do it side by side.
	r, err := store.Encode(s.o.Codec, o)
	if err != nil {
		return err
	}
	return s.line.Do(ctx, op{apply: f, record: r})
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key model.Key) error {
	return s.line.Do(ctx, op{apply: func(d *store.Draft) error { return d.Delete(key) }})
}

// Ping implements store.Store. After a broken write it tries to open the file again.
func (s *Store) Ping(ctx context.Context) error {
	return s.line.Do(ctx, op{apply: func(*store.Draft) error { return nil }})
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key model.Key) (*model.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.mirror.Get(key)
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, kind *model.Kind, mesh string) ([]*model.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.mirror.List(kind.Name, mesh)
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context) (store.Watch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.mirror.Watch()
}

// Close implements store.Store. It waits for the writes under way.
func (s *Store) Close() (err error) {
	s.closing.Do(func() {
		s.line.Close()
		<-s.done
		s.mirror.Close()
		if s.file == nil {
			return
		}
		if e := s.file.close(); e != nil {
			err = fmt.Errorf("close sqlite store %q: %w", s.o.Path, e)
		}
	})
	return err
}

// op is one write.
type op struct {
	apply  func(*store.Draft) error
	record store.Record
}
