// Package store says what a store of objects promises, and nothing about how.
// The makers are sqlite (the embedded default), postgres and memory; each must
// pass the conformance suite in storetest. Users: admit and rest write, state
// watches, leader tasks do both.
package store

import (
	"context"
	"errors"

	"weft/internal/mesh/model"
)

// Store keeps objects. All methods are safe for concurrent use. Objects that go
// in or come out are immutable from then on.
//
// Promises:
//   - A write that returned nil is durable (sqlite, postgres) and visible to
//     every later read through any Store on the same data (except AllowStale).
//   - A write that returned ErrUnavailable may have happened or not: the answer
//     can get lost. All other errors mean that it did not.
//   - Create sets Created, Modified and Version of the stored copy; Update sets
//     Modified and Version. Both return that copy. Times are for people, and
//     nothing is decided by them; Versions of one key only tell whether two
//     readings are of the same write.
//   - Update fails with ErrConflict unless o.Meta.Version is the stored version,
//     also if the object was deleted and created again in between.
//   - Deleting an object deletes, in the same transaction, everything that it
//     owns (Kind.Ownership), recursively. Creating an owned object whose owner is
//     absent, or updating one so that it gets such an owner, fails with
//     ErrOwnerMissing.
//   - What is stored but cannot be read (an unknown kind, a spec that does not
//     decode) is kept, logged, left out of lists and watches, and may be deleted.
//   - Watch loses nothing: see Watch.
//   - Calls end in bounded time even if ctx has no deadline (postgres), and with
//     ErrClosed after Close.
type Store interface {
	Create(ctx context.Context, o *model.Object) (*model.Object, error)
	Update(ctx context.Context, o *model.Object) (*model.Object, error)
	// Delete removes the object; ErrNotFound if it is absent.
	Delete(ctx context.Context, key model.Key) error
	// Get returns ErrNotFound if the object is absent.
	Get(ctx context.Context, key model.Key) (*model.Object, error)
	// List returns the objects of a kind ordered by mesh, then name. mesh "" means all meshes.
	List(ctx context.Context, kind *model.Kind, mesh string) ([]*model.Object, error)
	// Watch starts watching all kinds. The caller must Close the Watch.
	Watch(ctx context.Context) (Watch, error)
	// Ping tells whether the store can be reached.
	Ping(ctx context.Context) error
	// Close releases what the store holds.
	Close() error
}

// Watch delivers what changed, to one consumer. The first batch is Full: it holds
// every object. After it every change arrives exactly in the order of revisions;
// changes of one object that the consumer was too slow for are merged into the
// newest, and an object that came and went meanwhile is not mentioned. When a
// store cannot bridge a gap (lost connection), the next batch is Full again; a
// store with a Mirror always can, it delivers the difference. While the store is
// away the Watch is silent. Memory used by a slow consumer is bounded by the
// number of objects.
type Watch interface {
	// Next waits for the next batch. It returns ctx.Err() when ctx ends, and
	// ErrClosed after Close of the Watch or its Store.
	Next(ctx context.Context) (Batch, error)
	Close()
}

// Batch is a set of changes.
type Batch struct {
	// Rev grows with every change of this store as seen by this process.
	Rev uint64
	// Full means that Events hold all objects, and whatever is not among them is gone.
	Full   bool
	Events []Event
}

// Event says that an object is now as given, or gone.
type Event struct {
	Key    model.Key
	Object *model.Object // nil = deleted
}

// Elector decides which control plane instance does what must be done once.
type Elector interface {
	// Run takes part in elections until ctx ends.
	Run(ctx context.Context) error
	// OnLeader runs f whenever this instance leads, with a context that ends
	// when it does not any more. It must be called before Run.
	OnLeader(name string, f func(ctx context.Context) error)
	Leading() bool
}

// Errors that callers branch on; they come wrapped with what was tried.
var (
	ErrNotFound     = errors.New("object not found")
	ErrExists       = errors.New("object already exists")
	ErrConflict     = errors.New("object was changed in the meantime")
	ErrOwnerMissing = errors.New("the object that owns it does not exist")
	// ErrUnavailable wraps errors of a store that cannot be reached now; trying again may help.
	ErrUnavailable = errors.New("store is not available")
	// ErrClosed comes from a store or watch that was closed by this process.
	ErrClosed = errors.New("store is closed")
	// ErrUnreadable comes for an object that is stored in a form which this
	// version does not understand. It is kept, and may be deleted.
	ErrUnreadable = errors.New("object is stored in a form that this version cannot read")
)
