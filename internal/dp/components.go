package dp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"

	"weft/internal/dp/accesslog"
	"weft/internal/dp/dns"
	"weft/internal/dp/envoy"
	"weft/internal/dp/meshmetric"
	"weft/internal/dp/metrics"
	"weft/internal/dp/probes"
	"weft/internal/dp/process"
	"weft/internal/dp/readiness"
	"weft/internal/logging"
	"weft/internal/version"
)

// service is Envoy with its helpers, all ports open, nothing running yet.
type service struct {
	log        *slog.Logger
	admin      *envoy.Admin
	reporter   *readiness.Reporter // nil when turned off
	observer   *meshmetric.Observer
	app        *application // nil without a command
	serving    atomic.Bool
	ready      chan struct{} // closed when the proxy is ready
	components []component
	// closers give back what was opened if a later step fails.
	closers []func() error
}

// open opens all ports and pipes before anything runs, so that a port in use
// is one clear error and Envoy finds its helpers there.
func (p *proxy) open(ctx context.Context) (*service, error) {
	s := &service{log: p.deps.Log, admin: envoy.NewAdmin(p.document), ready: make(chan struct{})}
	steps := []func(context.Context, *service) error{p.openReadiness, p.openProbes, p.openAccessLog, p.openMetrics, p.openDNS, p.openEnvoy, p.openApplication, p.openObserver}
	for _, step := range steps {
		if err := step(ctx, s); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

func (s *service) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}

func (s *service) add(name string, vital bool, run func(context.Context) error, closer func() error) {
	s.components = append(s.components, component{name: name, vital: vital, run: run})
	if closer != nil {
		s.closers = append(s.closers, closer)
	}
}

func (p *proxy) openReadiness(_ context.Context, s *service) error {
	port := p.config.Dataplane.ReadinessPort
	if port == 0 {
		return nil
	}
	r, err := readiness.Listen(p.document.AdminAddress, port)
	if err != nil {
		return err
	}
	s.reporter = r
	s.add("readiness", true, r.Run, r.Close)
	return nil
}

func (p *proxy) openAccessLog(_ context.Context, s *service) error {
	path := socketPath(p.dirs.sockets, "kuma-al", p.name, p.mesh)
	log := logging.Named(p.deps.Log, "access-log")
	first, err := accesslog.Open(path, log)
	if err != nil {
		return err
	}
	run := func(ctx context.Context) error {
		a := first
		if first = nil; a == nil { // started again after a failure
			var err error
			if a, err = accesslog.Open(path, log); err != nil {
				return err
			}
		}
		return a.Run(ctx)
	}
	s.add("access log", false, run, first.Close)
	return nil
}

func (p *proxy) openProbes(_ context.Context, s *service) error {
	port := p.config.ProbeProxy.Port
	if port == 0 {
		return nil
	}
	n := p.response.Sidecar.Networking
	probing, err := probes.Listen(port, n.Address, n.TransparentProxy, version.Current().Version)
	if err != nil {
		return err
	}
	s.add("application probes", true, probing.Run, probing.Close)
	return nil
}

func (p *proxy) openMetrics(_ context.Context, s *service) error {
	n := p.response.Sidecar.Networking
	var targets []metrics.Target
	if p.document.AdminPort > 0 {
		targets = append(targets, metrics.EnvoyTarget(p.document.AdminAddress, p.document.AdminPort))
	}
	for _, a := range p.response.Sidecar.Metrics.Aggregate {
		targets = append(targets, metrics.ApplicationTarget(a.Name, cmp.Or(a.Address, n.Address), a.Port, a.Path))
	}
	path := socketPath(p.dirs.sockets, "kuma-mh", p.name, p.mesh)
	m, err := metrics.Listen(path, targets, dialPast(n.TransparentProxy), logging.Named(p.deps.Log, "metrics"))
	if err != nil {
		return err
	}
	s.add("metrics", true, m.Run, m.Close)
	s.observer, err = meshmetric.New(meshmetric.Options{
		Node:         meshmetric.Node{Mesh: p.mesh, Name: p.name, Service: p.document.Cluster},
		Version:      version.Current().Version,
		Socket:       filepath.Join(p.dirs.sockets, metricsDocument),
		Refresh:      p.config.Runtime.DynamicConfiguration.RefreshInterval.Duration,
		AdminAddress: p.document.AdminAddress, AdminPort: p.document.AdminPort,
		Address: n.Address, Dial: dialPast(n.TransparentProxy),
		FlushTimeout: min(p.config.Dataplane.DrainTime.Duration, stopTimeout/2),
		Log:          logging.Named(p.deps.Log, "metrics"),
	}, p.began)
	if err != nil {
		return err
	}
	m.Observe(s.observer)
	return nil
}

// metricsDocument is the socket on which Envoy serves what a MeshMetric policy
// says; control planes know it under that name.
const metricsDocument = "kuma-mesh-metric-config.sock"

// openObserver comes after Envoy, so that it ends before Envoy does: the last
// metrics go out through it.
func (p *proxy) openObserver(_ context.Context, s *service) error {
	s.add("metrics policy", false, s.observer.Run, nil)
	return nil
}

// dialPast connects to an application past the redirection of a transparent
// proxy. Loopback, where Envoy's admin interface is, is not redirected.
func dialPast(transparentProxy bool) metrics.Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		d := net.Dialer{}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if ip := net.ParseIP(host); transparentProxy && (ip == nil || !ip.IsLoopback()) {
			d.LocalAddr = probes.BypassSource(host)
		}
		return d.DialContext(ctx, network, address)
	}
}

func (p *proxy) openDNS(_ context.Context, s *service) error {
	if !p.usesDNS() {
		return nil
	}
	log := logging.Named(p.deps.Log, "dns")
	text, source, err := dns.Template(p.config.DNS.CoreDNSConfigTemplatePath, p.response.Sidecar.Networking.CorefileTemplate, p.envoyAnswersNames())
	if err != nil {
		return err
	}
	corefile, path, err := dns.Corefile(text, p.config.DNS, p.dirs.dns)
	if err != nil {
		return err
	}
	if p.coreDNS != nil {
		external := &process.Process{
			Name: "CoreDNS", Path: p.coreDNS.Path, Args: p.coreDNS.Args(path), Env: withoutOwn(p.deps.Env),
			Stdout: p.deps.Stdout, Stderr: p.deps.Stderr, Log: log,
		}
		s.add("dns", true, external.Run, nil)
		return nil
	}
	server, err := dns.Start(corefile)
	if err != nil {
		return fmt.Errorf("%w (Corefile template: %s)", err, source)
	}
	log.Info("DNS server started", "port", p.config.DNS.CoreDNSPort, "corefile_template", source, "version", dns.LibraryVersion())
	s.add("dns", true, server.Run, server.Stop)
	return nil
}

func (p *proxy) openEnvoy(_ context.Context, s *service) error {
	level := p.config.Runtime.EnvoyLogLevel
	if level == "" {
		level = p.deps.LogLevel
	}
	e, err := envoy.Prepare(envoy.Options{
		Path: p.envoyPath, ConfigDir: p.dirs.config, Bootstrap: p.response.Bootstrap,
		DrainTime: p.config.Dataplane.DrainTime.Duration,
		LogLevel:  level, ComponentLogLevel: p.config.Runtime.EnvoyComponentLogLevel,
		Concurrency: p.config.Runtime.Concurrency, Env: withoutOwn(p.deps.Env),
		Stdout: p.deps.Stdout, Stderr: p.deps.Stderr,
	}, logging.Named(p.deps.Log, "envoy"))
	if err != nil {
		return err
	}
	s.add("envoy", true, e.Run, nil)
	return nil
}

// report passes a state on to whoever asks for readiness.
func (s *service) report(state readiness.State) {
	if s.reporter != nil {
		s.reporter.Advance(state)
	}
}
