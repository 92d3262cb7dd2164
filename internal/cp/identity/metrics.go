package identity

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weft/internal/mesh/kinds"
)

// metrics are those of 2.10 where it has them, and what is needed to notice an
// authority that does not work.
type metrics struct {
	s *Service

	generated *prometheus.CounterVec
	failed    *prometheus.CounterVec
	roots     *prometheus.SummaryVec
	certs     *prometheus.SummaryVec

	proxies, working, ends, step *prometheus.Desc
}

func newMetrics(s *Service, reg prometheus.Registerer) *metrics {
	quantiles := map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001}
	m := &metrics{
		s: s,
		generated: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cert_generation", Help: "Certificates issued for proxies.",
		}, []string{"mesh"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cert_generation_failures_total", Help: "Certificates that an authority did not issue; they are tried again.",
		}, []string{"mesh", "backend_name"}),
		roots: prometheus.NewSummaryVec(prometheus.SummaryOpts{
			Name: "ca_manager_get_root_cert_chain", Help: "Time to fetch the roots of an authority, in milliseconds.", Objectives: quantiles,
		}, []string{"backend_name"}),
		certs: prometheus.NewSummaryVec(prometheus.SummaryOpts{
			Name: "ca_manager_get_cert", Help: "Time in which an authority issues a certificate, in milliseconds.", Objectives: quantiles,
		}, []string{"backend_name"}),
		proxies: prometheus.NewDesc("identity_proxies",
			"Connected proxies by state of their certificate: issued, waiting (none yet) or expired.", []string{"mesh", "state"}, nil),
		working: prometheus.NewDesc("identity_authority_working",
			"1 if the authority in use can be loaded and issued the last certificate that it was asked for, else 0.", []string{"mesh"}, nil),
		ends: prometheus.NewDesc("identity_authority_expiration_timestamp_seconds",
			"When the certificate of an authority ends.", []string{"mesh", "backend_name", "authority"}, nil),
		step: prometheus.NewDesc("identity_trust_step",
			"1 for the step that a mesh is in on its way to another authority, or to plain text: steady, distribute, reissue or leave.", []string{"mesh", "step"}, nil),
	}
	if reg != nil {
		reg.MustRegister(m.generated, m.failed, m.roots, m.certs, m)
	}
	return m
}

func (m *metrics) rootFetched(backend string, d time.Duration) {
	m.roots.WithLabelValues(backend).Observe(float64(d) / float64(time.Millisecond))
}

func (m *metrics) certFetched(backend string, d time.Duration) {
	m.certs.WithLabelValues(backend).Observe(float64(d) / float64(time.Millisecond))
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.proxies, m.working, m.ends, m.step} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	var all []prometheus.Metric
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		all = append(all, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...))
	}
	m.s.mu.Lock()
	now := m.s.d.Now()
	for name, me := range m.s.meshes {
		if me.mtls == nil {
			continue
		}
		states := map[string]int{}
		for l := range me.leaves {
			switch {
			case l.now == nil:
				states["waiting"]++
			case now.After(l.now.NotAfter):
				states["expired"]++
			default:
				states["issued"]++
			}
		}
		for _, state := range []string{"issued", "waiting", "expired"} {
			gauge(m.proxies, float64(states[state]), name, state)
		}
		working := 0.0
		if me.plan != nil && me.plan.signer != nil && me.loadFault.failures == 0 && me.issueFault.failures == 0 {
			working = 1
		}
		gauge(m.working, working, name)
		for backend, l := range me.backends {
			if l.authority != nil {
				gauge(m.ends, float64(l.authority.Expires().Unix()), name, backend, l.authority.ID())
			}
		}
		now := kinds.TrustSteady
		if me.trust != nil {
			now = me.trust.Step()
		}
		for _, step := range []string{kinds.TrustSteady, kinds.TrustDistribute, kinds.TrustReissue, kinds.TrustLeave} {
			v := 0.0
			if step == now {
				v = 1
			}
			gauge(m.step, v, name, step)
		}
	}
	m.s.mu.Unlock()
	for _, g := range all {
		out <- g
	}
}
