package diagnostics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// ZoneOf returns the label zone of all metrics of a control plane.
func ZoneOf(global bool, zone string) string {
	switch {
	case global:
		return "Global"
	case zone == "":
		return "Zone"
	}
	return zone
}

// NewRegistry returns a registry with the metrics of the Go runtime and the
// process, and what everybody registers with: it puts the label zone on each metric.
func NewRegistry(zone string) (*prometheus.Registry, prometheus.Registerer, error) {
	registry := prometheus.NewRegistry()
	reg := prometheus.WrapRegistererWith(prometheus.Labels{"zone": zone}, registry)
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := reg.Register(c); err != nil {
			return nil, nil, err
		}
	}
	return registry, reg, nil
}

// Info says which instance this is.
type Info struct {
	Product, Version, BuildDate, GitCommit, GitTag string
	InstanceID                                     string
	// ClusterID is "" as long as it is not known.
	ClusterID func() string
}

// info is the metric cp_info, whose labels are known only when it is read.
type info struct {
	Info
	desc *prometheus.Desc
}

// RegisterInfo registers cp_info, from which dashboards take their variables.
func RegisterInfo(reg prometheus.Registerer, i Info) error {
	const shortCommit = 7
	if len(i.GitCommit) > shortCommit {
		i.GitCommit = i.GitCommit[:shortCommit]
	}
	return reg.Register(&info{Info: i, desc: prometheus.NewDesc("cp_info", "Which control plane this is.",
		[]string{"product", "version", "build_date", "git_commit", "git_tag", "instance_id", "cluster_id"}, nil)})
}

// Describe implements prometheus.Collector.
func (i *info) Describe(ch chan<- *prometheus.Desc) { ch <- i.desc }

// Collect implements prometheus.Collector.
func (i *info) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(i.desc, prometheus.GaugeValue, 1,
		i.Product, i.Version, i.BuildDate, i.GitCommit, i.GitTag, i.InstanceID, i.ClusterID())
}

// RegisterLeader registers the metric leader: 1 while this instance leads.
func RegisterLeader(reg prometheus.Registerer, leading func() bool) error {
	return reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "leader", Help: "1 while this instance is the leader."}, func() float64 {
		if leading() {
			return 1
		}
		return 0
	}))
}

// counter is the metric resources_count, whose kinds are known only when it is read.
type counter struct {
	desc   *prometheus.Desc
	counts func() map[string]int
}

// RegisterCounts registers the metric resources_count: how many objects there
// are of each kind. counts is asked whenever metrics are read.
func RegisterCounts(reg prometheus.Registerer, counts func() map[string]int) error {
	// Tenants are an enterprise feature of 2.10; its dashboards expect the label.
	return reg.Register(&counter{counts: counts, desc: prometheus.NewDesc("resources_count", "Number of objects by kind.",
		[]string{"resource_type"}, prometheus.Labels{"tenant": ""})})
}

// Describe implements prometheus.Collector.
func (c *counter) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *counter) Collect(ch chan<- prometheus.Metric) {
	for kind, n := range c.counts() {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), kind)
	}
}

// HTTP are the metrics of one HTTP server.
type HTTP struct {
	duration, size *prometheus.HistogramVec
	inflight       *prometheus.GaugeVec
}

// Prefixes of the metrics of the HTTP servers.
const (
	APIServer  = "api_server"
	DPServer   = "dp_server"
	MADSServer = "mads_server"
)

// NewHTTP registers the metrics of an HTTP server.
func NewHTTP(reg prometheus.Registerer, prefix string) (*HTTP, error) {
	labels := []string{"service", "handler", "method", "code"}
	h := &HTTP{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "_http_request_duration_seconds", Help: "How long requests took.", Buckets: prometheus.DefBuckets,
		}, labels),
		size: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "_http_response_size_bytes", Help: "How large responses were.", Buckets: prometheus.ExponentialBuckets(100, 10, 8),
		}, labels),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: prefix + "_http_requests_inflight", Help: "Requests being handled.",
		}, []string{"service", "handler"}),
	}
	for _, c := range []prometheus.Collector{h.duration, h.size, h.inflight} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Begin counts a request that is being handled; end must be called when it is
// done. handler is the template of the route, never the path itself, so that the
// number of time series stays bounded.
func (h *HTTP) Begin(handler string) (end func()) {
	g := h.inflight.WithLabelValues("", handler)
	g.Inc()
	return g.Dec
}

// Observe counts a request that was handled.
func (h *HTTP) Observe(handler, method string, status, bytes int, took time.Duration) {
	labels := []string{"", handler, known(method), strconv.Itoa(status)}
	h.duration.WithLabelValues(labels...).Observe(took.Seconds())
	h.size.WithLabelValues(labels...).Observe(float64(bytes))
}

// known bounds the values of the label method, which clients choose.
func known(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE":
		return method
	}
	return "other"
}
