package dp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"weft/internal/dp/bootstrap"
	"weft/internal/dp/definition"
	"weft/internal/dp/dns"
	"weft/internal/dp/envoy"
	"weft/internal/dp/process"
	"weft/internal/dp/readiness"
	"weft/internal/version"
)

// Deps is what Run takes from its surroundings.
type Deps struct {
	// Log of kuma-dp itself.
	Log *slog.Logger
	// LogLevel is the word that Envoy gets when it has no level of its own.
	LogLevel string
	// Env is the environment, which an application inherits.
	Env []string
	// Stdin holds the definition when it is asked for with "-"; otherwise it is
	// the application's.
	Stdin io.Reader
	// Stdout and Stderr receive the output of Envoy and the application
	// unmodified.
	Stdout, Stderr io.Writer
	// Signals are SIGINT, SIGTERM and SIGUSR2, and with an application also
	// ForwardedSignals.
	Signals chan os.Signal
	// Abort ends the process at once.
	Abort func()
}

// Run runs one proxy until a signal ends it, Envoy ends, or ctx does (which
// stops without draining). It returns nil after an orderly end.
func Run(ctx context.Context, c Config, d Deps) (err error) {
	began := time.Now()
	d.Log.Info("effective configuration", "config", c.Redacted())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	dirs, err := makeDirectories(&c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dirs.remove()) }()
	p := &proxy{config: c, deps: d, dirs: dirs, began: began}
	p.systemd = newSystemd(d.Env, d.Log)
	p.systemd.status("asking the control plane for the bootstrap document")
	// Until Envoy runs there is nothing to drain; a signal just ends it.
	stopped, err := p.untilSignal(ctx, p.prepare)
	if err != nil || stopped {
		return err
	}
	return p.serve(ctx)
}

// proxy is one run; its fields are filled step by step by prepare.
type proxy struct {
	config Config
	deps   Deps
	dirs   *directories
	began  time.Time

	name, mesh string
	definition *definition.Definition
	token      token
	envoyPath  string
	envoy      envoy.Version
	coreDNS    *dns.External // nil means the one that is linked in
	response   *bootstrap.Response
	document   envoy.Document
	systemd    systemd
	// workloads are where the application listens, as far as that is known.
	workloads []string
	// application is nil without a command.
	application *process.Application
}

// untilSignal runs f; a signal to stop ends it and counts as an orderly end.
func (p *proxy) untilSignal(ctx context.Context, f func(context.Context) error) (stopped bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	for {
		select {
		case err := <-done:
			return false, err
		case sig := <-p.deps.Signals:
			if sig != syscall.SIGINT && sig != syscall.SIGTERM {
				continue
			}
			p.deps.Log.Info("stopping before Envoy was started", "signal", sig.String())
			cancel()
			_ = <-done
			return true, nil
		}
	}
}

// prepare does everything up to the point where Envoy can be started.
func (p *proxy) prepare(ctx context.Context) error {
	if err := p.identify(); err != nil {
		return err
	}
	if err := p.readHost(); err != nil {
		return err
	}
	var err error
	if p.token, err = loadToken(&p.config.Runtime, p.dirs.config, p.name); err != nil {
		return err
	}
	if err := p.findPrograms(ctx); err != nil {
		return err
	}
	if err := p.findApplication(); err != nil {
		return err
	}
	if err := p.fetch(ctx); err != nil {
		return err
	}
	p.deps.Log.Info("got the bootstrap document", "control_plane", p.config.ControlPlane.URL, "node", p.document.NodeID, "admin_port", p.document.AdminPort)
	return p.checkEnvoyPorts()
}

// identify finds out which proxy this is: from its definition if there is one.
func (p *proxy) identify() error {
	c := &p.config
	p.name, p.mesh = c.Dataplane.Name, c.Dataplane.Mesh
	text, err := p.readDefinition()
	if err != nil {
		return err
	}
	rendered, missing, err := definition.Render(text, c.Runtime.ResourceVars)
	if err != nil {
		return err
	}
	for _, name := range missing {
		p.deps.Log.Warn("a template variable of the definition has no value; set it with --dataplane-var", "variable", name)
	}
	if p.definition, err = definition.Parse(rendered, c.Dataplane.ProxyType); err != nil {
		return err
	}
	switch {
	case p.definition != nil:
		p.name, p.mesh = p.definition.Name, p.definition.Mesh
		p.deps.Log.Info("definition of the proxy", "definition", p.definition.JSON)
	case c.hasDefinition():
		return errors.New("read definition: it is empty; leave --dataplane-file and --dataplane out if the control plane already has it, and give --name and --mesh")
	}
	return nil
}

// maxDefinition bounds what is read from a file or from standard input.
const maxDefinition = 1 << 20

func (p *proxy) readDefinition() (string, error) {
	rt := &p.config.Runtime
	var r io.Reader
	switch rt.ResourcePath {
	case "":
		return rt.Resource, nil
	case "-":
		r = p.deps.Stdin
	default:
		f, err := os.Open(rt.ResourcePath)
		if err != nil {
			return "", fmt.Errorf("read definition: %w", err)
		}
		defer f.Close()
		r = f
	}
	text, err := io.ReadAll(io.LimitReader(r, maxDefinition+1))
	if err != nil {
		return "", fmt.Errorf("read definition: %w", err)
	}
	return string(text), nil
}

// readHost fills in what depends on this host.
func (p *proxy) readHost() error {
	c := &p.config
	if c.Runtime.SystemCAPath == "" {
		c.Runtime.SystemCAPath = firstFile(systemCAFiles())
	}
	if c.Runtime.Resources.MaxMemoryBytes == 0 {
		c.Runtime.Resources.MaxMemoryBytes = memoryLimit("/sys/fs/cgroup")
	}
	if addrs, err := net.InterfaceAddrs(); err == nil && !hasIPv6(addrs) {
		c.Runtime.IPv6Enabled = false
	}
	if c.ControlPlane.CACert == "" && c.ControlPlane.CACertFile != "" {
		text, err := os.ReadFile(c.ControlPlane.CACertFile)
		if err != nil {
			return fmt.Errorf("read the CA of the control plane (--ca-cert-file): %w", err)
		}
		c.ControlPlane.CACert = string(text)
	}
	return nil
}

// usesDNS reports whether this proxy resolves names for applications.
func (p *proxy) usesDNS() bool {
	return p.config.DNS.Enabled && p.config.Dataplane.ProxyType == typeDataplane
}

// findPrograms looks for the programs that will be needed, so that a missing
// one is told before anything starts.
func (p *proxy) findPrograms(ctx context.Context) error {
	var err error
	if p.envoyPath, err = envoy.Find(p.config.Runtime.BinaryPath); err != nil {
		return err
	}
	if p.envoy, err = envoy.AskVersion(ctx, p.envoyPath); err != nil {
		return err
	}
	if !p.envoy.Compatible {
		p.deps.Log.Warn("this Envoy is not one that kuma-dp was tested with", "version", p.envoy.Release, "expected", version.Envoy)
	}
	if p.usesDNS() && p.config.DNS.CoreDNSBinaryPath != libraryCoreDNS {
		if p.coreDNS, err = dns.FindExternal(ctx, p.config.DNS.CoreDNSBinaryPath); err != nil {
			return err
		}
	}
	return nil
}

// request says to the control plane what runs here.
func (p *proxy) request() bootstrap.Request {
	c := &p.config
	r := bootstrap.Request{
		Mesh:      p.mesh,
		Name:      p.name,
		ProxyType: c.Dataplane.ProxyType,
		Token:     string(p.token.text),
		TokenPath: p.token.path,
		Version: bootstrap.Version{
			KumaDP: version.Current(),
			Envoy:  bootstrap.EnvoyVersion{Version: p.envoy.Release, Build: p.envoy.Build, Compatible: p.envoy.Compatible},
		},
		DNSPort:           uint32(c.DNS.EnvoyDNSPort),
		ReadinessPort:     uint32(c.Dataplane.ReadinessPort),
		ProbeProxyEnabled: c.ProbeProxy.Port > 0,
		OperatingSystem:   runtime.GOOS,
		Features:          p.features(),
		Resources:         bootstrap.Resources{MaxHeapSizeBytes: c.Runtime.Resources.MaxMemoryBytes},
		Workdir:           p.dirs.sockets,
		Metrics:           bootstrap.MetricsResources{CertPath: c.Runtime.Metrics.CertPath, KeyPath: c.Runtime.Metrics.KeyPath},
		SystemCAPath:      c.Runtime.SystemCAPath,
		IPv6Enabled:       c.Runtime.IPv6Enabled,
	}
	if p.definition != nil {
		r.Resource = p.definition.JSON
	}
	if p.usesDNS() {
		coreDNS := dns.LibraryVersion()
		if p.coreDNS != nil {
			coreDNS = p.coreDNS.Version
		}
		r.DynamicMetadata = map[string]string{"version.dependencies.coredns": coreDNS}
	}
	return r
}

// checkEnvoyPorts finds ports in use before Envoy does, whose own message
// names neither the setting nor the way out. An address that is not this host's
// is only told: applications can still call others through the proxy.
func (p *proxy) checkEnvoyPorts() error {
	if address := p.response.Sidecar.Networking.Address; isForeign(address) {
		p.deps.Log.Warn("networking.address of the proxy is no address of this host, so Envoy cannot listen there and other proxies do not reach it; "+
			"set it to an address of this host, and networking.advertisedAddress to the one that others shall use", "address", address)
	}
	if p.document.AdminPort > 0 {
		addr := net.JoinHostPort(p.document.AdminAddress, strconv.Itoa(int(p.document.AdminPort)))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("check the port of Envoy's admin interface: %w: a second proxy on this host needs another networking.admin.port in its definition", err)
		}
		_ = l.Close()
	}
	if p.usesDNS() && p.response.Sidecar.Networking.TransparentProxy && p.config.DNS.EnvoyDNSPort > 0 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(p.config.DNS.EnvoyDNSPort)))
		l, err := net.ListenPacket("udp", addr)
		if err != nil {
			return fmt.Errorf("check the port of Envoy's DNS: %w: a second proxy on this host needs another --dns-envoy-port (KUMA_DNS_ENVOY_DNS_PORT)", err)
		}
		_ = l.Close()
	}
	return nil
}

// serve starts Envoy and its helpers and blocks until all have ended.
func (p *proxy) serve(ctx context.Context) error {
	s, err := p.open(ctx)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	p.systemd.status("waiting until Envoy has its configuration")
	down := &shutdown{
		signals: p.deps.Signals, abort: p.deps.Abort, admin: s.admin,
		report: func(state readiness.State) { s.report(state); p.systemd.stopping(p.longestEnd()) },
		leave:  p.leave, app: s.app, serving: s.serving.Load,
		drain: p.config.Dataplane.DrainTime.Duration, idle: p.config.Dataplane.DrainIdleTime.Duration,
		log: p.deps.Log,
	}
	watching, unwatch := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() { p.watchReady(running, s) })
	wait.Go(func() {
		down.run(running)
		stop()
		down.watchAbort(watching)
	})
	err = supervise(running, s.components, p.deps.Log)
	stop()
	unwatch()
	wait.Wait()
	if err == nil {
		err = s.app.result()
	}
	return err
}

// longestEnd is how long it may take from the signal to the end.
func (p *proxy) longestEnd() time.Duration {
	limit := p.config.Dataplane.DrainTime.Duration + 2*stopTimeout
	if p.application != nil {
		limit += p.application.Grace
	}
	return limit
}

// features lists what this kuma-dp and its Envoy can do, for the control plane.
func (p *proxy) features() []string {
	out := []string{bootstrap.FeatureTCPAccessLog}
	if p.config.Runtime.XDSVariant == XDSDelta {
		out = append(out, bootstrap.FeatureDelta)
	}
	if p.envoy.Modern {
		out = append(out, bootstrap.FeatureReconnectBackoff)
		if p.token.path != "" {
			out = append(out, bootstrap.FeatureTokenSecret)
		}
	}
	if p.envoy.AdminPaths {
		out = append(out, bootstrap.FeatureAdminPaths)
	}
	return out
}

// client returns one of the control plane.
func (p *proxy) client() *bootstrap.Client {
	return &bootstrap.Client{
		URL: p.config.ControlPlane.URL,
		Trust: bootstrap.Trust{
			CACert:     p.config.ControlPlane.CACert,
			PinFile:    p.config.ControlPlane.CACertPinFile,
			SkipVerify: p.config.ControlPlane.SkipVerify,
		},
		Backoff:     p.config.ControlPlane.Retry.Backoff.Duration,
		MaxDuration: p.config.ControlPlane.Retry.MaxDuration.Duration,
		Log:         p.deps.Log,
	}
}

// leave tells the control plane that the proxy is about to stop. The token may
// have been replaced since the start.
func (p *proxy) leave(ctx context.Context) error {
	if fresh, err := loadToken(&p.config.Runtime, p.dirs.config, p.name); err == nil {
		p.token = fresh
	}
	return p.client().Leave(ctx, p.speaker())
}

// speaker is this proxy for the control plane.
func (p *proxy) speaker() bootstrap.Speaker {
	return bootstrap.Speaker{
		Mesh: p.mesh, Name: p.name, ProxyType: p.config.Dataplane.ProxyType,
		Token: string(p.token.text), Registered: p.definition != nil,
	}
}

// fetch gets the bootstrap document. With an application that is not there yet,
// inbounds get probes; but only if somebody will look at them.
func (p *proxy) fetch(ctx context.Context) error {
	plain := p.definition
	if p.application != nil && plain != nil {
		var err error
		if p.definition, p.workloads, err = plain.WithProbes(); err != nil {
			return err
		}
	}
	for {
		var err error
		if p.response, err = p.client().Fetch(ctx, p.request()); err != nil {
			return err
		}
		if p.document, err = envoy.ReadDocument(p.response.Bootstrap); err != nil {
			return err
		}
		if p.document.HealthDiscovery || p.definition == plain {
			return nil
		}
		p.deps.Log.Warn("the control plane does no health discovery: clients may be sent to the application before it listens")
		p.definition = plain
	}
}
