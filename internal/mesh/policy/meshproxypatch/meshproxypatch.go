// Package meshproxypatch changes the finished configuration of a proxy in ways
// that no other policy offers. It is applied last, to what Envoy gets.
package meshproxypatch

import (
	"bytes"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says what is changed on which proxies.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// Default is what holds for the selected proxies.
	Default Conf `json:"default" schema:"required"`
}

// Conf is what may be set under default.
type Conf struct {
	// AppendModifications are made in order. The lists of several policies are
	// joined, those of more general policies first.
	AppendModifications []Modification `json:"appendModifications,omitzero"`
}

// Modification is one change. Exactly one of its fields is set.
type Modification struct {
	// Cluster changes clusters.
	Cluster *Cluster `json:"cluster,omitempty"`
	// Listener changes listeners.
	Listener *Listener `json:"listener,omitempty"`
	// NetworkFilter changes filters of connections.
	NetworkFilter *Filter `json:"networkFilter,omitempty"`
	// HTTPFilter changes filters of requests.
	HTTPFilter *Filter `json:"httpFilter,omitempty"`
	// VirtualHost changes virtual hosts.
	VirtualHost *VirtualHost `json:"virtualHost,omitempty"`

	from ir.Origin
}

// Cluster changes clusters.
type Cluster struct {
	// Match says which clusters; absent means all.
	Match *ClusterMatch `json:"match,omitempty"`
	// Operation is what is done.
	Operation string `json:"operation" schema:"required,enum=Add|Remove|Patch"`
	// Value is the resource, or what is merged into it, in YAML.
	Value *string `json:"value,omitempty"`
	// JSONPatches are applied to the resource's JSON form, with Patch.
	JSONPatches []JSONPatch `json:"jsonPatches,omitzero"`
}

// ClusterMatch says which clusters. Absent fields fit all.
type ClusterMatch struct {
	// Name of the cluster.
	Name *string `json:"name,omitempty"`
	// Origin is what the cluster was made for, such as inbound or outbound.
	Origin *string `json:"origin,omitempty"`
}

// Listener changes listeners.
type Listener struct {
	// Match says which listeners; absent means all.
	Match *ListenerMatch `json:"match,omitempty"`
	// Operation is what is done.
	Operation string `json:"operation" schema:"required,enum=Add|Remove|Patch"`
	// Value is the resource, or what is merged into it, in YAML.
	Value *string `json:"value,omitempty"`
	// JSONPatches are applied to the resource's JSON form, with Patch.
	JSONPatches []JSONPatch `json:"jsonPatches,omitzero"`
}

// ListenerMatch says which listeners. Absent fields fit all.
type ListenerMatch struct {
	// Name of the listener.
	Name *string `json:"name,omitempty"`
	// Origin is what the listener was made for, such as inbound or outbound.
	Origin *string `json:"origin,omitempty"`
	// Tags that the listener has.
	Tags map[string]string `json:"tags,omitempty"`
}

// Filter changes filters.
type Filter struct {
	// Match says which filters; absent means all.
	Match *FilterMatch `json:"match,omitempty"`
	// Operation is what is done.
	Operation string `json:"operation" schema:"required,enum=Remove|Patch|AddFirst|AddBefore|AddAfter|AddLast"`
	// Value is the filter, or what is merged into it, in YAML.
	Value *string `json:"value,omitempty"`
	// JSONPatches are applied to the JSON form of the filter's settings, with Patch.
	JSONPatches []JSONPatch `json:"jsonPatches,omitzero"`
}

// FilterMatch says which filters. Absent fields fit all.
type FilterMatch struct {
	// Name of the filter.
	Name *string `json:"name,omitempty"`
	// ListenerName is the name of the filter's listener.
	ListenerName *string `json:"listenerName,omitempty"`
	// ListenerTags that the filter's listener has.
	ListenerTags map[string]string `json:"listenerTags,omitempty"`
	// Origin is what the filter's listener was made for.
	Origin *string `json:"origin,omitempty"`
}

// VirtualHost changes virtual hosts.
type VirtualHost struct {
	// Match says which virtual hosts.
	Match VirtualHostMatch `json:"match" schema:"required"`
	// Operation is what is done.
	Operation string `json:"operation" schema:"required,enum=Add|Remove|Patch"`
	// Value is the virtual host, or what is merged into it, in YAML.
	Value *string `json:"value,omitempty"`
	// JSONPatches are applied to the virtual host's JSON form, with Patch.
	JSONPatches []JSONPatch `json:"jsonPatches,omitzero"`
}

// VirtualHostMatch says which virtual hosts. Absent fields fit all.
type VirtualHostMatch struct {
	// Name of the virtual host.
	Name *string `json:"name,omitempty"`
	// Origin is what the virtual host's listener was made for.
	Origin *string `json:"origin,omitempty"`
	// RouteConfigurationName is the name of the virtual host's route configuration.
	RouteConfigurationName *string `json:"routeConfigurationName,omitempty"`
}

// JSONPatch is a step of RFC 6902.
type JSONPatch struct {
	// Op is what is done.
	Op string `json:"op" schema:"required,enum=add|remove|replace|move|copy"`
	// Path is where.
	Path *string `json:"path" schema:"required"`
	// Value to add or to put in place.
	Value json.RawMessage `json:"value,omitempty"`
	// From is where to move or copy from.
	From *string `json:"from,omitempty"`
}

// Operations.
const (
	opAdd    = "Add"
	opRemove = "Remove"
	opPatch  = "Patch"
	opBefore = "AddBefore"
	opAfter  = "AddAfter"
)

// Targets of a Modification, named like its fields.
const (
	targetCluster       = "cluster"
	targetListener      = "listener"
	targetNetworkFilter = "networkFilter"
	targetHTTPFilter    = "httpFilter"
	targetVirtualHost   = "virtualHost"
)

// Policy is the kind MeshProxyPatch.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshProxyPatch", Plural: "meshproxypatches", Short: "mpp", One: "meshproxypatch", Many: "meshproxypatches",
		Display: "Mesh Proxy Patch", DisplayPlural: "Mesh Proxy Patches",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{Top: policy.Sidecars, TopSystem: policy.MeshGateway},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, Default: &s.Default}
	},
	Lists:    []policy.List{policy.ListDefault},
	Validate: validate,
	Merge:    merge,
	Patches:  patches,
	Proxy: func(c *Conf, x *policy.Context) {
		for _, p := range patches(c) {
			x.Proxy.Patches = append(x.Proxy.Patches, p.Patch)
		}
	},
})

// merge joins the lists and remembers where each modification comes from.
func merge(cs []policy.Contribution[Conf]) *Conf {
	out := &Conf{}
	for _, c := range cs {
		for _, m := range c.Conf.AppendModifications {
			m.from = policy.OriginOf(c.Object, c.Rule)
			out.AppendModifications = append(out.AppendModifications, m)
		}
	}
	return out
}

// patches returns the modifications as the IR wants them, with their places.
func patches(c *Conf) []policy.PlacedPatch {
	var out []policy.PlacedPatch
	for i := range c.AppendModifications {
		m := &c.AppendModifications[i]
		target, ch := m.change()
		if ch == nil {
			continue
		}
		value, err := ch.json()
		if err != nil {
			continue // was refused at the gate
		}
		out = append(out, policy.PlacedPatch{
			Path: []any{"appendModifications", i, target, "value"},
			Patch: ir.Patch{
				Target: target, Operation: ch.operation, Match: ch.match,
				Value: value, JSONPatch: ch.patchJSON(), Origin: m.from,
			},
		})
	}
	return out
}

// change is a modification of any target.
type change struct {
	operation string
	matched   bool // a match was given
	match     ir.PatchMatch
	value     *string
	patches   []JSONPatch
}

// change returns the modification that is set, nil if there is none.
func (m *Modification) change() (target string, c *change) {
	switch {
	case m.Cluster != nil:
		t := m.Cluster
		c = &change{operation: t.Operation, matched: t.Match != nil, value: t.Value, patches: t.JSONPatches}
		if t.Match != nil {
			c.match = ir.PatchMatch{Name: str(t.Match.Name), Origin: str(t.Match.Origin)}
		}
		return targetCluster, c
	case m.Listener != nil:
		t := m.Listener
		c = &change{operation: t.Operation, matched: t.Match != nil, value: t.Value, patches: t.JSONPatches}
		if t.Match != nil {
			c.match = ir.PatchMatch{Name: str(t.Match.Name), Origin: str(t.Match.Origin), Tags: t.Match.Tags}
		}
		return targetListener, c
	case m.NetworkFilter != nil:
		return targetNetworkFilter, m.NetworkFilter.change()
	case m.HTTPFilter != nil:
		return targetHTTPFilter, m.HTTPFilter.change()
	case m.VirtualHost != nil:
		t := m.VirtualHost
		return targetVirtualHost, &change{
			operation: t.Operation, matched: true, value: t.Value, patches: t.JSONPatches,
			match: ir.PatchMatch{
				Name: str(t.Match.Name), Origin: str(t.Match.Origin), RouteConfigurationName: str(t.Match.RouteConfigurationName),
			},
		}
	}
	return "", nil
}

func (f *Filter) change() *change {
	c := &change{operation: f.Operation, matched: f.Match != nil, value: f.Value, patches: f.JSONPatches}
	if m := f.Match; m != nil {
		c.match = ir.PatchMatch{Name: str(m.Name), Origin: str(m.Origin), ListenerName: str(m.ListenerName), Tags: m.ListenerTags}
	}
	return c
}

func str(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// json returns the value in JSON, nil if there is none.
func (c *change) json() (json.RawMessage, error) {
	if c.value == nil {
		return nil, nil
	}
	var tree any
	if err := yaml.Unmarshal([]byte(*c.value), &tree); err != nil {
		return nil, fmt.Errorf("is no YAML: %w", err)
	}
	if _, ok := tree.(map[string]any); !ok {
		return nil, fmt.Errorf("must be an object in YAML, with fields")
	}
	b, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("cannot be written as JSON: %w", err)
	}
	return b, nil
}

// patchJSON returns the steps in JSON, nil if there are none.
func (c *change) patchJSON() json.RawMessage {
	if len(c.patches) == 0 {
		return nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(c.patches); err != nil {
		return nil // raw values were valid JSON when they were read
	}
	return bytes.TrimSpace(b.Bytes())
}
