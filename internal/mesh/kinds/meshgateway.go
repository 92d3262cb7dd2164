package kinds

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"weft/internal/mesh/model"
)

// MeshGateway says on which ports and hostnames builtin gateways listen.
var MeshGateway = &model.Kind{
	Name: "MeshGateway", Plural: "meshgateways", Short: "mgw", One: "meshgateway", Many: "meshgateways",
	Display: "Mesh Gateway", DisplayPlural: "Mesh Gateways",
	Scope: model.InMesh, Shape: model.Flat,
	Flow:     model.GlobalToZone | model.ZoneToGlobal | model.GlobalWrites | model.ZoneWrites,
	Feeds:    model.FeedsLabels | model.FeedsSpec,
	New:      func() any { return new(MeshGatewaySpec) },
	Validate: validateMeshGateway,
}

// MeshGatewaySpec says which gateways are configured and how.
type MeshGatewaySpec struct {
	// Selectors of the builtin gateways by their tags; kuma.io/service is needed.
	// The most specific MeshGateway that selects a gateway configures it.
	Selectors []Selector `json:"selectors,omitempty"`
	// Tags that every listener has, besides the tags of the gateway.
	Tags map[string]string `json:"tags,omitempty"`
	// Conf holds the listeners.
	Conf *MeshGatewayConf `json:"conf,omitempty"`
}

// MeshGatewayConf holds the listeners of a gateway.
type MeshGatewayConf struct {
	// Listeners of the gateway. Those on the same port need the same protocol
	// and different hostnames.
	Listeners []GatewayListener `json:"listeners,omitempty"`
}

// GatewayListener is a port and hostname that a gateway serves.
type GatewayListener struct {
	// Hostname that is served: a name, *.domain, or * for all. Empty = *.
	Hostname string `json:"hostname,omitempty"`
	// Port to listen on.
	Port uint32 `json:"port,omitempty"`
	// Protocol that clients speak.
	Protocol string `json:"protocol,omitempty" schema:"enum=NONE:0|TCP:1|TLS:3|HTTP:4|HTTPS:5"`
	// TLS says how the gateway handles encrypted connections.
	TLS *GatewayTLS `json:"tls,omitempty"`
	// Tags of the listener, by which routes and policies select it.
	Tags map[string]string `json:"tags,omitempty"`
	// CrossMesh offers the listener to the proxies of other meshes of the zone.
	CrossMesh bool `json:"crossMesh,omitempty"`
	// Resources bound what the listener may use.
	Resources *GatewayResources `json:"resources,omitempty"`
}

// Protocols of a GatewayListener.
const (
	GatewayTCP   = "TCP"
	GatewayTLSP  = "TLS"
	GatewayHTTP  = "HTTP"
	GatewayHTTPS = "HTTPS"
)

// GatewayTLS says how a gateway handles encrypted connections.
type GatewayTLS struct {
	// Mode says whether the gateway decrypts the traffic or passes it on.
	Mode string `json:"mode,omitempty" schema:"enum=NONE:0|TERMINATE:1|PASSTHROUGH:2"`
	// Certificates with their keys, in PEM, for the mode TERMINATE: one, or two
	// with keys of different types.
	Certificates []DataSource `json:"certificates,omitempty"`
	// Options are reserved.
	Options *GatewayTLSOptions `json:"options,omitempty"`
}

// GatewayTLSOptions is reserved.
type GatewayTLSOptions struct{}

// Modes of a GatewayTLS.
const (
	TLSTerminate   = "TERMINATE"
	TLSPassthrough = "PASSTHROUGH"
)

// GatewayResources bound what a listener may use.
type GatewayResources struct {
	// ConnectionLimit is the number of connections on the port at a time; 0 = no limit.
	ConnectionLimit uint32 `json:"connectionLimit,omitempty"`
}

// Host returns the hostname that is served, "*" for all.
func (l *GatewayListener) Host() string {
	if l.Hostname == "" {
		return AnyHost
	}
	return l.Hostname
}

// AnyHost is the hostname of listeners that serve all names.
const AnyHost = "*"

// Listeners returns the gateway's listeners.
func (g *MeshGatewaySpec) Listeners() []GatewayListener {
	if g.Conf == nil {
		return nil
	}
	return g.Conf.Listeners
}

// ListenerTags returns the tags of a listener at a gateway: those of the gateway,
// overridden by the MeshGateway's, overridden by the listener's.
func (g *MeshGatewaySpec) ListenerTags(l *GatewayListener, gateway map[string]string) map[string]string {
	tags := make(map[string]string, len(gateway)+len(g.Tags)+len(l.Tags))
	maps.Copy(tags, gateway)
	maps.Copy(tags, g.Tags)
	maps.Copy(tags, l.Tags)
	return tags
}

// IsCrossMesh tells whether a listener serves other meshes.
func (g *MeshGatewaySpec) IsCrossMesh() bool {
	return slices.ContainsFunc(g.Listeners(), func(l GatewayListener) bool { return l.CrossMesh })
}

// reservedGatewayTags are known from the gateway itself or mean something else.
func reservedGatewayTags() []string {
	return []string{model.TagService, model.TagZone, model.TagProtocol, model.TagExternalServiceName}
}

func validateMeshGateway(o *model.Object, v *model.Violations) {
	g := model.Spec[MeshGatewaySpec](o)
	MatchRules(true).CheckSelectors(g.Selectors, v.At("selectors"))
	if g.IsCrossMesh() {
		for i := 1; i < len(g.Selectors); i++ {
			v.At("selectors", i).Add("only one selector is possible with a crossMesh listener; remove this one")
		}
	}
	TagRules{Selector: true, Forbidden: reservedGatewayTags()}.Check(g.Tags, v.At("tags"))
	switch at := v.At("conf"); {
	case g.Conf == nil:
		at.Add("must not be empty: it holds the listeners")
	case len(g.Conf.Listeners) == 0:
		at.At("listeners").Add("must have at least one listener")
	default:
		for i := range g.Conf.Listeners {
			g.Conf.Listeners[i].validate(at.At("listeners", i))
		}
		checkSharedPorts(g.Conf.Listeners, at.At("listeners"))
	}
}

func (l *GatewayListener) validate(v *model.Violations) {
	if p := gatewayHostProblem(l.Hostname); p != "" {
		v.At("hostname").Add("%s", p)
	}
	checkPort(int64(l.Port), v.At("port"))
	switch {
	case l.Protocol == "":
		v.At("protocol").Add("must be given: TCP, TLS, HTTP or HTTPS")
	case l.Protocol == GatewayHTTPS && l.CrossMesh:
		v.At("protocol").Add("HTTPS is not possible with crossMesh, since the mesh encrypts the traffic; use HTTP")
	}
	l.validateTLS(v.At("tls"))
	TagRules{Selector: true, Forbidden: reservedGatewayTags()}.Check(l.Tags, v.At("tags"))
}

func (l *GatewayListener) validateTLS(v *model.Violations) {
	t := l.TLS
	if l.CrossMesh {
		if t != nil && (t.Mode != "" || len(t.Certificates) > 0 || t.Options != nil) {
			v.Add("must be empty with crossMesh, since the mesh encrypts the traffic")
		}
		return
	}
	if t == nil {
		if l.Protocol == GatewayHTTPS {
			v.Add("must be given for HTTPS: the certificate to use")
		}
		return
	}
	switch t.Mode {
	case "":
		v.At("mode").Add("must be given: TERMINATE or PASSTHROUGH")
	case TLSPassthrough:
		if l.Protocol == GatewayHTTPS {
			v.At("mode").Add("PASSTHROUGH is not possible for HTTPS; use TERMINATE, or the protocol TLS")
		}
	case TLSTerminate:
		if len(t.Certificates) == 0 {
			v.At("certificates").Add("must have a certificate with the mode TERMINATE")
		}
		if len(t.Certificates) > maxGatewayCertificates {
			v.At("certificates").Add("must have at most %d certificates, with keys of different types", maxGatewayCertificates)
		}
	}
	for i := range t.Certificates {
		t.Certificates[i].Check(v.At("certificates", i))
	}
}

const maxGatewayCertificates = 2

// checkSharedPorts adds a violation to every listener that cannot share its port
// with the others on it.
func checkSharedPorts(listeners []GatewayListener, v *model.Violations) {
	protocols := map[uint32][]string{} // distinct ones
	limits := map[uint32][]uint32{}
	hosts := map[string]int{}
	for i := range listeners {
		l := &listeners[i]
		if !slices.Contains(protocols[l.Port], l.Protocol) {
			protocols[l.Port] = append(protocols[l.Port], l.Protocol)
		}
		if n := l.connectionLimit(); n > 0 && !slices.Contains(limits[l.Port], n) {
			limits[l.Port] = append(limits[l.Port], n)
		}
		hosts[fmt.Sprint(l.Port, " ", l.Host())]++
	}
	for i := range listeners {
		l := &listeners[i]
		if hosts[fmt.Sprint(l.Port, " ", l.Host())] > 1 {
			v.At(i).Add("another listener serves the hostname %q on port %d, too", l.Host(), l.Port)
		}
		if len(protocols[l.Port]) > 1 {
			v.At(i).Add("listeners on port %d have different protocols: %s", l.Port, strings.Join(protocols[l.Port], ", "))
		}
		if l.connectionLimit() > 0 && len(limits[l.Port]) > 1 {
			v.At(i, "resources", "connectionLimit").Add("listeners on port %d have different limits; the limit counts all connections on the port", l.Port)
		}
	}
}

func (l *GatewayListener) connectionLimit() uint32 {
	if l.Resources == nil {
		return 0
	}
	return l.Resources.ConnectionLimit
}

var gatewayHostLabels = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// gatewayHostProblem tells what is wrong with a hostname that a gateway serves:
// lower case DNS labels, possibly after "*.", or "*" or "".
func gatewayHostProblem(host string) string {
	switch rest, wildcard := strings.CutPrefix(host, "*."); {
	case host == "" || host == AnyHost:
		return ""
	case len(host) > 253:
		return "must have at most 253 characters"
	case !gatewayHostLabels.MatchString(rest) && wildcard:
		return fmt.Sprintf("%q is no wildcard domain; write *.example.com, in lower case", host)
	case !gatewayHostLabels.MatchString(rest):
		return fmt.Sprintf("%q is no hostname; write www.example.com in lower case, *.example.com or *", host)
	}
	return ""
}
