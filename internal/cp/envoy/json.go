package envoy

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	runtime "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weft/internal/cp/xds"
)

// newMessage returns an empty message of a resource type.
func newMessage(t xds.Type) proto.Message {
	switch t {
	case xds.Cluster:
		return &cluster.Cluster{}
	case xds.Endpoints:
		return &endpoint.ClusterLoadAssignment{}
	case xds.Listener:
		return &listener.Listener{}
	case xds.Route:
		return &route.RouteConfiguration{}
	case xds.Secret:
		return &tls.Secret{}
	case xds.Runtime:
		return &runtime.Runtime{}
	default:
		return nil
	}
}

// Decode returns the message in a resource.
func Decode(r *xds.Resource) (proto.Message, error) {
	m := newMessage(r.Type)
	if m == nil {
		return nil, fmt.Errorf("decode resource %q: unknown type %d", r.Name, r.Type)
	}
	if err := proto.Unmarshal(r.Body, m); err != nil {
		return nil, fmt.Errorf("decode resource %q of type %s: %w", r.Name, r.Type.URL(), err)
	}
	return m, nil
}

// JSON returns resources for people and the API: type URL → name → resource.
// Private keys are replaced, so that nobody reads one there.
func JSON(resources []*xds.Resource) (map[string]map[string]json.RawMessage, error) {
	out := map[string]map[string]json.RawMessage{}
	for _, r := range resources {
		b, err := resourceJSON(r)
		if err != nil {
			return nil, err
		}
		byName := out[r.Type.URL()]
		if byName == nil {
			byName = map[string]json.RawMessage{}
			out[r.Type.URL()] = byName
		}
		byName[r.Name] = b
	}
	return out, nil
}

func resourceJSON(r *xds.Resource) (json.RawMessage, error) {
	m, err := Decode(r)
	if err != nil {
		return nil, err
	}
	b, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("print resource %q of type %s: %w", r.Name, r.Type.URL(), err)
	}
	// Decoding and encoding again also takes away protojson's random spaces.
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		return nil, fmt.Errorf("print resource %q of type %s: %w", r.Name, r.Type.URL(), err)
	}
	hideKeys(tree)
	return json.Marshal(tree)
}

// hiddenKey stands for a private key; bytes are Base64 in JSON.
var hiddenKey = map[string]any{"inlineBytes": base64.StdEncoding.EncodeToString([]byte("[redacted]"))}

// hideKeys replaces private keys that are held by value.
func hideKeys(tree any) {
	switch v := tree.(type) {
	case map[string]any:
		for k, e := range v {
			if source, ok := e.(map[string]any); ok && k == "privateKey" && source["filename"] == nil {
				v[k] = hiddenKey
				continue
			}
			hideKeys(e)
		}
	case []any:
		for _, e := range v {
			hideKeys(e)
		}
	}
}
