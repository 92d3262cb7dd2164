package hds

import (
	"context"
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	health "github.com/envoyproxy/go-control-plane/envoy/service/health/v3"
	"github.com/prometheus/client_golang/prometheus"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// findings are the results of checks by name: true = healthy.
type findings map[string]bool

// read returns what a report says. What Envoy does not know yet counts as healthy.
func read(r *health.EndpointHealthResponse) findings {
	out := findings{}
	for _, c := range r.GetClusterEndpointsHealth() {
		for _, l := range c.GetLocalityEndpointsHealth() {
			for _, e := range l.GetEndpointsHealth() {
				s := e.GetHealthStatus()
				out[c.GetClusterName()] = s == corev3.HealthStatus_HEALTHY || s == corev3.HealthStatus_UNKNOWN
			}
		}
	}
	return out
}

// storeTries is how often a write is repeated when somebody else was faster.
const storeTries = 5

// report brings the Dataplane in line with what the proxy found.
func (c *checker) report(ctx context.Context, r *health.EndpointHealthResponse) error {
	found := read(r)
	o := c.s.object(c.st.key)
	for n := 1; o != nil; n++ {
		next := c.plan.apply(o, found)
		if next == nil {
			return nil // nothing new
		}
		_, err := c.s.d.Store.Update(ctx, next)
		switch {
		case err == nil:
			c.log.Info("state of workloads changed", "states", states(next))
			return nil
		case errors.Is(err, store.ErrNotFound):
			return nil
		case !errors.Is(err, store.ErrConflict) || n == storeTries:
			return fmt.Errorf("update %s: %w", c.st.key, err)
		}
		if o, err = c.s.d.Store.Get(ctx, c.st.key); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return fmt.Errorf("load %s: %w", c.st.key, err)
		}
	}
	return nil
}

// apply returns the Dataplane with the states that follow from the findings; nil
// if it has them already.
func (p plan) apply(o *model.Object, found findings) *model.Object {
	d := model.Spec[kinds.DataplaneSpec](o)
	envoy := true
	if p.envoy {
		if healthy, known := found[envoyCheck]; known {
			envoy = healthy
		}
	}
	return kinds.ChangeStates(o, func(in *kinds.Inbound) bool {
		if in.Ignored() {
			return false
		}
		healthy := true
		if name, probed := p.checks[keyOf(d, in)]; probed {
			known := false
			if healthy, known = found[name]; !known && envoy {
				return false // not checked yet
			}
		}
		healthy = healthy && envoy
		if healthy == !in.NotReady() {
			return false
		}
		in.SetReady(healthy)
		return true
	})
}

// states tells the states of a Dataplane's inbounds, for the log.
func states(o *model.Object) map[uint32]string {
	out := map[uint32]string{}
	for _, in := range model.Spec[kinds.DataplaneSpec](o).Inbounds() {
		out[in.Port] = "Ready"
		if in.State != kinds.InboundReady {
			out[in.Port] = string(in.State)
		}
	}
	return out
}

// metrics under the names that dashboards know.
type metrics struct {
	generation          prometheus.Summary
	errors              prometheus.Counter
	responses, requests prometheus.Counter
	streams             prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		generation: prometheus.NewSummary(prometheus.SummaryOpts{
			Name: "hds_generation", Help: "Time to make the health checks of a proxy, in milliseconds.",
			Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001},
		}),
		errors:    prometheus.NewCounter(prometheus.CounterOpts{Name: "hds_generation_errors", Help: "Health checks that could not be made."}),
		responses: prometheus.NewCounter(prometheus.CounterOpts{Name: "hds_responses_sent", Help: "Lists of health checks that were sent."}),
		requests:  prometheus.NewCounter(prometheus.CounterOpts{Name: "hds_requests_received", Help: "Reports of proxies."}),
		streams:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "hds_streams_active", Help: "Open health discovery streams."}),
	}
	reg.MustRegister(m.generation, m.errors, m.responses, m.requests, m.streams)
	return m
}
