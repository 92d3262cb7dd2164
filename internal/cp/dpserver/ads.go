package dpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"weft/internal/cp/xds"
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
	ctx := c.stream.Context()
	node, err := ParseNode(c.node)
	c.node = nil
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	log := s.log.With("proxy", node.Key.String())
	checked := s.rechecks.Load()
	st, object, err := s.door.admit(ctx, node)
	if err != nil {
		log.Info("proxy is refused", "client", st.peer, "error", err)
		return statusOf(err)
	}
	report := &reporter{s: s, log: log}
	xs := xds.NewStream(c, c.delta, s.streamOptions(report))
	report.holds = func(h xds.Holding) { s.d.Engine.Holds(node.Key, xs, h) }
	st.end = xs.Close
	if err := s.enter(ctx, st, checked); err != nil {
		log.Warn("stream is refused", "client", st.peer, "error", err)
		return err
	}
	defer s.streams.leave(st)
	if object != nil && fresh(first) {
		object = starting(object)
		var tasks sync.WaitGroup
		defer tasks.Wait()
		report.listening = sync.OnceFunc(func() { tasks.Go(func() { s.started(ctx, node.Key) }) })
	}
	if object != nil {
		if err := s.register(ctx, object, st.credential); err != nil {
			log.Warn("could not register proxy", "error", err)
			return statusOf(fmt.Errorf("register %s: %w", node.Key, err))
		}
	}
	node.Versions.KumaDP.KumaCPCompatible = compatible(node.Versions.KumaDP.Version, s.d.Version)
	report.sub = s.d.Recorder.Open(node.Key, node.Versions)
	disconnect := s.d.Engine.Connect(node.Key, node.Metadata, xs)
	log.Info("proxy connected", "client", st.peer, "delta", c.delta, "kuma_dp", node.Metadata.DPVersion, "envoy", node.Metadata.EnvoyVersion)
	err = xs.Run(ctx, first)

	disconnect()
	report.sub.Close()
	s.streams.leave(st)
	if object != nil && s.running.Err() == nil {
		s.departures.add(node.Key)
	}
	s.metrics.ended(err)
	log.Info("proxy disconnected", "cause", cause(err))
	return streamStatus(err)
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
	return o
}
