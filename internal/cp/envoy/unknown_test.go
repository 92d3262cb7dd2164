package envoy_test

import (
	"strings"
	"testing"

	"weft/internal/cp/envoy"
	"weft/internal/mesh/ir"
)

func TestUnknownFields(t *testing.T) {
	for _, c := range []struct{ target, value, want string }{
		{"cluster", ``, ""},
		{"cluster", `{"name":"a","connectTimeout":"5s","connect_timeout":"5s","altStatName":"x"}`, ""},
		{"cluster", `{"connectTimeot":"5s","circuitBreakers":{"thresholds":[{"maxRetry":1},{"maxRetry":2}]}}`, "circuitBreakers.thresholds.maxRetry connectTimeot"},
		{"cluster", `{"typedExtensionProtocolOptions":{"a":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","explicit":{}}}}`,
			"typedExtensionProtocolOptions[a].explicit"},
		{"listener", `{"metadata":{"filterMetadata":{"x":{"anything":{"goes":1}}}}}`, ""},
		{"httpFilter", `{"name":"f","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router","startChildSpans":true}}`, "typedConfig.startChildSpans"},
		{"networkFilter", `{"typedConfig":{"@type":"type.googleapis.com/nobody.knows.It","x":1}}`, ""},
		{"virtualHost", `{"routes":[{"match":{"prefix":"/"},"redirect":{"hostRedirect":"h","code":301}}]}`, "routes.redirect.code"},
		{"", `{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"a","nam":"b"}`, "nam"},
	} {
		got := strings.Join(envoy.UnknownFields(ir.Patch{Target: c.target, Value: []byte(c.value)}), " ")
		if got != c.want {
			t.Errorf("%s %s: %q, want %q", c.target, c.value, got, c.want)
		}
	}
}
