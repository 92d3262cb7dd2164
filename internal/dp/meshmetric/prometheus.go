package meshmetric

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"

	"weft/internal/dp/metrics"
)

// ServeHTTP answers a scrape by Prometheus from a fresh collection.
func (o *Observer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), metrics.Timeout(r.Header))
	defer cancel()
	s := o.settings(ctx)
	format := expfmt.Negotiate(r.Header) //nolint:staticcheck // because 2.10 offers these formats and no UTF-8 names
	w.Header().Set("Content-Type", string(format))
	var out io.Writer = w
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			http.Error(w, "cannot compress", http.StatusInternalServerError)
			return
		}
		defer z.Close() // a scraper that left is not our concern
		out = z
	}
	a := &answer{observer: o, labels: s.labels, encoder: expfmt.NewEncoder(out, format)}
	if err := a.write(ctx, s.targets); err != nil {
		o.log.Debug("a scrape was cut short", "error", err)
	}
}

// answer is one scrape. Envoy's metrics, which may be many, pass through it;
// those of applications are held back, as the text format wants all series of
// a family together.
type answer struct {
	observer *Observer
	labels   []label
	encoder  expfmt.Encoder

	held map[string]*heldFamily
}

// heldFamily collects one family of several applications.
type heldFamily struct {
	family *dto.MetricFamily
	series map[string]bool
}

func (a *answer) write(ctx context.Context, targets []target) error {
	// All applications are asked at once; what they said is put together in the
	// order of the document, so that it never depends on who answered first which
	// of two equal series is told.
	said := make([][]*dto.MetricFamily, len(targets))
	var wait sync.WaitGroup
	for i, t := range targets {
		if t.filter == nil {
			wait.Go(func() { said[i] = a.ask(ctx, t) })
		}
	}
	wait.Wait()
	a.held = map[string]*heldFamily{}
	for i, families := range said {
		a.hold(targets[i], families)
	}
	for _, t := range targets {
		if t.filter == nil {
			continue
		}
		if err := a.observer.scraper.scrape(ctx, t, a.pass); err != nil {
			a.observer.leftOut(t, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.held)) {
		if err := a.encoder.Encode(a.held[name].family); err != nil {
			return err
		}
	}
	return a.writeOwn()
}

// ask returns the labelled metrics of an application.
func (a *answer) ask(ctx context.Context, t target) (families []*dto.MetricFamily) {
	err := a.observer.scraper.scrape(ctx, t, func(f *dto.MetricFamily) error {
		a.label(f)
		families = append(families, f)
		return nil
	})
	if err != nil {
		a.observer.leftOut(t, err)
	}
	return families
}

// hold adds the metrics of an application to those of the ones before it.
func (a *answer) hold(t target, families []*dto.MetricFamily) {
	clashes := map[string]bool{}
	for _, f := range families {
		h := a.held[f.GetName()]
		if h == nil {
			h = &heldFamily{family: &dto.MetricFamily{Name: f.Name, Help: f.Help, Type: f.Type}, series: map[string]bool{}}
			a.held[f.GetName()] = h
		}
		if h.family.GetType() != f.GetType() {
			clashes[f.GetName()] = true
			continue
		}
		for _, m := range f.GetMetric() {
			key := keyOf(m.GetLabel())
			if h.series[key] {
				clashes[f.GetName()] = true
				continue
			}
			h.series[key] = true
			h.family.Metric = append(h.family.Metric, m)
		}
	}
	if len(clashes) > 0 {
		a.observer.log.Warn("series that another application has too are left out; give them a label that tells the applications apart",
			"target", t.name, "families", slices.Sorted(maps.Keys(clashes)))
	}
}

// pass writes a family of Envoy at once.
func (a *answer) pass(f *dto.MetricFamily) error {
	a.label(f)
	if h := a.held[f.GetName()]; h != nil && h.family.GetType() == f.GetType() {
		f.Metric = append(f.Metric, h.family.GetMetric()...)
	}
	delete(a.held, f.GetName())
	return a.encoder.Encode(f)
}

func (a *answer) label(f *dto.MetricFamily) {
	scope, version := ownScope, a.observer.version
	for _, m := range f.GetMetric() {
		scoped := hasScope(m.GetLabel())
		m.Label = relabel(m.GetLabel(), a.labels)
		if !scoped {
			m.Label = append(m.Label, pair(labelScopeName, scope), pair(labelScopeVersion, version))
		}
	}
}

// writeOwn adds what says who speaks, and the metrics of kuma-dp itself.
func (a *answer) writeOwn() error {
	o := a.observer
	info := []*dto.MetricFamily{
		infoFamily("otel_scope_info", "Scope of the metrics", pair(labelScopeName, ownScope), pair(labelScopeVersion, o.version)),
		infoFamily("target_info", "Proxy that the metrics belong to",
			pair("service_instance_id", o.node.Name), pair("service_name", o.node.Service), pair("service_namespace", o.node.Mesh)),
	}
	own, err := o.own.Gather()
	if err != nil {
		o.log.Warn("metrics of kuma-dp itself are left out", "error", err)
	}
	for _, f := range append(info, own...) {
		if err := a.encoder.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

func infoFamily(name, help string, labels ...*dto.LabelPair) *dto.MetricFamily {
	return &dto.MetricFamily{
		Name: proto.String(name), Help: proto.String(help), Type: dto.MetricType_GAUGE.Enum(),
		Metric: []*dto.Metric{{Label: labels, Gauge: &dto.Gauge{Value: proto.Float64(1)}}},
	}
}

func pair(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

// keyOf identifies a series within its family.
func keyOf(labels []*dto.LabelPair) string {
	parts := make([]string, 0, len(labels))
	for _, l := range labels {
		parts = append(parts, l.GetName()+"\xff"+l.GetValue())
	}
	slices.Sort(parts)
	return strings.Join(parts, "\xfe")
}

// newOwn returns the metrics of kuma-dp itself.
func newOwn() (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of kuma-dp: %w", err)
		}
	}
	return r, nil
}
