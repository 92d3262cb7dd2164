package dp

import (
	"context"
	"log/slog"
	"time"

	"weft/internal/dp/dns"
	"weft/internal/dp/readiness"
)

const (
	readyInterval = 20 * time.Millisecond
	// slowStart is when a person should look why there is no configuration.
	slowStart = 15 * time.Second
	// tableWait bounds the wait for names once Envoy serves: a control plane
	// that sends none must not keep the proxy from its other work.
	tableWait = 10 * time.Second
)

// gate is passed when the proxy is ready. Its checks are asked in turn; one
// that was passed is not asked again: an Envoy that is busy is not an Envoy
// that is gone, and its end is noticed anyway.
type gate struct {
	// envoy reports whether Envoy has its configuration; nil without an admin
	// interface.
	envoy func(context.Context) bool
	// names reports whether Envoy has names of the mesh; nil if it never will.
	names func(context.Context) bool
	log   *slog.Logger
}

// pass blocks until the proxy is ready; false means that ctx ended before.
func (g *gate) pass(ctx context.Context) bool {
	slow := time.NewTimer(slowStart)
	defer slow.Stop()
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	live := g.envoy == nil
	named := g.names == nil
	var overdue <-chan time.Time
	for {
		live = live || g.envoy(ctx)
		if live && !named && overdue == nil {
			t := time.NewTimer(tableWait)
			defer t.Stop()
			overdue = t.C
		}
		named = named || live && g.names(ctx)
		if ctx.Err() != nil {
			return false
		}
		if live && named {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-overdue:
			g.log.Warn("Envoy serves but answers no names: the control plane sent it no DNS listener; names of the mesh cannot be resolved until it does")
			named = true
		case <-slow.C:
			if !live {
				g.log.Warn("Envoy still waits for its configuration; its log says whether the control plane refuses it (token, missing object) or cannot be reached")
				tick.Reset(time.Second)
			}
		case <-tick.C:
		}
	}
}

// envoyAnswersNames reports whether Envoy will have a listener for DNS.
func (p *proxy) envoyAnswersNames() bool {
	return p.usesDNS() && p.response.Sidecar.Networking.TransparentProxy && p.config.DNS.EnvoyDNSPort > 0
}

// watchReady tells everybody when the proxy is ready.
func (p *proxy) watchReady(ctx context.Context, s *service) {
	g := gate{log: s.log}
	if s.admin != nil {
		g.envoy = s.admin.Ready
	}
	if p.envoyAnswersNames() {
		g.names = func(ctx context.Context) bool { return dns.HasTable(ctx, p.config.DNS.EnvoyDNSPort) }
	}
	if !g.pass(ctx) {
		return
	}
	s.serving.Store(true)
	s.report(readiness.Ready)
	close(s.ready)
	if s.app == nil {
		p.systemd.ready()
	}
	s.log.Info("proxy is ready", "after", time.Since(p.began).Round(time.Millisecond).String())
}
