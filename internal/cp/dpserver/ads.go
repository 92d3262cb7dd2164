package dpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/model"
)

// ads serves the aggregated discovery service.
type ads struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	s *Server
}

// StreamAggregatedResources serves a state-of-the-world client.
func (a ads) StreamAggregatedResources(stream discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return a.s.serve(&conn{stream: stream, next: nextSotW, abort: aborter(stream.Context())})
}

// DeltaAggregatedResources serves a delta client.
func (a ads) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return a.s.serve(&conn{stream: stream, delta: true, next: nextDelta, abort: aborter(stream.Context())})
}

// conn is a gRPC stream as package xds wants it.
type conn struct {
	stream grpc.ServerStream
	delta  bool
	// next reads one request; nil without error = it is of an unknown type.
	next  func(*conn) (*xds.Request, error)
	abort func()
	// node is what the first request said; it does not outlive the handshake.
	node *corev3.Node
	seen bool
}

func nextDelta(c *conn) (*xds.Request, error) {
	m := new(discovery.DeltaDiscoveryRequest)
	if err := c.stream.RecvMsg(m); err != nil {
		return nil, err //nolint:wrapcheck // because Recv wraps it
	}
	c.see(m.GetNode())
	r, _ := xds.FromDelta(m)
	return r, nil
}

func nextSotW(c *conn) (*xds.Request, error) {
	m := new(discovery.DiscoveryRequest)
	if err := c.stream.RecvMsg(m); err != nil {
		return nil, err //nolint:wrapcheck // because Recv wraps it
	}
	c.see(m.GetNode())
	r, _ := xds.FromSotW(m)
	return r, nil
}

// see keeps the node of the first request.
func (c *conn) see(n *corev3.Node) {
	if !c.seen {
		c.seen, c.node = true, n
	}
}

// Recv returns the next request of a known type; nil = the client left in order.
func (c *conn) Recv() (*xds.Request, error) {
	for {
		r, err := c.next(c)
		switch {
		case errors.Is(err, io.EOF):
			return nil, nil //nolint:nilnil // because that is how xds.Conn says it
		case err != nil:
			return nil, fmt.Errorf("receive request: %w", err)
		case r != nil:
			return r, nil
		}
	}
}

// Send sends a response, which the server's codec encodes.
func (c *conn) Send(r *xds.Response) error {
	return c.stream.SendMsg(r) //nolint:wrapcheck // because the caller wraps it
}

// Abort closes the client's connection.
func (c *conn) Abort() { c.abort() }

// aborter returns what closes the connection of a stream. All streams of a client
// that does not read are of no use, so they end together.
func aborter(ctx context.Context) func() {
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.Addr.(*clientAddr); ok {
			return func() { _ = a.conn.Close() }
		}
	}
	return func() {} // behind net/http, whose time limits apply
}

// serve runs one configuration stream.
func (s *Server) serve(c *conn) error {
	s.active.Add(1)
	defer s.active.Add(-1)
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	timer := time.AfterFunc(s.d.ReadHeaderTimeout, c.Abort)
	first, err := c.Recv()
	timer.Stop()
	if err != nil || first == nil {
		return err
	}
	node, err := ParseNode(c.node)
	c.node = nil
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	// What the stream starts ends with it, whoever ends it.
	ctx, cancel := context.WithCancel(c.stream.Context())
	defer cancel()
	ses := &session{s: s, c: c, first: first, node: node, log: s.log.With("proxy", node.Key.String())}
	defer ses.tasks.Wait()
	defer cancel()
	return ses.run(ctx)
}

// session is one proxy's stream from its first request to its end.
type session struct {
	s      *Server
	c      *conn
	first  *xds.Request
	node   *Node
	log    *slog.Logger
	report *reporter
	stream *xds.Stream
	tasks  sync.WaitGroup
}

// run lets the proxy in, if it may, and serves it.
func (n *session) run(ctx context.Context) error {
	s := n.s
	checked := s.rechecks.Load()
	st, object, err := s.door.admit(ctx, n.node)
	if err != nil {
		if ctx.Err() == nil { // else it left before it was known
			n.log.Info("proxy is refused", "client", st.peer, "error", err)
		}
		return statusOf(err)
	}
	n.report = &reporter{s: s, log: n.log}
	n.stream = xds.NewStream(n.c, n.c.delta, s.streamOptions(n.report))
	n.report.holds = func(h xds.Holding) { s.d.Engine.Holds(n.node.Key, n.stream, h) }
	st.end, st.renew = n.stream.Close, n.renewAdminCert
	if err := s.enter(ctx, st, checked); err != nil {
		n.log.Warn("stream is refused", "client", st.peer, "error", err)
		return err
	}
	n.tasks.Go(func() { s.expire(ctx, st) })
	registered := false
	defer func() {
		s.streams.leave(st)
		if registered && s.running.Err() == nil && !st.expired.Load() {
			s.departures.add(n.node.Key)
		}
	}()
	if object != nil {
		if err := n.register(ctx, object, st.credential); err != nil {
			n.log.Warn("could not register proxy", "error", err)
			return statusOf(fmt.Errorf("register %s: %w", n.node.Key, err))
		}
		registered = true
	}
	return n.configure(ctx)
}

// register stores the object that the proxy brought along.
func (n *session) register(ctx context.Context, object *model.Object, credential string) error {
	if fresh(n.first) {
		object = starting(object)
		n.report.serving = sync.OnceFunc(func() {
			n.tasks.Go(func() { n.s.started(ctx, n.node.Key) })
		})
	}
	return n.s.register(ctx, object, credential)
}

// configure lets the engine configure the proxy until its stream ends.
func (n *session) configure(ctx context.Context) error {
	md, versions := n.node.Metadata, n.node.Versions
	renewals := n.s.renewals.Load()
	md.AdminCert = n.adminCert(ctx)
	versions.KumaDP.KumaCPCompatible = compatible(versions.KumaDP.Version, n.s.d.Version)
	n.report.sub = n.s.d.Recorder.Open(n.node.Key, versions)
	defer n.report.sub.Close()
	defer n.s.d.Engine.Connect(n.node.Key, md, n.stream)()
	if n.s.renewals.Load() != renewals { // since the certificate was made
		n.renewAdminCert(ctx)
	}
	n.log.Info("proxy connected", "delta", n.c.delta, "kuma_dp", md.DPVersion, "envoy", md.EnvoyVersion)
	err := n.stream.Run(ctx, n.first)
	n.s.metrics.ended(err)
	n.log.Info("proxy disconnected", "cause", cause(err))
	return streamStatus(err)
}

// adminCert returns a certificate for the proxy's admin listener; nil = none.
func (n *session) adminCert(ctx context.Context) *view.AdminCert {
	if n.node.Metadata.AdminPort == 0 || n.s.d.AdminCert == nil {
		return nil
	}
	cert, err := n.s.d.AdminCert(ctx, n.node.Key)
	if err != nil {
		n.log.Warn("no certificate for the proxy's admin listener; the API cannot show what it has until it connects again", "error", err)
		return nil
	}
	return cert
}

// renewAdminCert lets the proxy have another one, if that can be made.
func (n *session) renewAdminCert(ctx context.Context) {
	if cert := n.adminCert(ctx); cert != nil {
		n.s.d.Engine.SetAdminCert(n.node.Key, n.stream, cert)
	}
}

// enter makes the stream the one of its proxy.
func (s *Server) enter(ctx context.Context, st *stream, checked uint64) error {
	before, err := s.streams.enter(ctx, st)
	if err != nil {
		return status.Error(codes.AlreadyExists, err.Error())
	}
	if before != nil {
		s.log.Info("proxy connected anew; its former stream ends", "proxy", st.key.String(), "client", st.peer)
		before.end(status.Error(codes.Aborted, "the proxy opened another stream"))
	}
	if s.running.Err() != nil {
		s.streams.leave(st)
		return errGoingDown
	}
	if s.rechecks.Load() != checked { // since the credential was verified
		if err := s.d.Verifier.Verify(ctx, st.credential, st.proxy); err != nil {
			s.streams.leave(st)
			return statusOf(&refusal{fmt.Errorf("authentication failed: %w", err)})
		}
	}
	return nil
}

func (s *Server) streamOptions(r xds.Reporter) xds.Options {
	o := s.d.Streams
	o.Identifier, o.Reporter = s.d.Instance, r
	o.LastListener = envoy.DNSListener // no name before there is something behind its address
	return o
}
