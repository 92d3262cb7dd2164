package identity

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"weft/internal/cp/envoy"
	"weft/internal/cp/state"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/lockedbuf"
)

// world is a Service with its tasks on a memory store, as package cp wires them.
type world struct {
	t       testing.TB
	store   *memory.Store
	state   *state.State
	service *Service
	log     *lockedbuf.Buffer
	metrics *prometheus.Registry

	mu      sync.Mutex
	insight map[model.Key]*kinds.DataplaneMTLS
	calls   int // of Record
}

// testHold is how long steps of a switch last at least.
const testHold = time.Second

// newWorld starts a world. change may be nil.
func newWorld(t testing.TB, change func(*Deps)) *world {
	t.Helper()
	w := &world{t: t, store: memory.New(), log: new(lockedbuf.Buffer), metrics: prometheus.NewRegistry(), insight: map[model.Key]*kinds.DataplaneMTLS{}}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	w.state = state.New(w.store, log, time.Now)
	d := Deps{Log: log, Metrics: w.metrics, Now: time.Now, Workers: 2, Rate: 1e6, Record: func(key model.Key, _ string, m *kinds.DataplaneMTLS) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.insight[key] = m
		w.calls++
	}}
	if change != nil {
		change(&d)
	}
	w.service = New(d)
	keeper := &Keeper{Store: w.store, State: w.state, Log: log, Now: time.Now}
	switcher := &Switcher{Store: w.store, State: w.state, Authorities: w.service, Hold: testHold, Log: log, Now: time.Now}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, f := range []func(context.Context) error{w.state.Run, w.service.Run, keeper.Run, switcher.Run, w.follow} {
		running.Go(func() { _ = f(ctx) })
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	return w
}

// follow stands in for the engine.
func (w *world) follow(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case u := <-w.state.Updates():
			for _, m := range u.Meshes() {
				w.service.Follow(u.Snapshot, m)
			}
		}
	}
}

// put creates or replaces an object.
func (w *world) put(o *model.Object) {
	w.t.Helper()
	have, err := w.store.Get(context.Background(), o.Key())
	if errors.Is(err, store.ErrNotFound) {
		_, err = w.store.Create(context.Background(), o)
	} else if err == nil {
		o = o.Clone()
		o.Meta.Version = have.Meta.Version
		_, err = w.store.Update(context.Background(), o)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// backend describes an authority.
func backend(name, typ string) kinds.CABackend { return kinds.CABackend{Name: name, Type: typ} }

// mesh writes the Mesh m with these authorities, the first of which is in use.
func (w *world) mesh(backends ...kinds.CABackend) {
	w.t.Helper()
	w.meshNamed("m", backends...)
}

func (w *world) meshNamed(name string, backends ...kinds.CABackend) {
	w.t.Helper()
	o := kinds.Mesh.Make("", name)
	spec := &kinds.MeshSpec{}
	if len(backends) > 0 {
		spec.MTLS = &kinds.MeshMTLS{EnabledBackend: backends[0].Name, Backends: backends}
	}
	o.Spec = spec
	w.put(o)
}

// proxy is a connected proxy that accepts at once what it is given.
type proxy struct {
	w      *world
	name   string
	member *Member
	poke   chan struct{}

	mu      sync.Mutex
	need    []*ir.Identity
	tags    map[string][]string
	secrets map[string]*xds.Resource
	deaf    bool // takes nothing in
	stage   kinds.LeavingStage
}

// join connects a proxy of a service and lets it be in the store.
func (w *world) join(name, service string) *proxy {
	w.t.Helper()
	o := kinds.Dataplane.Make("m", name)
	o.Spec = &kinds.DataplaneSpec{Networking: &kinds.DataplaneNetworking{Address: "10.0.0.1", Inbound: []kinds.Inbound{{Port: 80, Tags: map[string]string{model.TagService: service}}}}}
	w.put(o)
	p := &proxy{w: w, name: name, poke: make(chan struct{}, 1)}
	p.member = w.service.Join(kinds.Dataplane.Key("m", name), 0, func() {
		select {
		case p.poke <- struct{}{}:
		default:
		}
	})
	p.needs(service)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-p.poke:
				p.refresh()
			}
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done })
	return p
}

// needs says of which service the proxy is; "" = it needs no certificate.
func (p *proxy) needs(service string) {
	p.mu.Lock()
	p.need, p.tags = nil, nil
	if service != "" {
		p.need = []*ir.Identity{{Mesh: "m", Services: []string{service}}}
		p.tags = map[string][]string{model.TagService: {service}, "version": {"2", "1"}}
	}
	p.mu.Unlock()
	p.refresh()
}

func (p *proxy) refresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf {
		return
	}
	p.secrets = map[string]*xds.Resource{}
	var held []*xds.Resource
	for _, s := range p.member.Secrets(p.need, p.tags) {
		p.secrets[s.Name] = s
		held = append(held, s)
	}
	p.member.Holds(xds.Holding{Secrets: held, Listeners: true, Stage: string(p.stage)})
	p.w.record(p.name)
}

// enters says that the proxy has taken in a stage of leaving mutual TLS.
func (p *proxy) enters(stage kinds.LeavingStage) {
	p.mu.Lock()
	p.stage = stage
	p.mu.Unlock()
	p.refresh()
}

func (p *proxy) setDeaf(deaf bool) {
	p.mu.Lock()
	p.deaf = deaf
	p.mu.Unlock()
	p.refresh()
}

// record writes the insight as the Recorder would.
func (w *world) record(name string) {
	o := kinds.DataplaneInsight.Make("m", name)
	w.mu.Lock()
	m := w.insight[kinds.Dataplane.Key("m", name)]
	w.mu.Unlock()
	o.Spec = &kinds.DataplaneInsightSpec{MTLS: m, Subscriptions: []kinds.DiscoverySubscription{{ID: "1", ConnectTime: model.At(time.Now())}}}
	w.put(o)
}

// mtls is what the API tells of the proxy's certificates; nil = nothing.
func (p *proxy) mtls() *kinds.DataplaneMTLS {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.w.insight[kinds.Dataplane.Key("m", p.name)]
}

// leaf returns the certificate that the proxy has, nil if it has none.
func (p *proxy) leaf() *x509.Certificate {
	p.w.t.Helper()
	p.mu.Lock()
	res := p.secrets[envoy.IdentitySecret("m")]
	p.mu.Unlock()
	if res == nil {
		return nil
	}
	return parse(p.w.t, secretOf(p.w.t, res).GetTlsCertificate().GetCertificateChain().GetInlineBytes())[0]
}

// roots returns the certificates that the proxy checks others against.
func (p *proxy) roots() []*x509.Certificate {
	p.w.t.Helper()
	p.mu.Lock()
	res := p.secrets[envoy.CASecret("m")]
	p.mu.Unlock()
	if res == nil {
		return nil
	}
	return parse(p.w.t, secretOf(p.w.t, res).GetValidationContext().GetTrustedCa().GetInlineBytes())
}

func secretOf(t testing.TB, res *xds.Resource) *tlsv3.Secret {
	t.Helper()
	s := new(tlsv3.Secret)
	if err := proto.Unmarshal(res.Body, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func parse(t testing.TB, text []byte) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return out
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
}

// trusts tells whether the proxy accepts the certificate of another.
func (p *proxy) trusts(o *proxy) error {
	pool := x509.NewCertPool()
	for _, c := range p.roots() {
		pool.AddCert(c)
	}
	leaf := o.leaf()
	if leaf == nil {
		return errors.New("there is no certificate")
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

// everybody checks that all proxies accept each other.
func everybody(t testing.TB, when string, ps ...*proxy) {
	t.Helper()
	for _, p := range ps {
		for _, o := range ps {
			if err := p.trusts(o); err != nil {
				t.Fatalf("%s: %s does not accept %s: %v", when, p.name, o.name, err)
			}
		}
	}
}

// rest lets some time pass and everything come to rest.
func rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// flaky is an authority that can be broken.
type flaky struct {
	Authority
	mu     sync.Mutex
	down   bool
	asked  int
	issued int
}

func (f *flaky) Issue(ctx context.Context, r Request) (*Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.down {
		return nil, errors.New("the issuer is down")
	}
	f.issued++
	return f.Authority.Issue(ctx, r)
}

func (f *flaky) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *flaky) counts() (asked, issued int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked, f.issued
}

// test is a type of authorities that tests make.
const testType = "test"

// withTestType makes the authorities of type test be those of the map, by backend.
func withTestType(d *Deps, all map[string]Authority) {
	d.Openers = Openers()
	d.Openers[testType] = func(_ context.Context, s Source) (Authority, error) {
		a := all[s.Backend.Name]
		if a == nil {
			return nil, fmt.Errorf("no authority %q", s.Backend.Name)
		}
		return a, nil
	}
}

// newTestAuthority makes key pairs that cost little.
func newTestAuthority(t testing.TB) *keyPair {
	t.Helper()
	cert, key, err := newBuiltin("m", kinds.BuiltinCA{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	k, err := newKeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
