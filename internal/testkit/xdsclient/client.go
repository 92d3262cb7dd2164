// Package xdsclient is a small client of aggregated discovery for tests and load
// generators: it subscribes as Envoy does, accepts or rejects what comes, and
// remembers what it holds. One Client is one proxy, over any number of streams
// one after the other; its methods are safe for concurrent use.
package xdsclient

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Type URLs.
const (
	prefix    = "type.googleapis.com/"
	Clusters  = prefix + "envoy.config.cluster.v3.Cluster"
	Endpoints = prefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
	Secrets   = prefix + "envoy.extensions.transport_sockets.tls.v3.Secret"
	Listeners = prefix + "envoy.config.listener.v3.Listener"
	Routes    = prefix + "envoy.config.route.v3.RouteConfiguration"
)

// order is the one in which a stream begins.
var order = []string{Clusters, Endpoints, Secrets, Listeners, Routes}

// Options say what a client is.
type Options struct {
	Node *core.Node
	// Delta chooses the incremental protocol.
	Delta bool
	// Reject says why a response cannot be used; "" = it can. nil = all can.
	Reject func(typeURL string, resources map[string][]byte) string
	// Received is called for every response with the number of bytes of it; may be nil.
	Received func(typeURL string, resources map[string][]byte, size int)
}

// Client is one simulated proxy.
type Client struct {
	o Options

	mu    sync.Mutex
	types map[string]*held
}

// held is what the client holds of a type.
type held struct {
	bodies   map[string][]byte
	versions map[string]string
	names    map[string]bool // subscribed, for types that are asked by name
	version  string          // state of the world: accepted last
	nonce    string
	answered bool
}

// New returns a client that holds nothing.
func New(o Options) *Client {
	c := &Client{o: o, types: map[string]*held{}}
	for _, t := range order {
		c.types[t] = &held{bodies: map[string][]byte{}, versions: map[string]string{}, names: map[string]bool{}}
	}
	return c
}

// Run opens a stream and follows it until it ends or ctx does.
func (c *Client) Run(ctx context.Context, conn grpc.ClientConnInterface) error {
	w, err := c.open(ctx, conn)
	if err != nil {
		return err
	}
	c.mu.Lock()
	for _, h := range c.types {
		h.nonce = ""
	}
	first := c.hello()
	c.mu.Unlock()
	for _, r := range first {
		if err := say(w, r); err != nil {
			return err
		}
	}
	for {
		r, err := w.recv()
		if err != nil {
			return err
		}
		for _, answer := range c.take(r) {
			if err := say(w, answer); err != nil {
				return err
			}
		}
	}
}

// say sends a request. If the server has ended the stream it returns why, which
// only receiving tells.
func say(w wire, r request) error {
	err := w.send(r)
	for errors.Is(err, io.EOF) {
		if _, err := w.recv(); err != nil {
			return err
		}
	}
	return err
}

// request and response are what both protocols share.
type request struct {
	node                   *core.Node
	typeURL, nonce, reject string
	names                  []string // state of the world
	version                string
	add, remove            []string // delta
	have                   map[string]string
}

type response struct {
	typeURL, nonce, version string
	put                     map[string]*anypb.Any
	versions                map[string]string
	gone                    []string
	size                    int
}

func wildcard(t string) bool { return t == Clusters || t == Listeners }

// hello returns the requests that a stream begins with; c.mu is held.
func (c *Client) hello() []request {
	var out []request
	for _, t := range order {
		h := c.types[t]
		if !wildcard(t) && len(h.names) == 0 {
			continue
		}
		r := c.ask(t, slices.Sorted(maps.Keys(h.names)), nil)
		r.have = maps.Clone(h.versions)
		r.nonce = ""
		out = append(out, r)
	}
	out[0].node = c.o.Node
	return out
}

// ask returns a request about what the client wants to hear of.
func (c *Client) ask(t string, add, remove []string) request {
	h := c.types[t]
	r := request{typeURL: t, add: add, remove: remove}
	if !c.o.Delta {
		r.names, r.version, r.nonce = slices.Sorted(maps.Keys(h.names)), h.version, h.nonce
	}
	return r
}

// take handles a response and returns what to say.
func (c *Client) take(r *response) []request {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.types[r.typeURL]
	if h == nil {
		return nil
	}
	raw := make(map[string][]byte, len(r.put))
	for name, a := range r.put {
		raw[name] = a.GetValue()
	}
	if c.o.Received != nil {
		c.o.Received(r.typeURL, raw, r.size)
	}
	h.nonce, h.answered = r.nonce, true
	reject := ""
	if c.o.Reject != nil {
		reject = c.o.Reject(r.typeURL, raw)
	}
	if reject == "" {
		c.apply(h, r, raw)
	}
	ack := request{typeURL: r.typeURL, nonce: r.nonce, reject: reject}
	if !c.o.Delta {
		ack.names, ack.version = slices.Sorted(maps.Keys(h.names)), h.version
	}
	return append([]request{ack}, c.interest()...)
}

func (c *Client) apply(h *held, r *response, raw map[string][]byte) {
	if !c.o.Delta && wildcard(r.typeURL) {
		h.bodies = map[string][]byte{}
	}
	for _, name := range r.gone {
		delete(h.bodies, name)
		delete(h.versions, name)
	}
	for name, b := range raw {
		h.bodies[name] = b
		if v := r.versions[name]; v != "" {
			h.versions[name] = v
		}
	}
	h.version = r.version
}

// interest subscribes to what the held resources refer to; c.mu is held.
func (c *Client) interest() []request {
	want := map[string]map[string]bool{Endpoints: {}, Secrets: {}, Routes: {}}
	for name, b := range c.types[Clusters].bodies {
		c.clusterRefs(name, b, want)
	}
	for _, b := range c.types[Listeners].bodies {
		listenerRefs(b, want)
	}
	var out []request
	for _, t := range []string{Endpoints, Secrets, Routes} {
		h := c.types[t]
		var add, remove []string
		for n := range want[t] {
			if !h.names[n] {
				add = append(add, n)
			}
		}
		for n := range h.names {
			if !want[t][n] {
				remove = append(remove, n)
				delete(h.bodies, n)
				delete(h.versions, n)
			}
		}
		if len(add) == 0 && len(remove) == 0 {
			continue
		}
		h.names = want[t]
		slices.Sort(add)
		slices.Sort(remove)
		out = append(out, c.ask(t, add, remove))
	}
	return out
}

func (c *Client) clusterRefs(name string, b []byte, want map[string]map[string]bool) {
	var cl cluster.Cluster
	if proto.Unmarshal(b, &cl) != nil {
		return
	}
	if cl.GetType() == cluster.Cluster_EDS {
		if n := cl.GetEdsClusterConfig().GetServiceName(); n != "" {
			name = n
		}
		want[Endpoints][name] = true
	}
	var up tls.UpstreamTlsContext
	if a := cl.GetTransportSocket().GetTypedConfig(); a != nil && a.UnmarshalTo(&up) == nil {
		secretRefs(up.GetCommonTlsContext(), want)
	}
	for _, m := range cl.GetTransportSocketMatches() {
		var up tls.UpstreamTlsContext
		if a := m.GetTransportSocket().GetTypedConfig(); a != nil && a.UnmarshalTo(&up) == nil {
			secretRefs(up.GetCommonTlsContext(), want)
		}
	}
}

func listenerRefs(b []byte, want map[string]map[string]bool) {
	var l listener.Listener
	if proto.Unmarshal(b, &l) != nil {
		return
	}
	for _, chain := range append(l.GetFilterChains(), l.GetDefaultFilterChain()) {
		var down tls.DownstreamTlsContext
		if a := chain.GetTransportSocket().GetTypedConfig(); a != nil && a.UnmarshalTo(&down) == nil {
			secretRefs(down.GetCommonTlsContext(), want)
		}
		for _, f := range chain.GetFilters() {
			var h hcm.HttpConnectionManager
			if a := f.GetTypedConfig(); a != nil && a.MessageIs(&h) && a.UnmarshalTo(&h) == nil {
				if n := h.GetRds().GetRouteConfigName(); n != "" {
					want[Routes][n] = true
				}
			}
		}
	}
}

func secretRefs(t *tls.CommonTlsContext, want map[string]map[string]bool) {
	add := func(s *tls.SdsSecretConfig) {
		if s.GetSdsConfig().GetAds() != nil {
			want[Secrets][s.GetName()] = true
		}
	}
	for _, s := range t.GetTlsCertificateSdsSecretConfigs() {
		add(s)
	}
	add(t.GetValidationContextSdsSecretConfig())
	add(t.GetCombinedValidationContext().GetValidationContextSdsSecretConfig())
}

// Has tells whether anything of the type ever came.
func (c *Client) Has(typeURL string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.types[typeURL].answered
}

// Resources returns what the client holds of a type: encoded resources by name.
func (c *Client) Resources(typeURL string) map[string][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.types[typeURL].bodies)
}
