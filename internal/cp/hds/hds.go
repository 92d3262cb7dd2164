// Package hds lets proxies check their workloads: each gets a list of health
// checks over Envoy's health discovery service, reports what it found, and the
// state of the inbounds in its Dataplane follows. Package cp mounts it on the
// data plane server's port.
//
// A proxy's checks are sent again when its Dataplane changes, not at intervals.
// A lost stream changes nothing: the last state stays, because a proxy that
// cannot reach the control plane may still serve well.
package hds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	health "github.com/envoyproxy/go-control-plane/envoy/service/health/v3"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"weft/internal/config"
	"weft/internal/cp/dpserver"
	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Deps is what the server needs.
type Deps struct {
	Store  store.Store
	Door   dpserver.Authenticator
	Config config.HDS
	// AdminPort is Envoy's admin port where neither the proxy nor its Dataplane
	// says otherwise.
	AdminPort uint32
	Log       *slog.Logger
	Metrics   prometheus.Registerer
}

// Server is the health discovery service.
type Server struct {
	health.UnimplementedHealthDiscoveryServiceServer
	d       Deps
	metrics *metrics

	mu      sync.Mutex
	proxies map[model.Key]*model.Object // all Dataplanes
	streams map[model.Key]map[*stream]struct{}
}

// stream is one proxy's open stream.
type stream struct {
	key  model.Key
	poke chan struct{} // 1 slot: its Dataplane changed
	// recheck has 1 slot: the credential may not be valid any more.
	recheck chan struct{}
}

// New returns a server; Run keeps it informed.
func New(d Deps) *Server {
	return &Server{
		d: d, metrics: newMetrics(d.Metrics),
		proxies: map[model.Key]*model.Object{}, streams: map[model.Key]map[*stream]struct{}{},
	}
}

// Register mounts the service.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	health.RegisterHealthDiscoveryServiceServer(r, s)
}

// watchPause is the wait before another try when the store cannot be watched.
const watchPause = time.Second

// Run follows the Dataplanes in the store until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	store.Follow(ctx, s.d.Store, s.d.Log, watchPause, s.take)
	return nil
}

// take notes the Dataplanes of a batch and wakes the streams that they concern.
func (s *Server) take(b store.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.Full {
		clear(s.proxies)
	}
	for _, e := range b.Events {
		if e.Key.Kind != kinds.Dataplane.Name {
			continue
		}
		if e.Object == nil {
			delete(s.proxies, e.Key)
			continue
		}
		s.proxies[e.Key] = e.Object
		for st := range s.streams[e.Key] {
			st.wake()
		}
	}
}

func (st *stream) wake() { poke(st.poke) }

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Recheck verifies the credentials of open streams again, of one mesh or all (""),
// and ends those that are not valid any more.
func (s *Server) Recheck(mesh string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, streams := range s.streams {
		if mesh != "" && key.Mesh != mesh {
			continue
		}
		for st := range streams {
			poke(st.recheck)
		}
	}
}

// object returns the Dataplane of a proxy, or nil.
func (s *Server) object(key model.Key) *model.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proxies[key]
}

func (s *Server) open(key model.Key) *stream {
	st := &stream{key: key, poke: make(chan struct{}, 1), recheck: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[key] == nil {
		s.streams[key] = map[*stream]struct{}{}
	}
	s.streams[key][st] = struct{}{}
	return st
}

func (s *Server) close(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams[st.key], st)
	if len(s.streams[st.key]) == 0 {
		delete(s.streams, st.key)
	}
}

// Limits of a stream.
const (
	// registrationWait is how long a proxy may take to say who it is, and to
	// register itself over its other stream, which opens at the same time.
	registrationWait = 30 * time.Second
	reportsPerSecond = 20
	reportsAtOnce    = 100
)

// StreamHealthCheck serves one proxy.
func (s *Server) StreamHealthCheck(gs health.HealthDiscoveryService_StreamHealthCheckServer) error {
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	first, err := introduction(gs)
	if err != nil {
		return end(err)
	}
	node, err := dpserver.ParseNode(nodeOf(first))
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if node.Kind != kinds.Dataplane {
		return status.Error(codes.InvalidArgument, "only data plane proxies have workloads to check")
	}
	ctx := gs.Context()
	st := s.open(node.Key)
	defer s.close(st)
	if err := s.awaitObject(ctx, st, node); err != nil {
		return err
	}
	if err := s.d.Door.Authenticate(ctx, node); err != nil {
		if ctx.Err() != nil {
			return err // it left before it was known
		}
		s.d.Log.Info("proxy is refused", "proxy", node.Key.String(), "error", err)
		return err //nolint:wrapcheck // because it is a gRPC status
	}
	c := &checker{s: s, st: st, node: node, stream: gs, log: s.d.Log.With("proxy", node.Key.String())}
	return c.run(ctx)
}

// introduction returns the first message, which says who the client is. One that
// keeps silent may not hold its stream: nobody has seen its credential yet.
func introduction(gs health.HealthDiscoveryService_StreamHealthCheckServer) (*health.HealthCheckRequestOrEndpointHealthResponse, error) {
	type message struct {
		m   *health.HealthCheckRequestOrEndpointHealthResponse
		err error
	}
	first := make(chan message, 1)
	go func() { // ends with the stream at the latest
		m, err := gs.Recv()
		first <- message{m, err}
	}()
	timeout := time.NewTimer(registrationWait)
	defer timeout.Stop()
	select {
	case f := <-first:
		return f.m, f.err
	case <-timeout.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "no message within %s", registrationWait)
	}
}

func nodeOf(m *health.HealthCheckRequestOrEndpointHealthResponse) *corev3.Node {
	return m.GetHealthCheckRequest().GetNode()
}

// awaitObject waits until the proxy's Dataplane is in the store.
func (s *Server) awaitObject(ctx context.Context, st *stream, node *dpserver.Node) error {
	timeout := time.NewTimer(registrationWait)
	defer timeout.Stop()
	for s.object(node.Key) == nil {
		select {
		case <-st.poke:
		case <-ctx.Done():
			return end(ctx.Err())
		case <-timeout.C:
			return status.Errorf(codes.NotFound, "there is no %s; create it at the control plane, or let kuma-dp bring it along with --dataplane-file", node.Key)
		}
	}
	return nil
}

// end returns the status for what ended a stream.
func end(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// checker runs one stream.
type checker struct {
	s      *Server
	st     *stream
	node   *dpserver.Node
	stream health.HealthDiscoveryService_StreamHealthCheckServer
	log    *slog.Logger

	plan plan
	sent *health.HealthCheckSpecifier
}

type received struct {
	report *health.EndpointHealthResponse
	err    error
}

func (c *checker) run(ctx context.Context) error {
	reports := make(chan received)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go c.receive(ctx, reports)
	if end, limited := c.s.d.Door.Expires(ctx); limited {
		timer := time.AfterFunc(max(time.Until(end), 0)+time.Second, func() { poke(c.st.recheck) })
		defer timer.Stop()
	}
	for {
		if err := c.update(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.st.poke:
		case <-c.st.recheck:
			if err := c.s.d.Door.Authenticate(ctx, c.node); err != nil && status.Code(err) == codes.Unauthenticated {
				c.log.Info("credential is not valid any more; the stream ends", "error", err)
				return err //nolint:wrapcheck // because it is a gRPC status
			}
		case r := <-reports:
			if r.err != nil {
				return end(r.err)
			}
			c.s.metrics.requests.Inc()
			if err := c.report(ctx, r.report); err != nil && ctx.Err() == nil {
				// The next report, in seconds, is the next try.
				c.log.Warn("could not store the state of workloads; trying again", "error", err)
			}
		}
	}
}

func (c *checker) receive(ctx context.Context, out chan<- received) {
	limit := rate.NewLimiter(reportsPerSecond, reportsAtOnce)
	for {
		if limit.Wait(ctx) != nil {
			return
		}
		m, err := c.stream.Recv()
		r := received{report: m.GetEndpointHealthResponse(), err: err}
		if r.report == nil && err == nil {
			continue // a repeated introduction
		}
		select {
		case <-ctx.Done():
			return
		case out <- r:
		}
		if err != nil {
			return
		}
	}
}

// update sends the checks if they differ from what the proxy has.
func (c *checker) update() error {
	o := c.s.object(c.st.key)
	if o == nil {
		return nil // deleted: what it has stays until the proxy is gone
	}
	start := time.Now()
	c.plan = makePlan(model.Spec[kinds.DataplaneSpec](o), c.node.Metadata, c.s.d)
	c.s.metrics.generation.Observe(float64(time.Since(start)) / float64(time.Millisecond))
	if c.sent != nil && proto.Equal(c.sent, c.plan.specifier) {
		return nil
	}
	if err := c.stream.Send(c.plan.specifier); err != nil {
		return fmt.Errorf("send health checks: %w", err)
	}
	c.sent = c.plan.specifier
	c.s.metrics.responses.Inc()
	return nil
}
