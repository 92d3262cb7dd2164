package envoy_test

import (
	"fmt"
	"strings"
	"testing"

	"weft/internal/cp/build"
	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
	"weft/internal/testkit/envoytest"
)

// TestLegacyExtremes takes older policies with values at the edge through to a
// real Envoy: what the gate lets in must be a configuration that Envoy takes.
func TestLegacyExtremes(t *testing.T) {
	const ends = `"sources":[{"match":{"kuma.io/service":"*"}}],"destinations":[{"match":{"kuma.io/service":"*"}}]`
	const httpEnds = `"sources":[{"match":{"kuma.io/service":"*"}}],"destinations":[{"match":{"kuma.io/service":"*","kuma.io/protocol":"http"}}]`
	docs := map[string]string{
		"short interval":     `"type":"RateLimit",` + ends + `,"conf":{"http":{"requests":1,"interval":"0.001s","onRateLimit":{"status":503}}}`,
		"odd status":         `"type":"RateLimit",` + ends + `,"conf":{"http":{"requests":4294967295,"interval":"0.000001s","onRateLimit":{"status":299}}}`,
		"odd limit header":   `"type":"RateLimit",` + ends + `,"conf":{"http":{"requests":1,"interval":"1s","onRateLimit":{"headers":[{"key":"x y","value":"a\nb"}]}}}`,
		"no delay":           `"type":"FaultInjection",` + httpEnds + `,"conf":{"delay":{"percentage":0,"value":"0s"}}`,
		"zero bandwidth":     `"type":"FaultInjection",` + httpEnds + `,"conf":{"responseBandwidth":{"percentage":0.00001,"limit":"0 kbps"}}`,
		"abort":              `"type":"FaultInjection",` + httpEnds + `,"conf":{"abort":{"percentage":100,"httpStatus":226}}`,
		"shrinking back-off": `"type":"Retry",` + ends + `,"conf":{"http":{"backOff":{"baseInterval":"10s","maxInterval":"1s"}},"grpc":{"backOff":{"baseInterval":"0.000000001s"}}}`,
		"small ring":         `"type":"TrafficRoute",` + ends + `,"conf":{"loadBalancer":{"ringHash":{"hashFunction":"XX_HASH","minRingSize":"9","maxRingSize":"3"}},"destination":{"kuma.io/service":"*"}}`,
		"smaller ring":       `"type":"TrafficRoute",` + ends + `,"conf":{"loadBalancer":{"ringHash":{"hashFunction":"XX_HASH","maxRingSize":"3"}},"destination":{"kuma.io/service":"*"}}`,
		"huge ring":          `"type":"TrafficRoute",` + ends + `,"conf":{"loadBalancer":{"ringHash":{"hashFunction":"XX_HASH","minRingSize":"99999999999"}},"destination":{"kuma.io/service":"*"}}`,
		"heavy weights":      `"type":"TrafficRoute",` + ends + `,"conf":{"split":[{"weight":4294967295,"destination":{"kuma.io/service":"*"}},{"weight":4294967295,"destination":{"kuma.io/service":"*","v":"1"}}]}`,
		"odd match header": `"type":"TrafficRoute",` + ends + `,"conf":{"http":[{"match":{"headers":{"x y":{"exact":"1"},"":{"exact":"2"}}},
			"destination":{"kuma.io/service":"*"}}],"destination":{"kuma.io/service":"*"}}`,
		"odd header": `"type":"TrafficRoute",` + ends + `,"conf":{"http":[{"match":{"path":{"prefix":"/"}},"modify":{"host":{"value":"a\nb"},
			"requestHeaders":{"add":[{"name":"x y","value":"1"}],"remove":[{"name":"z z"}]}},"destination":{"kuma.io/service":"*"}}],"destination":{"kuma.io/service":"*"}}`,
		"both rewrites": `"type":"TrafficRoute",` + ends + `,"conf":{"http":[{"match":{"path":{"prefix":"/a"}},"modify":{"path":{"regex":{"pattern":"(a)","substitution":"\\2"}},
			"host":{"fromPath":{"pattern":"(","substitution":"x"}}},"destination":{"kuma.io/service":"*"}}],"destination":{"kuma.io/service":"*"}}`,
		"odd check header": `"type":"HealthCheck",` + ends + `,"conf":{"interval":"1s","timeout":"1s","unhealthyThreshold":1,"healthyThreshold":1,
			"http":{"path":"/\n","requestHeadersToAdd":[{"header":{"key":"x y","value":"1"}}]}}`,
		"empty bytes": `"type":"HealthCheck",` + ends + `,"conf":{"interval":"0.000000001s","timeout":"0.000000001s","unhealthyThreshold":1,"healthyThreshold":1,
			"intervalJitterPercent":4294967295,"tcp":{"send":"","receive":["","AA=="]}}`,
		"zero timeouts": `"type":"Timeout",` + ends + `,"conf":{"connectTimeout":"0s","tcp":{"idleTimeout":"0s"},"http":{"idleTimeout":"0s","maxStreamDuration":"0s","requestTimeout":"0s"}}`,
		"zero detectors": `"type":"CircuitBreaker",` + ends + `,"conf":{"interval":"0.000000001s","maxEjectionPercent":0,"thresholds":{"maxConnections":0},
			"detectors":{"totalErrors":{"consecutive":0},"standardDeviation":{"factor":0},"failure":{"threshold":0,"minimumHosts":0}}}`,
	}
	objects := fuzzObjects(t)
	all, err := catalog.Decode([]byte(routeAll))
	if err != nil {
		t.Fatal(err)
	}
	objects = append(objects, all)
	var named []envoytest.Named
	for name, body := range docs {
		o, err := catalog.Decode([]byte(fmt.Sprintf(`{"mesh":"m","name":%q,%s}`, strings.ReplaceAll(name, " ", "-"), body)))
		if err != nil {
			t.Logf("%s is not read: %v", name, err)
			continue
		}
		var v model.Violations
		if o.Kind.Validate(o, &v); !v.Empty() {
			t.Logf("%s is refused: %v", name, v.Err())
			continue
		}
		tables := corpus.NewTables(append([]*model.Object{o}, objects...)...)
		in, ok := view.NewMesh("m", settings()).Next(tables).For(kinds.Dataplane, "web-1", fullNode(t))
		if !ok {
			t.Fatal("there is no proxy")
		}
		rs, _, err := envoy.Resources(build.Proxy(in))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, r := range rs {
			named = append(named, envoytest.Named{From: name, Resource: r})
		}
	}
	envoytest.Validate(t, named)
}
