package legacy

import (
	"encoding/json"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Targets of patches.
const (
	targetCluster       = "cluster"
	targetListener      = "listener"
	targetNetworkFilter = "networkFilter"
	targetHTTPFilter    = "httpFilter"
	targetVirtualHost   = "virtualHost"
)

// Origins of what templates add, by which their modifications find it.
const (
	addedRaw      = "proxy-template-raw"
	addedModified = "proxy-template-modifications"
)

// operations are a ProxyTemplate's words for what a patch does.
var operations = map[string]string{
	kinds.OpAdd: "Add", kinds.OpPatch: "Patch", kinds.OpRemove: "Remove",
	kinds.OpAddFirst: "AddFirst", kinds.OpAddLast: "AddLast", kinds.OpAddBefore: "AddBefore", kinds.OpAddAfter: "AddAfter",
}

// rawTargets are the resources that a ProxyTemplate can add, by type.
var rawTargets = map[string]string{
	"type.googleapis.com/envoy.config.cluster.v3.Cluster":   targetCluster,
	"type.googleapis.com/envoy.config.listener.v3.Listener": targetListener,
}

// Patch adds what the proxy's template changes in finished resources. It comes
// after all policies, so that the template has the last word.
func Patch(p *ir.Proxy, m *Matched) {
	if m == nil || m.template == nil {
		return
	}
	conf := model.Spec[kinds.ProxyTemplateSpec](m.template).Conf
	if conf == nil {
		return
	}
	t := &template{p: p, origin: ir.Origin{Kind: kinds.ProxyTemplate.Name, Mesh: m.template.Meta.Mesh, Name: m.template.Meta.Name}}
	if !slices.Contains(conf.ImportedProfiles(), kinds.ProfileDefault) {
		t.warn("imports does not name %s; its resources are there nevertheless", kinds.ProfileDefault)
	}
	for i := range conf.Resources {
		t.raw(&conf.Resources[i])
	}
	for i := range conf.Modifications {
		t.modify(&conf.Modifications[i])
	}
}

// template applies one ProxyTemplate to one proxy.
type template struct {
	p      *ir.Proxy
	origin ir.Origin
}

func (t *template) warn(format string, args ...any) {
	t.p.Warnings = append(t.p.Warnings, ir.Warning{
		Kind: t.origin.Kind, Name: t.origin.Name, Message: fmt.Sprintf(format, args...),
	})
}

// raw adds a resource.
func (t *template) raw(r *kinds.ProxyTemplateResource) {
	tree, err := object(r.Resource)
	if err != nil {
		t.warn("resource %q is left out: %v", r.Name, err)
		return
	}
	typ, _ := tree["@type"].(string)
	target := rawTargets[typ]
	if target == "" {
		t.warn("resource %q of type %q is left out; clusters and listeners can be added", r.Name, typ)
		return
	}
	delete(tree, "@type")
	t.add(addedRaw, target, kinds.OpAdd, tree, ir.PatchMatch{})
}

func (t *template) modify(m *kinds.ProxyTemplateModification) {
	var target, op, value string
	var match ir.PatchMatch
	switch {
	case m.Cluster != nil:
		target, op, value = targetCluster, m.Cluster.Operation, m.Cluster.Value
		if x := m.Cluster.Match; x != nil {
			match = ir.PatchMatch{Origin: x.Origin, Name: x.Name}
		}
	case m.Listener != nil:
		target, op, value = targetListener, m.Listener.Operation, m.Listener.Value
		if x := m.Listener.Match; x != nil {
			match = ir.PatchMatch{Origin: x.Origin, Name: x.Name, Tags: x.Tags}
		}
	case m.NetworkFilter != nil:
		target, op, value = targetNetworkFilter, m.NetworkFilter.Operation, m.NetworkFilter.Value
		match = filterMatch(m.NetworkFilter.Match)
	case m.HTTPFilter != nil:
		target, op, value = targetHTTPFilter, m.HTTPFilter.Operation, m.HTTPFilter.Value
		match = filterMatch(m.HTTPFilter.Match)
	case m.VirtualHost != nil:
		target, op, value = targetVirtualHost, m.VirtualHost.Operation, m.VirtualHost.Value
		if x := m.VirtualHost.Match; x != nil {
			match = ir.PatchMatch{Origin: x.Origin, Name: x.Name, RouteConfigurationName: x.RouteConfigurationName}
		}
	default:
		return // was refused at the gate
	}
	var tree map[string]any
	if op != kinds.OpRemove {
		var err error
		if tree, err = object(value); err != nil {
			t.warn("the %s of %s is left out: %v", op, target, err)
			return
		}
	}
	t.add(addedModified, target, op, tree, match)
}

func filterMatch(x *kinds.FilterMatch) ir.PatchMatch {
	if x == nil {
		return ir.PatchMatch{}
	}
	return ir.PatchMatch{Origin: x.Origin, Name: x.Name, ListenerName: x.ListenerName, Tags: x.ListenerTags}
}

func (t *template) add(added, target, op string, tree map[string]any, match ir.PatchMatch) {
	pt := ir.Patch{Target: target, Operation: operations[op], Match: match, Added: added, Origin: t.origin}
	if tree != nil {
		b, err := json.Marshal(tree)
		if err != nil {
			t.warn("the %s of %s is left out: it cannot be written as JSON: %v", op, target, err)
			return
		}
		pt.Value = b
	}
	t.p.Patches = append(t.p.Patches, pt)
}

// object reads a mapping in YAML.
func object(text string) (map[string]any, error) {
	var tree map[string]any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		return nil, fmt.Errorf("it is no mapping in YAML: %w", err)
	}
	if tree == nil {
		return nil, fmt.Errorf("it is empty")
	}
	return tree, nil
}
