package corpus

import (
	"net/netip"
	"testing"
	"time"

	"weft/internal/cp/services"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
)

// defaults are the hostname generators that a zone makes.
var defaults = []string{
	`{"type": "HostnameGenerator", "name": "local-mesh-external-service", "labels": {"kuma.io/origin": "zone"},
		"spec": {"selector": {"meshExternalService": {"matchLabels": {"kuma.io/origin": "zone"}}}, "template": "{{ .DisplayName }}.extsvc.mesh.local"}}`,
	`{"type": "HostnameGenerator", "name": "local-universal-mesh-service", "labels": {"kuma.io/origin": "zone"},
		"spec": {"selector": {"meshService": {"matchLabels": {"kuma.io/origin": "zone"}}}, "template": "{{ .DisplayName }}.svc.mesh.local"}}`,
}

// Led returns objects, such as those of Inputs, as they are after the leader did
// its part: with the services that it makes, hostnames and virtual addresses.
func Led(t *testing.T, objects []*model.Object) []*model.Object {
	t.Helper()
	var all []*model.Object
	for _, d := range defaults {
		o, err := catalog.Decode([]byte(d))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return services.Settle(append(all, objects...), services.Settings{
		Zone: "default", Generate: true, GracePeriod: time.Hour, Hostnames: true, Addresses: true,
		MeshServices:          netip.MustParsePrefix("241.0.0.0/8"),
		ExternalServices:      netip.MustParsePrefix("242.0.0.0/8"),
		MeshMultiZoneServices: netip.MustParsePrefix("243.0.0.0/8"),
	}, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
}
