package dpserver

import (
	"fmt"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Proxy types as kuma-dp spells them, with the kind of object that each has.
const (
	typeDataplane = "dataplane"
	typeIngress   = "ingress"
	typeEgress    = "egress"
)

// kindOf returns the kind of object of a proxy type; "" means dataplane.
func kindOf(proxyType string) (*model.Kind, bool) {
	switch proxyType {
	case "", typeDataplane:
		return kinds.Dataplane, true
	case typeIngress:
		return kinds.ZoneIngress, true
	case typeEgress:
		return kinds.ZoneEgress, true
	}
	return nil, false
}

// Node is what a proxy tells about itself when it connects.
type Node struct {
	// ID is the text that must stay the same within a stream.
	ID string
	// Key is the proxy's object.
	Key  model.Key
	Kind *model.Kind
	// Resource is the object's text, if the proxy brings it along.
	Resource string
	Metadata view.Metadata
	Versions *kinds.ProxyVersions
}

// ParseNode reads Envoy's node as kuma-dp's bootstrap document fills it in.
func ParseNode(n *corev3.Node) (*Node, error) {
	if n == nil {
		return nil, fmt.Errorf("the first request must name the node")
	}
	md := nodeFields{fields: n.GetMetadata().GetFields()}
	proxyType := md.text("dataplane.proxyType")
	kind, ok := kindOf(proxyType)
	if !ok {
		return nil, fmt.Errorf("dataplane.proxyType in the node's metadata is %q; it must be %s, %s or %s", proxyType, typeDataplane, typeIngress, typeEgress)
	}
	key, err := parseID(n.GetId(), kind)
	if err != nil {
		return nil, err
	}
	out := &Node{
		ID: n.GetId(), Key: key, Kind: kind, Resource: md.text("dataplane.resource"),
		Metadata: view.Metadata{
			ProxyType:     ir.ProxyType(orDefault(proxyType, typeDataplane)),
			AdminPort:     md.port("dataplane.admin.port"),
			AdminAddress:  md.text("dataplane.admin.address"),
			DNSPort:       md.port("dataplane.dns.port"),
			ReadinessPort: md.port("dataplane.readinessReporter.port"),
			AppProbeProxy: md.text("dataplane.appProbeProxy.enabled") == "true",
			WorkDir:       md.text("workdir"),
			MetricsCert:   md.text("metricsCertPath"),
			MetricsKey:    md.text("metricsKeyPath"),
			SystemCAPath:  md.text("systemCaPath"),
			IPv6:          md.flag("ipv6Enabled", true),
			Features:      md.list("features"),
			NoKafka:       envoy.LacksKafka(n),
		},
	}
	out.Versions = md.versions()
	out.Metadata.DPVersion = out.Versions.KumaDP.Version
	out.Metadata.EnvoyVersion = out.Versions.Envoy.Version
	if md.err != nil {
		return nil, md.err
	}
	return out, nil
}

// parseID reads "mesh.name"; names may contain dots, meshes do not. Zone proxies
// belong to no mesh.
func parseID(id string, kind *model.Kind) (model.Key, error) {
	mesh, name, ok := strings.Cut(id, ".")
	switch {
	case !ok || name == "":
		return model.Key{}, fmt.Errorf("the node's id is %q; it must be the mesh and the name of the proxy with a dot between", id)
	case kind.Scope == model.InMesh && mesh == "":
		return model.Key{}, fmt.Errorf("the node's id %q names no mesh", id)
	}
	return kind.Key(mesh, name), nil
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// nodeFields reads fields of the node's metadata; the first mistake is kept.
type nodeFields struct {
	fields map[string]*structpb.Value
	err    error
}

func (m *nodeFields) text(key string) string {
	return m.fields[key].GetStringValue()
}

func (m *nodeFields) flag(key string, def bool) bool {
	switch v := m.fields[key].GetKind().(type) {
	case *structpb.Value_BoolValue:
		return v.BoolValue
	case *structpb.Value_StringValue:
		return v.StringValue == "true"
	}
	return def
}

// port reads a port, which stands there as text.
func (m *nodeFields) port(key string) uint32 {
	var n uint64
	var err error
	switch v := m.fields[key].GetKind().(type) {
	case nil:
		return 0
	case *structpb.Value_StringValue:
		n, err = strconv.ParseUint(v.StringValue, 10, 16)
	case *structpb.Value_NumberValue:
		n, err = strconv.ParseUint(strconv.FormatFloat(v.NumberValue, 'f', -1, 64), 10, 16)
	default:
		err = strconv.ErrSyntax
	}
	if err != nil && m.err == nil {
		m.err = fmt.Errorf("%s in the node's metadata must be a port between 0 and 65535", key)
	}
	return uint32(n)
}

func (m *nodeFields) list(key string) []string {
	var out []string
	for _, v := range m.fields[key].GetListValue().GetValues() {
		if s := v.GetStringValue(); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// versions reads the versions, which are never nil.
func (m *nodeFields) versions() *kinds.ProxyVersions {
	sub := func(v *structpb.Value, key string) nodeFields {
		return nodeFields{fields: v.GetStructValue().GetFields()[key].GetStructValue().GetFields()}
	}
	v := m.fields["version"]
	dp, envoy := sub(v, "kumaDp"), sub(v, "envoy")
	out := &kinds.ProxyVersions{
		KumaDP: &kinds.KumaDPVersion{
			Version: dp.text("version"), GitTag: dp.text("gitTag"), GitCommit: dp.text("gitCommit"), BuildDate: dp.text("buildDate"),
		},
		Envoy: &kinds.EnvoyVersion{
			Version: envoy.text("version"), Build: envoy.text("build"), KumaDPCompatible: envoy.flag("kumaDpCompatible", false),
		},
	}
	const prefix = "version.dependencies."
	for key, v := range m.fields["dynamicMetadata"].GetStructValue().GetFields() {
		name, ok := strings.CutPrefix(key, prefix)
		if !ok || v.GetStringValue() == "" {
			continue
		}
		if out.Dependencies == nil {
			out.Dependencies = map[string]string{}
		}
		out.Dependencies[name] = v.GetStringValue()
	}
	return out
}
