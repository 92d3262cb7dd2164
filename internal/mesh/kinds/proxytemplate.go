package kinds

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/model"
)

// ProxyTemplate changes the generated Envoy configuration of the proxies that it
// selects. MeshProxyPatch supersedes it.
var ProxyTemplate = &model.Kind{
	Name: "ProxyTemplate", Plural: "proxytemplates", One: "proxytemplate", Many: "proxytemplates",
	Display: "Proxy Template", DisplayPlural: "Proxy Templates",
	Scope: model.InMesh, Shape: model.Flat,
	Flow:     model.GlobalToZone | model.GlobalWrites,
	Feeds:    model.FeedsSpec,
	Policy:   &model.PolicyInfo{Inspectable: true},
	New:      func() any { return new(ProxyTemplateSpec) },
	Validate: validateProxyTemplate,
}

// Profiles that a ProxyTemplate can import.
const (
	ProfileDefault = "default-proxy"
	ProfileGateway = "gateway-proxy"
)

// ProxyTemplateSpec says which proxies are changed and how.
type ProxyTemplateSpec struct {
	// Selectors of the proxies by their tags; kuma.io/service is needed. The most
	// specific template that selects a proxy is used.
	Selectors []Selector `json:"selectors,omitempty"`
	// Conf is what the proxies get.
	Conf *ProxyTemplateConf `json:"conf,omitempty"`
}

// ProxyTemplateConf is what the proxies get.
type ProxyTemplateConf struct {
	// Imports are the profiles that generate the configuration to start from:
	// default-proxy or gateway-proxy.
	Imports []string `json:"imports,omitempty"`
	// Resources are Envoy resources to be added.
	Resources []ProxyTemplateResource `json:"resources,omitempty"`
	// Modifications are done on the generated resources, in this order.
	Modifications []ProxyTemplateModification `json:"modifications,omitempty"`
}

// ProxyTemplateResource is an Envoy resource to be added.
type ProxyTemplateResource struct {
	// Name of the resource.
	Name string `json:"name,omitempty"`
	// Version of the resource.
	Version string `json:"version,omitempty"`
	// Resource is the Envoy resource in YAML, with its @type.
	Resource string `json:"resource,omitempty"`
}

// ProxyTemplateModification is a change; exactly one field is set.
type ProxyTemplateModification struct {
	// Cluster changes clusters.
	Cluster *ClusterModification `json:"cluster,omitempty"`
	// Listener changes listeners.
	Listener *ListenerModification `json:"listener,omitempty"`
	// NetworkFilter changes network filters of listeners.
	NetworkFilter *FilterModification `json:"networkFilter,omitempty"`
	// HTTPFilter changes HTTP filters of listeners.
	HTTPFilter *FilterModification `json:"httpFilter,omitempty"`
	// VirtualHost changes virtual hosts of route configurations.
	VirtualHost *VirtualHostModification `json:"virtualHost,omitempty"`
}

// ClusterModification changes clusters.
type ClusterModification struct {
	// Match says which clusters; absent = all.
	Match *ClusterMatch `json:"match,omitempty"`
	// Operation is add, patch or remove.
	Operation string `json:"operation,omitempty"`
	// Value is the Envoy cluster, or the part to be merged, in YAML.
	Value string `json:"value,omitempty"`
}

// ClusterMatch selects clusters.
type ClusterMatch struct {
	// Origin is what made the resource, such as inbound or outbound.
	Origin string `json:"origin,omitempty"`
	// Name of the resource.
	Name string `json:"name,omitempty"`
}

// ListenerModification changes listeners.
type ListenerModification struct {
	// Match says which listeners; absent = all.
	Match *ListenerMatch `json:"match,omitempty"`
	// Operation is add, patch or remove.
	Operation string `json:"operation,omitempty"`
	// Value is the Envoy listener, or the part to be merged, in YAML.
	Value string `json:"value,omitempty"`
}

// ListenerMatch selects listeners.
type ListenerMatch struct {
	// Origin is what made the resource, such as inbound or outbound.
	Origin string `json:"origin,omitempty"`
	// Name of the resource.
	Name string `json:"name,omitempty"`
	// Tags that the listener must have in its metadata.
	Tags map[string]string `json:"tags,omitempty"`
}

// FilterModification changes filters of listeners.
type FilterModification struct {
	// Match says which filters; absent = all.
	Match *FilterMatch `json:"match,omitempty"`
	// Operation is addFirst, addLast, addBefore, addAfter, patch or remove.
	Operation string `json:"operation,omitempty"`
	// Value is the Envoy filter, or the part to be merged, in YAML.
	Value string `json:"value,omitempty"`
}

// FilterMatch selects filters.
type FilterMatch struct {
	// Origin is what made the listener, such as inbound or outbound.
	Origin string `json:"origin,omitempty"`
	// Name of the filter.
	Name string `json:"name,omitempty"`
	// ListenerName is the name of the listener.
	ListenerName string `json:"listenerName,omitempty"`
	// ListenerTags are tags that the listener must have in its metadata.
	ListenerTags map[string]string `json:"listenerTags,omitempty"`
}

// VirtualHostModification changes virtual hosts.
type VirtualHostModification struct {
	// Match says which virtual hosts; absent = all.
	Match *VirtualHostMatch `json:"match,omitempty"`
	// Operation is add, patch or remove.
	Operation string `json:"operation,omitempty"`
	// Value is the Envoy virtual host, or the part to be merged, in YAML.
	Value string `json:"value,omitempty"`
}

// VirtualHostMatch selects virtual hosts.
type VirtualHostMatch struct {
	// Origin is what made the resource, such as inbound or outbound.
	Origin string `json:"origin,omitempty"`
	// Name of the virtual host.
	Name string `json:"name,omitempty"`
	// RouteConfigurationName is the name of the route configuration.
	RouteConfigurationName string `json:"routeConfigurationName,omitempty"`
}

// Operations of modifications.
const (
	OpAdd       = "add"
	OpPatch     = "patch"
	OpRemove    = "remove"
	OpAddFirst  = "addFirst"
	OpAddLast   = "addLast"
	OpAddBefore = "addBefore"
	OpAddAfter  = "addAfter"
)

// ImportedProfiles returns the profiles to start from: default-proxy if none is
// named, since a template without imports changes what is generated otherwise.
func (c *ProxyTemplateConf) ImportedProfiles() []string {
	if len(c.Imports) == 0 {
		return []string{ProfileDefault}
	}
	return c.Imports
}

func validateProxyTemplate(o *model.Object, v *model.Violations) {
	s := model.Spec[ProxyTemplateSpec](o)
	MatchRules(true).CheckSelectors(s.Selectors, v.At("selectors"))
	if s.Conf == nil {
		return
	}
	at := v.At("conf")
	known := []string{ProfileDefault, ProfileGateway}
	for i, name := range s.Conf.Imports {
		switch {
		case name == "":
			at.At("imports", i).Add("must name a profile: %s", strings.Join(known, ", "))
		case !slices.Contains(known, name):
			at.At("imports", i).Add("there is no profile %q; the profiles are %s", name, strings.Join(known, ", "))
		}
	}
	for i, r := range s.Conf.Resources {
		r.validate(at.At("resources", i))
	}
	for i := range s.Conf.Modifications {
		s.Conf.Modifications[i].validate(at.At("modifications", i))
	}
}

func (r *ProxyTemplateResource) validate(v *model.Violations) {
	if r.Name == "" {
		v.At("name").Add("must not be empty")
	}
	if r.Version == "" {
		v.At("version").Add("must not be empty")
	}
	if r.Resource == "" {
		v.At("resource").Add("must not be empty")
		return
	}
	switch tree, err := envoyYAML(r.Resource); {
	case err != nil:
		v.At("resource").Add("is no Envoy resource: %v", err)
	case tree["@type"] == nil:
		v.At("resource").Add("is no Envoy resource: the field @type is missing")
	}
}

func (m *ProxyTemplateModification) validate(v *model.Violations) {
	n := 0
	if c := m.Cluster; c != nil {
		n++
		checkResourceModification(v.At("cluster"), c.Operation, c.Value, c.Match != nil)
	}
	if l := m.Listener; l != nil {
		n++
		checkResourceModification(v.At("listener"), l.Operation, l.Value, l.Match != nil)
	}
	if f := m.NetworkFilter; f != nil {
		n++
		f.validate(v.At("networkFilter"))
	}
	if f := m.HTTPFilter; f != nil {
		n++
		f.validate(v.At("httpFilter"))
	}
	if h := m.VirtualHost; h != nil {
		n++
		h.validate(v.At("virtualHost"))
	}
	if n != 1 {
		v.Add("must have exactly one of cluster, listener, networkFilter, httpFilter and virtualHost; %d are given", n)
	}
}

func checkResourceModification(v *model.Violations, op, value string, hasMatch bool) {
	checkOperation(op, v, OpAdd, OpPatch, OpRemove)
	if op == OpAdd && hasMatch {
		v.At("match").Add("is not possible with the operation add; remove it")
	}
	if op == OpAdd || op == OpPatch {
		checkEnvoyValue(value, v.At("value"))
	}
}

func (f *FilterModification) validate(v *model.Violations) {
	checkOperation(f.Operation, v, OpAddFirst, OpAddLast, OpAddBefore, OpAddAfter, OpPatch, OpRemove)
	named := f.Match != nil && f.Match.Name != ""
	switch {
	case f.Operation == OpAddBefore && !named:
		v.At("match", "name").Add("must name the filter before which this one is added")
	case f.Operation == OpAddAfter && !named:
		v.At("match", "name").Add("must name the filter after which this one is added")
	case f.Operation == OpPatch && !named:
		v.At("match", "name").Add("must name the filter that is patched")
	}
	if f.Operation != OpRemove {
		checkEnvoyValue(f.Value, v.At("value"))
	}
}

func (h *VirtualHostModification) validate(v *model.Violations) {
	checkOperation(h.Operation, v, OpAdd, OpPatch, OpRemove)
	if h.Operation == OpAdd && h.Match != nil && h.Match.Name != "" {
		v.At("match", "name").Add("is not possible with the operation add; remove it")
	}
	if h.Operation == OpAdd || h.Operation == OpPatch {
		checkEnvoyValue(h.Value, v.At("value"))
	}
}

func checkOperation(op string, v *model.Violations, allowed ...string) {
	if !slices.Contains(allowed, op) {
		v.At("operation").Add("%q is no operation here; use one of %s", op, strings.Join(allowed, ", "))
	}
}

func checkEnvoyValue(value string, v *model.Violations) {
	if _, err := envoyYAML(value); err != nil {
		v.Add("is no Envoy resource: %v", err)
	}
}

// envoyYAML reads YAML that must be a mapping. Whether Envoy knows its fields is
// found out where Envoy's types are known.
func envoyYAML(text string) (map[string]any, error) {
	var tree any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		return nil, err
	}
	m, ok := tree.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("it must be a YAML mapping")
	}
	return m, nil
}
