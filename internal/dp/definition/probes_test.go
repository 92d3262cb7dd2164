package definition

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWithProbes(t *testing.T) {
	const head = `{"type":"Dataplane","mesh":"default","name":"web","creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z",`
	for name, tc := range map[string]struct {
		networking, want string
		workloads        []string
	}{
		"probe is added": {
			`address: 10.0.0.7, inbound: [{port: 80, servicePort: 9000, serviceAddress: 127.0.0.1}]`,
			`"networking":{"address":"10.0.0.7","inbound":[{"port":80,"serviceAddress":"127.0.0.1","servicePort":9000,"serviceProbe":{"tcp":{}}}]}}`,
			[]string{"127.0.0.1:9000"},
		},
		"own probe stays": {
			`address: 10.0.0.7, inbound: [{port: 80, serviceProbe: {interval: 3s, tcp: {}}}]`,
			`"networking":{"address":"10.0.0.7","inbound":[{"port":80,"serviceProbe":{"interval":"3s","tcp":{}}}]}}`,
			[]string{"10.0.0.7:80"},
		},
		"addresses": {
			`address: "::1", inbound: [{port: 80}, {port: 81, address: 10.0.0.8, servicePort: 9}]`,
			`"networking":{"address":"::1","inbound":[{"port":80,"serviceProbe":{"tcp":{}}},{"address":"10.0.0.8","port":81,"servicePort":9,"serviceProbe":{"tcp":{}}}]}}`,
			[]string{"[::1]:80", "10.0.0.8:9"},
		},
		"nothing to probe": {
			`address: a, inbound: [{port: 49151}, {port: 80, state: Ignored}, {port: 0}, {port: 70000}, {port: x}, 7]`,
			`"networking":{"address":"a","inbound":[{"port":49151},{"port":80,"state":"Ignored"},{"port":0},{"port":70000},{"port":"x"},7]}}`,
			nil,
		},
		"gateway": {
			`address: a, gateway: {type: DELEGATED}`, `"networking":{"address":"a","gateway":{"type":"DELEGATED"}}}`, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Parse("{type: Dataplane, mesh: default, name: web, networking: {"+tc.networking+"}}", "dataplane")
			if err != nil {
				t.Fatal(err)
			}
			before := d.JSON
			got, workloads, err := d.WithProbes()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(head+tc.want, got.JSON); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.workloads, workloads); diff != "" {
				t.Error(diff)
			}
			if d.JSON != before {
				t.Error("the definition itself was changed")
			}
		})
	}
}
