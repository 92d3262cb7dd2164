package meshmetric

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/policy"
)

const (
	otelPort       = 4317
	defaultRefresh = time.Minute
	defaultPort    = 5670
	defaultPath    = "/metrics"
	defaultClient  = "default-backend"
	origin         = "open-telemetry"
	socketLimit    = 98 // fits into the address of a Unix socket, with ".sock"
)

// proxy opens what collectors ask for and writes the document by which kuma-dp
// knows what to collect. It replaces the mesh's own metrics listener.
func proxy(c *Conf, x *policy.Context) {
	if len(c.Backends) == 0 {
		x.Ignore()
		return
	}
	p := x.Proxy
	p.Metrics = nil
	o := &ir.Observability{}
	doc := document{Applications: applications(c.Applications), Sidecar: c.Sidecar, ExtraLabels: labels(x)}
	for i := range c.Backends {
		switch b := &c.Backends[i]; {
		case b.Type == prometheus && b.Prometheus != nil:
			if len(o.Prometheus) == 0 {
				doc.Backends = append(doc.Backends, docBackend{Type: prometheus})
			}
			b.Prometheus.add(o, x)
		case b.Type == otel && b.OpenTelemetry != nil:
			if m, ok := b.OpenTelemetry.add(o, p); ok {
				doc.Backends = append(doc.Backends, docBackend{Type: otel, Name: &m.Name, OpenTelemetry: &docOTel{
					Endpoint: m.Socket, RefreshInterval: m.Refresh.String(),
				}})
			}
		}
	}
	o.Document = doc.encode()
	p.Observability = o
}

func (b *Prometheus) add(o *ir.Observability, x *policy.Context) {
	e := ir.PrometheusEndpoint{Client: defaultClient, Port: defaultPort, Path: defaultPath}
	if b.ClientID != nil && *b.ClientID != "" {
		e.Client = *b.ClientID
	}
	if b.Port != nil {
		e.Port = *b.Port
	}
	if b.Path != nil {
		e.Path = *b.Path
	}
	if b.TLS != nil && b.TLS.Mode != nil && *b.TLS.Mode == providedTLS {
		if x.Env.MetricsCert != "" && x.Env.MetricsKey != "" {
			e.CertPath, e.KeyPath = x.Env.MetricsCert, x.Env.MetricsKey
		} else {
			x.Warn("ProvidedTLS has no effect: this kuma-dp was started without a certificate and key for metrics")
		}
	}
	for _, in := range x.Proxy.Inbounds {
		if in.Address == x.Proxy.Address && in.Port == e.Port {
			// Envoy refuses two listeners on one address, and it may be the inbound.
			x.Warn(fmt.Sprintf("Prometheus backend %s is left out: its port %d is the port of an inbound", e.Client, e.Port))
			return
		}
	}
	for _, old := range o.Prometheus {
		if old.Client == e.Client || old.Port == e.Port {
			x.Warn(fmt.Sprintf("Prometheus backend %s on port %d is left out: another one has the same clientId or port", e.Client, e.Port))
			return
		}
	}
	o.Prometheus = append(o.Prometheus, e)
}

func (b *OpenTelemetry) add(o *ir.Observability, p *ir.Proxy) (ir.OTelMetrics, bool) {
	host, port, _ := policy.Endpoint(b.Endpoint) // was checked at the gate
	if port == 0 {
		port = otelPort
	}
	name := strings.NewReplacer("/", "", ":", "-").Replace(b.Endpoint)
	m := ir.OTelMetrics{
		Name: name, Backend: "_kuma:metrics:opentelemetry:" + name,
		Refresh: *policy.StdOr(b.RefreshInterval, defaultRefresh),
	}
	for _, old := range o.OTel {
		if old.Name == name {
			return m, false
		}
	}
	m.Socket = socket(p.WorkDir, name, o.OTel)
	o.OTel = append(o.OTel, m)
	p.Backends = append(p.Backends, ir.Backend{Name: m.Backend, Host: host, Port: port, HTTP2: true, Origin: origin})
	return m, true
}

// socket is where kuma-dp reaches a collector: named after it and cut to what
// fits. Where that leaves nothing to tell two collectors apart, a hash does.
func socket(dir, name string, others []ir.OTelMetrics) string {
	cut := func(base, suffix string) string {
		return base[:min(len(base), socketLimit-len(suffix))] + suffix + ".sock"
	}
	base := path.Join(dir, "kuma-otel-"+name)
	out := cut(base, "")
	if slices.ContainsFunc(others, func(o ir.OTelMetrics) bool { return o.Socket == out }) {
		sum := sha256.Sum256([]byte(name))
		out = cut(base, "-"+hex.EncodeToString(sum[:4]))
	}
	return out
}

// document is what kuma-dp is told. Names, order and nulls are its contract.
type document struct {
	Applications []docApplication  `json:"applications"`
	Backends     []docBackend      `json:"backends"`
	Sidecar      *Sidecar          `json:"sidecar,omitempty"`
	ExtraLabels  map[string]string `json:"extraLabels"`
}

type docApplication struct {
	Name    *string `json:"name,omitempty"`
	Path    string  `json:"path"`
	Port    uint32  `json:"port"`
	Address string  `json:"address"`
}

type docBackend struct {
	Type          string   `json:"type"`
	Name          *string  `json:"name"`
	OpenTelemetry *docOTel `json:"openTelemetry,omitempty"`
}

type docOTel struct {
	Endpoint        string `json:"endpoint"`
	RefreshInterval string `json:"refreshInterval"`
}

func (d document) encode() json.RawMessage {
	b, err := json.Marshal(map[string]any{"observability": map[string]any{"metrics": d}})
	if err != nil { // plain values only: cannot fail
		panic(fmt.Sprintf("meshmetric: encode document: %v", err))
	}
	return b
}

func applications(list []Application) []docApplication {
	var out []docApplication
	for _, a := range list {
		d := docApplication{Name: a.Name, Path: defaultPath, Port: a.Port}
		if a.Path != nil {
			d.Path = *a.Path
		}
		if a.Address != nil {
			d.Address = *a.Address
		}
		out = append(out, d)
	}
	return out
}

// labels are added to all metrics: for each tag of the proxy its first value,
// and all values.
func labels(x *policy.Context) map[string]string {
	out := map[string]string{}
	// In order, since the names of two tags may give one label.
	for _, tag := range slices.Sorted(maps.Keys(x.Proxy.Tags)) {
		vs := x.Proxy.Tags[tag]
		if len(vs) == 0 {
			continue
		}
		k := labelName(tag)
		out[k] = vs[0]
		out[k+"s"] = "," + strings.Join(vs, ",") + ","
	}
	if x.Env.KubeName != "" {
		out["k8s_kuma_io_namespace"] = x.Env.KubeNamespace
		out["k8s_kuma_io_name"] = x.Env.KubeName
	}
	if x.Env.GatewayName != "" {
		out["kuma_io_mesh_gateway"] = x.Env.GatewayName
	}
	return out
}

// labelName replaces what Prometheus does not allow in names of labels.
func labelName(tag string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_':
			return r
		}
		return '_'
	}, tag)
}
