package ir

import (
	"slices"
	"strings"
)

// Identity is what the proxy proves itself with.
type Identity struct {
	Mesh string
	// Services become spiffe://<mesh>/<service> SANs.
	Services []string
	// CrossMesh are other meshes whose authorities must be known too.
	CrossMesh []string
	// RSA: only such a key goes with the ciphers that are configured.
	RSA bool
	// Keep it even if nothing of the proxy uses it: mutual TLS is being turned off.
	Keep bool
}

// TLSMode says whether plain text is accepted beside mutual TLS.
type TLSMode string

// The modes.
const (
	TLSStrict     TLSMode = "STRICT"
	TLSPermissive TLSMode = "PERMISSIVE"
)

// TLSParams bound versions and ciphers; empty = the proxy's default.
type TLSParams struct {
	Min, Max string // TLSAuto, TLS10 … TLS13
	Ciphers  []string
}

// ServerTLS is mutual TLS on an inbound.
type ServerTLS struct {
	Mode TLSMode
	Mesh string // whose identities are accepted
	TLSParams
}

// MaxServerName is how long a server name (SNI) may be in TLS, in bytes.
const MaxServerName = 255

// ClientTLS secures connections to a cluster.
type ClientTLS struct {
	// MeshIdentity: the proxy's own certificate and the mesh's authority.
	MeshIdentity bool
	// IdentityMesh is the proxy's own mesh, Mesh the upstream's (its authority).
	IdentityMesh string
	Mesh         string
	SNI          string
	ALPN         []string
	// ExactSANs and PrefixSANs are URI names that the upstream must have.
	ExactSANs, PrefixSANs []string
	TLSParams
	// External is set instead for destinations outside of all meshes.
	External *ExternalTLS
	// PerTags is set instead of SNI and External where endpoints differ: each
	// set of tags has its own. Endpoints that match none are talked to in plain.
	PerTags []TaggedTLS
}

// TaggedTLS is how endpoints with these tags are secured: with the mesh's
// identity and an SNI of their own, or as an outside service.
type TaggedTLS struct {
	Name     string
	Tags     map[string]string
	SNI      string
	External *ExternalTLS
}

// ExternalTLS is TLS to an outside service. Without an authority (CAPEM or
// SystemCAPath) certificates are not checked.
type ExternalTLS struct {
	SNI                    string
	CAPEM, CertPEM, KeyPEM []byte
	SystemCAPath           string
	AllowRenegotiation     bool
	// Name is the DNS or IP name that the certificate must be for, "" = any. SANs
	// are others that do as well.
	Name     string
	SANs     []NameMatch
	Min, Max string
}

// NameMatch is a name, or with Prefix the beginning of one.
type NameMatch struct {
	Value  string
	Prefix bool
}

// Access says which clients may connect.
type Access struct {
	// Rules are alternatives; none = nobody. Shadow ones only count.
	Allow, ShadowDeny []Principal
	// PolicyName names the rules in statistics and logs.
	PolicyName string
	// Network forces the decision on connections even where HTTP is spoken.
	Network bool
	Origins []Origin
}

// Principal is a conjunction of conditions on a client's certificate; none =
// anybody.
type Principal struct {
	All []IdentityMatch
	// Except lists conjunctions: a client that meets all conditions of one of
	// them is not meant.
	Except [][]IdentityMatch
}

// IdentityMatch is one URI in the client's certificate.
type IdentityMatch struct {
	URI string
	// Prefix: any URI that begins so.
	Prefix bool
	Not    bool
}

// Among tells whether one of the URIs is meant, whatever Not says.
func (m IdentityMatch) Among(uris []string) bool {
	return slices.ContainsFunc(uris, func(u string) bool {
		return u == m.URI || m.Prefix && strings.HasPrefix(u, m.URI)
	})
}
