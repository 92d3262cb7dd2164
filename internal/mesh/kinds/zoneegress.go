package kinds

import (
	"weft/internal/mesh/model"
)

// EgressService is the service that egresses prove to be.
const EgressService = "zone-egress"

// ZoneEgress is the kind that describes a proxy through which traffic leaves the zone.
var ZoneEgress = &model.Kind{
	Name: "ZoneEgress", Plural: "zoneegresses", Short: "ze", One: "zoneegress", Many: "zoneegresses",
	Display: "Zone Egress", DisplayPlural: "Zone Egresses",
	Scope: model.Global, Shape: model.Flat,
	Flow:     model.ZoneToGlobal | model.ZoneWrites,
	Feeds:    model.FeedsSpec | model.FeedsLabels,
	New:      func() any { return new(ZoneEgressSpec) },
	Validate: validateZoneEgress,
}

// ZoneEgressSpec describes a proxy through which traffic leaves the zone.
type ZoneEgressSpec struct {
	// Zone that the proxy serves; the control plane of the zone fills it in.
	Zone string `json:"zone,omitempty"`
	// Address and port of the proxy.
	Networking *ZoneEgressNetworking `json:"networking,omitempty"`
}

// ZoneEgressNetworking holds the address and port.
type ZoneEgressNetworking struct {
	Address string `json:"address,omitempty"`
	Port    uint32 `json:"port,omitempty"`
	// Envoy's admin endpoint.
	Admin *EnvoyAdmin `json:"admin,omitempty"`
}

// RemoteTo tells whether the proxy serves another zone than the given one.
func (z *ZoneEgressSpec) RemoteTo(zone string) bool { return z.Zone != "" && z.Zone != zone }

// AdminPort returns Envoy's admin port; byDefault is the control plane's default.
func (z *ZoneEgressSpec) AdminPort(byDefault uint32) uint32 {
	if z.Networking == nil {
		return byDefault
	}
	return z.Networking.Admin.port(byDefault)
}

func validateZoneEgress(o *model.Object, v *model.Violations) {
	n := model.Spec[ZoneEgressSpec](o).Networking
	if n == nil {
		n = &ZoneEgressNetworking{}
	}
	at := v.At("networking")
	validateZoneAdmin(n.Admin, n.Address, n.Port, at)
	if n.Address != "" {
		// Clients know this path with the name doubled.
		checkAddress(n.Address, at.At("address", "address"))
	}
	checkPort(int64(n.Port), at.At("port"))
}
