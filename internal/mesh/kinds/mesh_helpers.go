package kinds

import (
	"maps"
	"slices"
	"time"

	"weft/internal/mesh/model"
)

// Defaults of a mesh.
const (
	DefaultPrometheusPort    = 5670
	DefaultPrometheusPath    = "/metrics"
	DefaultPrometheusService = "dataplane-metrics"
	DefaultDPCertLifetime    = 24 * time.Hour
	DefaultRootChainTimeout  = 10 * time.Second
)

// EnabledCA returns the certificate authority in use, nil if mutual TLS is off.
func (m *MeshSpec) EnabledCA() *CABackend {
	if m.MTLS == nil || m.MTLS.EnabledBackend == "" {
		return nil
	}
	return m.CA(m.MTLS.EnabledBackend)
}

// CA returns the certificate authority of that name, or nil.
func (m *MeshSpec) CA(name string) *CABackend {
	if m.MTLS == nil {
		return nil
	}
	for i := range m.MTLS.Backends {
		if m.MTLS.Backends[i].Name == name {
			return &m.MTLS.Backends[i]
		}
	}
	return nil
}

// Passthrough tells whether traffic to unknown destinations passes.
func (m *MeshSpec) Passthrough() bool {
	n := m.Networking
	return n == nil || n.Outbound == nil || n.Outbound.Passthrough == nil || *n.Outbound.Passthrough
}

// LocalityAware tells whether the older locality preference is on.
func (m *MeshSpec) LocalityAware() bool {
	return m.Routing != nil && m.Routing.LocalityAwareLoadBalancing
}

// ZoneEgress tells whether traffic that leaves the zone goes through the egress.
func (m *MeshSpec) ZoneEgress() bool { return m.Routing != nil && m.Routing.ZoneEgress }

// ForbidsMeshExternalServices tells whether MeshExternalServices are closed to
// everybody.
func (m *MeshSpec) ForbidsMeshExternalServices() bool {
	return m.Routing != nil && m.Routing.DefaultForbidMeshExternalServiceAccess
}

// MeshServicesMode returns whether MeshServices are generated and used.
func (m *MeshSpec) MeshServicesMode() MeshServicesMode {
	if m.MeshServices == nil {
		return MeshServicesDisabled
	}
	return m.MeshServices.Mode
}

// EnabledMetrics returns the metrics backend in use, or nil.
func (m *MeshSpec) EnabledMetrics() *MetricsBackend {
	if m.Metrics == nil || m.Metrics.EnabledBackend == "" {
		return nil
	}
	for i := range m.Metrics.Backends {
		if m.Metrics.Backends[i].Name == m.Metrics.EnabledBackend {
			return &m.Metrics.Backends[i]
		}
	}
	return nil
}

// TracingBackend returns the backend of that name, or the default one for "".
// nil = there is none.
func (m *MeshSpec) TracingBackend(name string) *TracingBackend {
	if m.Tracing == nil {
		return nil
	}
	if name == "" {
		name = m.Tracing.DefaultBackend
	}
	for i := range m.Tracing.Backends {
		if m.Tracing.Backends[i].Name == name {
			return &m.Tracing.Backends[i]
		}
	}
	return nil
}

// LoggingBackend returns the backend of that name, or the default one for "".
// nil = there is none.
func (m *MeshSpec) LoggingBackend(name string) *LoggingBackend {
	if m.Logging == nil {
		return nil
	}
	if name == "" {
		name = m.Logging.DefaultBackend
	}
	for i := range m.Logging.Backends {
		if m.Logging.Backends[i].Name == name {
			return &m.Logging.Backends[i]
		}
	}
	return nil
}

// CertLifetime returns how long certificates of proxies live.
func (b *CABackend) CertLifetime() time.Duration {
	if b.DPCert == nil || b.DPCert.Rotation == nil {
		return DefaultDPCertLifetime
	}
	d, err := ParseLifetime(b.DPCert.Rotation.Expiration)
	if err != nil || d <= 0 {
		return DefaultDPCertLifetime
	}
	return d
}

// CertTimeout returns the time limit for one certificate; 0 = the mesh sets none.
func (b *CABackend) CertTimeout() time.Duration {
	if b.DPCert == nil || b.DPCert.RequestTimeout == nil {
		return 0
	}
	return b.DPCert.RequestTimeout.Std()
}

// RootTimeout returns the time limit for fetching root certificates.
func (b *CABackend) RootTimeout() time.Duration {
	if b.RootChain == nil || b.RootChain.RequestTimeout == nil {
		return DefaultRootChainTimeout
	}
	return b.RootChain.RequestTimeout.Std()
}

// SkipsInitialPolicy tells whether policies of that kind are not created with the mesh.
func (m *MeshSpec) SkipsInitialPolicy(kind string) bool {
	return slices.Contains(m.SkipCreatingInitialPolicies, "*") || slices.Contains(m.SkipCreatingInitialPolicies, kind)
}

// defaultMesh writes the defaults that are stored with a mesh: those of its
// Prometheus backends. A conf that cannot be read is left for validation.
func defaultMesh(m *MeshSpec) {
	if m.Metrics == nil {
		return
	}
	// The slice may be shared with a stored object.
	m.Metrics = &MeshMetrics{EnabledBackend: m.Metrics.EnabledBackend, Backends: slices.Clone(m.Metrics.Backends)}
	for i := range m.Metrics.Backends {
		b := &m.Metrics.Backends[i]
		if b.Type != MetricsPrometheus {
			continue
		}
		var c PrometheusConf
		if model.DecodeProto(b.Conf, &c) != nil {
			continue
		}
		c.setDefaults()
		if conf, err := model.StructOf(c); err == nil {
			b.Conf = conf
		}
	}
}

// MetricsPrometheus is the only type of metrics backends.
const MetricsPrometheus = "prometheus"

func (c *PrometheusConf) setDefaults() {
	if c.Port == 0 {
		c.Port = DefaultPrometheusPort
	}
	if c.Path == "" {
		c.Path = DefaultPrometheusPath
	}
	if len(c.Tags) == 0 {
		c.Tags = map[string]string{model.TagService: DefaultPrometheusService}
	}
	switch {
	case c.SkipMTLS == nil && c.TLS == nil:
		c.TLS = &PrometheusTLS{}
	case c.TLS == nil && *c.SkipMTLS:
		c.TLS = &PrometheusTLS{Mode: PrometheusTLSDisabled}
	case c.TLS == nil:
		c.TLS = &PrometheusTLS{}
	case c.TLS.Mode == PrometheusProvidedTLS:
		c.SkipMTLS = nil
	}
}

// Over returns c overlaid with what o sets; aggregates are merged by name.
func (c PrometheusConf) Over(o PrometheusConf) PrometheusConf {
	if o.Port != 0 {
		c.Port = o.Port
	}
	if o.Path != "" {
		c.Path = o.Path
	}
	if len(o.Tags) != 0 {
		tags := maps.Clone(c.Tags)
		if tags == nil {
			tags = map[string]string{}
		}
		maps.Copy(tags, o.Tags)
		c.Tags = tags
	}
	if o.SkipMTLS != nil {
		c.SkipMTLS = o.SkipMTLS
	}
	if o.Envoy != nil {
		c.Envoy = o.Envoy
	}
	if o.TLS != nil {
		c.TLS = o.TLS
	}
	merged := slices.Clone(c.Aggregate)
	for _, a := range o.Aggregate {
		i := slices.IndexFunc(merged, func(m PrometheusAggregate) bool { return m.Name == a.Name })
		if i < 0 {
			merged = append(merged, a)
			continue
		}
		merged[i] = a
	}
	c.Aggregate = merged
	return c
}
