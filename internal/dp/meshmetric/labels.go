package meshmetric

import (
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

const (
	labelCluster = "envoy_cluster_name"
	labelHTTP    = "envoy_http_conn_manager_prefix"
	labelTraffic = "kuma_io_mesh_traffic"

	labelScopeName    = "otel_scope_name"
	labelScopeVersion = "otel_scope_version"
	labelScopeSchema  = "otel_scope_schema_url"
	prefixScope       = "otel_scope_"

	// ownScope holds metrics that came without a scope.
	ownScope = "kuma"
)

// label is a name with a value.
type label struct{ name, value string }

// common returns what is put on every sample, sorted by name.
func common(n Node, extra map[string]string) []label {
	all := map[string]string{"mesh": n.Mesh, "dataplane": n.Name, "service": n.Service}
	maps.Copy(all, extra)
	list := make([]label, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, label{name, all[name]})
	}
	return list
}

// relabel returns the labels of one sample. Ours win; an application's label
// of the same name is kept as exported_NAME, as Prometheus itself does it.
func relabel(own []*dto.LabelPair, ours []label) []*dto.LabelPair {
	out := make([]*dto.LabelPair, 0, len(own)+len(ours)+2)
	for _, l := range own {
		if _, taken := slices.BinarySearchFunc(ours, l.GetName(), func(o label, name string) int { return strings.Compare(o.name, name) }); taken {
			l = &dto.LabelPair{Name: proto.String("exported_" + l.GetName()), Value: l.Value}
		}
		out = append(out, l)
	}
	for i := range ours {
		out = append(out, &dto.LabelPair{Name: &ours[i].name, Value: &ours[i].value})
	}
	return out
}

// hasScope reports whether a sample says itself which scope it belongs to.
func hasScope(labels []*dto.LabelPair) bool {
	return slices.ContainsFunc(labels, func(l *dto.LabelPair) bool { return l.GetName() == labelScopeName })
}

// markTraffic marks series of Envoy that are about traffic of the mesh, which
// the dashboards of gateways ask for.
func markTraffic(m *dto.Metric) {
	for _, l := range m.GetLabel() {
		if l.GetName() == labelCluster && !isInternal(l.GetValue()) || l.GetName() == labelHTTP && !isOwnListener(l.GetValue()) {
			m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(labelTraffic), Value: proto.String("true")})
			return
		}
	}
}

func isOwnListener(prefix string) bool {
	return strings.HasPrefix(prefix, "_") || slices.Contains([]string{"admin", "kuma_envoy_admin", "kuma_metrics_prometheus"}, prefix)
}
