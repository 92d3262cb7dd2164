package cp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"weft/internal/config"
	"weft/internal/cp/auth"
	"weft/internal/cp/diagnostics"
	"weft/internal/cp/dpserver"
	"weft/internal/cp/envoyadmin"
	"weft/internal/cp/hds"
	"weft/internal/cp/insight"
	"weft/internal/cp/rest"
	"weft/internal/cp/xds"
	"weft/internal/logging"
	"weft/internal/mesh/model"
	"weft/internal/tlsutil"
	"weft/internal/version"
)

// server is something that serves a port until ctx ends.
type server struct {
	name string
	run  func(ctx context.Context) error
}

// servers opens all ports, so that a port in use is known before anything runs.
func (p *parts) servers(ctx context.Context) ([]server, error) {
	var out []server
	for _, make := range []func(context.Context) ([]server, error){p.diagnosticsServer, p.apiServers, p.dataPlaneServer} {
		s, err := make(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, s...)
	}
	follower := &auth.Follower{
		Store: p.store, Log: logging.Named(p.log, "auth"), AdminTokenFile: config.AdminTokenFile(p.General.WorkDir), Pause: time.Second,
	}
	if p.makesAdminToken() { // who sees that we are ready may start kumactl
		kept := p.readiness.Register("file with the administrator's token")
		follower.AdminTokenKept = func() { kept.Set(true) }
	}
	if p.recheck != nil { // a revoked token loses its stream
		follower.Changed = func(mesh string) { go p.recheck(ctx, mesh) }
	}
	return append(out, server{"secrets", follower.Run}), nil
}

func (p *parts) diagnosticsServer(ctx context.Context) ([]server, error) {
	var conf *tls.Config
	if p.Diagnostics.TLSEnabled {
		var err error
		if conf, err = p.tls(p.Diagnostics.ServerTLS); err != nil {
			return nil, fmt.Errorf("diagnostics server: %w", err)
		}
	}
	s, err := diagnostics.Listen(ctx, diagnostics.Options{
		Address: net.JoinHostPort("", strconv.Itoa(p.Diagnostics.ServerPort)), TLS: conf, DebugEndpoints: p.Diagnostics.DebugEndpoints,
		Readiness: p.readiness, Registry: p.registry, Registerer: p.metrics, Log: logging.Named(p.log, "diagnostics"),
	})
	if err != nil {
		return nil, err
	}
	return []server{{"diagnostics server", s.Run}}, nil
}

// tls returns the TLS configuration of a server.
func (p *parts) tls(s config.ServerTLS) (*tls.Config, error) {
	c, err := tlsutil.Open(s.TLSCertFile, s.TLSKeyFile, logging.Named(p.log, "tls"), p.host.Now)
	if err != nil {
		return nil, err
	}
	return tlsutil.ServerConfig(tlsutil.Settings{MinVersion: s.TLSMinVersion, MaxVersion: s.TLSMaxVersion, CipherSuites: s.TLSCipherSuites}, c)
}

// apiServers serves the REST API.
func (p *parts) apiServers(ctx context.Context) ([]server, error) {
	metrics, err := diagnostics.NewHTTP(p.metrics, diagnostics.APIServer)
	if err != nil {
		return nil, fmt.Errorf("set up metrics of the API: %w", err)
	}
	d := rest.Deps{
		Config: p.Config, Store: p.store, Gate: p.gate, Kinds: p.set.Kinds,
		Tables: func() model.Tables { return p.state.Current() }, Now: p.host.Now,
		MeshCreated: p.maker.MeshCreated, MeshUpdated: p.maker.MeshUpdated,
		Authn:  auth.NewAuthn(p.APIServer.Authn, p.tokens, p.host.Name),
		Access: auth.NewAccess(p.Access.Static),
		Tokens: p.tokens, Metrics: metrics, Log: logging.Named(p.log, "api"),
		Instance: func() rest.Index {
			return rest.Index{
				Hostname: p.host.Name, Product: version.WireProduct, Version: version.Current().Version,
				InstanceID: p.instance, ClusterID: p.cluster.get(),
			}
		},
	}
	if !p.IsGlobal() {
		d.Engine, d.Admin = p.engine, envoyadmin.NewClient(p.admin, p.BootstrapServer.Params.AdminAddress)
	}
	s := rest.New(d)
	if err := s.Listen(ctx); err != nil {
		return nil, err
	}
	return []server{{"API server", s.Run}}, nil
}

// newRecorder returns what writes down who is connected.
func (p *parts) newRecorder() *insight.Recorder {
	return insight.NewRecorder(insight.RecorderDeps{
		Store: p.store, Instance: p.instance,
		Interval: p.XDSServer.DataplaneStatusFlushInterval, IdleTimeout: p.Metrics.Dataplane.IdleTimeout,
		Limit: p.Metrics.Dataplane.SubscriptionLimit,
		Log:   logging.Named(p.log, "insight"), Metrics: p.metrics, Now: p.host.Now,
	})
}

// dataPlaneServer serves the port that data planes talk to, and records what
// becomes of them. A global control plane has none.
func (p *parts) dataPlaneServer(ctx context.Context) ([]server, error) {
	if p.IsGlobal() {
		return nil, nil
	}
	s := p.DPServer.ServerTLS
	cert, err := tlsutil.Open(s.TLSCertFile, s.TLSKeyFile, logging.Named(p.log, "tls"), p.host.Now)
	if err != nil {
		return nil, fmt.Errorf("data plane server: %w", err)
	}
	conf, err := tlsutil.ServerConfig(tlsutil.Settings{MinVersion: s.TLSMinVersion, MaxVersion: s.TLSMaxVersion, CipherSuites: s.TLSCipherSuites}, cert)
	if err != nil {
		return nil, fmt.Errorf("data plane server: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(p.DPServer.Port)))
	if err != nil {
		return nil, fmt.Errorf("data plane server: %w (the port is set by dpServer.port, KUMA_DP_SERVER_PORT)", err)
	}
	var mount []func(grpc.ServiceRegistrar)
	var health *hds.Server
	if p.DPServer.HDS.Enabled {
		health = hds.New(hds.Deps{
			Store: p.store, Door: dpserver.Authenticator{Store: p.store, Verifier: p.proxies}, Config: p.DPServer.HDS,
			AdminPort: uint32(p.BootstrapServer.Params.AdminPort), Log: logging.Named(p.log, "hds-server"), Metrics: p.metrics,
		})
		mount = append(mount, health.Register)
	}
	dp := dpserver.New(dpserver.Deps{
		Listener: l, Mount: mount, TLS: conf, Certificate: cert, Store: p.store, Gate: p.gate,
		Verifier: p.proxies, Engine: p.engine, Recorder: p.recorder, AdminCert: p.admin.Certify,
		Instance: p.instance, Version: version.Compatible,
		Bootstrap: dpserver.Bootstrap{
			BootstrapParams: p.BootstrapServer.Params, HDS: p.DPServer.HDS.Enabled,
			ReloadableTokens: p.DPServer.Authn.EnableReloadableTokens,
			MaxConnections:   p.Proxy.Gateway.GlobalDownstreamMaxConnections,
		},
		Streams:             xds.Options{NackBackoff: p.XDSServer.NACKBackoff},
		DeregistrationDelay: p.XDSServer.DataplaneDeregistrationDelay, ReadHeaderTimeout: p.DPServer.ReadHeaderTimeout,
		Log: logging.Named(p.log, "xds-server"), Metrics: p.metrics, Now: p.host.Now,
	})
	p.recheck = func(ctx context.Context, mesh string) {
		dp.Recheck(ctx, mesh)
		if health != nil {
			health.Recheck(mesh)
		}
	}
	serve := func(ctx context.Context) error {
		// A proxy that came before the first mesh would be told that there is none,
		// and give up. The port is open: it waits.
		if !p.awaitDefaults(ctx) {
			return nil
		}
		return dp.Run(ctx)
	}
	follow := func(ctx context.Context) error {
		p.admin.Follow(ctx, time.Second, func() { dp.RenewAdminCerts(ctx) })
		return nil
	}
	out := []server{{"data plane server", serve}, {"insights", p.recorder.Run}, {"authority of administration", follow}}
	if health != nil {
		out = append(out, server{"health discovery", health.Run})
	}
	return out, nil
}
