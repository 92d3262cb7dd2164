package store

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weft/internal/mesh/model"
)

// Instrument returns a Store that counts and times what s does: the histogram
// "store" by operation and kind, and the counter "store_conflicts" by kind.
func Instrument(s Store, reg prometheus.Registerer) (Store, error) {
	m := &measured{
		Store: s,
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "store", Help: "Time that operations on the store took, in seconds.",
		}, []string{"operation", "resource_type"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "store_conflicts", Help: "Writes refused because the object had been changed or created in the meantime.",
		}, []string{"resource_type"}),
	}
	for _, c := range []prometheus.Collector{m.took, m.conflicts} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

type measured struct {
	Store
	took      *prometheus.HistogramVec
	conflicts *prometheus.CounterVec
}

// done is deferred with the error's address, to see the result.
func (m *measured) done(operation, kind string, start time.Time, err *error) {
	m.took.WithLabelValues(operation, kind).Observe(time.Since(start).Seconds())
	if errors.Is(*err, ErrConflict) || operation == "create" && errors.Is(*err, ErrExists) {
		m.conflicts.WithLabelValues(kind).Inc()
	}
}

func kindOf(o *model.Object) string {
	if o == nil || o.Kind == nil {
		return ""
	}
	return o.Kind.Name
}

// Create implements Store.
func (m *measured) Create(ctx context.Context, o *model.Object) (out *model.Object, err error) {
	defer m.done("create", kindOf(o), time.Now(), &err)
	return m.Store.Create(ctx, o)
}

// Update implements Store.
func (m *measured) Update(ctx context.Context, o *model.Object) (out *model.Object, err error) {
	defer m.done("update", kindOf(o), time.Now(), &err)
	return m.Store.Update(ctx, o)
}

// Delete implements Store.
func (m *measured) Delete(ctx context.Context, key model.Key) (err error) {
	defer m.done("delete", key.Kind, time.Now(), &err)
	return m.Store.Delete(ctx, key)
}

// Get implements Store.
func (m *measured) Get(ctx context.Context, key model.Key) (out *model.Object, err error) {
	defer m.done("get", key.Kind, time.Now(), &err)
	return m.Store.Get(ctx, key)
}

// List implements Store.
func (m *measured) List(ctx context.Context, kind *model.Kind, mesh string) (out []*model.Object, err error) {
	defer m.done("list", kind.Name, time.Now(), &err)
	return m.Store.List(ctx, kind, mesh)
}
