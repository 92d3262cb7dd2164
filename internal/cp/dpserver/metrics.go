package dpserver

import (
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weft/internal/cp/insight"
	"weft/internal/cp/xds"
)

// metrics of configuration streams, under the names that dashboards know.
type metrics struct {
	streams     prometheus.Gauge
	sent        [xds.NumTypes]prometheus.Counter
	received    *prometheus.CounterVec
	delivery    prometheus.Summary
	propagation [xds.NumTypes]prometheus.Observer
	closed      *prometheus.CounterVec
	http        *httpMetrics
	grpc        *grpcMetrics
}

func newMetrics(reg prometheus.Registerer) *metrics {
	sent := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "xds_responses_sent", Help: "Responses that were sent to proxies.",
	}, []string{"type_url"})
	propagation := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "xds_propagation_seconds",
		Help:    "Time from a change in the store to its acceptance by a proxy.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"type"})
	m := &metrics{
		streams: prometheus.NewGauge(prometheus.GaugeOpts{Name: "xds_streams_active", Help: "Open configuration streams."}),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "xds_requests_received", Help: "Requests that accept (ACK) or reject (NACK) a response.",
		}, []string{"type_url", "confirmation", "error_type"}),
		delivery: prometheus.NewSummary(prometheus.SummaryOpts{
			Name: "xds_delivery", Help: "Time from sending a response to its acceptance or rejection, in milliseconds.",
			Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001},
		}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "xds_streams_closed_total", Help: "Configuration streams that ended, by reason.",
		}, []string{"reason"}),
		http: newHTTPMetrics(reg),
		grpc: newGRPCMetrics(reg),
	}
	for t := range xds.NumTypes {
		m.sent[t] = sent.WithLabelValues(t.URL())
		m.propagation[t] = propagation.WithLabelValues(t.String())
	}
	reg.MustRegister(m.streams, sent, m.received, m.delivery, propagation, m.closed)
	return m
}

func (m *metrics) ended(err error) { m.closed.WithLabelValues(reason(err)).Inc() }

// reporter tells metrics, insight and the log what happens on one stream.
type reporter struct {
	s   *Server
	log *slog.Logger
	sub *insight.Subscription
	// holds is told which secrets the proxy has accepted.
	holds func(xds.Holding)
	// serving is called when the proxy has accepted its listeners and what they
	// wait for; nil = nobody waits for that.
	serving func()
}

// stats by type of resource.
var stats = [xds.NumTypes]insight.Stat{
	xds.Cluster: insight.StatCDS, xds.Endpoints: insight.StatEDS, xds.Listener: insight.StatLDS, xds.Route: insight.StatRDS,
}

// Sent implements xds.Reporter.
func (r *reporter) Sent(t xds.Type) {
	r.s.metrics.sent[t].Inc()
	r.sub.Count(stats[t], insight.Sent)
}

// Acked implements xds.Reporter.
func (r *reporter) Acked(d xds.Delivery) {
	m := r.s.metrics
	m.received.WithLabelValues(d.Type.URL(), "ACK", "no_error").Inc()
	m.delivery.Observe(milliseconds(d.Acked.Sub(d.Sent)))
	if !d.Changed.IsZero() {
		m.propagation[d.Type].Observe(d.Acked.Sub(d.Changed).Seconds())
	}
	r.sub.Count(stats[d.Type], insight.Acknowledged)
}

// Rejected implements xds.Reporter.
func (r *reporter) Rejected(n xds.Rejection) {
	kind := "other"
	if strings.Contains(n.Message, "failed calling webhook") {
		kind = "user"
	}
	m := r.s.metrics
	m.received.WithLabelValues(n.Type.URL(), "NACK", kind).Inc()
	m.delivery.Observe(milliseconds(n.At.Sub(n.Sent)))
	r.sub.Count(stats[n.Type], insight.Rejected)
	r.log.Warn("proxy rejects configuration; it keeps what it has", "type", n.Type.String(), "resources", few(n.Names), "error", n.Message)
}

// Holds implements xds.Reporter.
func (r *reporter) Holds(h xds.Holding) {
	if h.Serving && r.serving != nil {
		r.serving()
	}
	r.holds(h)
}

// few bounds a list for the log.
func few(names []string) []string {
	const most = 10
	if len(names) > most {
		return names[:most:most]
	}
	return names
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
