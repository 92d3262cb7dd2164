package legacy

import (
	"encoding/json"
	"errors"
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
		pt, err := modification(&conf.Modifications[i])
		if err != nil {
			t.warn("%v", err)
			continue
		}
		t.add(addedModified, pt)
	}
}

// Placed is an Envoy resource, or a part of one, in a ProxyTemplate. Path leads
// to its text. The value of a whole resource (Patch.Target is empty) has its @type.
type Placed struct {
	Path  []any
	Patch ir.Patch
}

// EnvoyParts returns what a ProxyTemplate holds in Envoy's own form. Who knows
// Envoy's types can check it before the object is stored. What is no mapping in
// YAML is left out; the kind itself refuses it.
func EnvoyParts(s *kinds.ProxyTemplateSpec) []Placed {
	if s.Conf == nil {
		return nil
	}
	var out []Placed
	for i := range s.Conf.Resources {
		if value, err := jsonOf(s.Conf.Resources[i].Resource); err == nil {
			out = append(out, Placed{[]any{"conf", "resources", i, "resource"}, ir.Patch{Value: value}})
		}
	}
	for i := range s.Conf.Modifications {
		if pt, err := modification(&s.Conf.Modifications[i]); err == nil && pt.Value != nil {
			out = append(out, Placed{[]any{"conf", "modifications", i, pt.Target, "value"}, pt})
		}
	}
	return out
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
	value, err := json.Marshal(tree)
	if err != nil {
		t.warn("resource %q is left out: it cannot be written as JSON: %v", r.Name, err)
		return
	}
	t.add(addedRaw, ir.Patch{Target: target, Operation: operations[kinds.OpAdd], Value: value})
}

// modification returns the patch that a modification means.
func modification(m *kinds.ProxyTemplateModification) (ir.Patch, error) {
	var pt ir.Patch
	var op, value string
	switch {
	case m.Cluster != nil:
		pt.Target, op, value = targetCluster, m.Cluster.Operation, m.Cluster.Value
		if x := m.Cluster.Match; x != nil {
			pt.Match = ir.PatchMatch{Origin: x.Origin, Name: x.Name}
		}
	case m.Listener != nil:
		pt.Target, op, value = targetListener, m.Listener.Operation, m.Listener.Value
		if x := m.Listener.Match; x != nil {
			pt.Match = ir.PatchMatch{Origin: x.Origin, Name: x.Name, Tags: x.Tags}
		}
	case m.NetworkFilter != nil:
		pt.Target, op, value = targetNetworkFilter, m.NetworkFilter.Operation, m.NetworkFilter.Value
		pt.Match = filterMatch(m.NetworkFilter.Match)
	case m.HTTPFilter != nil:
		pt.Target, op, value = targetHTTPFilter, m.HTTPFilter.Operation, m.HTTPFilter.Value
		pt.Match = filterMatch(m.HTTPFilter.Match)
	case m.VirtualHost != nil:
		pt.Target, op, value = targetVirtualHost, m.VirtualHost.Operation, m.VirtualHost.Value
		if x := m.VirtualHost.Match; x != nil {
			pt.Match = ir.PatchMatch{Origin: x.Origin, Name: x.Name, RouteConfigurationName: x.RouteConfigurationName}
		}
	default:
		return pt, errors.New("a modification that names no resource is left out") // the gate refuses them
	}
	pt.Operation = operations[op]
	if op == kinds.OpRemove {
		return pt, nil
	}
	var err error
	if pt.Value, err = jsonOf(value); err != nil {
		return pt, fmt.Errorf("the %s of %s is left out: %w", op, pt.Target, err)
	}
	return pt, nil
}

func filterMatch(x *kinds.FilterMatch) ir.PatchMatch {
	if x == nil {
		return ir.PatchMatch{}
	}
	return ir.PatchMatch{Origin: x.Origin, Name: x.Name, ListenerName: x.ListenerName, Tags: x.ListenerTags}
}

func (t *template) add(added string, pt ir.Patch) {
	pt.Added, pt.Origin = added, t.origin
	t.p.Patches = append(t.p.Patches, pt)
}

// jsonOf returns a mapping in YAML as JSON.
func jsonOf(text string) (json.RawMessage, error) {
	tree, err := object(text)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("it cannot be written as JSON: %w", err)
	}
	return b, nil
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
