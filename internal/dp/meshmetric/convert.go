package meshmetric

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// maxBatch is the size at which a message is sent; collectors refuse messages
// of more than four megabytes by default.
const maxBatch = 1 << 20

// batch turns families into messages of a bounded size and hands each on.
type batch struct {
	labels   []label
	common   []*commonpb.KeyValue
	version  string
	resource *resourcepb.Resource
	// start is when the counters began; zero when that is not known.
	start time.Time
	// now is when the target was asked.
	now  time.Time
	send func(*metricspb.MetricsData, int) error

	scopes map[string]*metricspb.ScopeMetrics
	size   int
	points int
	// commonSize is what the common attributes add to each point.
	commonSize int
}

func newBatch(o *Observer, labels []label, send func(*metricspb.MetricsData, int) error) *batch {
	b := &batch{
		labels: labels, version: o.version, send: send,
		resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
			attribute("service.name", o.node.Service), attribute("service.namespace", o.node.Mesh), attribute("service.instance.id", o.node.Name),
		}},
		scopes: map[string]*metricspb.ScopeMetrics{},
	}
	for _, l := range labels {
		b.common = append(b.common, attribute(l.name, l.value))
		b.commonSize += attributeSize(l.name, l.value)
	}
	return b
}

// add takes one family; full messages are sent.
func (b *batch) add(f *dto.MetricFamily) error {
	open := map[string]*metricspb.Metric{}
	for _, m := range f.GetMetric() {
		s := scopeOf(m.GetLabel(), b.version)
		metric := open[s.key]
		if metric == nil {
			metric = emptyMetric(f)
			open[s.key] = metric
			scope := b.scopes[s.key]
			if scope == nil {
				scope = &metricspb.ScopeMetrics{Scope: s.scope, SchemaUrl: s.schema}
				b.scopes[s.key] = scope
			}
			scope.Metrics = append(scope.Metrics, metric)
			b.size += len(f.GetName()) + len(f.GetHelp()) + 16
		}
		b.point(metric, f.GetType(), m)
		if b.size >= maxBatch {
			if err := b.flush(); err != nil {
				return err
			}
			clear(open) // the rest of the family goes into the next message
		}
	}
	return nil
}

// flush sends what is there.
func (b *batch) flush() error {
	if b.points == 0 {
		return nil
	}
	r := &metricspb.ResourceMetrics{Resource: b.resource}
	keys := make([]string, 0, len(b.scopes))
	for key := range b.scopes {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		r.ScopeMetrics = append(r.ScopeMetrics, b.scopes[key])
	}
	points := b.points
	b.scopes, b.size, b.points = map[string]*metricspb.ScopeMetrics{}, 0, 0
	return b.send(&metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{r}}, points)
}

// emptyMetric is the model's form of a family. What has no type counts as a
// gauge, as the model's specification says.
func emptyMetric(f *dto.MetricFamily) *metricspb.Metric {
	m := &metricspb.Metric{Name: f.GetName(), Description: f.GetHelp()}
	const cumulative = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	switch f.GetType() {
	case dto.MetricType_COUNTER:
		m.Data = &metricspb.Metric_Sum{Sum: &metricspb.Sum{AggregationTemporality: cumulative, IsMonotonic: true}}
	case dto.MetricType_HISTOGRAM:
		m.Data = &metricspb.Metric_Histogram{Histogram: &metricspb.Histogram{AggregationTemporality: cumulative}}
	case dto.MetricType_SUMMARY:
		m.Data = &metricspb.Metric_Summary{Summary: &metricspb.Summary{}}
	default:
		m.Data = &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{}}
	}
	return m
}

func (b *batch) point(to *metricspb.Metric, kind dto.MetricType, m *dto.Metric) {
	at := b.now
	if ms := m.GetTimestampMs(); ms != 0 {
		at = time.UnixMilli(ms)
	}
	stamp, start := nanoseconds(at), nanoseconds(b.start)
	attributes := b.attributes(m.GetLabel())
	switch data := to.Data.(type) {
	case *metricspb.Metric_Sum:
		data.Sum.DataPoints = append(data.Sum.DataPoints, number(attributes, start, stamp, m.GetCounter().GetValue()))
	case *metricspb.Metric_Gauge:
		v := m.GetGauge().GetValue()
		if kind == dto.MetricType_UNTYPED {
			v = m.GetUntyped().GetValue()
		}
		data.Gauge.DataPoints = append(data.Gauge.DataPoints, number(attributes, 0, stamp, v))
	case *metricspb.Metric_Histogram:
		p := histogram(m.GetHistogram())
		p.Attributes, p.StartTimeUnixNano, p.TimeUnixNano = attributes, start, stamp
		data.Histogram.DataPoints = append(data.Histogram.DataPoints, p)
		b.size += 18 * len(p.ExplicitBounds)
	case *metricspb.Metric_Summary:
		p := summary(m.GetSummary())
		p.Attributes, p.StartTimeUnixNano, p.TimeUnixNano = attributes, start, stamp
		data.Summary.DataPoints = append(data.Summary.DataPoints, p)
		b.size += 20 * len(p.QuantileValues)
	}
	b.size += 40 + b.commonSize
	b.points++
}

func number(attributes []*commonpb.KeyValue, start, at uint64, v float64) *metricspb.NumberDataPoint {
	return &metricspb.NumberDataPoint{
		Attributes: attributes, StartTimeUnixNano: start, TimeUnixNano: at, Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: v},
	}
}

// histogram turns counts of "up to" into counts of "between"; the model has no
// bound for the last bucket, which takes the rest.
func histogram(h *dto.Histogram) *metricspb.HistogramDataPoint {
	sum := h.GetSampleSum()
	p := &metricspb.HistogramDataPoint{Count: h.GetSampleCount(), Sum: &sum}
	buckets := slices.Clone(h.GetBucket())
	slices.SortFunc(buckets, func(a, b *dto.Bucket) int { return cmp.Compare(a.GetUpperBound(), b.GetUpperBound()) })
	var below uint64
	for _, bucket := range buckets {
		if math.IsInf(bucket.GetUpperBound(), 1) {
			continue
		}
		p.ExplicitBounds = append(p.ExplicitBounds, bucket.GetUpperBound())
		p.BucketCounts = append(p.BucketCounts, difference(bucket.GetCumulativeCount(), below))
		below = max(below, bucket.GetCumulativeCount())
	}
	p.BucketCounts = append(p.BucketCounts, difference(p.Count, below))
	return p
}

// difference is never below zero: an application may count while it writes.
func difference(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}

func summary(s *dto.Summary) *metricspb.SummaryDataPoint {
	p := &metricspb.SummaryDataPoint{Count: s.GetSampleCount(), Sum: s.GetSampleSum()}
	for _, q := range s.GetQuantile() {
		p.QuantileValues = append(p.QuantileValues, &metricspb.SummaryDataPoint_ValueAtQuantile{Quantile: q.GetQuantile(), Value: q.GetValue()})
	}
	return p
}

// attributes are those of one point: its own, then the common ones, which all
// points share.
func (b *batch) attributes(labels []*dto.LabelPair) []*commonpb.KeyValue {
	out := make([]*commonpb.KeyValue, 0, len(labels)+len(b.common))
	for _, l := range labels {
		if strings.HasPrefix(l.GetName(), prefixScope) {
			continue
		}
		name := l.GetName()
		if _, taken := slices.BinarySearchFunc(b.labels, name, func(o label, n string) int { return strings.Compare(o.name, n) }); taken {
			name = "exported_" + name
		}
		out = append(out, attribute(name, l.GetValue()))
		b.size += attributeSize(name, l.GetValue())
	}
	return append(out, b.common...)
}

// scope is what a sample belongs to.
type scope struct {
	key    string
	schema string
	scope  *commonpb.InstrumentationScope
}

// scopeOf reads the scope from the labels that carry it in the text format.
func scopeOf(labels []*dto.LabelPair, version string) scope {
	if !hasScope(labels) {
		return scope{key: "\x00own", scope: &commonpb.InstrumentationScope{Name: ownScope, Version: version}}
	}
	s := scope{scope: &commonpb.InstrumentationScope{}}
	for _, l := range labels {
		switch rest, ok := strings.CutPrefix(l.GetName(), prefixScope); {
		case !ok:
			continue
		case l.GetName() == labelScopeName:
			s.scope.Name = l.GetValue()
		case l.GetName() == labelScopeVersion:
			s.scope.Version = l.GetValue()
		case l.GetName() == labelScopeSchema:
			s.schema = l.GetValue()
		default:
			s.scope.Attributes = append(s.scope.Attributes, attribute(rest, l.GetValue()))
		}
		s.key += l.GetName() + "\xff" + l.GetValue() + "\xfe"
	}
	return s
}

func attribute(name, value string) *commonpb.KeyValue {
	// The model wants UTF-8; a text with other bytes would cost the message.
	value = strings.ToValidUTF8(value, "\uFFFD")
	return &commonpb.KeyValue{Key: name, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func attributeSize(name, value string) int { return len(name) + len(value) + 10 }

// nanoseconds since 1970; zero stays zero.
func nanoseconds(t time.Time) uint64 {
	if t.IsZero() || t.UnixNano() < 0 {
		return 0
	}
	return uint64(t.UnixNano())
}
