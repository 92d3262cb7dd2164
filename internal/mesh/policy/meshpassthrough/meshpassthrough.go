// Package meshpassthrough says which traffic may leave the mesh.
package meshpassthrough

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says which traffic of which proxies may leave the mesh.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// Default is what holds for the selected proxies.
	Default *Conf `json:"default,omitempty"`
}

// Conf is what may be set under default.
type Conf struct {
	// PassthroughMode: All traffic, None, or what was Matched. Matched if absent.
	PassthroughMode *string `json:"passthroughMode,omitempty" schema:"enum=All|Matched|None"`
	// AppendMatch lists what may be reached with the mode Matched. The lists of
	// several policies are joined.
	AppendMatch []Match `json:"appendMatch,omitzero"`
}

// Modes.
const (
	modeAll  = "All"
	modeNone = "None"
)

// Match is what may be reached.
type Match struct {
	// Type of the value.
	Type string `json:"type" schema:"required,enum=Domain|IP|CIDR"`
	// Value is a domain like example.org or *.example.org, an address or a range.
	Value string `json:"value" schema:"required"`
	// Port of the destination; absent means all.
	Port *uint32 `json:"port,omitempty"`
	// Protocol that is spoken.
	Protocol string `json:"protocol,omitempty" schema:"enum=tcp|tls|grpc|http|http2|mysql,default=tcp"`
}

// Types of a Match.
const (
	typeDomain = "Domain"
	typeIP     = "IP"
	typeCIDR   = "CIDR"
)

// Policy is the kind MeshPassthrough.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshPassthrough", Plural: "meshpassthroughs", Short: "mp", One: "meshpassthrough", Many: "meshpassthroughs",
		Display: "Mesh Passthrough", DisplayPlural: "Mesh Passthroughs",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{Top: policy.Mesh | policy.MeshSubset | policy.Dataplane},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, Default: s.Default}
	},
	Lists:    []policy.List{policy.ListDefault},
	Validate: validate,
	Proxy:    proxy,
})

func isHTTP(protocol string) bool { return ir.Protocol(protocol).HTTPLike() }

func (m *Match) port() uint32 {
	if m.Port == nil {
		return 0
	}
	return *m.Port
}

func validate(c *Conf, v *model.Violations, _ policy.Where) {
	protocols := map[uint32]string{}
	seen := map[ir.PassthroughMatch]bool{}
	for i := range c.AppendMatch {
		m, at := &c.AppendMatch[i], v.At("appendMatch", i)
		m.validate(at)
		if p, ok := protocols[m.port()]; ok && p != m.Protocol && isHTTP(m.Protocol) {
			at.At("port").Add("this port is used with the protocol %s already; on one port http, http2 and grpc cannot be told apart", p)
		}
		protocols[m.port()] = m.Protocol
		if k := m.match(); seen[k] {
			at.At("value").Add("%s is given for this port and protocol already", m.Value)
		} else {
			seen[k] = true
		}
	}
}

func (m *Match) validate(v *model.Violations) {
	if m.Port != nil {
		policy.CheckPort(int64(*m.Port), v.At("port"))
	} else if m.Protocol == string(ir.ProtocolMySQL) {
		v.At("port").Add("is missing: mysql needs one, since its servers speak first")
	}
	switch m.Type {
	case typeIP:
		if a, err := netip.ParseAddr(m.Value); err != nil || a.Zone() != "" {
			v.At("value").Add("%q is no IP address", m.Value)
		}
	case typeCIDR:
		if _, err := netip.ParsePrefix(m.Value); err != nil {
			v.At("value").Add("%q is no range of addresses; write it like 10.0.0.0/8", m.Value)
		}
	case typeDomain:
		m.validateDomain(v)
	}
}

var domainForm = regexp.MustCompile(`^[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62})(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62}))*\.?$`)

func (m *Match) validateDomain(v *model.Violations) {
	if m.Protocol == string(ir.ProtocolTCP) || m.Protocol == string(ir.ProtocolMySQL) {
		v.At("protocol").Add("%s does not tell the domain: use tls or an HTTP protocol, or match an address", m.Protocol)
	}
	name, wild := strings.CutPrefix(m.Value, "*")
	if wild && !strings.HasPrefix(name, ".") {
		v.At("value").Add("%q: a star stands for whole labels only; write it like *.example.org", m.Value)
		return
	}
	name = strings.TrimPrefix(name, ".")
	if !domainForm.MatchString(name) || len(name) > 253 || (!wild && strings.HasPrefix(m.Value, ".")) {
		v.At("value").Add("%q is no domain name", m.Value)
	}
	if wild && m.Port == nil && isHTTP(m.Protocol) {
		v.At("port").Add("is missing: domains with a star need one with HTTP protocols")
	}
}

func (m *Match) match() ir.PassthroughMatch {
	p := ir.Protocol(m.Protocol)
	if p == "" {
		p = ir.ProtocolTCP
	}
	return ir.PassthroughMatch{Type: m.Type, Value: m.Value, Port: m.port(), Protocol: p}
}

func proxy(c *Conf, x *policy.Context) {
	t := x.Proxy.Transparent
	if t == nil || x.Proxy.Type != ir.Sidecar {
		x.Ignore()
		return
	}
	mode := ""
	if c.PassthroughMode != nil {
		mode = *c.PassthroughMode
	}
	t.Passthrough = mode == modeAll
	if mode == modeAll || mode == modeNone {
		return
	}
	t.Matches = matches(c, x)
}

// matches returns what may be reached, each once. Where policies disagree about
// the HTTP protocol of a port, the strongest, which comes last, is right.
func matches(c *Conf, x *policy.Context) []ir.PassthroughMatch {
	protocols := map[uint32]ir.Protocol{}
	var out []ir.PassthroughMatch
	for i := len(c.AppendMatch) - 1; i >= 0; i-- {
		m := c.AppendMatch[i].match()
		if m.Protocol.HTTPLike() {
			if p, ok := protocols[m.Port]; ok && p != m.Protocol {
				x.Warn(fmt.Sprintf("%s %s is left out: port %d is used with %s, and %s cannot be told apart from it",
					m.Type, m.Value, m.Port, p, m.Protocol))
				continue
			}
			protocols[m.Port] = m.Protocol
		}
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	slices.Reverse(out)
	return out
}
