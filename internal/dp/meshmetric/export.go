package meshmetric

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"weft/internal/dp/otlp"
)

// collector is an OpenTelemetry backend.
type collector struct {
	name     string
	socket   string
	interval time.Duration
}

const (
	// firstWithin is how soon a new collector hears of us; proxies spread over
	// that time, as a new policy reaches all at once.
	firstWithin = 5 * time.Second
	// scrapeTimeout bounds the time for one target.
	scrapeTimeout = 10 * time.Second
	// sendTimeout bounds one message.
	sendTimeout = 10 * time.Second
	// attempts to send a message; the next interval brings newer values anyway.
	attempts   = 3
	retryPause = 500 * time.Millisecond
)

// exporter sends to one collector until it is stopped.
type exporter struct {
	collector
	observer *Observer
	conn     *grpc.ClientConn
	log      *slog.Logger
	// failing keeps the log from repeating itself.
	failing bool

	cancel context.CancelFunc
	done   chan struct{}
}

func startExporter(ctx context.Context, o *Observer, c collector) (*exporter, error) {
	conn, err := grpc.NewClient("unix://"+c.socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // Envoy is behind the socket
		grpc.WithUserAgent("kuma-dp/"+o.version),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}))
	if err != nil {
		return nil, fmt.Errorf("reach collector %q: %w", c.name, err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ends with stop, not with the scrape that brought the document
	e := &exporter{collector: c, observer: o, conn: conn, log: o.log.With("collector", c.name), cancel: cancel, done: make(chan struct{})}
	e.log.Info("sending metrics to a collector", "interval", c.interval.String())
	go e.run(ctx)
	return e, nil
}

// stop ends the exporter. It waits for the end.
func (e *exporter) stop(ctx context.Context, flush bool) {
	e.cancel()
	<-e.done
	if flush {
		e.export(ctx)
	}
	if err := e.conn.Close(); err != nil {
		e.log.Debug("close connection", "error", err)
	}
	e.log.Info("no longer sending metrics to the collector")
}

func (e *exporter) run(ctx context.Context) {
	defer close(e.done)
	wait := time.NewTimer(phase(e.observer.node, min(e.interval, firstWithin)))
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		began := time.Now()
		e.export(ctx)
		wait.Reset(max(0, e.interval-time.Since(began)))
	}
}

// phase is when within a time span a proxy has its turn.
func phase(n Node, span time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(n.Mesh + "." + n.Name))
	return time.Duration(h.Sum64() % uint64(span))
}

// export asks all targets once and sends what they say.
func (e *exporter) export(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, max(sendTimeout, e.interval))
	defer cancel()
	o := e.observer
	s := o.settings(ctx)
	var failure error
	for _, t := range s.targets {
		if failure = e.exportTarget(ctx, t, s.labels); failure != nil {
			break // the other targets would fare no better
		}
	}
	e.tell(ctx, failure)
}

// exportTarget asks one target and sends what it says. An error means that the
// collector did not take it; a target that does not answer costs only itself.
func (e *exporter) exportTarget(ctx context.Context, t target, labels []label) error {
	b := newBatch(e.observer, labels, func(m *metricspb.MetricsData, points int) error { return e.send(ctx, m, points) })
	b.now = time.Now()
	if t.filter != nil {
		b.start = e.observer.began // Envoy lives as long as kuma-dp
	}
	asking, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	err := e.observer.scraper.scrape(asking, t, b.add)
	var undelivered *deliveryError
	if errors.As(err, &undelivered) {
		return err
	}
	if err != nil && ctx.Err() == nil {
		e.observer.leftOut(t, err)
	}
	return b.flush()
}

// tell logs the first failure and the first success after it.
func (e *exporter) tell(ctx context.Context, failure error) {
	switch {
	case ctx.Err() != nil && failure != nil:
	case failure != nil && !e.failing:
		e.failing = true
		e.log.Warn("metrics cannot be delivered; trying again at each interval", "error", failure)
	case failure != nil:
		e.log.Debug("metrics still cannot be delivered", "error", failure)
	case e.failing:
		e.failing = false
		e.log.Info("metrics are delivered again")
	}
}

// deliveryError says that the collector did not take a message.
type deliveryError struct{ error }

// Unwrap gives access to the cause.
func (e *deliveryError) Unwrap() error { return e.error }

func (e *exporter) send(ctx context.Context, m *metricspb.MetricsData, points int) error {
	pause := retryPause
	for n := 1; ; n++ {
		once, cancel := context.WithTimeout(ctx, sendTimeout)
		rejected, reason, err := otlp.Export(once, e.conn, m)
		cancel()
		if err == nil {
			if rejected > 0 || reason != "" {
				e.log.Warn("the collector rejects some metrics", "rejected", rejected, "of", points, "reason", reason)
			}
			return nil
		}
		if n == attempts || !isTemporary(err) || ctx.Err() != nil {
			return &deliveryError{err}
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return &deliveryError{err}
		case <-t.C:
		}
		pause *= 2
	}
}

// isTemporary follows the list of the protocol's specification.
func isTemporary(err error) bool {
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
		return true
	default:
		return false
	}
}
