// Package dpserver is the port that data planes talk to (5678): the bootstrap
// document over HTTP, and over gRPC the configuration streams, which it
// authenticates, registers and hands to the engine. Package cp wires it; other
// gRPC services of the port (health discovery) are mounted through Deps.
//
// Concurrency: every stream has its own goroutines; what they share (the table of
// open streams, departures, insight) guards itself.
package dpserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"weft/internal/config"
	"weft/internal/cp/auth"
	"weft/internal/cp/insight"
	"weft/internal/cp/store"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/token"
)

// Verifier finds out whether a credential belongs to a proxy.
type Verifier interface {
	// Verify returns nil if the credential, which may be empty, is that of the
	// proxy. It is asked again when keys or revocations change.
	Verify(ctx context.Context, credential string, p auth.Proxy) error
	// Needs tells whether proxies of a type need a credential at all.
	Needs(proxyType string) bool
}

// Gate is the admission gate that every written object passes.
type Gate interface {
	Admit(ctx context.Context, o, prior *model.Object) (*model.Object, []string, error)
}

// Engine configures connected proxies.
type Engine interface {
	Connect(key model.Key, md view.Metadata, sink xds.Sink) (disconnect func())
	// Holds is told which secrets a proxy, connected through the sink, has accepted.
	Holds(key model.Key, sink xds.Sink, h xds.Holding)
	// SetAdminCert replaces the certificate in the metadata of that proxy.
	SetAdminCert(key model.Key, sink xds.Sink, cert *view.AdminCert)
}

// Certificate is this server's certificate.
type Certificate interface {
	Leaf() *x509.Certificate
	PEM() []byte
	SANs() []string
}

// Bootstrap says what Envoy gets for its start.
type Bootstrap struct {
	config.BootstrapParams
	// HDS makes proxies report the health of their workloads.
	HDS bool
	// ReloadableTokens lets Envoy read its token from the file that kuma-dp names.
	ReloadableTokens bool
	// MaxConnections bounds the connections of a builtin gateway; 0 = default.
	MaxConnections uint64
}

// Deps is what the server needs.
type Deps struct {
	Listener    net.Listener
	TLS         *tls.Config
	Certificate Certificate
	Store       store.Store
	Gate        Gate
	Verifier    Verifier
	Engine      Engine
	Recorder    *insight.Recorder
	// Instance is the id of this control plane, Version its release.
	Instance, Version string
	Bootstrap         Bootstrap
	// Streams are the settings of configuration streams.
	Streams xds.Options
	// DeregistrationDelay is how long the object of a proxy that registered itself
	// outlives its connection.
	DeregistrationDelay time.Duration
	// ReadHeaderTimeout is how long a client may take to say who it is: for the
	// handshake, the header of a request, the first message of a stream.
	ReadHeaderTimeout time.Duration
	// AdminCert makes the certificate of a proxy's admin listener; nil = only its
	// /ready can be reached from elsewhere.
	AdminCert func(ctx context.Context, proxy model.Key) (*view.AdminCert, error)
	// Mount adds further gRPC services to the port.
	Mount []func(grpc.ServiceRegistrar)
	// Lookup resolves names; nil = the system's resolver.
	Lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
}

// Server is the port.
type Server struct {
	d          Deps
	log        *slog.Logger
	metrics    *metrics
	door       Authenticator
	streams    *streams
	departures *departures
	grpc       *grpc.Server
	http       *http.Server
	active     atomic.Int64 // configuration streams
	rechecks   atomic.Uint64
	renewals   atomic.Uint64
	running    context.Context //nolint:containedctx // because handlers must know whether the server is going down
	stop       context.CancelFunc
}

// Limits of the HTTP and gRPC servers.
const (
	maxRequestBytes = 4 << 20 // of one gRPC message
	maxHeaderBytes  = 64 << 10
	maxStreams      = 100 // per connection; Envoy needs two
	// Where the configuration says no limit there is one all the same.
	readHeaderTimeout = 30 * time.Second
	requestTimeout    = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	keepaliveTime     = 15 * time.Second
	keepaliveTimeout  = 15 * time.Second
	// Envoy with tokens from files pings every 10 seconds.
	minPingInterval = 5 * time.Second
	stopTimeout     = 5 * time.Second
)

// New returns a server; Run serves.
func New(d Deps) *Server {
	if d.ReadHeaderTimeout <= 0 {
		d.ReadHeaderTimeout = readHeaderTimeout
	}
	if d.Lookup == nil {
		d.Lookup = net.DefaultResolver.LookupNetIP
	}
	s := &Server{d: d, log: d.Log, metrics: newMetrics(d.Metrics), door: Authenticator{d.Store, d.Verifier}, streams: newStreams(d.Now)}
	s.running, s.stop = context.WithCancel(context.Background())
	s.departures = &departures{
		store: d.Store, streams: s.streams, instance: d.Instance, delay: d.DeregistrationDelay,
		log: d.Log, now: d.Now, poke: make(chan struct{}, 1),
	}
	s.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(xds.NewCodec()),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingInterval, PermitWithoutStream: true}),
		grpc.MaxConcurrentStreams(maxStreams), grpc.MaxRecvMsgSize(maxRequestBytes), grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(requestTimeout),
		// Thousands of connections are mostly silent; TLS has a buffer already.
		grpc.ReadBufferSize(0),
		grpc.ChainStreamInterceptor(s.metrics.grpc.stream, s.recoverStream),
	)
	discovery.RegisterAggregatedDiscoveryServiceServer(s.grpc, ads{s: s})
	for _, mount := range d.Mount {
		mount(s.grpc)
	}
	s.metrics.grpc.initialise(s.grpc.GetServiceInfo())
	s.http = &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: d.ReadHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(d.Log.Handler(), slog.LevelDebug),
	}
	return s
}

// handler serves the HTTP half.
func (s *Server) handler() http.Handler {
	bootstrap := s.metrics.http.observed("/bootstrap", s.limited(s.serveBootstrap))
	leave := s.metrics.http.observed("/leave", s.limited(s.serveLeave))
	serving := s.metrics.http.observed("/serving", s.limited(s.serveServing))
	other := s.metrics.http.observed("other", http.NotFound)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
			s.grpc.ServeHTTP(w, r) // from a client that offers HTTP/1.1 too
		case r.URL.Path == "/bootstrap":
			bootstrap(w, r)
		case r.URL.Path == "/leave":
			leave(w, r)
		case r.URL.Path == "/serving":
			serving(w, r)
		default:
			other(w, r)
		}
	})
}

// limited bounds the time of a request; the server as a whole has no such limit,
// because streams may pass through it.
func (s *Server) limited(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.SetReadDeadline(time.Now().Add(requestTimeout))
		_ = c.SetWriteDeadline(time.Now().Add(requestTimeout))
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("request panicked", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				w.WriteHeader(http.StatusInternalServerError)
			}
			_ = c.SetReadDeadline(time.Time{})
			_ = c.SetWriteDeadline(time.Time{})
		}()
		h(w, r)
	}
}

// recoverStream keeps a panic within its stream.
func (s *Server) recoverStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("stream panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "the control plane failed; see its log")
		}
	}()
	return handler(srv, ss)
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.d.Listener.Addr() }

// errGoingDown ends the streams of a control plane that stops.
var errGoingDown = status.Error(codes.Unavailable, "this control plane is going down")

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	split := newSplitter(s.d.Listener, s.d.TLS, s.d.ReadHeaderTimeout, s.log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return split.run(ctx) })
	g.Go(func() error { return s.departures.run(ctx) })
	g.Go(func() error {
		if err := s.grpc.Serve(split.grpc); err != nil && ctx.Err() == nil {
			return fmt.Errorf("serve gRPC: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		if err := s.http.Serve(split.http); err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			return fmt.Errorf("serve HTTP: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		s.shutDown()
		return nil
	})
	s.log.Info("data plane server listens", "address", s.Addr().String())
	if err := g.Wait(); err != nil {
		return fmt.Errorf("data plane server: %w", err)
	}
	return nil
}

// shutDown ends all streams, so that their proxies go elsewhere, and the servers.
func (s *Server) shutDown() {
	s.stop()
	_ = s.d.Listener.Close()
	for _, st := range s.streams.of("") {
		st.end(errGoingDown)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s.active.Load() > 0 && ctx.Err() == nil {
		<-tick.C
	}
	// Not GracefulStop, which does not go with clients that came in over net/http.
	s.grpc.Stop()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
}

// Recheck verifies the credentials of open streams again, of one mesh or all
// (""), and ends those that are not valid any more. It is to be called when
// signing keys or revocations changed.
func (s *Server) Recheck(ctx context.Context, mesh string) {
	s.rechecks.Add(1)
	for _, st := range s.streams.of(mesh) {
		s.verify(ctx, st)
	}
}

// RenewAdminCerts gives all connected proxies new certificates for their admin
// listeners: the authority of those was replaced.
func (s *Server) RenewAdminCerts(ctx context.Context) {
	s.renewals.Add(1)
	for _, st := range s.streams.of("") {
		st.renew(ctx)
	}
}

// verify ends a stream whose credential is not valid any more. It tells whether
// that could be found out.
func (s *Server) verify(ctx context.Context, st *stream) (known bool) {
	err := s.d.Verifier.Verify(ctx, st.credential, st.proxy)
	if errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
		return false
	}
	if err != nil {
		st.expired.Store(errors.Is(err, token.ErrExpired))
		s.log.Warn("credential of a connected proxy is not valid any more; its stream ends", "proxy", st.key.String(), "error", err)
		st.end(status.Error(codes.Unauthenticated, "authentication failed: "+err.Error()))
	}
	return true
}

// expire looks at a stream's credential when it ends.
func (s *Server) expire(ctx context.Context, st *stream) {
	end, limited := token.Expires(st.credential)
	if !limited {
		return
	}
	wait := end.Sub(s.d.Now())
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(wait, 0) + expirySlack):
		}
		if s.verify(ctx, st) {
			return
		}
		wait = expiryAgain
	}
}

const (
	// expirySlack is after the end of a credential, so that it is surely over.
	expirySlack = time.Second
	// expiryAgain is the wait before another try while the store is away.
	expiryAgain = 10 * time.Second
)
