package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weft/internal/cp/envoy"
)

const (
	// renewAfter is the share of a certificate's life after which it is renewed,
	// at the latest; jitter is by which share earlier it may be, so that what was
	// issued together is not renewed together.
	renewAfter = 0.8
	jitter     = 0.1
	// issueTimeout bounds one certificate where the mesh says nothing.
	issueTimeout = 30 * time.Second
)

// stale tells whether a leaf needs another certificate; s.mu is held.
func (s *Service) stale(l *leaf) bool {
	p := l.mesh.plan
	if l.dropped || l.broken || p == nil || p.signer == nil {
		return false
	}
	c := l.now
	return c == nil || c.ref.ID != p.ref.ID || c.lifetime != p.lifetime || !c.wish.equal(l.wish) || !s.d.Now().Before(l.renewAt)
}

// want queues a leaf that needs a certificate; s.mu is held.
func (s *Service) want(l *leaf) {
	if l.state != idle || !s.stale(l) {
		return
	}
	if wait := l.mesh.issueFault.until.Sub(s.d.Now()); wait > 0 {
		s.alarm(l, wait) // the authority is down: no use in asking now
		return
	}
	l.state = queued
	if l.now == nil {
		s.first = append(s.first, l)
	} else {
		s.renew = append(s.renew, l)
	}
	s.work.Signal()
}

// alarm looks at a leaf again after a while; s.mu is held.
func (s *Service) alarm(l *leaf, wait time.Duration) {
	if l.dropped {
		return
	}
	if s.timers.set(&l.timer, l, s.d.Now().Add(wait)) {
		s.wake()
	}
}

// due queues the leaves whose time has come and returns how long to wait for the next.
func (s *Service) due() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.d.Now()
	for _, m := range s.meshes {
		if m.loadFault.due(now) {
			m.dirty = true
			s.wake()
		}
	}
	for {
		l, wait := s.timers.next(now)
		if l == nil {
			return min(wait, s.retryWait(now))
		}
		s.want(l)
	}
}

// retryWait returns how long to wait until an authority is to be loaded again.
func (s *Service) retryWait(now time.Time) time.Duration {
	wait := time.Hour
	for _, m := range s.meshes {
		if m.loadFault.failures > 0 {
			wait = min(wait, max(m.loadFault.until.Sub(now), 0))
		}
	}
	return wait
}

// take waits for a leaf to issue; nil = the end.
func (s *Service) take() *leaf {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && len(s.first) == 0 && len(s.renew) == 0 {
		s.work.Wait()
	}
	if s.closed {
		return nil
	}
	from := &s.first
	if len(*from) == 0 {
		from = &s.renew
	}
	l := (*from)[0]
	(*from)[0] = nil
	*from = (*from)[1:]
	l.state = issuing
	return l
}

// issueAll works until the end.
func (s *Service) issueAll(ctx context.Context) {
	for {
		l := s.take()
		if l == nil {
			return
		}
		if err := s.limit.Wait(ctx); err != nil {
			return
		}
		if tell := s.issue(ctx, l); tell != nil {
			tell()
		}
	}
}

// issue makes one certificate. It returns whom to tell.
func (s *Service) issue(ctx context.Context, l *leaf) func() {
	s.mu.Lock()
	now := s.d.Now()
	if wait := l.mesh.issueFault.until.Sub(now); !s.stale(l) || wait > 0 {
		l.state = idle
		s.want(l)
		s.mu.Unlock()
		return nil
	}
	p, w := l.mesh.plan, l.wish
	s.mu.Unlock()

	c, err := s.certificate(ctx, l.mesh.name, p, w, now)

	s.mu.Lock()
	defer s.mu.Unlock()
	l.state = idle
	if l.dropped || ctx.Err() != nil {
		return nil
	}
	if err != nil {
		s.issueProblem(l, p, err)
		return nil
	}
	s.issueWorks(l.mesh, p)
	l.member.regenerations++
	c.number = l.member.regenerations
	l.before, l.now = l.now, c
	life := c.NotAfter.Sub(c.Issued)
	l.renewAt = c.Issued.Add(time.Duration(float64(life) * (renewAfter - jitter*s.d.Random())))
	s.alarm(l, max(l.renewAt.Sub(s.d.Now()), 0))
	s.want(l) // it may have changed meanwhile
	s.metrics.generated.WithLabelValues(l.mesh.name).Inc()
	return l.member.changed
}

// certificate asks the authority.
func (s *Service) certificate(ctx context.Context, mesh string, p *plan, w wish, now time.Time) (*issued, error) {
	timeout := p.timeout
	if timeout <= 0 {
		timeout = issueTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := p.signer.Issue(ctx, Request{URIs: w.uris, RSA: w.rsa, Lifetime: p.lifetime, Now: now})
	s.metrics.certFetched(p.ref.Backend, s.d.Now().Sub(now))
	if err != nil {
		return nil, err
	}
	secret, err := envoy.Identity(mesh, c.CertPEM, c.KeyPEM)
	if err != nil {
		return nil, fmt.Errorf("encode the certificate: %w", err)
	}
	return &issued{Certificate: c, ref: p.ref, wish: w, lifetime: p.lifetime, secret: secret}, nil
}

// fault is a row of failures of one authority.
type fault struct {
	failures int
	since    time.Time
	until    time.Time // no other try before
	err      error
	urgent   time.Time // of the last cry for help
}

const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// add notes a failure and sets when the next try is due.
func (f *fault) add(err error, now time.Time, random float64) {
	if f.failures == 0 {
		f.since = now
	}
	pause := lastPause
	if f.failures < 6 {
		pause = min(firstPause<<f.failures, lastPause)
	}
	f.failures++
	f.err = err
	f.until = now.Add(time.Duration(float64(pause) * (0.75 + random/2)))
}

func (f *fault) due(now time.Time) bool { return f.failures > 0 && !now.Before(f.until) }

// loadProblem notes that authorities of a mesh cannot be opened, or that all can.
func (s *Service) loadProblem(m *mesh, err error) {
	if err == nil {
		if m.loadFault.failures > 0 {
			s.d.Log.Info("the authorities of a mesh can be used", "mesh", m.name)
		}
		m.loadFault = fault{}
		return
	}
	first := m.loadFault.failures == 0
	m.loadFault.add(err, s.d.Now(), s.d.Random())
	switch {
	case errors.Is(err, errNoSecret) && m.loadFault.failures < 5:
		// The keys of a builtin backend are made a moment after its Mesh.
		s.d.Log.Debug("the keys of a mesh's authority are not there yet", "mesh", m.name, "error", err)
	case first || m.loadFault.failures%10 == 5:
		s.d.Log.Warn("an authority of a mesh cannot be used; proxies keep the certificates that they have; trying again",
			"mesh", m.name, "since", m.loadFault.since, "error", err)
	}
	s.wake()
}

// issueProblem notes that a certificate could not be made; s.mu is held.
func (s *Service) issueProblem(l *leaf, p *plan, err error) {
	m, now := l.mesh, s.d.Now()
	s.metrics.failed.WithLabelValues(m.name, p.ref.Backend).Inc()
	var bad *badNameError
	if errors.As(err, &bad) {
		l.broken = true
		s.d.Log.Error("a proxy gets no certificate until its tags change", "proxy", l.member.key.String(), "error", err)
		return
	}
	if now.Before(m.issueFault.until) {
		s.alarm(l, m.issueFault.until.Sub(now)) // another worker noted it
		return
	}
	first := m.issueFault.failures == 0
	m.issueFault.add(err, now, s.d.Random())
	s.alarm(l, m.issueFault.until.Sub(now))
	if end, proxy := m.endsFirst(now); proxy != "" && now.Sub(m.issueFault.urgent) > time.Minute {
		m.issueFault.urgent = now
		s.d.Log.Error("certificates of a mesh end soon and cannot be renewed: its authority does not work",
			"mesh", m.name, "backend", p.ref.Backend, "proxy", proxy, "ends", end, "since", m.issueFault.since, "error", err)
		return
	}
	if first || m.issueFault.failures%10 == 0 {
		s.d.Log.Warn("an authority issues no certificates; proxies keep those that they have; trying again",
			"mesh", m.name, "backend", p.ref.Backend, "since", m.issueFault.since, "error", err)
	}
}

// endsFirst returns the certificate that ends first of those that have lived nine
// tenths of their life; "" if there is none.
func (m *mesh) endsFirst(now time.Time) (end time.Time, proxy string) {
	for l := range m.leaves {
		if l.now == nil || now.Before(l.now.NotAfter.Add(-l.now.NotAfter.Sub(l.now.Issued)/10)) {
			continue
		}
		if proxy == "" || l.now.NotAfter.Before(end) {
			end, proxy = l.now.NotAfter, l.member.key.String()
		}
	}
	return end, proxy
}

// issueWorks notes that the authority works.
func (s *Service) issueWorks(m *mesh, p *plan) {
	if m.issueFault.failures == 0 {
		return
	}
	s.d.Log.Info("an authority issues certificates again", "mesh", m.name, "backend", p.ref.Backend, "since", m.issueFault.since)
	m.issueFault = fault{}
	for l := range m.leaves {
		s.want(l)
	}
}

// Authorities returns the authorities of a mesh's backends as this instance could
// load them last, and what was wrong with the others.
func (s *Service) Authorities(mesh string) (map[string]Authority, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.meshes[mesh]
	if m == nil {
		return nil, nil
	}
	out := map[string]Authority{}
	for name, l := range m.backends {
		if l.authority != nil {
			out[name] = l.authority
		}
	}
	return out, m.loadFault.err
}
