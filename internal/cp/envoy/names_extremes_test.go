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
	"weft/internal/testkit/envoytest"
)

// TestNameExtremes takes odd names of services, tags and hosts through to a real
// Envoy: whoever may start a proxy chooses them, so what the gate lets in must not
// cost the others their configuration.
func TestNameExtremes(t *testing.T) {
	names := []string{"a:b", ":", ":a", "-", "_", ".", "..", "A_b.C", "0", strings.Repeat("x", 64), strings.Repeat("y.", 150) + "z", strings.Repeat("z", 2000)}
	for _, mtls := range []string{`{}`, `{"enabledBackend":"ca","backends":[{"name":"ca","type":"builtin"}]}`} {
		docs := []string{`{"type":"Mesh","name":"m","mtls":` + mtls + `,"meshServices":{"mode":"Everywhere"}}`}
		var outbounds []string
		for i, n := range names {
			for j, protocol := range []string{"http", "tcp"} {
				docs = append(docs, fmt.Sprintf(`{"type":"Dataplane","mesh":"m","name":"p%d-%d","networking":{"address":"10.0.%d.%d",
					"inbound":[{"port":80,"name":%q,"tags":{"kuma.io/service":%q,"kuma.io/protocol":%q,"k":%q,%q:"v"}}]}}`,
					i, j, j, i+1, n, strings.Repeat(n, j+1), protocol, n, "k"+n))
			}
			outbounds = append(outbounds, fmt.Sprintf(`{"port":%d,"tags":{"kuma.io/service":%q,"k":%q,%q:"v"}}`, 10000+i, n, n, "k"+n))
		}
		docs = append(docs,
			`{"type":"Dataplane","mesh":"m","name":"tp","networking":{"address":"10.1.0.1","inbound":[{"port":80,"tags":{"kuma.io/service":"a:b"}}],
				"transparentProxying":{"redirectPortInbound":15006,"redirectPortOutbound":15001,"directAccessServices":["*"]}}}`,
			`{"type":"Dataplane","mesh":"m","name":"plain","networking":{"address":"10.1.0.2","inbound":[{"port":80,"tags":{"kuma.io/service":":"}}],"outbound":[`+strings.Join(outbounds, ",")+`]}}`,
			`{"type":"VirtualOutbound","mesh":"m","name":"vo","selectors":[{"match":{"kuma.io/service":"*"}}],"conf":{"host":"{{.s}}.vo","port":"81","parameters":[{"name":"s","tagKey":"kuma.io/service"}]}}`,
			`{"type":"ExternalService","mesh":"m","name":"es","tags":{"kuma.io/service":"es:es"},"networking":{"address":"A_b.example:80","tls":{"enabled":true}}}`,
			`{"type":"ExternalService","mesh":"m","name":"es2","tags":{"kuma.io/service":"es:es"},"networking":{"address":"b.example:80","tls":{"enabled":true,"serverName":"`+strings.Repeat("s", 255)+`"}}}`,
		)
		// What the gate refuses may be in the store all the same.
		refused := `{"type":"ExternalService","mesh":"m","name":"es3","tags":{"kuma.io/service":"es3"},"networking":{"address":"c.example:80","tls":{"enabled":true,"serverName":"` + strings.Repeat("s", 256) + `"}}}`
		var objects []*model.Object
		for _, d := range append(docs, refused) {
			o, err := catalog.Decode([]byte(d))
			if err != nil {
				t.Fatal(err)
			}
			var v model.Violations
			if o.Kind.Validate(o, &v); v.Empty() == (d == refused) {
				t.Fatalf("%v\n%s", v.Err(), d)
			}
			objects = append(objects, o)
		}
		mesh := view.NewMesh("m", settings()).Next(led(t, "m", objects))
		var all []envoytest.Named
		for _, o := range objects {
			if o.Kind != kinds.Dataplane {
				continue
			}
			in, ok := mesh.For(kinds.Dataplane, o.Meta.Name, fullNode(t))
			if !ok {
				t.Fatalf("there is no %s", o.Meta.Name)
			}
			rs, _, err := envoy.Resources(build.Proxy(in))
			if err != nil {
				t.Errorf("%s: %.400s", o.Meta.Name, err)
			}
			for _, r := range rs {
				all = append(all, envoytest.Named{From: o.Meta.Name, Resource: r})
			}
		}
		if !t.Failed() {
			envoytest.Validate(t, all)
		}
	}
}
