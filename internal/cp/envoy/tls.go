package envoy

import (
	"fmt"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/mesh/ir"
)

const (
	socketTLS = "envoy.transport_sockets.tls"
	// meshALPN tells the mesh's own TLS from that of applications.
	meshALPN = "kuma"
)

// IdentitySecret and CASecret name the secrets of a mesh; AllCASecret the one
// with the authorities of all meshes.
func IdentitySecret(mesh string) string { return "identity_cert:secret:" + mesh }

// CASecret names the authority of a mesh.
func CASecret(mesh string) string { return "mesh_ca:secret:" + mesh }

// AllCASecret names the authorities of all meshes that a proxy talks to.
const AllCASecret = "mesh_ca:secret:all"

func sdsSecret(name string) *tls.SdsSecretConfig {
	return &tls.SdsSecretConfig{Name: name, SdsConfig: adsSource()}
}

func socketOf(m message) (*core.TransportSocket, error) {
	packed, err := pack(m)
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return &core.TransportSocket{Name: socketTLS, ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: packed}}, nil
}

// meshContext proves the proxy's identity in its own mesh and checks the peer's
// against the authority of caMesh and the names.
func meshContext(identityMesh, ca string, sans []*tls.SubjectAltNameMatcher, p ir.TLSParams) *tls.CommonTlsContext {
	return &tls.CommonTlsContext{
		TlsParams:                      tlsParams(p),
		TlsCertificateSdsSecretConfigs: []*tls.SdsSecretConfig{sdsSecret(IdentitySecret(identityMesh))},
		ValidationContextType: &tls.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tls.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext:         &tls.CertificateValidationContext{MatchTypedSubjectAltNames: sans},
				ValidationContextSdsSecretConfig: sdsSecret(ca),
			},
		},
	}
}

func uriPrefix(p string) *tls.SubjectAltNameMatcher {
	return &tls.SubjectAltNameMatcher{SanType: tls.SubjectAltNameMatcher_URI, Matcher: prefix(p)}
}

func uriExact(s string) *tls.SubjectAltNameMatcher {
	return &tls.SubjectAltNameMatcher{SanType: tls.SubjectAltNameMatcher_URI, Matcher: exact(s)}
}

// downstreamTLS accepts members of the mesh.
func downstreamTLS(t *ir.ServerTLS) (*core.TransportSocket, error) {
	sans := []*tls.SubjectAltNameMatcher{uriPrefix("spiffe://" + t.Mesh + "/")}
	return socketOf(&tls.DownstreamTlsContext{
		RequireClientCertificate: wrapperspb.Bool(true),
		CommonTlsContext:         meshContext(t.Mesh, CASecret(t.Mesh), sans, t.TLSParams),
	})
}

// tlsVersions by their names in policies; "" and TLSAuto leave it to Envoy.
var tlsVersions = map[string]tls.TlsParameters_TlsProtocol{
	"TLS10": tls.TlsParameters_TLSv1_0,
	"TLS11": tls.TlsParameters_TLSv1_1,
	"TLS12": tls.TlsParameters_TLSv1_2,
	"TLS13": tls.TlsParameters_TLSv1_3,
}

func tlsParams(p ir.TLSParams) *tls.TlsParameters {
	if p.Min == "" && p.Max == "" && len(p.Ciphers) == 0 {
		return nil
	}
	return &tls.TlsParameters{
		TlsMinimumProtocolVersion: tlsVersions[p.Min],
		TlsMaximumProtocolVersion: tlsVersions[p.Max],
		CipherSuites:              p.Ciphers,
	}
}

// clientParams makes up for Envoy's default, which as a client is at most TLS 1.2:
// with 1.3 as the least no version would be left.
func clientParams(p ir.TLSParams) ir.TLSParams {
	if p.Min == "TLS13" && tlsVersions[p.Max] == tls.TlsParameters_TLS_AUTO {
		p.Max = p.Min
	}
	return p
}

func setUpstreamTLS(out *cluster.Cluster, t *ir.ClientTLS) error {
	if t == nil {
		return nil
	}
	if len(t.PerTags) == 0 {
		s, err := upstreamSocket(t, t.SNI, t.External)
		out.TransportSocket = s
		return err
	}
	for _, m := range t.PerTags {
		s, err := upstreamSocket(t, m.SNI, m.External)
		if err != nil {
			return err
		}
		var match *structpb.Struct // nil = all endpoints
		if len(m.Tags) > 0 {
			match = tagStruct(m.Tags)
		}
		out.TransportSocketMatches = append(out.TransportSocketMatches, &cluster.Cluster_TransportSocketMatch{
			Name: m.Name, Match: match, TransportSocket: s,
		})
	}
	return nil
}

func upstreamSocket(t *ir.ClientTLS, sni string, ext *ir.ExternalTLS) (*core.TransportSocket, error) {
	if ext != nil {
		return socketOf(externalContext(ext))
	}
	sans := make([]*tls.SubjectAltNameMatcher, 0, len(t.ExactSANs)+len(t.PrefixSANs))
	for _, s := range t.ExactSANs {
		sans = append(sans, uriExact(s))
	}
	for _, s := range t.PrefixSANs {
		sans = append(sans, uriPrefix(s))
	}
	common := meshContext(t.IdentityMesh, CASecret(t.Mesh), sans, clientParams(t.TLSParams))
	common.AlpnProtocols = t.ALPN
	if len(sni) > ir.MaxServerName {
		sni = "" // tags are of any length; sidecars do without it, other zones cannot be reached
	}
	return socketOf(&tls.UpstreamTlsContext{Sni: sni, CommonTlsContext: common})
}

// externalContext is TLS to a service outside of all meshes.
func externalContext(x *ir.ExternalTLS) *tls.UpstreamTlsContext {
	out := &tls.UpstreamTlsContext{Sni: x.SNI, AllowRenegotiation: x.AllowRenegotiation}
	common := &tls.CommonTlsContext{}
	used := false
	if len(x.CertPEM) > 0 && len(x.KeyPEM) > 0 {
		used = true
		common.TlsCertificates = []*tls.TlsCertificate{{
			CertificateChain: inlineBytes(x.CertPEM),
			PrivateKey:       inlineBytes(x.KeyPEM),
		}}
	}
	if v := externalValidation(x); v != nil {
		used = true
		common.ValidationContextType = &tls.CommonTlsContext_ValidationContext{ValidationContext: v}
	}
	if p := tlsParams(clientParams(ir.TLSParams{Min: x.Min, Max: x.Max})); p != nil {
		used = true
		common.TlsParams = p
	}
	if used {
		out.CommonTlsContext = common
	}
	return out
}

// externalValidation says which authority and names are accepted; nil = any,
// which is only so where nobody named an authority.
func externalValidation(x *ir.ExternalTLS) *tls.CertificateValidationContext {
	if len(x.CAPEM) == 0 && x.SystemCAPath == "" {
		return nil
	}
	v := &tls.CertificateValidationContext{}
	if len(x.CAPEM) > 0 {
		v.TrustedCa = inlineBytes(x.CAPEM)
	} else {
		v.TrustedCa = &core.DataSource{Specifier: &core.DataSource_Filename{Filename: x.SystemCAPath}}
	}
	if x.Name == "" {
		return v
	}
	others := make([]*matcher.StringMatcher, 0, len(x.SANs))
	for _, n := range x.SANs {
		if n.Prefix {
			others = append(others, prefix(n.Value))
		} else {
			others = append(others, exact(n.Value))
		}
	}
	v.MatchTypedSubjectAltNames = append(dnsOrIP(exact(x.Name)), dnsOrIP(others...)...)
	return v
}

func inlineBytes(b []byte) *core.DataSource {
	return &core.DataSource{Specifier: &core.DataSource_InlineBytes{InlineBytes: b}}
}
