package dpserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"weft/internal/config"
	"weft/internal/cp/admit"
	"weft/internal/cp/auth"
	"weft/internal/cp/insight"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/cp/store/storetest"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/xdsclient"
	"weft/internal/tlsutil"
)

// tokens is a Verifier in which a credential is good for the proxies listed.
type tokens struct {
	mu    sync.Mutex
	needs bool
	good  map[string][]string // credential → names; "*" = all
	err   error
}

func (v *tokens) Needs(string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.needs
}

func (v *tokens) Verify(_ context.Context, credential string, p auth.Proxy) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return v.err
	}
	if !v.needs {
		return nil
	}
	for _, name := range v.good[credential] {
		if name == "*" || name == p.Name {
			return nil
		}
	}
	return errors.New("the token is for another proxy")
}

func (v *tokens) revoke(credential string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.good, credential)
}

// fakeEngine gives every proxy one cluster that is named after it.
type fakeEngine struct {
	mu        sync.Mutex
	connected map[model.Key]view.Metadata
	sinks     map[model.Key]xds.Sink
	first     *xds.Set // what every proxy gets; nil = a cluster named after it
}

func (e *fakeEngine) Connect(key model.Key, md view.Metadata, sink xds.Sink) func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.connected[key], e.sinks[key] = md, sink
	if e.first != nil {
		sink.Publish(e.first)
	} else {
		sink.Publish(setOf("cluster-of-" + key.Name))
	}
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.sinks[key] == sink {
			delete(e.connected, key)
			delete(e.sinks, key)
		}
	}
}

func (e *fakeEngine) SetAdminCert(key model.Key, sink xds.Sink, cert *view.AdminCert) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if md, ok := e.connected[key]; ok && e.sinks[key] == sink {
		md.AdminCert = cert
		e.connected[key] = md
	}
}

func (e *fakeEngine) Holds(model.Key, xds.Sink, xds.Holding) {}

func (e *fakeEngine) has(key model.Key) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.connected[key]
	return ok
}

// setOf returns a set of clusters without endpoints.
func setOf(names ...string) *xds.Set {
	var rs []*xds.Resource
	for _, n := range names {
		b, err := proto.Marshal(&cluster.Cluster{Name: n})
		if err != nil {
			panic(err)
		}
		rs = append(rs, xds.NewResource(xds.Cluster, n, b))
	}
	return xds.NewSet(rs, nil)
}

// world is a running server.
type world struct {
	t      *testing.T
	store  store.Store
	flaky  *storetest.Flaky
	tokens *tokens
	engine *fakeEngine
	server *Server
	cert   *tlsutil.Certificate
	reg    *prometheus.Registry
	stop   func()
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func newCertificate(t *testing.T) *tlsutil.Certificate {
	t.Helper()
	certFile, keyFile, err := tlsutil.KeepOwn(t.TempDir(), tlsutil.Wish{Hosts: []string{"localhost", "127.0.0.1"}}, quiet(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c, err := tlsutil.Open(certFile, keyFile, quiet(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs a server on a store with the mesh "default"; change may alter what
// it is made of.
func start(t *testing.T, change func(*Deps)) *world {
	t.Helper()
	mem := memory.New()
	t.Cleanup(func() { mem.Close() })
	return startOn(t, mem, change)
}

func startOn(t *testing.T, mem store.Store, change func(*Deps)) *world {
	t.Helper()
	w := &world{
		t: t, store: mem, flaky: storetest.NewFlaky(mem), cert: newCertificate(t), reg: prometheus.NewRegistry(),
		tokens: &tokens{good: map[string][]string{}},
		engine: &fakeEngine{connected: map[model.Key]view.Metadata{}, sinks: map[model.Key]xds.Sink{}},
	}
	if _, err := mem.Create(t.Context(), kinds.Mesh.Make("", "default")); err != nil && !errors.Is(err, store.ErrExists) {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conf, err := tlsutil.ServerConfig(tlsutil.Settings{MinVersion: "TLSv1_2"}, w.cert)
	if err != nil {
		t.Fatal(err)
	}
	d := Deps{
		Listener: l, TLS: conf, Certificate: w.cert, Store: w.flaky, Verifier: w.tokens, Engine: w.engine,
		Gate:     &admit.Gate{Reader: w.flaky, Zone: "default"},
		Instance: "cp-1", Version: "2.10.11",
		Bootstrap: Bootstrap{HDS: true, BootstrapParams: config.BootstrapParams{
			AdminAddress: "127.0.0.1", AdminPort: 9901, AdminAccessLogPath: "/dev/null", XDSPort: 5678, XDSConnectTimeout: time.Second,
		}},
		DeregistrationDelay: 50 * time.Millisecond, ReadHeaderTimeout: 5 * time.Second,
		Log: quiet(), Metrics: w.reg, Now: time.Now,
	}
	if change != nil {
		change(&d)
	}
	d.Recorder = insight.NewRecorder(insight.RecorderDeps{
		Store: d.Store, Instance: d.Instance, Interval: 20 * time.Millisecond, IdleTimeout: time.Hour, Limit: 2, Log: quiet(), Now: time.Now,
	})
	w.server = New(d)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.server.Run(ctx); err != nil {
			t.Errorf("server: %v", err)
		}
	})
	running.Go(func() { _ = d.Recorder.Run(ctx) })
	w.stop = func() { cancel(); running.Wait() }
	t.Cleanup(w.stop)
	return w
}

func (w *world) create(o *model.Object) {
	w.t.Helper()
	if _, err := w.store.Create(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) get(key model.Key) *model.Object {
	o, err := w.store.Get(w.t.Context(), key)
	if err != nil {
		return nil
	}
	return o
}

func (w *world) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.cert.PEM())
	return pool
}

// dial returns a connection with a credential.
func (w *world) dial(credential string) *grpc.ClientConn {
	w.t.Helper()
	conn, err := grpc.NewClient(w.server.Addr().String(),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: w.pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12})),
		grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, m string, s grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			if credential != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", credential)
			}
			return s(ctx, d, cc, m, o...)
		}))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

// dataplane returns a Dataplane as JSON text and as an object.
func dataplane(name string, more map[string]any) (string, *model.Object) {
	in := map[string]any{"port": 8080, "tags": map[string]any{"kuma.io/service": "web"}}
	for k, v := range more {
		in[k] = v
	}
	doc := map[string]any{
		"type": "Dataplane", "mesh": "default", "name": name,
		"networking": map[string]any{"address": "127.0.0.1", "inbound": []any{in}},
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	o, err := kinds.Dataplane.Decode(b)
	if err != nil {
		panic(err)
	}
	return string(b), o
}

// node returns the node of a proxy; resource may be empty.
func node(name, resource string) *core.Node {
	fields := map[string]any{
		"dataplane.proxyType": "dataplane", "dataplane.admin.port": "9901", "dataplane.admin.address": "127.0.0.1",
		"features": []any{"feature-tcp-accesslog-via-named-pipe"}, "workdir": "/tmp/x",
		"version": map[string]any{
			"kumaDp": map[string]any{"version": "2.10.3", "gitTag": "t"},
			"envoy":  map[string]any{"version": "1.40.0", "build": "b", "kumaDpCompatible": true},
		},
		"dynamicMetadata": map[string]any{"version.dependencies.coredns": "1.14.1"},
	}
	if resource != "" {
		fields["dataplane.resource"] = resource
	}
	md, err := structpb.NewStruct(fields)
	if err != nil {
		panic(err)
	}
	return &core.Node{Id: "default." + name, Cluster: "web", Metadata: md}
}

// proxy is a running client.
type proxy struct {
	*xdsclient.Client
	done  chan struct{}
	err   error
	leave func()
}

// connect opens a stream.
func (w *world) connect(conn *grpc.ClientConn, n *core.Node, delta bool) *proxy {
	ctx, cancel := context.WithCancel(w.t.Context())
	p := &proxy{Client: xdsclient.New(xdsclient.Options{Node: n, Delta: delta}), done: make(chan struct{}), leave: cancel}
	go func() {
		defer close(p.done)
		p.err = p.Run(ctx, conn)
	}()
	w.t.Cleanup(func() { cancel(); <-p.done })
	return p
}

// ended waits for the end of the stream and returns its error.
func (w *world) ended(p *proxy) error {
	w.t.Helper()
	select {
	case <-p.done:
		return p.err
	case <-time.After(10 * time.Second):
		w.t.Fatal("the stream goes on")
		return nil
	}
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (w *world) configured(p *proxy, name string) {
	w.t.Helper()
	w.eventually(name+" is configured", func() bool {
		_, ok := p.Resources(xdsclient.Clusters)["cluster-of-"+name]
		return ok
	})
}

// post sends a bootstrap request.
func (w *world) post(body []byte, change func(*http.Request)) (*http.Response, []byte) {
	w.t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12},
	}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, fmt.Sprintf("https://%s/bootstrap", w.server.Addr()), bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	req.Host = "localhost:5678"
	if change != nil {
		change(req)
	}
	res, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, out
}
