package admit

import (
	"encoding/json"
	"fmt"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// initialPolicy is a policy that every new mesh gets, so that nobody starts
// without time limits and retries.
type initialPolicy struct {
	name    string // the mesh's name is appended
	kind    string
	body    string // fields of the document beside type, mesh and name
	routing bool   // only if defaults.createMeshRoutingResources
}

var initialPolicies = []initialPolicy{
	{name: "mesh-timeout-all-", kind: "MeshTimeout", body: `{"spec": {
		"targetRef": {"kind": "Mesh", "proxyTypes": ["Sidecar"]},
		"to": [{"targetRef": {"kind": "Mesh"}, "default": {
			"connectionTimeout": "5s", "idleTimeout": "1h",
			"http": {"requestTimeout": "15s", "streamIdleTimeout": "30m"}}}],
		"from": [{"targetRef": {"kind": "Mesh"}, "default": {
			"connectionTimeout": "10s", "idleTimeout": "2h",
			"http": {"requestTimeout": "0s", "streamIdleTimeout": "1h", "maxStreamDuration": "0s"}}}]}}`},
	{name: "mesh-gateways-timeout-all-", kind: "MeshTimeout", body: `{"spec": {
		"targetRef": {"kind": "Mesh", "proxyTypes": ["Gateway"]},
		"to": [{"targetRef": {"kind": "Mesh"}, "default": {
			"idleTimeout": "1h", "http": {"streamIdleTimeout": "5s"}}}],
		"from": [{"targetRef": {"kind": "Mesh"}, "default": {
			"idleTimeout": "5m", "http": {"streamIdleTimeout": "5s", "requestHeadersTimeout": "500ms"}}}]}}`},
	{name: "mesh-circuit-breaker-all-", kind: "MeshCircuitBreaker", body: `{"spec": {
		"targetRef": {"kind": "Mesh"},
		"to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionLimits": {
			"maxConnections": 1024, "maxPendingRequests": 1024, "maxRequests": 1024, "maxRetries": 3}}}]}}`},
	{name: "mesh-retry-all-", kind: "MeshRetry", body: `{"spec": {
		"targetRef": {"kind": "Mesh"},
		"to": [{"targetRef": {"kind": "Mesh"}, "default": {
			"tcp": {"maxConnectAttempt": 5},
			"http": {"numRetries": 5, "perTryTimeout": "16s", "backOff": {"baseInterval": "25ms", "maxInterval": "250ms"}},
			"grpc": {"numRetries": 5, "perTryTimeout": "16s", "backOff": {"baseInterval": "25ms", "maxInterval": "250ms"}}}}]}}`},
	{name: "allow-all-", kind: "TrafficPermission", routing: true, body: `{
		"sources": [{"match": {"kuma.io/service": "*"}}],
		"destinations": [{"match": {"kuma.io/service": "*"}}]}`},
	{name: "route-all-", kind: "TrafficRoute", routing: true, body: `{
		"sources": [{"match": {"kuma.io/service": "*"}}],
		"destinations": [{"match": {"kuma.io/service": "*"}}],
		"conf": {"destination": {"kuma.io/service": "*"}, "loadBalancer": {"roundRobin": {}}}}`},
}

// Initial says which policies a new mesh gets.
type Initial struct {
	// Kind finds kinds (catalog.ByName). Policies of kinds that it does not know
	// are left out.
	Kind func(name string) *model.Kind
	// Routing adds the older routing policies (defaults.createMeshRoutingResources).
	Routing bool
	// Namespace is the control plane's namespace on Kubernetes, else empty.
	Namespace string
}

// Policies returns the policies to be created with a mesh, without those that
// the mesh skips. They get no computed labels.
func (in Initial) Policies(mesh *model.Object) ([]*model.Object, error) {
	spec := model.Spec[kinds.MeshSpec](mesh)
	var out []*model.Object
	for _, p := range initialPolicies {
		kind := in.Kind(p.kind)
		if kind == nil || (p.routing && !in.Routing) || spec.SkipsInitialPolicy(p.kind) {
			continue
		}
		o, err := p.object(kind, mesh.Meta.Name)
		if err != nil {
			return nil, fmt.Errorf("make the initial %s of mesh %q: %w", p.kind, mesh.Meta.Name, err)
		}
		if in.Namespace != "" && kind.Shape == model.SpecBlock {
			o.Meta.Name += "." + in.Namespace
		}
		out = append(out, o)
	}
	return out, nil
}

func (p initialPolicy) object(kind *model.Kind, mesh string) (*model.Object, error) {
	var doc map[string]any
	if err := json.Unmarshal([]byte(p.body), &doc); err != nil {
		return nil, err
	}
	doc["type"], doc["mesh"], doc["name"] = p.kind, mesh, p.name+mesh
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	o, err := kind.Decode(b)
	if err != nil {
		return nil, err
	}
	var v model.Violations
	if kind.Default != nil {
		kind.Default(o)
	}
	if kind.Validate != nil {
		kind.Validate(o, &v)
	}
	return o, v.Err()
}
