package hds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	health "github.com/envoyproxy/go-control-plane/envoy/service/health/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"weft/internal/config"
	"weft/internal/cp/auth"
	"weft/internal/cp/dpserver"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/cp/store/storetest"
	"weft/internal/cp/view"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

type verifier struct{ err error }

func (v verifier) Verify(context.Context, string, auth.Proxy) error { return v.err }
func (verifier) Needs(string) bool                                  { return false }

// world is a running service on a plain port.
type world struct {
	t     *testing.T
	store store.Store
	flaky *storetest.Flaky
	addr  *net.TCPAddr
}

func settings() config.HDS {
	return config.HDS{
		Enabled: true, Interval: 50 * time.Millisecond,
		CheckDefaults: config.HDSCheck{
			Timeout: 2 * time.Second, Interval: 50 * time.Millisecond, NoTrafficInterval: 50 * time.Millisecond,
			HealthyThreshold: 1, UnhealthyThreshold: 1,
		},
	}
}

func start(t *testing.T, v dpserver.Verifier) *world {
	t.Helper()
	mem := memory.New()
	w := &world{t: t, store: mem, flaky: storetest.NewFlaky(mem)}
	if _, err := mem.Create(t.Context(), kinds.Mesh.Make("", "default")); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s := New(Deps{
		Store: w.flaky, Door: dpserver.Authenticator{Store: w.flaky, Verifier: v}, Config: settings(), AdminPort: 9901,
		Log: log, Metrics: prometheus.NewRegistry(),
	})
	g := grpc.NewServer()
	s.Register(g)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().(*net.TCPAddr)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx)
	}()
	go func() { _ = g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		cancel()
		<-done
		mem.Close()
	})
	return w
}

// dataplane returns a Dataplane with a probed inbound 8080 and one without, 8081.
func dataplane(t *testing.T, change func(*kinds.DataplaneSpec)) *model.Object {
	t.Helper()
	doc := `{"type":"Dataplane","mesh":"default","name":"web-1","networking":{"address":"127.0.0.1","inbound":[
		{"port":8080,"servicePort":18080,"tags":{"kuma.io/service":"web"},"serviceProbe":{"tcp":{}}},
		{"port":8081,"tags":{"kuma.io/service":"web2"}}]}}`
	o, err := kinds.Dataplane.Decode([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(model.Spec[kinds.DataplaneSpec](o))
	}
	return o
}

func (w *world) put(o *model.Object) *model.Object {
	w.t.Helper()
	out, err := w.store.Create(w.t.Context(), o)
	if errors.Is(err, store.ErrExists) {
		old, gerr := w.store.Get(w.t.Context(), o.Key())
		if gerr != nil {
			w.t.Fatal(gerr)
		}
		o = o.Clone()
		o.Meta.Version = old.Meta.Version
		out, err = w.store.Update(w.t.Context(), o)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

var webKey = kinds.Dataplane.Key("default", "web-1")

// ready returns which inbounds are ready.
func (w *world) ready() map[uint32]bool {
	o, err := w.store.Get(w.t.Context(), webKey)
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[uint32]bool{}
	for _, in := range model.Spec[kinds.DataplaneSpec](o).Inbounds() {
		out[in.Port] = !in.NotReady() && in.State == kinds.InboundReady
	}
	return out
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

type client struct {
	t *testing.T
	s health.HealthDiscoveryService_StreamHealthCheckClient
}

func (w *world) connect(name string) *client {
	w.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+w.addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	w.t.Cleanup(cancel)
	s, err := health.NewHealthDiscoveryServiceClient(conn).StreamHealthCheck(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{w.t, s}
	c.send(&health.HealthCheckRequestOrEndpointHealthResponse{RequestType: &health.HealthCheckRequestOrEndpointHealthResponse_HealthCheckRequest{
		HealthCheckRequest: &health.HealthCheckRequest{Node: &corev3.Node{Id: "default." + name}},
	}})
	return c
}

func (c *client) send(m *health.HealthCheckRequestOrEndpointHealthResponse) {
	c.t.Helper()
	if err := c.s.Send(m); err != nil {
		c.t.Fatal(err)
	}
}

// checks returns the names of the next list of checks.
func (c *client) checks() []string {
	c.t.Helper()
	m, err := c.s.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for _, x := range m.GetClusterHealthChecks() {
		out = append(out, x.GetClusterName())
	}
	return out
}

func (c *client) report(healthy map[string]bool) {
	c.t.Helper()
	r := &health.EndpointHealthResponse{}
	for name, ok := range healthy {
		s := corev3.HealthStatus_UNHEALTHY
		if ok {
			s = corev3.HealthStatus_HEALTHY
		}
		r.ClusterEndpointsHealth = append(r.ClusterEndpointsHealth, &health.ClusterEndpointsHealth{
			ClusterName: name,
			LocalityEndpointsHealth: []*health.LocalityEndpointsHealth{{
				EndpointsHealth: []*health.EndpointHealth{{HealthStatus: s}},
			}},
		})
	}
	c.send(&health.HealthCheckRequestOrEndpointHealthResponse{RequestType: &health.HealthCheckRequestOrEndpointHealthResponse_EndpointHealthResponse{
		EndpointHealthResponse: r,
	}})
}

func equal(got map[uint32]bool, a, b bool) bool { return got[8080] == a && got[8081] == b }

func TestStatesFollowReports(t *testing.T) {
	w := start(t, verifier{})
	c := w.connect("web-1") // comes before its Dataplane is there
	w.put(dataplane(t, func(d *kinds.DataplaneSpec) { d.Networking.Inbound[0].State = kinds.InboundNotReady }))
	if got := fmt.Sprint(c.checks()); got != "[kuma:envoy:admin localhost:18080]" {
		t.Errorf("checks %s", got)
	}
	c.report(map[string]bool{envoyCheck: true, "localhost:18080": true})
	w.eventually("all are ready", func() bool { return equal(w.ready(), true, true) })
	c.report(map[string]bool{envoyCheck: true, "localhost:18080": false})
	w.eventually("the probed one is not", func() bool { return equal(w.ready(), false, true) })
	// A draining Envoy is not ready, whatever the workload says.
	c.report(map[string]bool{envoyCheck: false, "localhost:18080": true})
	w.eventually("none is", func() bool { return equal(w.ready(), false, false) })
	c.report(map[string]bool{envoyCheck: true, "localhost:18080": true})
	w.eventually("all are again", func() bool { return equal(w.ready(), true, true) })

	before, _ := w.store.Get(t.Context(), webKey)
	for range 20 {
		c.report(map[string]bool{envoyCheck: true, "localhost:18080": true})
	}
	// A change of the Dataplane brings new checks at once, after those reports.
	changed := dataplane(t, func(d *kinds.DataplaneSpec) {
		d.Networking.Inbound[1].ServiceProbe = &kinds.ServiceProbe{TCP: &kinds.TCPProbe{}}
	})
	changed.Meta.Labels = before.Meta.Labels
	after, _ := w.store.Get(t.Context(), webKey)
	if before.Meta.Version != after.Meta.Version {
		t.Error("reports without news are written")
	}
	w.put(changed)
	if got := fmt.Sprint(c.checks()); got != "[kuma:envoy:admin localhost:18080 localhost:8081]" {
		t.Errorf("checks %s", got)
	}
}

func TestIgnoredAndUnknownStay(t *testing.T) {
	w := start(t, verifier{})
	w.put(dataplane(t, func(d *kinds.DataplaneSpec) { d.Networking.Inbound[1].State = kinds.InboundIgnored }))
	c := w.connect("web-1")
	c.checks()
	c.report(map[string]bool{envoyCheck: true, "somebody else": false})
	c.report(map[string]bool{envoyCheck: false})
	w.eventually("the report is in", func() bool { return !w.ready()[8080] })
	o, _ := w.store.Get(t.Context(), webKey)
	if s := model.Spec[kinds.DataplaneSpec](o).Inbounds()[1].State; s != kinds.InboundIgnored {
		t.Errorf("an ignored inbound became %q", s)
	}
}

// Somebody else writes the Dataplane all the time, and the store goes away: the
// states arrive all the same, and nothing of the others is lost.
func TestConcurrentWritesAndOutages(t *testing.T) {
	w := start(t, verifier{})
	w.put(dataplane(t, nil))
	c := w.connect("web-1")
	c.checks()
	stop := make(chan struct{})
	done := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				done <- n
				return
			default:
			}
			o, err := w.store.Get(context.Background(), webKey)
			if err != nil {
				continue
			}
			o = o.Clone()
			o.Meta.Labels = map[string]string{"n": fmt.Sprint(n + 1)}
			if _, err := w.store.Update(context.Background(), o); err == nil {
				n++
			}
		}
	}()
	for i := range 10 {
		want := i%2 == 0
		w.eventually("the report is in", func() bool {
			c.report(map[string]bool{envoyCheck: true, "localhost:18080": want})
			return w.ready()[8080] == want
		})
	}
	close(stop)
	n := <-done
	if o, _ := w.store.Get(t.Context(), webKey); o.Label("n") != fmt.Sprint(n) {
		t.Errorf("label %q after %d writes of others", o.Label("n"), n)
	}
	w.flaky.Down()
	c.report(map[string]bool{envoyCheck: true, "localhost:18080": true})
	w.flaky.Up()
	w.eventually("the next report is in", func() bool {
		c.report(map[string]bool{envoyCheck: true, "localhost:18080": true})
		return w.ready()[8080]
	})
}

func TestRefusals(t *testing.T) {
	w := start(t, verifier{errors.New("not you")})
	w.put(dataplane(t, nil))
	for name, c := range map[string]struct {
		first *health.HealthCheckRequestOrEndpointHealthResponse
		code  codes.Code
	}{
		"no node": {&health.HealthCheckRequestOrEndpointHealthResponse{}, codes.InvalidArgument},
		"another's": {&health.HealthCheckRequestOrEndpointHealthResponse{RequestType: &health.HealthCheckRequestOrEndpointHealthResponse_HealthCheckRequest{
			HealthCheckRequest: &health.HealthCheckRequest{Node: &corev3.Node{Id: "default.web-1"}},
		}}, codes.Unauthenticated},
		"zone proxy": {&health.HealthCheckRequestOrEndpointHealthResponse{RequestType: &health.HealthCheckRequestOrEndpointHealthResponse_HealthCheckRequest{
			HealthCheckRequest: &health.HealthCheckRequest{Node: &corev3.Node{Id: ".in", Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
				"dataplane.proxyType": structpb.NewStringValue("ingress"),
			}}}},
		}}, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:///"+w.addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			s, err := health.NewHealthDiscoveryServiceClient(conn).StreamHealthCheck(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Send(c.first); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Recv(); status.Code(err) != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
}

// silent is a stream of a client that never says who it is.
type silent struct {
	health.HealthDiscoveryService_StreamHealthCheckServer
	ctx context.Context
}

func (s silent) Context() context.Context { return s.ctx }

func (s silent) Recv() (*health.HealthCheckRequestOrEndpointHealthResponse, error) {
	<-s.ctx.Done()
	return nil, s.ctx.Err()
}

func TestSilentClientIsSentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Deps{Config: settings(), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		began := time.Now()
		if err := s.StreamHealthCheck(silent{ctx: t.Context()}); status.Code(err) != codes.DeadlineExceeded || time.Since(began) != registrationWait {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
	})
}

func TestPlan(t *testing.T) {
	timeout := model.ProtoDuration(7 * time.Second)
	o := dataplane(t, func(d *kinds.DataplaneSpec) {
		n := d.Networking
		n.Address = "10.0.0.1"
		n.TransparentProxying = &kinds.TransparentProxying{RedirectPortInbound: 15006, RedirectPortOutbound: 15001}
		n.Inbound[0].ServiceProbe = &kinds.ServiceProbe{Timeout: &timeout}
		n.Inbound[1].ServiceProbe = &kinds.ServiceProbe{}
		n.Inbound[1].ServicePort, n.Inbound[1].ServiceAddress = 18080, "fd00::7"
	})
	p := makePlan(model.Spec[kinds.DataplaneSpec](o), view.Metadata{AdminPort: 9902, AdminAddress: "::"}, Deps{Config: settings(), AdminPort: 9901})
	b, err := json.Marshal(summary(p.specifier))
	if err != nil {
		t.Fatal(err)
	}
	const want = `[["kuma:envoy:admin","::1:9902","2s/50ms",""],["localhost:18080","10.0.0.1:18080","7s/50ms","127.0.0.6"],["localhost:18080@fd00::7","fd00::7:18080","2s/50ms","::6"]]`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	o = dataplane(t, func(d *kinds.DataplaneSpec) { d.Networking.Address = "web.example" })
	p = makePlan(model.Spec[kinds.DataplaneSpec](o), view.Metadata{}, Deps{Config: settings()})
	b, _ = json.Marshal(summary(p.specifier))
	if string(b) != `[["localhost:18080","127.0.0.1:18080","2s/50ms",""]]` || p.envoy {
		t.Errorf("without an admin port: %s", b)
	}
}

func summary(s *health.HealthCheckSpecifier) [][]string {
	var out [][]string
	for _, c := range s.GetClusterHealthChecks() {
		a := c.GetLocalityEndpoints()[0].GetEndpoints()[0].GetAddress().GetSocketAddress()
		h := c.GetHealthChecks()[0]
		out = append(out, []string{
			c.GetClusterName(), fmt.Sprintf("%s:%d", a.GetAddress(), a.GetPortValue()),
			fmt.Sprintf("%s/%s", h.GetTimeout().AsDuration(), h.GetInterval().AsDuration()),
			c.GetUpstreamBindConfig().GetSourceAddress().GetAddress(),
		})
	}
	return out
}
