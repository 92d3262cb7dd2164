package meshmetric

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// filter chooses among Envoy's metrics. It is read-only once made.
type filter struct {
	profile          profile
	exclude, include []func(name string) bool
}

type profile int

const (
	profileNone profile = iota
	profileBasic
	profileAll
)

// newFilter turns the profiles of a document into a filter. Selectors that
// cannot work are told and left out.
func newFilter(p Profiles) (f filter, problems []error) {
	if len(p.AppendProfiles) == 0 {
		f.profile = profileBasic
	}
	for _, named := range p.AppendProfiles {
		switch named.Name {
		case "All":
			f.profile = max(f.profile, profileAll)
		case "Basic":
			f.profile = max(f.profile, profileBasic)
		case "None":
		default:
			problems = append(problems, fmt.Errorf("sidecar profile %q is not known here", named.Name))
		}
	}
	var more []error
	f.exclude, more = compile(p.Exclude)
	problems = append(problems, more...)
	f.include, more = compile(p.Include)
	return f, append(problems, more...)
}

func compile(selectors []Selector) (list []func(string) bool, problems []error) {
	for _, s := range selectors {
		switch s.Type {
		case "Exact":
			list = append(list, func(name string) bool { return name == s.Match })
		case "Prefix":
			list = append(list, func(name string) bool { return strings.HasPrefix(name, s.Match) })
		case "Contains":
			list = append(list, func(name string) bool { return strings.Contains(name, s.Match) })
		case "Regex":
			re, err := regexp.Compile(s.Match)
			if err != nil {
				problems = append(problems, fmt.Errorf("sidecar selector: %w", err))
				continue
			}
			list = append(list, re.MatchString)
		default:
			problems = append(problems, fmt.Errorf("sidecar selector of type %q is not known here", s.Type))
		}
	}
	return list, problems
}

// keeps reports whether a family is wanted: the profile decides, exclude takes
// away, include adds.
func (f *filter) keeps(family string) bool {
	matches := func(m func(string) bool) bool { return m(family) }
	if slices.ContainsFunc(f.include, matches) {
		return true
	}
	if slices.ContainsFunc(f.exclude, matches) {
		return false
	}
	return f.profile == profileAll || f.profile == profileBasic && isBasic(family)
}

// keepsSeries reports whether a series of a family that is kept is wanted:
// Basic leaves out what concerns the proxy's own connections.
func (f *filter) keepsSeries(m *dto.Metric) bool {
	if f.profile != profileBasic {
		return true
	}
	for _, l := range m.GetLabel() {
		if l.GetName() == labelCluster && isInternal(l.GetValue()) {
			return false
		}
	}
	return true
}

// isInternal reports whether a cluster serves the proxy itself. Envoy writes
// names of clusters with underscores in place of colons.
func isInternal(cluster string) bool {
	if strings.HasPrefix(cluster, "_") || strings.HasPrefix(cluster, "tracing") {
		return true
	}
	switch strings.ReplaceAll(cluster, ":", "_") {
	case "ads_cluster", "access_log_sink", "kuma_envoy_admin", "kuma_metrics_hijacker", "kuma_readiness":
		return true
	}
	return false
}

// isBasic reports whether the profile Basic has a family: what the dashboards
// show.
func isBasic(name string) bool {
	for _, part := range basicParts() {
		if strings.Contains(name, part) {
			return true
		}
	}
	switch name {
	case "envoy_cluster_membership_degraded", "envoy_cluster_membership_healthy", "envoy_cluster_membership_total", "envoy_cluster_ssl_handshake":
		return true
	}
	for _, prefix := range []string{"envoy_server", "envoy_control_plane", "envoy_dns_filter", "envoy_dns_cares"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func basicParts() []string {
	return []string{
		"rq_time", "cx_length_ms", "cx_count", "_rq", "bytes", "timeout", "health_check", "lb_healthy_panic",
		"cx_destroy", "error", "fail", "reset", "eject", "overflow", "cancelled", "max_duration_reached",
		"no_cluster", "no_route", "no_filter_chain", "reject", "denied", "days_until_first_cert_expiring",
		"rbac", "cx_active", "cx_connect",
	}
}
