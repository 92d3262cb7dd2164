package engine

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weft/internal/mesh/ir"
)

// metrics are the engine's, with the names that dashboards of 2.10 use where
// they have one.
type metrics struct {
	generation *prometheus.SummaryVec
	errors     prometheus.Counter
	panics     prometheus.Counter
	proxies    prometheus.Gauge
	updates    prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		generation: prometheus.NewSummaryVec(prometheus.SummaryOpts{
			Name:       "xds_generation",
			Help:       "Time of one look at one proxy, in milliseconds, by proxy type and result.",
			Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001},
		}, []string{"proxy_type", "result"}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "xds_generation_errors", Help: "Proxies whose configuration could not be made; they keep the last good one.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "build_panics_total", Help: "Panics while building one proxy's configuration.",
		}),
		proxies: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "engine_proxies", Help: "Proxies that the engine configures.",
		}),
		updates: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "engine_update_seconds",
			Help:    "Time from receiving a change to having published its endpoints and marked the proxies that may depend on it.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
	}
	if reg != nil {
		reg.MustRegister(m.generation, m.errors, m.panics, m.proxies, m.updates)
	}
	return m
}

func (m *metrics) built(t ir.ProxyType, result string, d time.Duration) {
	name := string(t)
	if t == "" || t == ir.BuiltinGateway {
		name = string(ir.Sidecar)
	}
	m.generation.WithLabelValues(name, result).Observe(float64(d) / float64(time.Millisecond))
}

func (m *metrics) connected(n int)        { m.proxies.Set(float64(n)) }
func (m *metrics) update(d time.Duration) { m.updates.Observe(d.Seconds()) }
