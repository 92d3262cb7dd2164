package dp

import (
	"context"
	"log/slog"
	"os"
	"syscall"
	"time"

	"weft/internal/dp/envoy"
	"weft/internal/dp/readiness"
)

// shutdown turns signals into an orderly end: first clients are asked to
// leave, then there is time for them to do so, then everything stops.
//
// Why waiting is enough: /healthcheck/fail makes Envoy answer with
// "connection: close" or GOAWAY and fail its own health check. The control
// plane is told at once, or sees it at the next report of health discovery, and
// takes the inbounds from the endpoints of all clients; meanwhile Envoy still
// serves whoever comes.
type shutdown struct {
	// signals are SIGINT, SIGTERM and SIGUSR2.
	signals <-chan os.Signal
	// abort ends the process at once.
	abort func()
	// admin is nil without an admin interface.
	admin *envoy.Admin
	// report tells that the proxy is terminating.
	report func(readiness.State)
	// leave tells the control plane.
	leave func(ctx context.Context) error
	// serving reports whether the proxy ever got ready.
	serving func() bool
	drain   time.Duration
	idle    time.Duration
	// app is the application that kuma-dp runs; nil if it runs none.
	app *application
	log *slog.Logger

	drained bool
	// count of signals to stop.
	count int
}

// run blocks until everything may stop, or ctx ends.
func (s *shutdown) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-s.signals:
			if sig == syscall.SIGUSR2 {
				s.drainInbound(ctx)
				continue
			}
			if s.app.forward(sig) {
				continue
			}
			s.count++
			s.app.stopWith(sig)
			s.log.Info("stopping", "signal", sig.String())
		case <-s.app.ended():
			s.log.Info("stopping", "reason", "the application has ended")
		}
		s.report(readiness.Terminating)
		if s.mayWait(ctx) {
			s.wait(ctx)
		}
		return
	}
}

// drainInbound answers SIGUSR2: no new clients, but keep running.
func (s *shutdown) drainInbound(ctx context.Context) {
	if s.drained || s.admin == nil {
		return
	}
	if err := s.admin.DrainInbound(ctx); err != nil {
		s.log.Warn("cannot drain the inbound listeners", "error", err)
		return
	}
	s.drained = true
	s.log.Info("inbound listeners are draining; the next SIGTERM stops at once")
}

// mayWait asks clients to leave and reports whether there is a point in
// waiting for them.
func (s *shutdown) mayWait(ctx context.Context) bool {
	switch {
	case s.drained:
		return false
	case s.admin == nil:
		s.log.Warn("stopping without draining: Envoy has no admin interface")
		return false
	case !s.serving():
		s.log.Info("stopping without draining: the proxy was never ready")
		return false
	}
	if err := s.admin.FailHealthCheck(ctx); err != nil {
		s.log.Warn("stopping without draining", "error", err)
		return false
	}
	if err := s.leave(ctx); err != nil {
		s.log.Warn("could not tell the control plane; clients will hear of it by health discovery", "error", err)
	}
	return true
}

// activityInterval is how often connections are counted while draining.
const activityInterval = 250 * time.Millisecond

// idleWithoutApplication is how long nobody may be connected before a proxy
// without its application ends.
const idleWithoutApplication = time.Second

// wait gives clients time. A second signal cuts it short; a third ends the
// process (see watchAbort). With an idle time it also ends once half of the
// time has passed, which is what the news needs to reach all clients, and no
// connection was open since. Without the application there is nothing left to
// serve, so then it ends as soon as nobody is connected.
func (s *shutdown) wait(ctx context.Context) {
	s.log.Info("draining: clients are asked to leave", "drain_time", s.drain.String(), "idle_time", s.idle.String())
	end := time.NewTimer(s.drain)
	defer end.Stop()
	var look <-chan time.Time
	if s.idle > 0 {
		t := time.NewTicker(activityInterval)
		defer t.Stop()
		look = t.C
	}
	quiet := idleWatch{earliest: time.Now().Add(s.drain / 2), idle: s.idle}
	ended := s.app.ended()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ended:
			ended = nil
			t := time.NewTicker(activityInterval)
			defer t.Stop()
			look, quiet = t.C, idleWatch{idle: idleWithoutApplication}
		case <-end.C:
			s.log.Info("drained", "reason", "time is up")
			return
		case sig := <-s.signals:
			if sig == syscall.SIGUSR2 || s.app.forward(sig) {
				continue
			}
			s.count++
			s.log.Info("draining cut short", "signal", sig.String())
			return
		case <-look:
			a, err := s.admin.Activity(ctx)
			if err == nil && quiet.seen(time.Now(), a) {
				s.log.Info("drained", "reason", "no client left")
				return
			}
		}
	}
}

// watchAbort ends the process at the third signal, while components stop.
func (s *shutdown) watchAbort(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-s.signals:
			if sig == syscall.SIGUSR2 || s.app.forward(sig) {
				continue
			}
			if s.count++; s.count >= 3 {
				s.log.Warn("ending at once", "signal", sig.String())
				s.app.kill()
				s.abort()
				return
			}
		}
	}
}

// idleWatch decides whether clients are gone.
type idleWatch struct {
	earliest time.Time
	idle     time.Duration
	since    time.Time
	total    uint64
}

// seen takes one count and reports whether no connection was open for the
// whole idle time and the earliest moment has come.
func (w *idleWatch) seen(now time.Time, a envoy.Activity) bool {
	if a.Active > 0 || a.Total != w.total || w.since.IsZero() {
		w.since, w.total = now, a.Total
	}
	return a.Active == 0 && now.Sub(w.since) >= w.idle && !now.Before(w.earliest)
}
