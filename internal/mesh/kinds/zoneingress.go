package kinds

import (
	"weft/internal/mesh/model"
)

// ZoneIngress is the kind that describes a proxy through which other zones reach this one.
var ZoneIngress = &model.Kind{
	Name: "ZoneIngress", Plural: "zone-ingresses", Short: "zi", One: "zone-ingress", Many: "zone-ingresses",
	Display: "Zone Ingress", DisplayPlural: "Zone Ingresses",
	Scope: model.Global, Shape: model.Flat,
	Flow:     model.ZoneToGlobal | model.ZoneToZones | model.ZoneWrites,
	Feeds:    model.FeedsSpec | model.FeedsLabels,
	New:      func() any { return new(ZoneIngressSpec) },
	Validate: validateZoneIngress,
}

// ZoneIngressSpec describes a proxy through which other zones reach this one.
type ZoneIngressSpec struct {
	// Zone that the proxy serves; the control plane of the zone fills it in.
	Zone string `json:"zone,omitempty"`
	// Addresses and ports of the proxy.
	Networking *ZoneIngressNetworking `json:"networking,omitempty"`
	// Services that can be reached through the proxy; the control plane fills them in.
	AvailableServices []AvailableService `json:"availableServices,omitempty"`
}

// ZoneIngressNetworking holds addresses and ports.
type ZoneIngressNetworking struct {
	// Address that the proxy listens on.
	Address string `json:"address,omitempty"`
	// Address and port that other zones connect to.
	AdvertisedAddress string `json:"advertisedAddress,omitempty"`
	Port              uint32 `json:"port,omitempty"`
	AdvertisedPort    uint32 `json:"advertisedPort,omitempty"`
	// Envoy's admin endpoint.
	Admin *EnvoyAdmin `json:"admin,omitempty"`
}

// AvailableService is a set of endpoints with equal tags behind a zone ingress.
type AvailableService struct {
	Tags            map[string]string `json:"tags,omitempty"`
	Instances       uint32            `json:"instances,omitempty"`
	Mesh            string            `json:"mesh,omitempty"`
	ExternalService bool              `json:"externalService,omitempty"`
}

// RemoteTo tells whether the proxy serves another zone than the given one.
func (z *ZoneIngressSpec) RemoteTo(zone string) bool { return z.Zone != "" && z.Zone != zone }

// Public returns the address and port that other zones connect to; ok is false
// if the proxy cannot be reached from outside.
func (z *ZoneIngressSpec) Public() (address string, port uint32, ok bool) {
	n := z.Networking
	if n == nil || n.AdvertisedAddress == "" || n.AdvertisedPort == 0 {
		return "", 0, false
	}
	return n.AdvertisedAddress, n.AdvertisedPort, true
}

// AdminPort returns Envoy's admin port; byDefault is the control plane's default.
func (z *ZoneIngressSpec) AdminPort(byDefault uint32) uint32 {
	if z.Networking == nil {
		return byDefault
	}
	return z.Networking.Admin.port(byDefault)
}

func (a *EnvoyAdmin) port(byDefault uint32) uint32 {
	if a == nil || a.Port == 0 {
		return byDefault
	}
	return a.Port
}

func validateZoneIngress(o *model.Object, v *model.Violations) {
	z := model.Spec[ZoneIngressSpec](o)
	n := z.Networking
	if n == nil {
		n = &ZoneIngressNetworking{}
	}
	at := v.At("networking")
	validateZoneAdmin(n.Admin, n.Address, n.Port, at)
	if n.AdvertisedAddress == "" && n.AdvertisedPort != 0 {
		at.At("advertisedAddress").Add("is missing: advertisedPort alone cannot be connected to")
	}
	if n.AdvertisedAddress != "" && n.AdvertisedPort == 0 {
		at.At("advertisedPort").Add("is missing: advertisedAddress alone cannot be connected to")
	}
	// Clients know the paths of addresses with the name doubled.
	if n.Address != "" {
		checkAddress(n.Address, at.At("address", "address"))
	}
	if n.AdvertisedAddress != "" {
		checkAddress(n.AdvertisedAddress, at.At("advertisedAddress", "address"))
	}
	checkPort(int64(n.Port), at.At("port"))
	if n.AdvertisedPort != 0 {
		checkPort(int64(n.AdvertisedPort), at.At("advertisedPort"))
	}
	for i, s := range z.AvailableServices {
		// Clients know this path in the singular.
		TagRules{Service: true}.Check(s.Tags, v.At("availableService", i, "tags"))
	}
}

// validateZoneAdmin refuses an admin port on which the proxy itself listens; v
// is positioned at networking.
func validateZoneAdmin(admin *EnvoyAdmin, address string, port uint32, v *model.Violations) {
	if admin == nil || admin.Port == 0 {
		return
	}
	at := v.At("admin", "port")
	if admin.Port > 65535 {
		checkPort(int64(admin.Port), at)
	}
	if admin.Port == port && (address == "" || coversLoopback(address)) {
		at.Add("%d is also the port of the proxy on this machine; choose another one", port)
	}
}
