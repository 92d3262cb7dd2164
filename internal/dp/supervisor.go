package dp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// component is one helper or Envoy itself. Run blocks until its context ends.
type component struct {
	name string
	run  func(context.Context) error
	// vital components end everything when they end; the others are started
	// again after a pause.
	vital bool
	// stopWithin is how long it may take to end; zero means stopTimeout.
	stopWithin time.Duration
}

const (
	restartPause    = 5 * time.Second
	maxRestartPause = time.Minute
	// stopTimeout is how long a component may take to end; Envoy needs up to
	// five seconds before it is killed.
	stopTimeout = 15 * time.Second
)

// supervise starts the components in order, waits until ctx ends or a vital
// one does, and stops them in reverse order, each after the other has ended:
// what a component relies on is still there while it stops.
func supervise(ctx context.Context, components []component, log *slog.Logger) error {
	type running struct {
		cancel context.CancelFunc
		done   chan error
	}
	ended := make(chan error, len(components))
	all := make([]running, 0, len(components))
	for _, c := range components {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := running{cancel: cancel, done: make(chan error, 1)}
		all = append(all, r)
		go func() {
			err := keepRunning(own, c, log)
			r.done <- err
			if own.Err() == nil {
				ended <- err
			}
		}()
	}
	var first error
	select {
	case <-ctx.Done():
	case first = <-ended:
	}
	errs := []error{first}
	for i := len(all) - 1; i >= 0; i-- {
		all[i].cancel()
		limit := cmp.Or(components[i].stopWithin, stopTimeout)
		t := time.NewTimer(limit)
		select {
		case err := <-all[i].done:
			if err != nil && !errors.Is(err, first) {
				errs = append(errs, fmt.Errorf("stop %s: %w", components[i].name, err))
			}
		case <-t.C:
			errs = append(errs, fmt.Errorf("stop %s: still running after %s", components[i].name, limit))
		}
		t.Stop()
	}
	return errors.Join(errs...)
}

// keepRunning runs a component; one that is not vital is started again.
func keepRunning(ctx context.Context, c component, log *slog.Logger) error {
	pause := restartPause
	for {
		err := c.run(ctx)
		if c.vital || ctx.Err() != nil {
			return err
		}
		if err == nil {
			<-ctx.Done()
			return nil
		}
		log.Warn("a helper failed; starting it again after a pause", "helper", c.name, "pause", pause.String(), "error", err)
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		pause = min(2*pause, maxRestartPause)
	}
}
