package insight

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// Recorder writes down which proxies are connected to this instance and what
// they were told: DataplaneInsight, ZoneIngressInsight and ZoneEgressInsight.
//
// Streams only count, in memory; one goroutine (Run) writes. A connection that
// opens or closes is written at once, counters at most every Interval, and
// nothing is written for a proxy of which there is nothing new. When the store is
// slow or away the streams do not notice: what waits is merged, at most a few
// connections per proxy.
type Recorder struct {
	d    RecorderDeps
	now  func() time.Time
	poke chan struct{} // 1 slot: something waits to be written at once

	written, failed prometheus.Counter

	mu      sync.Mutex
	proxies map[model.Key]*record
	urgent  map[model.Key]struct{} // to be written at once
	changed map[model.Key]struct{} // to be written at the end of the interval
	flushAt time.Time              // end of the interval; zero = nothing changed
}

// RecorderDeps is what a recorder needs.
type RecorderDeps struct {
	Store store.Store
	// Instance is the id of this control plane.
	Instance string
	// Interval is the least time between two writes of counters of one proxy.
	Interval time.Duration
	// IdleTimeout is how long a connection may show no sign of life before other
	// instances take it for dead.
	IdleTimeout time.Duration
	// Limit is how many connections are kept per proxy; 0 = as many as MaxKept.
	Limit   int
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
}

// MaxKept bounds the connections that are kept per proxy, whatever is configured.
const MaxKept = 100

// writers is how many proxies are written side by side, so that a store can put
// them into one transaction, and those who follow it take them in as one change,
// which costs them a copy of the whole table.
const writers = 128

// record is what is known about one proxy.
type record struct {
	// subs are the connections that are open or not written yet, oldest first.
	subs []*Subscription
	mtls *mtls
}

// NewRecorder returns a recorder; Run makes it write.
func NewRecorder(d RecorderDeps) *Recorder {
	r := &Recorder{
		d: d, now: d.Now, poke: make(chan struct{}, 1),
		proxies: map[model.Key]*record{}, urgent: map[model.Key]struct{}{}, changed: map[model.Key]struct{}{},
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "insight_writes_total", Help: "Insights of proxies that were written.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "insight_write_errors_total", Help: "Insights of proxies that could not be written and are tried again.",
		}),
	}
	if d.Metrics != nil {
		d.Metrics.MustRegister(r.written, r.failed)
	}
	return r
}

// keep returns how many connections are kept per proxy.
func (r *Recorder) keep() int {
	if r.d.Limit <= 0 {
		return MaxKept
	}
	return min(r.d.Limit, MaxKept)
}

// mark notes that a proxy must be written; the caller holds r.mu.
func (r *Recorder) mark(key model.Key, atOnce bool) {
	if atOnce {
		delete(r.changed, key)
		r.urgent[key] = struct{}{}
		r.wake()
		return
	}
	if _, ok := r.urgent[key]; ok {
		return
	}
	r.changed[key] = struct{}{}
	if r.flushAt.IsZero() {
		r.flushAt = r.now().Add(r.d.Interval)
		r.wake()
	}
}

func (r *Recorder) wake() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends, then writes what is left, for which it takes a few
// seconds at most.
func (r *Recorder) Run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	beat := time.NewTicker(r.beatInterval())
	defer beat.Stop()
	pause := firstPause
	for ctx.Err() == nil {
		if !r.write(ctx, r.due()) {
			// The store is away; what failed is marked again.
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
		timer.Reset(r.untilDue())
		select {
		case <-ctx.Done():
		case <-r.poke:
		case <-timer.C:
		case <-beat.C:
			r.heartbeat()
		}
	}
	r.close(context.WithoutCancel(ctx))
	return nil
}

// Pauses between tries while the store is away.
const (
	firstPause = 200 * time.Millisecond
	lastPause  = 5 * time.Second
	lastWords  = 5 * time.Second
)

// close ends all connections and writes what is left.
func (r *Recorder) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	r.mu.Lock()
	now := r.now()
	for key, rec := range r.proxies {
		for _, s := range rec.subs {
			s.end(now)
		}
		r.mark(key, true)
	}
	r.mu.Unlock()
	if !r.write(ctx, r.due()) {
		r.d.Log.Warn("not all connections of proxies could be noted as closed; another instance will find out")
	}
}

// due takes the proxies that must be written now.
func (r *Recorder) due() []model.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []model.Key
	take := func(from map[model.Key]struct{}) {
		for key := range from {
			out = append(out, key)
		}
		clear(from)
	}
	take(r.urgent)
	if !r.flushAt.IsZero() && !r.now().Before(r.flushAt) {
		take(r.changed)
		r.flushAt = time.Time{}
	}
	return out
}

func (r *Recorder) untilDue() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.urgent) > 0 {
		return 0
	}
	if r.flushAt.IsZero() {
		return time.Hour
	}
	return max(r.flushAt.Sub(r.now()), 0)
}

// write stores the insights of proxies; false if one has to be tried again.
func (r *Recorder) write(ctx context.Context, keys []model.Key) bool {
	var g errgroup.Group
	g.SetLimit(writers)
	for _, key := range keys {
		g.Go(func() error { return r.writeOne(ctx, key) })
	}
	return g.Wait() == nil
}

// writeOne stores one insight. Only failures of the store are errors: an insight
// whose proxy is gone is dropped.
func (r *Recorder) writeOne(ctx context.Context, key model.Key) error {
	state, ok := r.capture(key)
	if !ok {
		return nil
	}
	err := r.store(ctx, key, state)
	gone := errors.Is(err, store.ErrOwnerMissing)
	r.settle(key, state, err == nil || gone)
	switch {
	case err == nil:
		r.written.Inc()
	case gone:
		r.d.Log.Debug("insight is not written, because its proxy is not in the store", "proxy", key.String())
	default:
		r.failed.Inc()
		if ctx.Err() == nil {
			r.d.Log.Warn("write insight; trying again", "proxy", key.String(), "error", err)
		}
		return err
	}
	return nil
}
