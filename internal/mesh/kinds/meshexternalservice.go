package kinds

import (
	"net/netip"
	"slices"

	"weft/internal/mesh/model"
)

// MeshExternalService is a service outside of the mesh that clients in the mesh
// reach under a name of the mesh, through the egress of their zone.
var MeshExternalService = &model.Kind{
	Name: "MeshExternalService", Plural: "meshexternalservices", Short: "extsvc",
	One: "meshexternalservice", Many: "meshexternalservices",
	Display: "Mesh External Service", DisplayPlural: "Mesh External Services",
	Scope: model.InMesh, Shape: model.SpecBlock,
	Flow:  model.GlobalToZone | model.ZoneToGlobal | model.GlobalWrites | model.ZoneWrites,
	Feeds: model.FeedsLabels | model.FeedsSpec | model.FeedsStatus,
	Essence: func(o *model.Object) any {
		e := serviceEssence{Spec: o.Spec}
		if s := model.Status[MeshExternalServiceStatus](o); s != nil {
			e.Addresses, e.VIPs = s.Addresses, []VIP{s.VIP}
		}
		return e
	},
	New:       func() any { return new(MeshExternalServiceSpec) },
	NewStatus: func() any { return new(MeshExternalServiceStatus) },
	Validate:  validateMeshExternalService,
	Warn:      warnDNSName,
}

// MatchHostnameGenerator is the only type of a match: clients find the service
// under the hostnames that HostnameGenerators make.
const MatchHostnameGenerator = "HostnameGenerator"

// Modes of verification of a server's certificate.
const (
	VerifySecured = "Secured"
	VerifySkipSAN = "SkipSAN"
	VerifySkipCA  = "SkipCA"
	VerifySkipAll = "SkipAll"
)

// How a subject alternative name is compared.
const (
	SANExact  = "Exact"
	SANPrefix = "Prefix"
)

// TLSAuto leaves a bound of the TLS version to Envoy.
const TLSAuto = "TLSAuto"

// MeshExternalServiceSpec says how clients find the service and where it is.
type MeshExternalServiceSpec struct {
	// Match says what traffic is for the service.
	Match MeshExternalServiceMatch `json:"match" schema:"required"`
	// Extension hands the service to a plugin. Endpoints and tls are then the
	// plugin's business and not checked.
	Extension *MeshExternalServiceExtension `json:"extension,omitempty"`
	// Endpoints are the addresses of the service. Without any, calls get 503.
	Endpoints []MeshExternalServiceEndpoint `json:"endpoints,omitempty"`
	// TLS says how the egress encrypts the traffic to the service.
	TLS *MeshExternalServiceTLS `json:"tls,omitempty"`
}

// MeshExternalServiceMatch says what traffic is for the service.
type MeshExternalServiceMatch struct {
	// Type of the match: HostnameGenerator, the only one, finds the service
	// under the hostnames that HostnameGenerators make.
	Type string `json:"type,omitempty" schema:"enum=HostnameGenerator,default=HostnameGenerator"`
	// Port that clients use.
	Port int `json:"port" schema:"required,min=1,max=65535"`
	// Protocol spoken on the port.
	Protocol string `json:"protocol,omitempty" schema:"enum=tcp|grpc|http|http2,default=tcp"`
}

// MeshExternalServiceExtension names a plugin and its configuration.
type MeshExternalServiceExtension struct {
	// Type names the plugin.
	Type string `json:"type" schema:"required"`
	// Config is handed to the plugin as it is.
	Config any `json:"config,omitempty"`
}

// MeshExternalServiceEndpoint is an address of the service.
type MeshExternalServiceEndpoint struct {
	// Address is an IP address or a host name.
	Address string `json:"address" schema:"required,minLength=1"`
	// Port of the service at that address.
	Port int `json:"port" schema:"required,min=1,max=65535"`
}

// MeshExternalServiceTLS says how traffic to the service is encrypted.
type MeshExternalServiceTLS struct {
	// Enabled encrypts the traffic.
	Enabled bool `json:"enabled" schema:"default=false"`
	// Version bounds the TLS version.
	Version *TLSVersion `json:"version,omitempty"`
	// AllowRenegotiation permits servers to renegotiate, which TLS 1.3 abolished
	// as unsafe; some old servers need it.
	AllowRenegotiation bool `json:"allowRenegotiation" schema:"default=false"`
	// Verification says how the server's certificate is checked and which
	// certificate the egress shows.
	Verification *TLSVerification `json:"verification,omitempty"`
}

// TLSVersion bounds the TLS version.
type TLSVersion struct {
	// Min is the lowest version.
	Min string `json:"min,omitempty" schema:"enum=TLSAuto|TLS10|TLS11|TLS12|TLS13,default=TLSAuto"`
	// Max is the highest version.
	Max string `json:"max,omitempty" schema:"enum=TLSAuto|TLS10|TLS11|TLS12|TLS13,default=TLSAuto"`
}

// TLSVerification says how certificates are checked.
type TLSVerification struct {
	// Mode says what is checked. Secured checks that the certificate comes from
	// the authority and is for the name; SkipSAN leaves the name out, SkipCA the
	// authority, SkipAll both.
	Mode string `json:"mode,omitempty" schema:"enum=SkipSAN|SkipCA|Secured|SkipAll,default=Secured"`
	// ServerName is sent to the server (SNI) and expected in its certificate.
	// Without one it is the host name of the first endpoint.
	ServerName *string `json:"serverName,omitempty"`
	// SubjectAltNames are further names that the certificate may have.
	SubjectAltNames []SANMatch `json:"subjectAltNames,omitempty"`
	// CaCert is the authority that signed the server's certificate, in PEM.
	// Without one the authorities of the egress's system are used.
	CaCert *SecretSource `json:"caCert,omitempty"`
	// ClientCert is shown to the server, in PEM. It needs clientKey.
	ClientCert *SecretSource `json:"clientCert,omitempty"`
	// ClientKey is the private key of clientCert, in PEM.
	ClientKey *SecretSource `json:"clientKey,omitempty"`
}

// SANMatch matches a subject alternative name of a certificate.
type SANMatch struct {
	// Type of the match: the whole name or its beginning.
	Type string `json:"type,omitempty" schema:"enum=Exact|Prefix,default=Exact"`
	// Value is the name or its beginning.
	Value string `json:"value" schema:"required"`
}

// SecretSource says where a certificate or key is found: in exactly one place.
type SecretSource struct {
	// Secret names a Secret of the same mesh.
	Secret string `json:"secret,omitempty"`
	// Inline is the value in base64.
	Inline SecretBytes `json:"inline,omitzero"`
	// InlineString is the value as text.
	InlineString SecretText `json:"inlineString,omitempty"`
}

// MeshExternalServiceStatus is what the control plane of a zone found out about the service.
type MeshExternalServiceStatus struct {
	// VIP is the virtual address that the hostnames resolve to.
	VIP VIP `json:"vip"`
	// Addresses are the hostnames under which the zone's clients reach the service.
	Addresses []Address `json:"addresses,omitempty"`
	// HostnameGenerators tell what became of each generator that selects the service.
	HostnameGenerators []HostnameGeneratorStatus `json:"hostnameGenerators,omitempty"`
}

// SectionName is how policies and routes refer to the service's one port.
func (s *MeshExternalServiceSpec) SectionName() string {
	return sectionName("", int32(s.Match.Port))
}

// Protocol returns the service's protocol, tcp if none was given.
func (s *MeshExternalServiceSpec) Protocol() string { return protocolOr(s.Match.Protocol) }

// ServerName returns the name that is sent to the server and expected in its
// certificate: the configured one (not with a mode that ignores names), else the
// first endpoint's host name; "" when there is none.
func (s *MeshExternalServiceSpec) ServerName() string {
	if s.TLS != nil && s.TLS.Verification != nil {
		ver := s.TLS.Verification
		if ver.ServerName != nil && ver.Mode != VerifySkipSAN && ver.Mode != VerifySkipAll {
			return *ver.ServerName
		}
	}
	if len(s.Endpoints) == 0 {
		return ""
	}
	if _, err := netip.ParseAddr(s.Endpoints[0].Address); err == nil {
		return ""
	}
	return s.Endpoints[0].Address
}

func validateMeshExternalService(o *model.Object, v *model.Violations) {
	if n := o.Meta.Name; len(n) > maxServiceName {
		v.At("name").Add("must not be longer than %d characters, since it becomes a part of DNS names; it has %d", maxServiceName, len(n))
	}
	s, at := model.Spec[MeshExternalServiceSpec](o), v.At("spec")
	if t := s.Match.Type; t != "" && t != MatchHostnameGenerator {
		at.At("match", "type").Add("%q is not possible; the only type is %s", t, MatchHostnameGenerator)
	}
	checkPort(int64(s.Match.Port), at.At("match", "port"))
	checkOneOf(s.Match.Protocol, at.At("match", "protocol"), "tcp", "grpc", "http", "http2")
	if s.Extension != nil {
		if s.Extension.Type == "" {
			at.At("extension", "type").Add("must name the plugin")
		}
		return
	}
	for i, e := range s.Endpoints {
		if !isIPOrHost(e.Address) {
			at.At("endpoints", i, "address").Add("%q is neither an IP address nor a host name", e.Address)
		}
		checkPort(int64(e.Port), at.At("endpoints", i, "port"))
	}
	if s.TLS != nil {
		s.TLS.validate(at.At("tls"))
	}
}

func (t *MeshExternalServiceTLS) validate(v *model.Violations) {
	if t.Version != nil {
		t.Version.validate(v.At("version"))
	}
	if t.Verification != nil {
		t.Verification.validate(v.At("verification"))
	}
}

// tlsVersions are in ascending order; TLSAuto is no bound.
func tlsVersions() []string { return []string{TLSAuto, "TLS10", "TLS11", "TLS12", "TLS13"} }

func (t *TLSVersion) validate(v *model.Violations) {
	checkOneOf(t.Min, v.At("min"), tlsVersions()...)
	checkOneOf(t.Max, v.At("max"), tlsVersions()...)
	low, high := slices.Index(tlsVersions(), t.Min), slices.Index(tlsVersions(), t.Max)
	if low > 0 && high > 0 && low > high {
		v.At("min").Add("is above max: %s is later than %s", t.Min, t.Max)
	}
}

func (t *TLSVerification) validate(v *model.Violations) {
	if n := t.ServerName; n != nil {
		if _, err := netip.ParseAddr(*n); err == nil || !isHost(*n) {
			v.At("serverName").Add("%q is no DNS name", *n)
		}
	}
	checkOneOf(t.Mode, v.At("mode"), VerifySkipSAN, VerifySkipCA, VerifySkipAll, VerifySecured)
	for i, san := range t.SubjectAltNames {
		checkOneOf(san.Type, v.At("subjectAltNames", i, "type"), SANPrefix, SANExact)
	}
	for _, s := range []struct {
		name string
		src  *SecretSource
	}{{"caCert", t.CaCert}, {"clientCert", t.ClientCert}, {"clientKey", t.ClientKey}} {
		if s.src != nil {
			s.src.validate(v.At(s.name))
		}
	}
	switch {
	case t.ClientCert != nil && t.ClientKey == nil:
		v.At("clientKey").Add("must be given together with clientCert")
	case t.ClientKey != nil && t.ClientCert == nil:
		v.At("clientCert").Add("must be given together with clientKey")
	}
}

func (s *SecretSource) validate(v *model.Violations) {
	n := 0
	for _, given := range []bool{s.Secret != "", len(s.Inline) > 0, s.InlineString != ""} {
		if given {
			n++
		}
	}
	if n != 1 {
		v.Add("must have exactly one of secret, inline and inlineString; %d are given", n)
	}
}
