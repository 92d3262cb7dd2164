package dpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"weft/internal/cp/xds"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/envoytest"
	"weft/internal/testkit/freeport"
	"weft/internal/testkit/lockedbuf"
)

// realEnvoy is an Envoy that a world configures.
type realEnvoy struct {
	*world
	admin string
	port  int // of its listener
}

func portOf(a net.Addr) int { return a.(*net.TCPAddr).Port }

// startEnvoy runs an Envoy with the bootstrap document of the server.
func startEnvoy(t *testing.T, delta bool, change func(*Deps)) *realEnvoy {
	t.Helper()
	bin := envoytest.Binary(t)
	w := start(t, func(d *Deps) {
		d.Bootstrap.XDSPort, d.Bootstrap.HDS = portOf(d.Listener.Addr()), false
		d.Streams = xds.Options{RemovalGrace: 500 * time.Millisecond, NackBackoff: 200 * time.Millisecond}
		if change != nil {
			change(d)
		}
	})
	admin := freeport.Take(t, 1)[0]
	_, o := dataplane("web-1", nil)
	model.Spec[kinds.DataplaneSpec](o).Networking.Admin = &kinds.EnvoyAdmin{Port: uint32(admin)}
	w.create(o)
	res, body := w.post(bootBody(t, func(m map[string]any) { m["caCert"] = string(w.cert.PEM()); m["workdir"] = t.TempDir() }),
		func(r *http.Request) { r.Header.Set("Accept", "text/x-yaml"); r.Host = "127.0.0.1" })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("bootstrap: %d %s", res.StatusCode, body)
	}
	e := &realEnvoy{world: w, admin: fmt.Sprintf("http://127.0.0.1:%d", admin), port: freeport.Take(t, 1)[0]}
	e.run(bin, withTransport(t, body, delta))
	return e
}

// withTransport chooses the protocol in a bootstrap document.
func withTransport(t *testing.T, doc []byte, delta bool) []byte {
	t.Helper()
	var tree map[string]any
	if err := yaml.Unmarshal(doc, &tree); err != nil {
		t.Fatal(err)
	}
	if delta {
		tree["dynamicResources"].(map[string]any)["adsConfig"].(map[string]any)["apiType"] = "DELTA_GRPC"
	}
	out, err := yaml.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (e *realEnvoy) run(bin string, doc []byte) {
	t := e.t
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "-c", file, "--concurrency", "1", "--disable-hot-restart",
		"--drain-time-s", "5", "--drain-strategy", "immediate", "--log-level", "warning")
	var log lockedbuf.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Envoy said:\n%s", log.String())
		}
	})
}

// ask asks Envoy's admin endpoint; "" if it does not answer.
func (e *realEnvoy) ask(path string) string {
	res, err := http.Get(e.admin + path)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return ""
	}
	return string(b)
}

// stat returns a counter or gauge of Envoy, -1 if there is none.
func (e *realEnvoy) stat(name string) int {
	for line := range strings.Lines(e.ask("/stats?filter=^" + name + "$")) {
		var n int
		if _, err := fmt.Sscanf(strings.TrimPrefix(line, name+": "), "%d", &n); err == nil && strings.HasPrefix(line, name+": ") {
			return n
		}
	}
	return -1
}

// clusters returns the names of active clusters with their connect timeouts, and
// how many are warming.
func (e *realEnvoy) clusters() (active map[string]string, warming int) {
	type one struct {
		Cluster struct {
			Name           string
			ConnectTimeout string `json:"connect_timeout"`
		}
	}
	var dump struct {
		Configs []struct {
			Active  []one `json:"dynamic_active_clusters"`
			Warming []one `json:"dynamic_warming_clusters"`
		}
	}
	if json.Unmarshal([]byte(e.ask("/config_dump")), &dump) != nil {
		return nil, -1
	}
	active = map[string]string{}
	for _, c := range dump.Configs {
		for _, a := range c.Active {
			active[a.Cluster.Name] = a.Cluster.ConnectTimeout
		}
		warming += len(c.Warming)
	}
	return active, warming
}

func (e *realEnvoy) publish(s *xds.Set) {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	e.engine.sinks[key("web-1")].Publish(s)
}

func (e *realEnvoy) get(path string) (int, string) {
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", e.port, path))
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

func encoded(t *testing.T, typ xds.Type, name string, m proto.Message) *xds.Resource {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return xds.NewResource(typ, name, b)
}

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func address(port int) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

func edsCluster(t *testing.T, name string, timeout time.Duration) *xds.Resource {
	return encoded(t, xds.Cluster, name, &cluster.Cluster{
		Name: name, ConnectTimeout: durationpb.New(timeout),
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig: &cluster.Cluster_EdsClusterConfig{EdsConfig: &core.ConfigSource{
			// No timeout: a cluster without endpoints would warm for ever.
			InitialFetchTimeout:   durationpb.New(0),
			ResourceApiVersion:    core.ApiVersion_V3,
			ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
		}},
	})
}

func endpoints(t *testing.T, name string, ports ...int) *xds.Resource {
	l := &endpoint.LocalityLbEndpoints{}
	for _, p := range ports {
		l.LbEndpoints = append(l.LbEndpoints, &endpoint.LbEndpoint{HostIdentifier: &endpoint.LbEndpoint_Endpoint{
			Endpoint: &endpoint.Endpoint{Address: address(p)},
		}})
	}
	return encoded(t, xds.Endpoints, name, &endpoint.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpoint.LocalityLbEndpoints{l}})
}

// webListener is a listener that sends all requests to a cluster, by routes
// within or by a route configuration of that name.
func (e *realEnvoy) webListener(to, routeConfig string) *xds.Resource {
	h := &hcm.HttpConnectionManager{
		StatPrefix: "web",
		HttpFilters: []*hcm.HttpFilter{{
			Name: "router", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: packed(e.t, &router.Router{})},
		}},
		RouteSpecifier: &hcm.HttpConnectionManager_RouteConfig{RouteConfig: routes("inline", to)},
	}
	if routeConfig != "" {
		h.RouteSpecifier = &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{RouteConfigName: routeConfig, ConfigSource: &core.ConfigSource{
			ResourceApiVersion: core.ApiVersion_V3, ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
		}}}
	}
	return encoded(e.t, xds.Listener, "web", &listener.Listener{
		Name: "web", Address: address(e.port),
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{{
			Name: "hcm", ConfigType: &listener.Filter_TypedConfig{TypedConfig: packed(e.t, h)},
		}}}},
	})
}

func routes(name, to string) *route.RouteConfiguration {
	return &route.RouteConfiguration{Name: name, VirtualHosts: []*route.VirtualHost{{
		Name: "all", Domains: []string{"*"},
		Routes: []*route.Route{{
			Match:  &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
			Action: &route.Route_Route{Route: &route.RouteAction{ClusterSpecifier: &route.RouteAction_Cluster{Cluster: to}}},
		}},
	}}}
}

// backend is a service that answers with its name.
func backend(t *testing.T, name string) int {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }))
	t.Cleanup(s.Close)
	return portOf(s.Listener.Addr())
}

func live(r *xds.Resource) *xds.Live { return xds.NewLive(r) }

func (e *realEnvoy) answers(what string) {
	e.t.Helper()
	e.eventually("the answer is "+what, func() bool { _, b := e.get("/"); return b == what })
}

// A changed cluster gets its endpoints again at once, and endpoints move alone.
func TestEnvoyClustersDoNotWarm(t *testing.T) {
	both(t, func(t *testing.T, delta bool) {
		e := startEnvoy(t, delta, nil)
		a, b := backend(t, "a"), backend(t, "b")
		e.eventually("Envoy is connected", func() bool { return e.engine.has(key("web-1")) })
		l := live(endpoints(t, "svc", a))
		lives := map[string]*xds.Live{"svc": l}
		e.publish(xds.NewSet([]*xds.Resource{edsCluster(t, "svc", time.Second), e.webListener("svc", "")}, lives))
		e.answers("a")
		for i := 2; i < 8; i++ {
			timeout := time.Duration(i) * time.Second
			e.publish(xds.NewSet([]*xds.Resource{edsCluster(t, "svc", timeout), e.webListener("svc", "")}, lives))
			e.eventually("the changed cluster is in use", func() bool {
				active, warming := e.clusters()
				return active["svc"] == fmt.Sprintf("%ds", i) && warming == 0
			})
		}
		l.Store(endpoints(t, "svc", b))
		e.answers("b")
		// A cluster whose endpoints nobody knows does not hold up the others.
		e.publish(xds.NewSet([]*xds.Resource{edsCluster(t, "svc", time.Second), edsCluster(t, "empty", time.Second), e.webListener("svc", "")},
			map[string]*xds.Live{"svc": l, "empty": live(endpoints(t, "empty"))}))
		e.eventually("the new cluster is in use", func() bool {
			active, warming := e.clusters()
			return active["empty"] == "1s" && warming == 0
		})
	})
}

// Sets that move all traffic to a new cluster and drop the old one lose no request.
func TestEnvoySwitchesWithoutLoss(t *testing.T) {
	both(t, func(t *testing.T, delta bool) {
		for _, rds := range []string{"", "routes"} {
			t.Run("rds="+rds, func(t *testing.T) { switchUnderLoad(t, delta, rds) })
		}
	})
}

func switchUnderLoad(t *testing.T, delta bool, rds string) {
	e := startEnvoy(t, delta, nil)
	port := backend(t, "x")
	e.eventually("Envoy is connected", func() bool { return e.engine.has(key("web-1")) })
	set := func(i int) *xds.Set {
		name := fmt.Sprintf("svc-%d", i)
		rs := []*xds.Resource{edsCluster(t, name, time.Second), e.webListener(name, rds)}
		if rds != "" {
			rs = append(rs, encoded(t, xds.Route, rds, routes(rds, name)))
		}
		return xds.NewSet(rs, map[string]*xds.Live{name: live(endpoints(t, name, port))})
	}
	e.publish(set(0))
	e.answers("x")

	var done atomic.Bool
	var total, failed atomic.Int64
	var first atomic.Pointer[string]
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			defer client.CloseIdleConnections()
			for !done.Load() {
				total.Add(1)
				res, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", e.port))
				if err == nil {
					b, _ := io.ReadAll(res.Body)
					res.Body.Close()
					if res.StatusCode == http.StatusOK {
						continue
					}
					err = fmt.Errorf("%s %s", res.Status, b)
				}
				failed.Add(1)
				text := err.Error()
				first.CompareAndSwap(nil, &text)
			}
		})
	}
	const moves = 4
	for i := 1; i <= moves; i++ {
		e.publish(set(i))
		e.eventually("only the new cluster is left", func() bool {
			active, _ := e.clusters()
			_, old := active[fmt.Sprintf("svc-%d", i-1)]
			_, now := active[fmt.Sprintf("svc-%d", i)]
			return now && !old
		})
	}
	done.Store(true)
	load.Wait()
	if failed.Load() > 0 || total.Load() < 100 {
		t.Errorf("%d of %d requests failed, the first: %s", failed.Load(), total.Load(), *first.Load())
	}
}

// A listener that Envoy refuses is found, the others go in, and the clusters that
// go with the last good one stay.
func TestEnvoyKeepsTheLastGood(t *testing.T) {
	both(t, func(t *testing.T, delta bool) {
		e := startEnvoy(t, delta, nil)
		port := backend(t, "x")
		e.eventually("Envoy is connected", func() bool { return e.engine.has(key("web-1")) })
		lives := map[string]*xds.Live{"old": live(endpoints(t, "old", port)), "new": live(endpoints(t, "new", port))}
		e.publish(xds.NewSet([]*xds.Resource{edsCluster(t, "old", time.Second), e.webListener("old", "")}, map[string]*xds.Live{"old": lives["old"]}))
		e.answers("x")
		bad := encoded(t, xds.Listener, "web", &listener.Listener{Name: "web", Address: address(e.port), FilterChains: []*listener.FilterChain{{
			Filters: []*listener.Filter{{Name: "no such filter"}},
		}}})
		e.publish(xds.NewSet([]*xds.Resource{edsCluster(t, "new", time.Second), bad}, map[string]*xds.Live{"new": lives["new"]}))
		e.eventually("Envoy refuses", func() bool { return e.stat("listener_manager.lds.update_rejected") > 0 })
		if code, body := e.get("/"); code != http.StatusOK || body != "x" {
			t.Errorf("the last good configuration answers %d %s", code, body)
		}
		if active, _ := e.clusters(); active["old"] == "" || active["new"] == "" {
			t.Errorf("clusters %v", active)
		}
		e.publish(xds.NewSet([]*xds.Resource{edsCluster(t, "new", time.Second), e.webListener("new", "")}, map[string]*xds.Live{"new": lives["new"]}))
		e.eventually("the old cluster is gone", func() bool {
			active, _ := e.clusters()
			return active["new"] != "" && active["old"] == ""
		})
		e.answers("x")
	})
}

// A control plane that comes back sends nothing that Envoy has.
func TestEnvoyReconnects(t *testing.T) {
	both(t, func(t *testing.T, delta bool) {
		e := startEnvoy(t, delta, nil)
		a, b := backend(t, "a"), backend(t, "b")
		l := live(endpoints(t, "svc", a))
		set := xds.NewSet([]*xds.Resource{edsCluster(t, "svc", time.Second), e.webListener("svc", "")}, map[string]*xds.Live{"svc": l})
		e.eventually("Envoy is connected", func() bool { return e.engine.has(key("web-1")) })
		e.publish(set)
		e.answers("a")
		// While a cluster is on its way out, a state-of-the-world client has another
		// version than a cold start would give it.
		e.eventually("the first cluster is gone", func() bool { active, _ := e.clusters(); return len(active) == 1 })
		addr := e.server.Addr().String()
		e.stop()

		var again *world
		e.eventually("the port is free", func() bool {
			ln, err := net.Listen("tcp", addr)
			if err != nil {
				return false
			}
			again = restart(t, e.world, ln, set)
			return true
		})
		e.eventually("Envoy is back", func() bool { return again.engine.has(key("web-1")) })
		e.eventually("Envoy says so", func() bool { return e.stat("control_plane.connected_state") == 1 })
		l.Store(endpoints(t, "svc", b))
		e.answers("b")
		total := 0
		for typ := range xds.NumTypes {
			n := int(counterValue(t, again, "xds_responses_sent", typ.URL()))
			if want := map[bool]int{true: 1, false: 0}[typ == xds.Endpoints]; n != want {
				t.Errorf("%s: %d responses after the restart, want %d", typ, n, want)
			}
			total += n
		}
		if total == 0 {
			t.Error("nothing was counted")
		}
	})
}

// restart runs a second server on the store, the certificate and the port of the
// first one; its engine gives every proxy the set.
func restart(t *testing.T, w *world, ln net.Listener, set *xds.Set) *world {
	t.Helper()
	conf := w.server.d.TLS
	again := startOn(t, w.store, func(d *Deps) {
		_ = d.Listener.Close()
		d.Listener, d.TLS, d.Certificate = ln, conf, w.cert
		d.Instance = "cp-2"
		d.Engine.(*fakeEngine).first = set
	})
	return again
}

func counterValue(t *testing.T, w *world, name, typeURL string) float64 {
	t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == typeURL {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}
