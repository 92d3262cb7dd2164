package meshmetric

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// families are of all sorts that the profiles tell apart.
const families = `# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="web",le="+Inf"} 1
envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="web"} 1
envoy_cluster_upstream_rq_time_count{envoy_cluster_name="web"} 1
# TYPE envoy_cluster_upstream_cx_total counter
envoy_cluster_upstream_cx_total{envoy_cluster_name="web"} 1
# TYPE envoy_cluster_upstream_cx_active gauge
envoy_cluster_upstream_cx_active{envoy_cluster_name="web"} 1
envoy_cluster_upstream_cx_active{envoy_cluster_name="localhost_80"} 1
envoy_cluster_upstream_cx_active{envoy_cluster_name="ads_cluster"} 1
envoy_cluster_upstream_cx_active{envoy_cluster_name="kuma_envoy_admin"} 1
envoy_cluster_upstream_cx_active{envoy_cluster_name="kuma:envoy:admin"} 1
envoy_cluster_upstream_cx_active{envoy_cluster_name="_kuma_metrics_opentelemetry_x"} 1
envoy_cluster_upstream_cx_active{envoy_cluster_name="tracing:jaeger"} 1
envoy_cluster_upstream_cx_active{envoy_cluster_name="access_log_sink"} 1
# TYPE envoy_cluster_membership_total gauge
envoy_cluster_membership_total{envoy_cluster_name="ads_cluster"} 1
# TYPE envoy_cluster_membership_change counter
envoy_cluster_membership_change{envoy_cluster_name="web"} 1
# TYPE envoy_server_live gauge
envoy_server_live 1
# TYPE envoy_runtime_load_success counter
envoy_runtime_load_success 1
# TYPE envoy_http_downstream_rq_total counter
envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="web"} 1
envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="admin"} 1
envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="_kuma_dynamicconfig_observability"} 1
`

func TestProfiles(t *testing.T) {
	named := func(names ...string) (list []Profile) {
		for _, n := range names {
			list = append(list, Profile{n})
		}
		return list
	}
	all := []string{
		"envoy_cluster_membership_change", "envoy_cluster_membership_total", "envoy_cluster_upstream_cx_active",
		"envoy_cluster_upstream_cx_total", "envoy_cluster_upstream_rq_time", "envoy_http_downstream_rq_total",
		"envoy_runtime_load_success", "envoy_server_live",
	}
	basic := []string{"envoy_cluster_upstream_cx_active", "envoy_cluster_upstream_rq_time", "envoy_http_downstream_rq_total", "envoy_server_live"}
	for name, tc := range map[string]struct {
		profiles Profiles
		want     []string
		active   int // series of envoy_cluster_upstream_cx_active
	}{
		"default is Basic":    {Profiles{}, basic, 2},
		"Basic":               {Profiles{AppendProfiles: named("Basic")}, basic, 2},
		"All":                 {Profiles{AppendProfiles: named("All")}, all, 8},
		"None":                {Profiles{AppendProfiles: named("None")}, nil, 0},
		"broadest wins":       {Profiles{AppendProfiles: named("None", "All", "Basic")}, all, 8},
		"None and Basic":      {Profiles{AppendProfiles: named("Basic", "None")}, basic, 2},
		"unknown is as none":  {Profiles{AppendProfiles: named("Everything")}, nil, 0},
		"include by Exact":    {Profiles{AppendProfiles: named("None"), Include: []Selector{{"Exact", "envoy_server_live"}}}, []string{"envoy_server_live"}, 0},
		"include keeps rule":  {Profiles{Include: []Selector{{"Exact", "envoy_cluster_membership_total"}}}, basic, 2}, // its only series is internal
		"exclude by Prefix":   {Profiles{Exclude: []Selector{{"Prefix", "envoy_cluster_"}}}, basic[2:], 0},
		"exclude by Contains": {Profiles{Exclude: []Selector{{"Contains", "_rq"}}}, []string{"envoy_cluster_upstream_cx_active", "envoy_server_live"}, 2},
		"include wins": {Profiles{
			AppendProfiles: named("All"), Exclude: []Selector{{"Regex", "."}}, Include: []Selector{{"Regex", "^envoy_(server|runtime)_"}},
		}, []string{"envoy_runtime_load_success", "envoy_server_live"}, 0},
		"bad selectors do nothing": {Profiles{Exclude: []Selector{{"Regex", "("}, {"Glob", "*"}}}, basic, 2},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newFilter(tc.profiles)
			var got []string
			active := 0
			parsed := parseText(t, families)
			for _, name := range sortedNames(parsed) {
				family := parsed[name]
				if f.apply(family) {
					got = append(got, name)
					if name == "envoy_cluster_upstream_cx_active" {
						active = len(family.GetMetric())
					}
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if active != tc.active {
				t.Errorf("%d series of connections, want %d", active, tc.active)
			}
		})
	}
}

func TestFilterTellsWhatItCannotUse(t *testing.T) {
	_, problems := newFilter(Profiles{
		AppendProfiles: []Profile{{"Everything"}}, Exclude: []Selector{{"Regex", "("}}, Include: []Selector{{"Glob", "*"}},
	})
	if len(problems) != 3 {
		t.Errorf("got %v", problems)
	}
}

func TestTrafficIsMarked(t *testing.T) {
	f, _ := newFilter(Profiles{AppendProfiles: []Profile{{"All"}}})
	parsed := parseText(t, families)
	var marked []string
	for _, name := range []string{"envoy_cluster_upstream_cx_active", "envoy_http_downstream_rq_total", "envoy_server_live"} {
		f.apply(parsed[name])
		for _, m := range parsed[name].GetMetric() {
			if valueOf(m, labelTraffic) == "true" {
				marked = append(marked, strings.TrimPrefix(name, "envoy_")+" "+valueOf(m, labelCluster)+valueOf(m, labelHTTP))
			}
		}
	}
	want := []string{"cluster_upstream_cx_active web", "cluster_upstream_cx_active localhost_80", "http_downstream_rq_total web"}
	if diff := cmp.Diff(want, marked); diff != "" {
		t.Error(diff)
	}
}
