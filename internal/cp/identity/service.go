package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Deps is what a Service needs.
type Deps struct {
	// Openers by type of backend; nil = those of Openers.
	Openers map[string]Opener
	// ReadFile reads files that data sources name, with a bound; nil = they cannot be read.
	ReadFile func(name string) ([]byte, error)
	// Record is told what the certificates of a connected proxy in a mesh look like,
	// nil if it has none; nil = nobody wants to know. It must not block.
	Record  func(key model.Key, mesh string, m *kinds.DataplaneMTLS)
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
	// Workers issue certificates side by side; 0 = one per two CPUs, so that a
	// rotation of everything leaves room for other work.
	Workers int
	// Rate bounds the certificates issued per second; 0 = 2000.
	Rate float64
	// Random returns a number in [0,1) that spreads renewals; nil = rand.Float64.
	Random func() float64
}

const (
	defaultRate = 2000
	// reload is how often files are looked at again.
	reload = 10 * time.Second
)

// Service issues certificates for connected proxies.
type Service struct {
	d       Deps
	metrics *metrics
	limit   *rate.Limiter
	poke    chan struct{} // 1 slot: a mesh is to be loaded, or the timers changed

	mu     sync.Mutex
	work   *sync.Cond // there is something to issue, or the end
	closed bool
	meshes map[string]*mesh
	// first are the leaves without a certificate, renew those that have one.
	first, renew []*leaf
	timers       timers
}

// mesh is what is known about one mesh. The Service's mutex guards it.
type mesh struct {
	name string
	src  sources
	// mtls is nil while mutual TLS is off.
	mtls    *kinds.MeshMTLS
	trust   *kinds.MeshTrust
	secrets map[string][]byte

	backends map[string]*loaded
	known    map[string]Authority // by id
	plan     *plan
	before   *plan // the plan that was replaced; proxies may still hold its bundle
	leaves   map[*leaf]struct{}
	// guests are the proxies of other meshes that check certificates of this one.
	guests map[*Member]struct{}

	dirty, loading bool
	loadFault      fault // of loading authorities
	issueFault     fault // of issuing
}

// sources tell whether a mesh has to be loaded again.
type sources struct{ mesh, trust, secrets model.Hash }

// New returns a service; Run makes it work.
func New(d Deps) *Service {
	if d.Openers == nil {
		d.Openers = Openers()
	}
	if d.Workers == 0 {
		d.Workers = max(runtime.GOMAXPROCS(0)/2, 1)
	}
	if d.Rate == 0 {
		d.Rate = defaultRate
	}
	if d.Random == nil {
		d.Random = rand.Float64
	}
	s := &Service{
		d: d, limit: rate.NewLimiter(rate.Limit(d.Rate), max(int(d.Rate/10), 1)),
		poke: make(chan struct{}, 1), meshes: map[string]*mesh{},
	}
	s.work = sync.NewCond(&s.mu)
	s.metrics = newMetrics(s, d.Metrics)
	return s
}

// Run loads, issues and renews until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for range s.d.Workers {
		running.Go(func() { s.issueAll(ctx) })
	}
	defer func() {
		s.mu.Lock()
		s.closed = true
		s.work.Broadcast()
		s.mu.Unlock()
	}()
	files := time.NewTicker(reload)
	defer files.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for _, m := range s.takeDirty() {
			running.Go(func() { s.load(ctx, m) })
		}
		timer.Reset(s.due())
		select {
		case <-ctx.Done():
			return nil
		case <-s.poke:
		case <-timer.C:
		case <-files.C:
			s.lookAgain()
		}
	}
}

func (s *Service) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// Follow takes over what tables say of a mesh. It is called whenever something in
// the mesh, or a Config, may have changed, and does not block.
func (s *Service) Follow(t model.Tables, name string) {
	row, exists := t.Table(kinds.Mesh, "").Get(name)
	var mtls *kinds.MeshMTLS
	if exists {
		if spec := model.Spec[kinds.MeshSpec](row.Object); spec.EnabledCA() != nil {
			mtls = spec.MTLS
		}
	}
	trust, _ := t.Table(kinds.Config, "").Get(kinds.TrustName(name))
	secrets, hash := secretsOf(t, name, mtls)
	src := sources{mesh: row.Hash, trust: trust.Hash, secrets: hash}

	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.meshes[name]
	if m == nil {
		if mtls == nil {
			return
		}
		m = s.newMesh(name)
	}
	if m.src == src || mtls == nil && exists && trust.Object != nil && m.plan != nil {
		return // nothing is new, or the proxies still need what they have: see Switcher.leave
	}
	m.src, m.mtls, m.secrets, m.dirty = src, mtls, secrets, true
	m.trust = kinds.TrustOf(t, name)
	s.wake()
}

// newMesh adds a mesh; s.mu is held.
func (s *Service) newMesh(name string) *mesh {
	m := &mesh{name: name, backends: map[string]*loaded{}, known: map[string]Authority{}, leaves: map[*leaf]struct{}{}, guests: map[*Member]struct{}{}}
	s.meshes[name] = m
	return m
}

// secretsOf returns the Secrets that the backends of a mesh use.
func secretsOf(t model.Tables, mesh string, mtls *kinds.MeshMTLS) (map[string][]byte, model.Hash) {
	if mtls == nil {
		return nil, model.Hash{}
	}
	out := map[string][]byte{}
	var sum []byte
	for i := range mtls.Backends {
		for _, name := range mtls.Backends[i].SecretNames(mesh) {
			row, ok := t.Table(kinds.Secret, mesh).Get(name)
			if !ok {
				continue
			}
			out[name] = model.Spec[kinds.SecretSpec](row.Object).Data
			sum = append(sum, row.Hash[:]...)
		}
	}
	return out, model.HashOf(sum)
}

// takeDirty returns the meshes to be loaded, at most one load of each at a time.
func (s *Service) takeDirty() []*mesh {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*mesh
	for _, m := range s.meshes {
		if m.dirty && !m.loading {
			m.dirty, m.loading = false, true
			out = append(out, m)
		}
	}
	return out
}

// lookAgain loads meshes again whose authorities are read from files.
func (s *Service) lookAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.meshes {
		if m.mtls != nil && readsFiles(m.mtls) {
			m.dirty = true
		}
	}
}

func readsFiles(mtls *kinds.MeshMTLS) bool {
	for i := range mtls.Backends {
		if mtls.Backends[i].Type != kinds.CAProvided {
			continue
		}
		c, err := mtls.Backends[i].Provided()
		if err == nil && (c.Cert != nil && c.Cert.File != nil || c.Key != nil && c.Key.File != nil) {
			return true
		}
	}
	return false
}

// load opens the authorities of a mesh and acts by the new plan.
func (s *Service) load(ctx context.Context, m *mesh) {
	s.mu.Lock()
	name, mtls, secrets := m.name, m.mtls, m.secrets
	s.mu.Unlock()
	results := map[string]*loaded{}
	if mtls != nil {
		for i := range mtls.Backends {
			b := &mtls.Backends[i]
			a, err := s.open(ctx, name, b, secrets)
			results[b.Name] = &loaded{authority: a, err: err}
		}
	}
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	m.loading = false
	changed := s.settle(m, mtls, results)
	if m.dirty {
		s.wake()
	}
	s.mu.Unlock()
	for _, f := range changed {
		f()
	}
}

// open makes the authority of a backend.
func (s *Service) open(ctx context.Context, mesh string, b *kinds.CABackend, secrets map[string][]byte) (Authority, error) {
	open := s.d.Openers[b.Type]
	if open == nil {
		return nil, fmt.Errorf("backend %q: this control plane knows no authorities of type %q", b.Name, b.Type)
	}
	ctx, cancel := context.WithTimeout(ctx, b.RootTimeout())
	defer cancel()
	start := s.d.Now()
	a, err := open(ctx, Source{Mesh: mesh, Backend: b, Read: func(d *kinds.DataSource) ([]byte, error) {
		return s.read(mesh, d, secrets)
	}})
	s.metrics.rootFetched(b.Name, s.d.Now().Sub(start))
	if err != nil {
		return nil, fmt.Errorf("backend %q: %w", b.Name, err)
	}
	return a, nil
}

// errNoSecret says that a Secret is not there, maybe not yet.
var errNoSecret = errors.New("there is no such Secret")

func (s *Service) read(mesh string, d *kinds.DataSource, secrets map[string][]byte) ([]byte, error) {
	if b, ok := d.Literal(); ok {
		return b, nil
	}
	if n := d.SecretName(); n != "" {
		b, ok := secrets[n]
		if !ok {
			return nil, fmt.Errorf("secret %q of mesh %q: %w", n, mesh, errNoSecret)
		}
		return b, nil
	}
	if d.File == nil || s.d.ReadFile == nil {
		return nil, errors.New("nothing is named that can be read here")
	}
	b, err := s.d.ReadFile(*d.File)
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	return b, nil
}

// settle takes over what was loaded: an authority that could not be keeps its
// place. It returns whom to tell; s.mu is held.
func (s *Service) settle(m *mesh, mtls *kinds.MeshMTLS, results map[string]*loaded) []func() {
	var problem error
	for name, r := range results {
		if r.err == nil {
			continue
		}
		problem = errors.Join(problem, r.err)
		if old := m.backends[name]; old != nil {
			r.authority = old.authority
		}
	}
	m.backends = results
	s.loadProblem(m, problem)
	if mtls == nil {
		return s.turnOff(m)
	}
	s.remember(m)
	next, err := newPlan(m.name, mtls, m.backends, m.trust, m.known)
	if err != nil {
		s.d.Log.Error("the certificates of a mesh's authorities cannot be sent to its proxies; they keep what they have", "mesh", m.name, "error", err)
		return nil
	}
	return s.adopt(m, next)
}

// turnOff forgets the authorities of a mesh without mutual TLS.
func (s *Service) turnOff(m *mesh) []func() {
	m.plan, m.before, m.trust = nil, nil, nil
	m.known = map[string]Authority{}
	m.issueFault = fault{}
	s.forgetUnused(m)
	return m.guestsChanged() // the mesh's own proxies are built anew, without certificates
}

// forgetUnused drops a mesh that neither has mutual TLS nor anybody who asks for it;
// s.mu is held.
func (s *Service) forgetUnused(m *mesh) {
	if len(m.leaves) == 0 && len(m.guests) == 0 && m.mtls == nil && !m.loading {
		delete(s.meshes, m.name)
	}
}

// guestsChanged returns how to tell the guests that whom they trust is another.
func (m *mesh) guestsChanged() []func() {
	out := make([]func(), 0, len(m.guests))
	for g := range m.guests {
		out = append(out, g.changed)
	}
	return out
}

// remember keeps the authorities that may have to sign.
func (s *Service) remember(m *mesh) {
	keep := map[string]Authority{}
	if m.trust != nil {
		if a := m.known[m.trust.Signer.ID]; a != nil {
			keep[m.trust.Signer.ID] = a
		}
	} else if m.plan != nil && m.plan.signer != nil {
		keep[m.plan.ref.ID] = m.plan.signer
	}
	for _, l := range m.backends {
		if l.authority != nil {
			keep[l.authority.ID()] = l.authority
		}
	}
	m.known = keep
}

// adopt makes a plan the one that counts.
func (s *Service) adopt(m *mesh, next *plan) []func() {
	old := m.plan
	m.plan = next
	if !next.sameBundle(old) {
		m.before = old
	}
	var tell []func()
	if !next.sameBundle(old) {
		tell = m.guestsChanged()
	}
	for l := range m.leaves {
		if !next.sameBundle(old) {
			tell = append(tell, l.member.changed)
		}
		s.want(l)
	}
	if !next.sameSigner(old) && next.signer != nil {
		m.issueFault = fault{}
		s.d.Log.Info("certificates of a mesh are signed by an authority", "mesh", m.name, "backend", next.ref.Backend,
			"authority", next.ref.ID, "authority_ends", next.signer.Expires(), "proxies", len(m.leaves))
	}
	return tell
}
