package summary

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func mesh() *model.Object { return kinds.Mesh.Make("", "default") }

// proxyOf makes a Dataplane with inbounds of the services; those whose name ends
// with "!" are not ready.
func proxyOf(name string, services ...string) *model.Object {
	net := &kinds.DataplaneNetworking{Address: "10.0.0.1"}
	for i, s := range services {
		in := kinds.Inbound{Port: uint32(8000 + i), Tags: map[string]string{"kuma.io/zone": "east"}}
		if s[len(s)-1] == '!' {
			s, in.State = s[:len(s)-1], kinds.InboundNotReady
		}
		in.Tags["kuma.io/service"] = s
		net.Inbound = append(net.Inbound, in)
	}
	o := kinds.Dataplane.Make("default", name)
	o.Spec = &kinds.DataplaneSpec{Networking: net}
	return o
}

func gatewayOf(name, service string, typ kinds.GatewayType) *model.Object {
	o := kinds.Dataplane.Make("default", name)
	o.Spec = &kinds.DataplaneSpec{Networking: &kinds.DataplaneNetworking{Address: "10.0.0.9", Gateway: &kinds.DataplaneGateway{
		Type: typ, Tags: map[string]string{"kuma.io/service": service, "kuma.io/zone": "west"},
	}}}
	return o
}

// insightOf says that a proxy is connected, or was.
func insightOf(name string, online bool) *model.Object {
	sub := kinds.DiscoverySubscription{
		ID: "1", ConnectTime: model.At(now),
		Version: &kinds.ProxyVersions{KumaDP: &kinds.KumaDPVersion{Version: "2.10.11"}, Envoy: &kinds.EnvoyVersion{Version: "1.33.0"}},
	}
	if !online {
		sub.DisconnectTime = model.At(now)
	}
	o := kinds.DataplaneInsight.Make("default", name)
	o.Spec = &kinds.DataplaneInsightSpec{
		Subscriptions: []kinds.DiscoverySubscription{sub},
		MTLS:          &kinds.DataplaneMTLS{IssuedBackend: "ca-1", SupportedBackends: []string{"ca-1", "ca-2"}},
	}
	return o
}

func external(name, service, address string) *model.Object {
	o := kinds.ExternalService.Make("default", name)
	o.Spec = &kinds.ExternalServiceSpec{
		Tags:       map[string]string{"kuma.io/service": service},
		Networking: &kinds.ExternalServiceNetworking{Address: address},
	}
	return o
}

func everything() corpus.Tables {
	return corpus.NewTables(
		mesh(), proxyOf("on", "web", "admin"), insightOf("on", true),
		proxyOf("half", "web", "admin!"), insightOf("half", true),
		proxyOf("off", "web"), insightOf("off", false),
		proxyOf("new", "fresh"),
		gatewayOf("g", "edge", kinds.GatewayBuiltin), insightOf("g", true),
		gatewayOf("d", "door", kinds.GatewayDelegated),
		external("bank", "bank", "bank.example.com:443"), external("bank-2", "bank", "other.example.com:443"),
		catalog.ByName("MeshTimeout").Make("default", "t"),
		kinds.Secret.Make("default", "s"), kinds.GlobalSecret.Make("", "gs"), kinds.Zone.Make("", "east"),
	)
}

func TestMesh(t *testing.T) {
	got := model.Spec[kinds.MeshInsightSpec](Mesh(everything(), catalog.Kinds, mesh(), now))
	all := kinds.DataplaneStat{Total: 6, Online: 2, Offline: 3, PartiallyDegraded: 1}
	known := kinds.DataplaneStat{Total: 4, Online: 2, Offline: 1, PartiallyDegraded: 1}
	unknown := kinds.DataplaneStat{Total: 2, Offline: 2}
	want := &kinds.MeshInsightSpec{
		Dataplanes: all,
		DataplanesByType: kinds.DataplanesByType{
			Standard:         kinds.DataplaneStat{Total: 4, Online: 1, Offline: 2, PartiallyDegraded: 1},
			Gateway:          kinds.DataplaneStat{Total: 2, Online: 1, Offline: 1},
			GatewayBuiltin:   kinds.DataplaneStat{Total: 1, Online: 1},
			GatewayDelegated: kinds.DataplaneStat{Total: 1, Offline: 1},
		},
		DPVersions: kinds.MeshDPVersions{
			KumaDP: map[string]kinds.DataplaneStat{"2.10.11": known, "unknown": unknown},
			Envoy:  map[string]kinds.DataplaneStat{"1.33.0": known, "unknown": unknown},
		},
		MTLS: kinds.MeshMTLSStat{
			IssuedBackends:    map[string]kinds.DataplaneStat{"ca-1": known},
			SupportedBackends: map[string]kinds.DataplaneStat{"ca-1": known, "ca-2": known},
		},
		Services:  kinds.MeshServiceStat{Total: 7, Internal: 5, External: 2},
		Policies:  map[string]kinds.CountStat{"MeshTimeout": {Total: 1}},
		Resources: map[string]kinds.CountStat{"MeshTimeout": {Total: 1}, "Dataplane": {Total: 6}, "ExternalService": {Total: 2}, "Secret": {Total: 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestServices(t *testing.T) {
	got := Services(everything(), "default", Naming{Domain: "mesh", VIPPort: 80})
	stat := func(total, online uint32) *kinds.ServiceDataplaneStat {
		return &kinds.ServiceDataplaneStat{Total: total, Online: online, Offline: total - online}
	}
	east, west := []string{"east"}, []string{"west"}
	want := map[string]kinds.ServiceSummary{
		"web": {
			Status: kinds.ServiceStatusPartiallyDegraded, Dataplanes: stat(3, 1), AddressPort: "web.mesh:80", Zones: east,
			IssuedBackends: map[string]uint32{"ca-1": 3},
		},
		"admin": {
			Status: kinds.ServiceStatusPartiallyDegraded, Dataplanes: stat(2, 1), AddressPort: "admin.mesh:80", Zones: east,
			IssuedBackends: map[string]uint32{"ca-1": 2},
		},
		"fresh": {Status: kinds.ServiceStatusOffline, Dataplanes: stat(1, 0), AddressPort: "fresh.mesh:80", Zones: east},
		"edge": {
			Status: kinds.ServiceStatusOnline, ServiceType: kinds.ServiceGatewayBuiltin, Dataplanes: stat(1, 1), Zones: west,
			IssuedBackends: map[string]uint32{"ca-1": 1},
		},
		"door": {Status: kinds.ServiceStatusOffline, ServiceType: kinds.ServiceGatewayDelegated, Dataplanes: stat(1, 0), Zones: west},
		"bank": {
			Status: kinds.ServiceStatusNotAvailable, ServiceType: kinds.ServiceExternal, Dataplanes: stat(0, 0),
			AddressPort: "bank.example.com:443",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEverything(t *testing.T) {
	got := Everything(everything(), catalog.Kinds, now)
	want := Global{
		CreatedAt: now,
		Services: GlobalServices{
			Internal: Full{Total: 3, PartiallyDegraded: 2, Offline: 1}, External: Total{1},
			GatewayBuiltin: Full{Total: 1, Online: 1}, GatewayDelegated: Full{Total: 1, Offline: 1},
		},
		Dataplanes: GlobalDataplanes{
			Standard:       Full{Total: 4, Online: 1, Offline: 2, PartiallyDegraded: 1},
			GatewayBuiltin: Full{Total: 1, Online: 1}, GatewayDelegated: Full{Total: 1, Offline: 1},
		},
		Policies: Total{1}, Meshes: Total{1},
		Resources: map[string]Total{"MeshTimeout": {1}, "Dataplane": {6}, "ExternalService": {2}, "Secret": {1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]Total{"Mesh": {1}, "Zone": {1}, "GlobalSecret": {1}}, Kinds(everything(), catalog.Kinds)); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}
