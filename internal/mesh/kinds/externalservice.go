package kinds

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"weft/internal/mesh/model"
)

// ExternalService is a service outside of the mesh that clients in the mesh reach
// by its tag kuma.io/service. MeshExternalService supersedes it.
var ExternalService = &model.Kind{
	Name: "ExternalService", Plural: "external-services", One: "external-service", Many: "external-services",
	Display: "External Service", DisplayPlural: "External Services",
	Scope: model.InMesh, Shape: model.Flat,
	Flow:     model.GlobalToZone | model.GlobalWrites,
	Feeds:    model.FeedsLabels | model.FeedsSpec,
	New:      func() any { return new(ExternalServiceSpec) },
	Validate: validateExternalService,
	Warn:     warnExternalService,
	Columns: []model.Column{
		{Title: "TAGS", Value: func(o *model.Object) string { return TagsString(model.Spec[ExternalServiceSpec](o).Tags) }},
		{Title: "ADDRESS", Value: func(o *model.Object) string { return model.Spec[ExternalServiceSpec](o).Address() }},
	},
}

// ExternalServiceSpec says where a service is and which tags it has.
type ExternalServiceSpec struct {
	// Networking says where the service is and how traffic to it is encrypted.
	Networking *ExternalServiceNetworking `json:"networking,omitempty"`
	// Tags of the service, kuma.io/service among them. Services with the same
	// value of it are endpoints of one service.
	Tags map[string]string `json:"tags,omitempty"`
}

// ExternalServiceNetworking says where a service is.
type ExternalServiceNetworking struct {
	// Address of the service: host:port.
	Address string `json:"address,omitempty"`
	// TLS says how traffic to the service is encrypted.
	TLS *ExternalServiceTLS `json:"tls,omitempty"`
	// DisableHostDNSEntry leaves the service's own host name to other resolvers:
	// clients reach the service by its name in the mesh only.
	DisableHostDNSEntry bool `json:"disableHostDNSEntry,omitempty"`
}

// ExternalServiceTLS says how traffic to a service is encrypted.
type ExternalServiceTLS struct {
	// Enabled encrypts the traffic.
	Enabled bool `json:"enabled,omitempty"`
	// CaCert is the authority that signed the service's certificate, in PEM.
	CaCert *DataSource `json:"caCert,omitempty"`
	// ClientCert is shown to the service, in PEM.
	ClientCert *DataSource `json:"clientCert,omitempty"`
	// ClientKey is the private key of clientCert, in PEM.
	ClientKey *DataSource `json:"clientKey,omitempty"`
	// AllowRenegotiation permits the service to renegotiate, which TLS 1.3
	// abolished as unsafe.
	AllowRenegotiation *bool `json:"allowRenegotiation,omitempty"`
	// ServerName is sent to the service (SNI) and expected in its certificate.
	// Without one it is the host of the address.
	ServerName *string `json:"serverName,omitempty"`
	// SkipHostnameVerification accepts certificates for other names.
	SkipHostnameVerification *bool `json:"skipHostnameVerification,omitempty"`
}

// Address returns host:port as it was written, or "".
func (s *ExternalServiceSpec) Address() string {
	if s.Networking == nil {
		return ""
	}
	return s.Networking.Address
}

// HostPort returns the two parts of the address; ok is false if it is invalid,
// which validated objects never are.
func (s *ExternalServiceSpec) HostPort() (host string, port uint32, ok bool) {
	host, text, err := net.SplitHostPort(s.Address())
	if err != nil {
		return "", 0, false
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, false
	}
	return host, uint32(n), true
}

// HostIsIP tells whether the host of the address is an IP address.
func (s *ExternalServiceSpec) HostIsIP() bool {
	host, _, ok := s.HostPort()
	if !ok {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// Service returns the value of the tag kuma.io/service.
func (s *ExternalServiceSpec) Service() string { return s.Tags[model.TagService] }

// Protocol returns the service's protocol in lower case, tcp if none was given.
func (s *ExternalServiceSpec) Protocol() string { return ProtocolOf(s.Tags) }

// Zone returns the zone that the service is pinned to: others reach it through
// that zone. "" = every zone reaches it by itself.
func (s *ExternalServiceSpec) Zone() string { return s.Tags[model.TagZone] }

// Encrypted tells whether traffic to the service is encrypted.
func (s *ExternalServiceSpec) Encrypted() bool {
	return s.Networking != nil && s.Networking.TLS != nil && s.Networking.TLS.Enabled
}

func validateExternalService(o *model.Object, v *model.Violations) {
	s := model.Spec[ExternalServiceSpec](o)
	if s.Networking == nil {
		v.At("networking").Add("has to be defined: it says where the service is")
	} else {
		s.Networking.validate(v.At("networking"))
	}
	TagRules{NotEmpty: true, Service: true, Protocol: true}.Check(s.Tags, v.At("tags"))
	if host, _, ok := s.HostPort(); ok && host == s.Service() {
		v.At("tags", model.Q(model.TagService)).Add("must differ from the host of networking.address, since both become names that clients look up")
	}
}

func (n *ExternalServiceNetworking) validate(v *model.Violations) {
	checkHostPort(n.Address, v.At("address"))
	if n.TLS == nil {
		return
	}
	at := v.At("tls")
	if s := n.TLS.ServerName; s != nil && *s == "" {
		at.At("serverName").Add("must not be empty; leave it out to use the host of the address")
	} else if s != nil && len(*s) > maxServerName {
		at.At("serverName").Add("must not be longer than %d bytes; it has %d", maxServerName, len(*s))
	}
	for _, s := range n.TLS.sources() {
		if s.from != nil {
			s.from.Check(at.At(s.name))
		}
	}
}

// maxServerName is how long the name of a server may be in TLS.
const maxServerName = 255

type namedSource struct {
	name string
	from *DataSource
}

func (t *ExternalServiceTLS) sources() []namedSource {
	return []namedSource{{"caCert", t.CaCert}, {"clientCert", t.ClientCert}, {"clientKey", t.ClientKey}}
}

// warnExternalService tells of files: whoever may write the object could read any
// file of a control plane's machine through it, so they are not used.
func warnExternalService(o *model.Object) []string {
	n := model.Spec[ExternalServiceSpec](o).Networking
	if n == nil || n.TLS == nil {
		return nil
	}
	var out []string
	for _, s := range n.TLS.sources() {
		if s.from != nil && s.from.File != nil {
			out = append(out, fmt.Sprintf("networking.tls.%s.file: files of the control plane are not used here, and without it the service cannot be reached; put the data into a Secret of the mesh and name that", s.name))
		}
	}
	return out
}

// checkHostPort adds one violation for each part that is wrong; of an address
// without a port, every part is.
func checkHostPort(address string, v *model.Violations) {
	if address == "" {
		v.Add("must not be empty; write host:port")
		return
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		v.Add("%q cannot be split into host and port; write host:port, or [address]:port for IPv6", address)
		host, port = "", ""
	}
	if !isIPOrHost(host) {
		v.Add("the host %q is neither an IP address nor a DNS name", host)
	}
	n, err := strconv.ParseUint(port, 10, 32)
	if err != nil {
		v.Add("the port %q is no number", port)
	}
	if n < 1 || n > 65535 {
		v.Add("the port must be between 1 and 65535")
	}
}

// CompatibleWithRateLimit tells whether a RateLimit whose destinations are given
// can apply to the service: Envoy counts requests to an external service as a
// whole, so a destination that matches it may name nothing but kuma.io/service.
func (s *ExternalServiceSpec) CompatibleWithRateLimit(destinations []Selector) bool {
	for i := range destinations {
		if destinations[i].Matches(s.Tags) && hasOtherTags(destinations[i].Match) {
			return false
		}
	}
	return true
}

func hasOtherTags(match map[string]string) bool {
	for k := range match {
		if k != model.TagService {
			return true
		}
	}
	return false
}
