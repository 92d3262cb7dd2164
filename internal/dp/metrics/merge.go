package metrics

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"
)

const (
	labelCluster = "envoy_cluster_name"
	labelHTTP    = "envoy_http_conn_manager_prefix"
	labelTraffic = "kuma_io_mesh_traffic"
)

// splitCluster matches the name of a cluster that is one part of a service.
var splitCluster = regexp.MustCompile(`^(.*)-[[:xdigit:]]{16}$`)

// ownClusters carry no traffic of the mesh.
func ownClusters() []string {
	return []string{"ads_cluster", "access_log_sink", "kuma_envoy_admin", "kuma_metrics_hijacker"}
}

// ownListeners carry no traffic of the mesh.
func ownListeners() []string {
	return []string{"admin", "kuma_envoy_admin", "kuma_metrics_prometheus"}
}

// MergeEnvoy rewrites Envoy's metrics for people: the parts that a service was
// split into count as one, and series about traffic of the mesh are marked.
func MergeEnvoy(in io.Reader) ([]byte, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(in)
	if err != nil {
		return nil, fmt.Errorf("read Envoy's metrics: %w", err)
	}
	names := make([]string, 0, len(families))
	for name := range families {
		names = append(names, name)
	}
	slices.Sort(names)
	var out bytes.Buffer
	for _, name := range names {
		f := families[name]
		f.Metric = mergeSeries(f.GetType(), f.GetMetric())
		if _, err := expfmt.MetricFamilyToText(&out, f); err != nil {
			return nil, fmt.Errorf("write Envoy's metrics: %w", err)
		}
	}
	return out.Bytes(), nil
}

func mergeSeries(kind dto.MetricType, series []*dto.Metric) []*dto.Metric {
	seen := make(map[string]*dto.Metric, len(series))
	var merged []*dto.Metric
	for _, m := range series {
		relabel(m)
		key := keyOf(m.GetLabel())
		if first, ok := seen[key]; ok {
			add(kind, first, m)
			continue
		}
		seen[key] = m
		merged = append(merged, m)
	}
	return merged
}

// relabel cuts the suffix of split clusters and marks traffic of the mesh.
func relabel(m *dto.Metric) {
	traffic := false
	for _, l := range m.GetLabel() {
		switch l.GetName() {
		case labelCluster:
			if part := splitCluster.FindStringSubmatch(l.GetValue()); part != nil {
				l.Value = proto.String(part[1])
			}
			traffic = traffic || !slices.Contains(ownClusters(), l.GetValue())
		case labelHTTP:
			traffic = traffic || !slices.Contains(ownListeners(), l.GetValue())
		}
	}
	if traffic {
		m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(labelTraffic), Value: proto.String("true")})
	}
}

func keyOf(labels []*dto.LabelPair) string {
	parts := make([]string, 0, len(labels))
	for _, l := range labels {
		parts = append(parts, l.GetName()+"\xff"+l.GetValue())
	}
	slices.Sort(parts)
	return strings.Join(parts, "\xfe")
}

// add sums a series into another of the same family.
func add(kind dto.MetricType, to, from *dto.Metric) {
	switch kind {
	case dto.MetricType_COUNTER:
		to.Counter.Value = proto.Float64(to.GetCounter().GetValue() + from.GetCounter().GetValue())
	case dto.MetricType_GAUGE:
		to.Gauge.Value = proto.Float64(to.GetGauge().GetValue() + from.GetGauge().GetValue())
	case dto.MetricType_UNTYPED:
		to.Untyped.Value = proto.Float64(to.GetUntyped().GetValue() + from.GetUntyped().GetValue())
	case dto.MetricType_HISTOGRAM:
		addHistogram(to.GetHistogram(), from.GetHistogram())
	case dto.MetricType_SUMMARY:
		addSummary(to.GetSummary(), from.GetSummary())
	default: // gauge histograms have no sum; the first stays
	}
}

func addHistogram(to, from *dto.Histogram) {
	to.SampleCount = proto.Uint64(to.GetSampleCount() + from.GetSampleCount())
	to.SampleSum = proto.Float64(to.GetSampleSum() + from.GetSampleSum())
	for _, b := range from.GetBucket() {
		i := slices.IndexFunc(to.GetBucket(), func(t *dto.Bucket) bool { return t.GetUpperBound() == b.GetUpperBound() })
		if i < 0 {
			continue // Envoy uses the same bounds for a whole family
		}
		to.Bucket[i].CumulativeCount = proto.Uint64(to.Bucket[i].GetCumulativeCount() + b.GetCumulativeCount())
	}
}

func addSummary(to, from *dto.Summary) {
	to.SampleCount = proto.Uint64(to.GetSampleCount() + from.GetSampleCount())
	to.SampleSum = proto.Float64(to.GetSampleSum() + from.GetSampleSum())
	for _, q := range from.GetQuantile() {
		i := slices.IndexFunc(to.GetQuantile(), func(t *dto.Quantile) bool { return t.GetQuantile() == q.GetQuantile() })
		if i >= 0 {
			to.Quantile[i].Value = proto.Float64(to.Quantile[i].GetValue() + q.GetValue())
		}
	}
}
