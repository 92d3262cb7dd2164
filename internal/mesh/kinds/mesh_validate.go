package kinds

import (
	"net"
	"net/url"
	"regexp"
	"strconv"

	"weft/internal/mesh/model"
)

func validateMesh(o *model.Object, v *model.Violations) {
	m := model.Spec[MeshSpec](o)
	m.validateMTLS(v.At("mtls"))
	if m.Logging != nil {
		m.Logging.validate(v.At("logging"))
	}
	if m.Tracing != nil {
		m.Tracing.validate(v.At("tracing"))
	}
	if m.Metrics != nil {
		m.Metrics.validate(v.At("metrics"))
	}
	if c := m.Constraints; c != nil && c.DataplaneProxy != nil {
		at := v.At("constraints", "dataplaneProxy")
		for i, r := range c.DataplaneProxy.Requirements {
			TagRules{Selector: true, NotEmpty: true}.Check(r.Tags, at.At("requirements", i, "tags"))
		}
		for i, r := range c.DataplaneProxy.Restrictions {
			TagRules{Selector: true, NotEmpty: true}.Check(r.Tags, at.At("restrictions", i, "tags"))
		}
	}
}

// names finds names that were used before.
type names map[string]bool

func (n names) check(name string, v *model.Violations) {
	if n[name] {
		v.Add("%q is also the name of another backend", name)
	}
	n[name] = true
}

func (n names) checkChosen(name string, v *model.Violations) {
	if name != "" && !n[name] {
		v.Add("%q is not among the names of the backends", name)
	}
}

// maxCAs bounds the certificate authorities of a mesh. One is usual, two while
// one is exchanged for another.
const maxCAs = 10

func (m *MeshSpec) validateMTLS(v *model.Violations) {
	if m.ZoneEgress() && m.EnabledCA() == nil {
		v.Add("must be on, with an enabled backend, because routing.zoneEgress is on: the egress tells destinations apart by TLS")
	}
	if m.MTLS == nil {
		return
	}
	backends := v.At("backends")
	if n := len(m.MTLS.Backends); n > maxCAs {
		backends.Add("are %d, but every proxy has to check against all of them; list at most %d", n, maxCAs)
		return
	}
	seen := names{}
	for i := range m.MTLS.Backends {
		b := &m.MTLS.Backends[i]
		seen.check(b.Name, backends.At(i, "name"))
		if b.DPCert != nil {
			expiration := ""
			if b.DPCert.Rotation != nil {
				expiration = b.DPCert.Rotation.Expiration
			}
			if _, err := ParseLifetime(expiration); err != nil {
				v.At("dpcert", "rotation", "expiration").Add("%v", err)
			}
		}
	}
	seen.checkChosen(m.MTLS.EnabledBackend, v.At("enabledBackend"))
}

func (l *MeshLogging) validate(v *model.Violations) {
	seen := names{}
	for i := range l.Backends {
		b := &l.Backends[i]
		at := v.At("backends", i)
		if b.Name == "" {
			at.At("name").Add("must not be empty")
		}
		seen.check(b.Name, at.At("name"))
		// The path element is "config", although the field is "conf": clients know it so.
		conf := at.At("config")
		switch b.Type {
		case LoggingFile:
			var c FileLogConf
			if readConf(b.Conf, &c, conf) && c.Path == "" {
				conf.At("path").Add("must not be empty")
			}
		case LoggingTCP:
			var c TCPLogConf
			if readConf(b.Conf, &c, conf) {
				checkLogAddress(c.Address, conf.At("address"))
			}
		default:
			at.At("type").Add("%q is no type of logging backend that is known; use %s or %s", b.Type, LoggingFile, LoggingTCP)
		}
	}
	seen.checkChosen(l.DefaultBackend, v.At("defaultBackend"))
}

// The types of logging and tracing backends.
const (
	LoggingFile    = "file"
	LoggingTCP     = "tcp"
	TracingZipkin  = "zipkin"
	TracingDatadog = "datadog"
)

// readConf reads a free-form block and says what is wrong with it.
func readConf(s model.Struct, to any, v *model.Violations) bool {
	if err := model.DecodeProto(s, to); err != nil {
		v.Add("cannot be read: %s", confProblem(err))
		return false
	}
	return true
}

func checkLogAddress(address string, v *model.Violations) {
	if address == "" {
		v.Add("must not be empty; write HOST:PORT")
		return
	}
	host, port, err := net.SplitHostPort(address)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || host == "" {
		v.Add("%q must be of the form HOST:PORT", address)
	}
}

func (t *MeshTracing) validate(v *model.Violations) {
	seen := names{}
	for i := range t.Backends {
		b := &t.Backends[i]
		at := v.At("backends", i)
		if b.Sampling != nil && (*b.Sampling < 0 || *b.Sampling > 100) {
			at.At("sampling").Add("must be between 0 and 100, not %v", *b.Sampling)
		}
		conf := at.At("config")
		switch b.Type {
		case TracingZipkin:
			b.validateZipkin(conf)
		case TracingDatadog:
			var c DatadogConf
			if readConf(b.Conf, &c, conf) {
				if c.Address == "" {
					conf.At("address").Add("must not be empty")
				}
				checkPort(int64(c.Port), conf.At("port"))
			}
		default:
			at.At("type").Add("%q is no type of tracing backend that is known; use %s or %s", b.Type, TracingZipkin, TracingDatadog)
		}
		if b.Name == "" {
			at.At("name").Add("must not be empty")
		}
		seen.check(b.Name, at.At("name"))
	}
	seen.checkChosen(t.DefaultBackend, v.At("defaultBackend"))
}

func (b *TracingBackend) validateZipkin(v *model.Violations) {
	var c ZipkinConf
	if !readConf(b.Conf, &c, v) {
		return
	}
	checkOneOf(c.APIVersion, v.At("apiVersion"), "httpJson", "httpJsonV1", "httpProto")
	u, err := url.ParseRequestURI(c.URL)
	switch at := v.At("url"); {
	case c.URL == "":
		at.Add("must not be empty")
	case err != nil || u.Host == "":
		at.Add("%q is no URL", c.URL)
	case u.Port() == "":
		at.Add("must say the port, such as http://zipkin:9411/api/v2/spans")
	}
}

func (m *MeshMetrics) validate(v *model.Violations) {
	seen := names{}
	for i := range m.Backends {
		b := &m.Backends[i]
		at := v.At("backends", i)
		seen.check(b.Name, at.At("name"))
		b.validate(at)
	}
	seen.checkChosen(m.EnabledBackend, v.At("enabledBackend"))
}

// validate checks type and conf, for a Mesh and for a Dataplane.
func (b *MetricsBackend) validate(v *model.Violations) {
	if b.Type != MetricsPrometheus {
		v.At("type").Add("%q is no type of metrics backend that is known; use %s", b.Type, MetricsPrometheus)
		return
	}
	conf := v.At("conf")
	var c PrometheusConf
	if !readConf(b.Conf, &c, conf) {
		return
	}
	if c.SkipMTLS != nil && c.TLS != nil && c.TLS.Mode != PrometheusProvidedTLS &&
		*c.SkipMTLS != (c.TLS.Mode == PrometheusTLSDisabled) {
		conf.Add("skipMTLS and tls say different things; keep tls only")
		return
	}
	if c.Port > 65535 {
		checkPort(int64(c.Port), conf.At("port"))
	}
	if c.Envoy != nil {
		if _, err := regexp.Compile(c.Envoy.FilterRegex); err != nil {
			conf.At("envoy", "filterRegex").Add("is no regular expression: %v", err)
		}
	}
	used := map[string]bool{}
	for i, a := range c.Aggregate {
		at := conf.At("aggregate", i)
		if used[a.Name] {
			at.At("name").Add("%q is also the name of another entry", a.Name)
		}
		used[a.Name] = true
	}
}
