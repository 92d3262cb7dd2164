// Package memory keeps objects in memory: for tests and throw-away runs. It is
// the fake store of all other packages' tests, and passes the same conformance
// suite as the real ones.
package memory

import (
	"context"
	"sync"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// Store implements store.Store. All is lost with Close.
type Store struct {
	now     func() time.Time
	mirror  *store.Mirror
	writing sync.Mutex // one Draft at a time
}

// Option changes a new Store.
type Option func(*Store)

// WithClock makes the store take creation and modification times from now.
func WithClock(now func() time.Time) Option { return func(s *Store) { s.now = now } }

// New returns an empty Store.
func New(options ...Option) *Store {
	s := &Store{now: time.Now, mirror: store.NewMirror()}
	for _, o := range options {
		o(s)
	}
	s.mirror.Load(nil)
	return s
}

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, o *model.Object) (out *model.Object, err error) {
	if err := store.Check(o); err != nil {
		return nil, err
	}
	err = s.write(ctx, func(d *store.Draft) error {
		out, err = d.Create(o)
		return err
	})
	return out, err
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, o *model.Object) (out *model.Object, err error) {
	if err := store.Check(o); err != nil {
		return nil, err
	}
	err = s.write(ctx, func(d *store.Draft) error {
		out, err = d.Update(o)
		return err
	})
	return out, err
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key model.Key) error {
	return s.write(ctx, func(d *store.Draft) error { return d.Delete(key) })
}

func (s *Store) write(ctx context.Context, f func(*store.Draft) error) error {
	if err := s.Ping(ctx); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	d := s.mirror.Draft(s.now())
	if err := f(d); err != nil {
		return err
	}
	d.Commit()
	return nil
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

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.mirror.Ping()
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mirror.Close()
	return nil
}
