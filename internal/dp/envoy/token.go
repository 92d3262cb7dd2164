package envoy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// tokenVariable begins the name of the variable that Envoy reads the token from.
const tokenVariable = "KUMA_DP_TOKEN_"

const (
	typePrefix     = "type.googleapis.com/envoy.extensions."
	filterMutation = "envoy.filters.http.header_mutation"
	filterCodec    = "envoy.filters.http.upstream_codec"
	httpOptions    = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)

// hideToken takes the token out of the metadata of streams to the control plane
// and lets the cluster that they use add it from a variable of Envoy's
// environment: the admin interface shows the document to everybody on the host,
// the environment of a process only its user sees. The variable has another name
// at each start, so that a format of access logs cannot name it; its name is ""
// if the document does not hold the token.
func hideToken(document []byte, token string) (hidden []byte, variable string, err error) {
	if token == "" || !bytes.Contains(document, []byte(token)) {
		return document, "", nil
	}
	var tree map[string]any
	if err := yaml.Unmarshal(document, &tree); err != nil {
		return nil, "", fmt.Errorf("read bootstrap document: %w", err)
	}
	h := hider{token: token, variable: tokenVariable + rand.Text(), header: map[string]string{}}
	h.take(tree)
	if err := h.give(tree); err != nil {
		return nil, "", fmt.Errorf("hide the token in the bootstrap document: %w", err)
	}
	if hidden, err = yaml.Marshal(tree); err != nil {
		return nil, "", fmt.Errorf("write bootstrap document: %w", err)
	}
	if bytes.Contains(hidden, []byte(token)) {
		return nil, "", errors.New("hide the token in the bootstrap document: it is in a place where Envoy would show it")
	}
	return hidden, h.variable, nil
}

// hider moves a token from streams to the clusters that they use.
type hider struct {
	token, variable string
	header          map[string]string // by cluster: the header that held the token
}

// field returns what a message has under a name, in either spelling.
func field(m map[string]any, camel, snake string) (value any, name string) {
	if v, ok := m[camel]; ok {
		return v, camel
	}
	return m[snake], snake
}

// take removes the token from all services of gRPC.
func (h *hider) take(tree any) {
	switch v := tree.(type) {
	case []any:
		for _, e := range v {
			h.take(e)
		}
	case map[string]any:
		h.takeFrom(v)
		for _, e := range v {
			h.take(e)
		}
	}
}

func (h *hider) takeFrom(service map[string]any) {
	metadata, name := field(service, "initialMetadata", "initial_metadata")
	list, _ := metadata.([]any)
	envoyGRPC, _ := field(service, "envoyGrpc", "envoy_grpc")
	target, _ := envoyGRPC.(map[string]any)
	cluster, _ := field(target, "clusterName", "cluster_name")
	to, _ := cluster.(string)
	if to == "" {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(list), func(e any) bool {
		header, _ := e.(map[string]any)
		key, _ := header["key"].(string)
		if header["value"] != h.token || key == "" {
			return false
		}
		h.header[to] = key
		return true
	})
	switch {
	case len(rest) == len(list):
	case len(rest) == 0:
		delete(service, name)
	default:
		service[name] = rest
	}
}

// give lets the clusters add the header.
func (h *hider) give(tree map[string]any) error {
	static, _ := field(tree, "staticResources", "static_resources")
	resources, _ := static.(map[string]any)
	clusters, _ := resources["clusters"].([]any)
	for _, e := range clusters {
		c, _ := e.(map[string]any)
		name, _ := c["name"].(string)
		header := h.header[name]
		if header == "" {
			continue
		}
		all, _ := field(c, "typedExtensionProtocolOptions", "typed_extension_protocol_options")
		byName, _ := all.(map[string]any)
		options, _ := byName[httpOptions].(map[string]any)
		if options == nil {
			return fmt.Errorf("cluster %s has no options of HTTP", name)
		}
		h.addFilters(options, header)
		delete(h.header, name)
	}
	for name := range h.header {
		return fmt.Errorf("there is no cluster %s", name)
	}
	return nil
}

// addFilters sets a header of all that goes to a cluster.
func (h *hider) addFilters(options map[string]any, header string) {
	filters, name := field(options, "httpFilters", "http_filters")
	list, _ := filters.([]any)
	if len(list) == 0 {
		name = "httpFilters"
		list = []any{map[string]any{
			"name":        filterCodec,
			"typedConfig": map[string]any{"@type": typePrefix + "filters.http.upstream_codec.v3.UpstreamCodec"},
		}}
	}
	options[name] = append([]any{map[string]any{
		"name": filterMutation,
		"typedConfig": map[string]any{
			"@type": typePrefix + "filters.http.header_mutation.v3.HeaderMutation",
			"mutations": map[string]any{"requestMutations": []any{map[string]any{"append": map[string]any{
				"header":       map[string]any{"key": header, "value": "%ENVIRONMENT(" + h.variable + ")%"},
				"appendAction": "OVERWRITE_IF_EXISTS_OR_ADD",
			}}}},
		},
	}}, list...)
}
