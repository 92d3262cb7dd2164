// Package cp is kuma-cp: it wires the parts together. It is the only place that
// knows in which role (zone, global) and on which platform the control plane
// runs; everything else gets values.
package cp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"weft/internal/config"
	"weft/internal/cp/actual"
	"weft/internal/cp/admit"
	"weft/internal/cp/auth"
	"weft/internal/cp/defaults"
	"weft/internal/cp/diagnostics"
	"weft/internal/cp/engine"
	"weft/internal/cp/envoyadmin"
	"weft/internal/cp/identity"
	"weft/internal/cp/insight"
	"weft/internal/cp/state"
	"weft/internal/cp/store"
	"weft/internal/cp/store/sealed"
	"weft/internal/cp/whatif"
	"weft/internal/logging"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/tlsutil"
	"weft/internal/version"
)

// Host is what the control plane learns from the machine it runs on.
type Host struct {
	Name string // host name
	Home string // home folder of the user
	Now  func() time.Time
}

// parts is everything of a running control plane that others need.
type parts struct {
	*config.Config
	set       whatif.Settings // what of the settings decides what becomes of objects
	host      Host
	log       *slog.Logger
	instance  string
	registry  *prometheus.Registry
	metrics   prometheus.Registerer
	readiness *diagnostics.Readiness

	store   store.Store
	elector store.Elector
	state   *state.State
	actual  *actual.Filter // what is true of proxies, beside what they declare
	engine  *engine.Engine
	tokens  *auth.Tokens
	proxies *auth.Proxies
	gate    *admit.Gate
	maker   *defaults.Maker
	cluster *clusterID
	// admin signs the certificates by which the administration of Envoys is reached.
	admin  *envoyadmin.Authority
	keeper *identity.Keeper
	codec  *sealed.Codec
	// identities and recorder are nil on a global control plane, which has no proxies.
	identities *identity.Service
	recorder   *insight.Recorder
	// recheck asks connected proxies for valid credentials again; nil without a
	// data plane server.
	recheck func(ctx context.Context, mesh string)
}

// Run runs a control plane until ctx ends. An error means that it could not
// start, or that a part of it failed for good.
func Run(ctx context.Context, c *config.Config, host Host, log *slog.Logger) error {
	p, err := assemble(ctx, c, host, log)
	if err != nil {
		return err
	}
	defer func() { _ = p.store.Close() }()
	g, ctx := errgroup.WithContext(ctx)
	run := func(name string, f func(context.Context) error) {
		g.Go(func() error {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	servers, err := p.servers(ctx)
	if err != nil {
		return err
	}
	run("state", p.state.Run)
	run("actual", p.actual.Run)
	run("engine", p.engine.Run)
	if p.identities != nil {
		run("identities", p.identities.Run)
	}
	p.leaderTasks()
	run("leader election", p.elector.Run)
	for _, s := range servers {
		run(s.name, s.run)
	}
	ready := p.readiness.Register("objects")
	run("readiness", func(ctx context.Context) error {
		if p.awaitDefaults(ctx) {
			ready.Set(true)
			log.Info("control plane is up", "mode", c.Mode, "zone", p.zone(), "store", c.Store.Type, "instance", p.instance, "version", version.Current().Version)
		}
		return nil
	})
	return g.Wait()
}

// assemble makes the parts that do not depend on ports.
func assemble(ctx context.Context, c *config.Config, host Host, log *slog.Logger) (*parts, error) {
	if err := c.ResolveWorkDir(host.Home); err != nil {
		return nil, err
	}
	p := &parts{Config: c, host: host, log: log, instance: instanceID(host.Name), readiness: new(diagnostics.Readiness)}
	if err := p.certificate(); err != nil {
		return nil, err
	}
	var err error
	if p.registry, p.metrics, err = diagnostics.NewRegistry(diagnostics.ZoneOf(c.IsGlobal(), c.Multizone.Zone.Name)); err != nil {
		return nil, fmt.Errorf("set up metrics: %w", err)
	}
	if p.set, err = whatif.SettingsOf(c); err != nil {
		return nil, err
	}
	for _, u := range p.set.UnknownKinds {
		log.Warn("about the configuration", "warning", u)
	}
	if p.codec, err = newCodec(c.Store.Encryption); err != nil {
		return nil, err
	}
	raw, elector, err := p.openStore(ctx, logging.Named(log, "store"))
	if err != nil {
		return nil, err
	}
	p.elector = elector
	if p.store, err = store.Instrument(raw, p.metrics); err != nil {
		return nil, fmt.Errorf("set up metrics of the store: %w", err)
	}
	p.state = state.New(p.store, logging.Named(log, "state"), host.Now)
	p.actual = p.newFilter()
	if !p.IsGlobal() {
		p.recorder = p.newRecorder()
		p.identities = identity.New(identity.Deps{
			ReadFile: readDataFile, Record: p.recorder.SetMTLS, Log: logging.Named(log, "identity"), Metrics: p.metrics, Now: host.Now,
		})
	}
	p.keeper = &identity.Keeper{Store: p.store, State: p.state, Log: logging.Named(log, "identity"), Now: host.Now}
	p.engine = engine.New(engine.Deps{
		State: p.actual, Actual: p.actual.Tables, Settings: p.set.View, Kinds: p.set.Kind, Identities: p.identities,
		Log: logging.Named(log, "engine"), Metrics: p.metrics, Now: host.Now,
	})
	if p.tokens, err = auth.NewTokens(auth.OptionsOf(c), p.store, logging.Named(log, "auth"), host.Now); err != nil {
		return nil, fmt.Errorf("set up tokens: %w", err)
	}
	if p.proxies, err = auth.NewProxies(p.tokens, c.DPServer.Authn, p.zone()); err != nil {
		return nil, err
	}
	p.gate = &admit.Gate{
		Reader: p.store, Global: c.IsGlobal(), Federated: c.IsFederatedZone(), Zone: p.zone(),
		ReadOnly: c.APIServer.ReadOnly, AnyOrigin: c.Multizone.Zone.DisableOriginLabelValidation,
		UnsafeDelete: c.Store.UnsafeDelete, ReadFile: readDataFile, Native: whatif.CheckPatches,
	}
	p.cluster = &clusterID{store: p.store}
	p.admin = envoyadmin.NewAuthority(p.store, logging.Named(log, "envoy-admin"), host.Now)
	p.maker = defaults.New(defaults.Deps{
		Store: p.store, Keys: p.tokens, Log: logging.Named(log, "defaults"),
		Policies: p.initialPolicies,
		Zone:     p.zone(), Federated: c.IsFederatedZone(),
		SkipMesh: c.Defaults.SkipMeshCreation, SkipAll: c.Defaults.SkipTenantResources,
		SkipGenerators: c.Defaults.SkipHostnameGenerators || p.set.Kind(kinds.HostnameGenerator.Name) == nil,
	})
	if !c.IsFederatedZone() {
		p.maker.Authorities = p.keeper
	}
	build := version.Current()
	err = errors.Join(
		diagnostics.RegisterLeader(p.metrics, p.elector.Leading),
		p.registerCounts(),
		diagnostics.RegisterInfo(p.metrics, diagnostics.Info{
			Product: version.WireProduct, Version: build.Version, BuildDate: build.BuildDate, GitCommit: build.GitCommit, GitTag: build.GitTag,
			InstanceID: p.instance, ClusterID: p.cluster.get,
		}))
	if err != nil {
		return nil, fmt.Errorf("set up metrics: %w", err)
	}
	return p, nil
}

// zone is the name of this zone, "" on a global control plane.
func (p *parts) zone() string {
	if p.IsGlobal() {
		return ""
	}
	return p.Multizone.Zone.Name
}

func (p *parts) initialPolicies(mesh *model.Object) []*model.Object {
	out, err := p.set.Initial.Policies(mesh)
	if err != nil {
		p.log.Error("the first policies of a mesh cannot be made", "mesh", mesh.Meta.Name, "error", err)
	}
	return out
}

// certificate makes sure that there is a server certificate, and completes the
// settings with it.
func (p *parts) certificate() error {
	m := config.Machine{Address: firstAddress()}
	if p.General.TLSCertFile == "" {
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return fmt.Errorf("list the addresses of this host: %w", err)
		}
		wish := tlsutil.Wish{Hosts: tlsutil.LocalHosts(p.host.Name, addrs), RSA: p.OwnCertificateNeedsRSA()}
		m.CertFile, m.KeyFile, err = tlsutil.KeepOwn(p.General.WorkDir, wish, logging.Named(p.log, "tls"), p.host.Now())
		if err != nil {
			return err
		}
	}
	p.Complete(m)
	return nil
}

func firstAddress() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String()
		}
	}
	return ""
}

// instanceID names this process among the control planes.
func instanceID(host string) string {
	return host + "-" + strings.SplitN(uuid.NewString(), "-", 2)[0][:4]
}
