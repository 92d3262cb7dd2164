package kinds

import (
	"fmt"
	"testing"

	"weft/internal/mesh/model"
)

func sampleDataplane(i int) *model.Object {
	o := Dataplane.Make("default", fmt.Sprintf("web-%d", i))
	o.Meta.Labels = map[string]string{
		model.LabelMesh: "default", model.LabelOrigin: "zone", model.LabelZone: "east", model.LabelEnv: "universal",
		model.LabelProxyType: "sidecar", "app": "web",
	}
	o.Spec = &DataplaneSpec{Networking: &DataplaneNetworking{
		Address: fmt.Sprintf("10.0.%d.%d", i/256%256, i%256),
		Inbound: []Inbound{{
			Port: 8080, ServicePort: 80, Name: "http",
			Tags: map[string]string{model.TagService: "web", model.TagProtocol: "http", model.TagZone: "east", "version": "v1"},
		}},
		Outbound: []Outbound{{Port: 10001, Tags: map[string]string{model.TagService: "backend"}}},
	}}
	return o
}

// BenchmarkContentHash hashes 10,000 Dataplanes, as the state does after a start.
func BenchmarkContentHash(b *testing.B) {
	const n = 10_000
	objects := make([]*model.Object, n)
	for i := range objects {
		objects[i] = sampleDataplane(i)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, o := range objects {
			model.ContentHash(o)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/object")
}

// BenchmarkEncode writes one Dataplane.
func BenchmarkEncode(b *testing.B) {
	o := sampleDataplane(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := model.Encode(o); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode reads one Dataplane.
func BenchmarkDecode(b *testing.B) {
	data, err := model.Encode(sampleDataplane(1))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Dataplane.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
