// Package meshmetric exposes metrics of proxies and applications to Prometheus
// and OpenTelemetry collectors.
package meshmetric

import (
	"strings"

	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says which metrics go where.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// Default is what holds for the selected proxies.
	Default *Conf `json:"default,omitempty"`
}

// Conf is what may be set under default.
type Conf struct {
	// Sidecar says which of the proxy's own metrics are exposed.
	Sidecar *Sidecar `json:"sidecar,omitempty"`
	// Applications whose metrics are exposed together with the proxy's.
	Applications []Application `json:"applications,omitzero"`
	// Backends get the metrics. Without one nothing is exposed.
	Backends []Backend `json:"backends,omitzero"`
}

// Sidecar says which of the proxy's own metrics are exposed.
type Sidecar struct {
	// Profiles choose among the metrics.
	Profiles *Profiles `json:"profiles,omitempty"`
	// IncludeUnused also exposes metrics that never changed. False if absent.
	IncludeUnused *bool `json:"includeUnused,omitempty"`
}

// Profiles choose among the metrics: the united profiles, without what exclude
// names, with what include names.
type Profiles struct {
	// AppendProfiles are united. Basic if absent. The lists of several policies
	// are joined.
	AppendProfiles []Profile `json:"appendProfiles,omitzero"`
	// Exclude leaves metrics out.
	Exclude []Selector `json:"exclude,omitzero"`
	// Include adds metrics, and wins over exclude.
	Include []Selector `json:"include,omitzero"`
}

// Profile is a set of metrics.
type Profile struct {
	// Name of the set.
	Name string `json:"name" schema:"required,enum=All|Basic|None"`
}

// Selector selects metrics by name.
type Selector struct {
	// Type of the comparison.
	Type string `json:"type" schema:"required,enum=Prefix|Regex|Exact|Contains"`
	// Match is what the name is compared with.
	Match string `json:"match" schema:"required"`
}

// Application is a scrape address of a workload.
type Application struct {
	// Name of the application, added to its metrics with OpenTelemetry.
	Name *string `json:"name,omitempty"`
	// Path of the metrics.
	Path *string `json:"path,omitempty" schema:"default=/metrics"`
	// Address of the application. Absent means where the inbound's workload is.
	Address *string `json:"address,omitempty"`
	// Port of the application.
	Port uint32 `json:"port" schema:"required"`
}

// Backend gets the metrics. The field of the type's name says how.
type Backend struct {
	// Type of the backend.
	Type string `json:"type" schema:"required,enum=Prometheus|OpenTelemetry"`
	// Prometheus scrapes the proxy.
	Prometheus *Prometheus `json:"prometheus,omitempty"`
	// OpenTelemetry is a collector to which metrics are sent.
	OpenTelemetry *OpenTelemetry `json:"openTelemetry,omitempty"`
}

// Types of a Backend.
const (
	prometheus = "Prometheus"
	otel       = "OpenTelemetry"
)

// Prometheus scrapes the proxy.
type Prometheus struct {
	// ClientID tells several Prometheus servers apart.
	ClientID *string `json:"clientId,omitempty"`
	// Port on which the proxy is scraped.
	Port *uint32 `json:"port,omitempty" schema:"default=5670"`
	// Path of the metrics.
	Path *string `json:"path,omitempty" schema:"default=/metrics"`
	// TLS secures scraping.
	TLS *TLS `json:"tls,omitempty"`
}

// TLS secures scraping.
type TLS struct {
	// Mode says how. ProvidedTLS uses the certificate that kuma-dp was given.
	Mode *string `json:"mode,omitempty" schema:"enum=Disabled|ProvidedTLS|ActiveMTLSBackend,default=Disabled"`
}

const providedTLS = "ProvidedTLS"

// OpenTelemetry is a collector to which metrics are sent.
type OpenTelemetry struct {
	// Endpoint of the collector: "host" or "host:port". The port is 4317 if absent.
	Endpoint string `json:"endpoint" schema:"required"`
	// RefreshInterval between two sendings. 60s if absent.
	RefreshInterval *model.Duration `json:"refreshInterval,omitempty"`
}

// Policy is the kind MeshMetric.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshMetric", Plural: "meshmetrics", Short: "mm", One: "meshmetric", Many: "meshmetrics",
		Display: "Mesh Metric", DisplayPlural: "Mesh Metrics",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{Top: policy.Sidecars, TopSystem: policy.MeshGateway, GatewayTags: true},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, Default: s.Default}
	},
	Lists:    []policy.List{policy.ListDefault},
	Validate: validate,
	Proxy:    proxy,
})

// validate reports applications and backends under the names that clients of
// the API know.
func validate(c *Conf, v *model.Violations, _ policy.Where) {
	if s := c.Sidecar; s != nil && s.Profiles != nil {
		at := v.At("sidecar", "profiles")
		validateSelectors(s.Profiles.Exclude, at.At("exclude"))
		validateSelectors(s.Profiles.Include, at.At("include"))
	}
	for i := range c.Applications {
		a := &c.Applications[i]
		policy.CheckPort(int64(a.Port), v.At("applications", "application", i))
		if a.Address != nil && strings.ContainsAny(*a.Address, " \t/") {
			v.At("applications", "application", i, "address").Add("%q is no address", *a.Address)
		}
	}
	for i := range c.Backends {
		c.Backends[i].validate(v.At("backends", "backend", i))
	}
}

func validateSelectors(list []Selector, v *model.Violations) {
	for i, s := range list {
		if s.Type == "Regex" {
			policy.CheckRegex(s.Match, v.At(i, "match"))
		}
	}
}

func (b *Backend) validate(v *model.Violations) {
	const missing = "is missing: the backend's type says that it is there"
	switch b.Type {
	case prometheus:
		if b.Prometheus == nil {
			v.At("prometheus").Add(missing)
			return
		}
		if p := b.Prometheus.Port; p != nil {
			policy.CheckPort(int64(*p), v.At("port"))
		}
		if p := b.Prometheus.Path; p != nil && !strings.HasPrefix(*p, "/") {
			v.At("path").Add("must start with a slash, which %q does not", *p)
		}
	case otel:
		if b.OpenTelemetry == nil {
			v.At("openTelemetry").Add(missing)
			return
		}
		at := v.At("openTelemetry", "endpoint")
		if strings.HasPrefix(b.OpenTelemetry.Endpoint, "http://") || strings.HasPrefix(b.OpenTelemetry.Endpoint, "https://") {
			at.Add("leave out the scheme: gRPC is spoken; write it like collector:4317")
		} else {
			policy.CheckEndpoint(b.OpenTelemetry.Endpoint, at)
		}
		policy.CheckPositive(b.OpenTelemetry.RefreshInterval, v.At("openTelemetry", "refreshInterval"))
	}
}
