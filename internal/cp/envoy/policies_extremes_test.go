package envoy_test

import (
	"fmt"
	"testing"

	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
)

// TestPolicyExtremes takes policies that look odd through to a real Envoy: what
// the gate lets in must be a configuration that Envoy takes.
func TestPolicyExtremes(t *testing.T) {
	b := &batch{t: t, objects: fuzzObjects(t), dir: t.TempDir()}
	for name, spec := range map[string][2]string{
		"ways out that are the same": {"MeshPassthrough", `{"default":{"appendMatch":[
			{"type":"CIDR","value":"9.0.0.0/8","protocol":"tls"},{"type":"CIDR","value":"9.9.0.0/8","protocol":"tls"},
			{"type":"CIDR","value":"9.9.9.9/32","port":1},{"type":"IP","value":"9.9.9.9","port":1},
			{"type":"IP","value":"fd00:0::1","port":1},{"type":"IP","value":"fd00::1","port":1},
			{"type":"Domain","value":"A.example","protocol":"tls","port":443},{"type":"Domain","value":"a.Example","protocol":"tls","port":443},
			{"type":"Domain","value":"A.example","protocol":"http","port":80},{"type":"Domain","value":"a.Example","protocol":"http","port":80}]}}`},
		"probes of no bytes": {"MeshHealthCheck", `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"tcp":{"send":"","receive":["","YQ=="]}}}]}`},
		"records of numbers": {"MeshAccessLog", `{"to":[{"targetRef":{"kind":"Mesh"},"default":{"backends":[
			{"type":"OpenTelemetry","openTelemetry":{"endpoint":"x","body":{"intValue":3}}},
			{"type":"OpenTelemetry","openTelemetry":{"endpoint":"x","body":{"kvlistValue":{"values":[{"key":"a"},{"key":"b","value":{}},
				{"key":"c","value":{"arrayValue":{"values":[{"boolValue":true},{"doubleValue":1.5},{"bytesValue":"YQ=="}]}}}]}}}}]}}]}`},
	} {
		o, err := catalog.Decode([]byte(fmt.Sprintf(`{"type":%q,"mesh":"m","name":"p","spec":%s}`, spec[0], spec[1])))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var v model.Violations
		if o.Kind.Validate(o, &v); !v.Empty() {
			t.Fatalf("%s: %v", name, v.Err())
		}
		b.add([]*model.Object{o})
	}
	b.validate()
}
