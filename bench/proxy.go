package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	ads "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Type URLs that the simulated proxies subscribe to.
const (
	clusterURL  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointURL = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listenerURL = "type.googleapis.com/envoy.config.listener.v3.Listener"
	secretURL   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// simulated is one proxy that behaves like Envoy at the ADS stream.
type simulated struct {
	fleet *fleet
	index int
	// versions are those that it has, by type and name; only its stream touches them.
	versions map[string]map[string]string

	mu        sync.Mutex
	timeouts  map[string]time.Duration   // cluster → connect timeout
	endpoints map[string]map[string]bool // cluster → addresses
	listeners bool
	complete  bool
	leaf      *x509.Certificate // what it proves itself with; nil without mutual TLS
}

// fleet is all simulated proxies with what they wait for.
type fleet struct {
	o       options
	targets targets
	delta   bool
	secrets []string // that the proxies subscribe to; needs delta
	target  string
	proxies []*simulated
	bytes   atomic.Int64

	mu       sync.Mutex
	awaited  func(p *simulated) bool
	arrivals map[int]time.Time
	broken   map[string]int // streams by the error that they ended with
	done     atomic.Int64   // proxies that are completely configured
}

func serviceName(i int) string { return fmt.Sprintf("svc-%d", i) }

func newFleet(o options, delta bool, target string) *fleet {
	f := &fleet{o: o, targets: targetsOf(o.proxies), delta: delta, target: target, arrivals: map[int]time.Time{}, broken: map[string]int{}}
	for i := range o.proxies {
		f.proxies = append(f.proxies, &simulated{fleet: f, index: i, versions: map[string]map[string]string{}, timeouts: map[string]time.Duration{}, endpoints: map[string]map[string]bool{}})
	}
	return f
}

// calls lists the services that the proxy has outbounds to.
func (p *simulated) calls() []int {
	var out []int
	for k := range p.fleet.o.outbound {
		out = append(out, (p.index*7+k+1)%p.fleet.o.services)
	}
	return out
}

func dataplane(name, address string, service int, outbounds []any) map[string]any {
	n := map[string]any{
		"address": address,
		"inbound": []any{map[string]any{"port": 8080, "tags": map[string]any{"kuma.io/service": serviceName(service), "kuma.io/protocol": "http"}}},
	}
	if len(outbounds) > 0 {
		n["outbound"] = outbounds
	}
	return map[string]any{"type": "Dataplane", "mesh": "default", "name": name, "networking": n}
}

func (p *simulated) node() *corev3.Node {
	var outs []any
	for k, s := range p.calls() {
		outs = append(outs, map[string]any{"port": 20000 + k, "tags": map[string]any{"kuma.io/service": serviceName(s)}})
	}
	name := fmt.Sprintf("sim-%d", p.index)
	address := fmt.Sprintf("10.%d.%d.%d", 100+p.index/65000, (p.index/250)%250, p.index%250+1)
	doc, _ := json.Marshal(dataplane(name, address, p.index%p.fleet.o.services, outs))
	md, _ := structpb.NewStruct(map[string]any{
		"dataplane.resource": string(doc), "dataplane.proxyType": "dataplane",
		"dataplane.admin.port": "9901", "dataplane.admin.address": "127.0.0.1", "dataplane.readinessReporter.port": "9902",
	})
	return &corev3.Node{Id: "default." + name, Cluster: serviceName(p.index % p.fleet.o.services), Metadata: md}
}

// start connects the proxies, spread over the ramp.
func (f *fleet) start(ctx context.Context) {
	for _, p := range f.proxies {
		go p.run(ctx)
		time.Sleep(f.o.ramp / time.Duration(len(f.proxies)))
	}
}

// run keeps a stream open, as Envoy does.
func (p *simulated) run(ctx context.Context) {
	creds := credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // because it is loopback, to a control plane that we started
	conn, err := grpc.NewClient(p.fleet.target, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)),
		grpc.WithDisableServiceConfig(), // which would be asked of DNS, for seconds where that is out of reach
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 300 * time.Millisecond}, MinConnectTimeout: 5 * time.Second}))
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	for ctx.Err() == nil {
		client := ads.NewAggregatedDiscoveryServiceClient(conn)
		stream := p.fullStream
		if p.fleet.delta {
			stream = p.deltaStream
		}
		if err := stream(ctx, client); err != nil && ctx.Err() == nil {
			p.fleet.broke(err)
			time.Sleep(300 * time.Millisecond)
		}
	}
}

func (p *simulated) deltaStream(ctx context.Context, client ads.AggregatedDiscoveryServiceClient) error {
	s, err := client.DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	// Like Envoy it tells what it has of an earlier stream.
	node := p.node()
	known := map[string]bool{}
	for name := range p.versions[endpointURL] {
		known[name] = true
	}
	for _, first := range []struct {
		url   string
		names []string
	}{{clusterURL, nil}, {endpointURL, slices.Collect(maps.Keys(known))}, {listenerURL, nil}, {secretURL, p.fleet.secrets}} {
		if len(first.names) == 0 && (first.url == endpointURL || first.url == secretURL) {
			continue
		}
		if err := s.Send(&ads.DeltaDiscoveryRequest{
			Node: node, TypeUrl: first.url, ResourceNamesSubscribe: first.names, InitialResourceVersions: p.versions[first.url],
		}); err != nil {
			return err
		}
		node = nil
	}
	for {
		resp, err := s.Recv()
		if err != nil {
			return err
		}
		p.fleet.bytes.Add(int64(proto.Size(resp)))
		var fresh []string
		for _, name := range resp.RemovedResources {
			delete(p.versions[resp.TypeUrl], name)
		}
		for _, r := range resp.Resources {
			p.has(resp.TypeUrl, r.Name, r.Version)
			if name := p.learn(resp.TypeUrl, r.Resource); name != "" && !known[name] {
				known[name] = true
				fresh = append(fresh, name)
			}
		}
		if err := s.Send(&ads.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce}); err != nil {
			return err
		}
		if len(fresh) > 0 {
			if err := s.Send(&ads.DeltaDiscoveryRequest{TypeUrl: endpointURL, ResourceNamesSubscribe: fresh}); err != nil {
				return err
			}
		}
		p.look()
	}
}

// has notes the version of a resource.
func (p *simulated) has(url, name, version string) {
	if p.versions[url] == nil {
		p.versions[url] = map[string]string{}
	}
	p.versions[url][name] = version
}

func (p *simulated) fullStream(ctx context.Context, client ads.AggregatedDiscoveryServiceClient) error {
	s, err := client.StreamAggregatedResources(ctx)
	if err != nil {
		return err
	}
	node := p.node()
	for _, url := range []string{clusterURL, listenerURL} {
		if err := s.Send(&ads.DiscoveryRequest{Node: node, TypeUrl: url}); err != nil {
			return err
		}
		node = nil
	}
	var names []string
	last := map[string]*ads.DiscoveryResponse{}
	for {
		resp, err := s.Recv()
		if err != nil {
			return err
		}
		p.fleet.bytes.Add(int64(proto.Size(resp)))
		last[resp.TypeUrl] = resp
		var eds []string
		for _, r := range resp.Resources {
			if name := p.learn(resp.TypeUrl, r); name != "" {
				eds = append(eds, name)
			}
		}
		ack := &ads.DiscoveryRequest{TypeUrl: resp.TypeUrl, VersionInfo: resp.VersionInfo, ResponseNonce: resp.Nonce}
		if resp.TypeUrl == endpointURL {
			ack.ResourceNames = names
		}
		if err := s.Send(ack); err != nil {
			return err
		}
		if resp.TypeUrl == clusterURL && !slices.Equal(names, eds) {
			names = eds
			req := &ads.DiscoveryRequest{TypeUrl: endpointURL, ResourceNames: names}
			if before := last[endpointURL]; before != nil {
				req.VersionInfo, req.ResponseNonce = before.VersionInfo, before.Nonce
			}
			if err := s.Send(req); err != nil {
				return err
			}
		}
		p.look()
	}
}

// learn keeps what a resource says; for an EDS cluster it returns the name to
// subscribe to.
func (p *simulated) learn(url string, r *anypb.Any) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch url {
	case listenerURL:
		p.listeners = true
	case clusterURL:
		var c clusterv3.Cluster
		if proto.Unmarshal(r.Value, &c) != nil {
			return ""
		}
		p.timeouts[c.Name] = c.ConnectTimeout.AsDuration()
		if c.GetType() == clusterv3.Cluster_EDS {
			return c.Name
		}
	case secretURL:
		var secret tlsv3.Secret
		if proto.Unmarshal(r.Value, &secret) != nil {
			return ""
		}
		if block, _ := pem.Decode(secret.GetTlsCertificate().GetCertificateChain().GetInlineBytes()); block != nil {
			p.leaf, _ = x509.ParseCertificate(block.Bytes) // one that cannot be read is waited for in vain
		}
	case endpointURL:
		var a endpointv3.ClusterLoadAssignment
		if proto.Unmarshal(r.Value, &a) != nil {
			return ""
		}
		set := map[string]bool{}
		for _, l := range a.Endpoints {
			for _, e := range l.LbEndpoints {
				set[e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress()] = true
			}
		}
		p.endpoints[a.ClusterName] = set
	}
	return ""
}

// ports are what tells the messages of equal errors apart.
var ports = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+:\d+`)

// broke notes that a stream ended.
func (f *fleet) broke(err error) {
	text := ports.ReplaceAllString(err.Error(), "…")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken[text]++
}

// reportBroken prints how many streams broke, and the errors that they ended with.
func (f *fleet) reportBroken(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, times := range f.broken {
		n += times
	}
	row(name, fmt.Sprint(n), "0")
	for text, times := range f.broken {
		fmt.Printf("%6d × %s\n", times, text)
	}
}

// forgetBroken begins to count anew.
func (f *fleet) forgetBroken() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.broken)
}

// look notes when the proxy becomes complete, and when what is awaited is there.
func (p *simulated) look() {
	p.mu.Lock()
	if !p.complete && p.listeners && len(p.endpoints) >= min(p.fleet.o.outbound, p.fleet.o.services) {
		p.complete = true
		p.fleet.done.Add(1)
	}
	p.mu.Unlock()
	f := p.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.awaited == nil {
		return
	}
	if _, seen := f.arrivals[p.index]; !seen && f.awaited(p) {
		f.arrivals[p.index] = time.Now()
	}
}

// await makes the fleet note when each proxy fulfils a condition.
func (f *fleet) await(cond func(p *simulated) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.awaited, f.arrivals = cond, map[int]time.Time{}
}

// collect waits for n proxies and returns the delays since start, sorted.
func (f *fleet) collect(start time.Time, n int, limit time.Duration) ([]time.Duration, error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		f.mu.Lock()
		got := len(f.arrivals)
		if got >= n {
			var out []time.Duration
			for t := range maps.Values(f.arrivals) {
				out = append(out, t.Sub(start))
			}
			f.mu.Unlock()
			slices.Sort(out)
			return out, nil
		}
		f.mu.Unlock()
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("only %d of %d proxies saw the change within %s", got, n, limit)
		}
	}
}
