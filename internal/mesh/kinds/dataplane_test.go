package kinds

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/model"
)

func TestValidateDataplane(t *testing.T) {
	const in = `{"port": 80, "tags": {"kuma.io/service": "a"}}`
	net := func(more string) string { return `"networking": {"address": "10.0.0.1", ` + more + `}` }
	for _, c := range []struct {
		in   string
		want []string
	}{
		{net(`"inbound": [` + in + `]`), nil},
		{`"networking": {"address": "::", "inbound": [` + in + `]}`, []string{"networking.address"}},
		{`"networking": {"address": "fe80::1%eth0", "inbound": [` + in + `]}`, []string{"networking.address"}},
		{`"networking": {"address": "web.example.com", "inbound": [` + in + `]}`, nil},
		{`"networking": {"address": "a b", "advertisedAddress": "0.0.0.0", "inbound": [` + in + `]}`, []string{"networking.address", "networking.advertisedAddress"}},
		{net(`"admin": {"port": 80}, "inbound": [{"port": 81, "servicePort": 80, "serviceAddress": "127.0.0.1", "tags": {"kuma.io/service": "a"}}]`), []string{"networking.admin.port"}},
		{net(`"admin": {"port": 80}, "inbound": [{"port": 80, "address": "0.0.0.0", "tags": {"kuma.io/service": "a"}}]`), []string{"networking.admin.port"}},
		{net(`"admin": {"port": 80}, "inbound": [` + in + `], "outbound": [{"port": 80, "tags": {"kuma.io/service": "b"}}]`), []string{"networking.admin.port"}},
		{net(`"admin": {"port": 80}, "inbound": [` + in + `]`), nil},
		{net(`"admin": {"port": 65536}, "inbound": [` + in + `]`), []string{"networking.admin.port"}},
		{`"networking": {"address": "::ffff:0.0.0.0", "inbound": [` + in + `]}`, []string{"networking.address"}},
		{net(`"inbound": [{"port": 80, "servicePort": 80, "serviceAddress": "10.0.0.1", "tags": {"kuma.io/service": "a"}}]`), []string{"networking.inbound[0].serviceAddress"}},
		{net(`"inbound": [{"port": 80, "servicePort": 81, "serviceAddress": "10.0.0.1", "tags": {"kuma.io/service": "a"}}]`), nil},
		{net(`"inbound": [{"port": 80, "state": "Sometimes"}]`), []string{"malformed: networking.inbound[0].state"}},
		{net(`"gateway": {"tags": {"kuma.io/service": "a"}}, "outbound": [{"port": 1, "tags": {"kuma.io/service": "b"}}]`), nil},
		{net(`"gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": "a"}}`), nil},
		{net(`"inbound": [{"port": 80, "tags": {"kuma.io/service": "zone-egress"}}]`), []string{`networking.inbound[0].tags["kuma.io/service"]`}},
		{net(`"gateway": {"tags": {"kuma.io/service": "zone-egress"}}`), []string{`networking.gateway.tags["kuma.io/service"]`}},
		{net(`"gateway": {"type": 1, "tags": {"kuma.io/service": "a"}}`) + `, "probes": {"port": 1}`, []string{"networking.probes"}},
		{net(`"gateway": {"tags": {"kuma.io/service": "a"}}`) + `, "metrics": {"type": "moon"}`, nil},
		{net(`"inbound": [` + in + `], "transparentProxying": {"redirectPortInbound": 70000, "reachableBackends": {"refs": [{"kind": "MeshService", "labels": {"a b": "c"}}, {"kind": "MeshService", "name": "A"}]}}`),
			[]string{"networking.transparentProxying.redirectPortInbound", `networking.transparentProxing.reachableBackends.refs[0].labels["a b"]`, "networking.transparentProxing.reachableBackends.refs[1].name"}},
		{net(`"inbound": [` + in + `], "outbound": [{"port": 1, "backendRef": {"kind": "MeshExternalService", "name": "x"}}]`), nil},
	} {
		if c.in == net(`"gateway": {"type": 1, "tags": {"kuma.io/service": "a"}}`)+`, "probes": {"port": 1}` {
			// what is wrong with the probes themselves does not matter then
			got := violationsOf(t, Dataplane, doc("Dataplane", c.in))
			if len(got) == 0 || got[0] != "networking.probes" {
				t.Errorf("%s: got %v", c.in, got)
			}
			continue
		}
		if diff := cmp.Diff(c.want, violationsOf(t, Dataplane, doc("Dataplane", c.in))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.in, diff)
		}
	}
}

func dataplane(t *testing.T, fields string) *DataplaneSpec {
	t.Helper()
	o, err := Dataplane.Decode([]byte(doc("Dataplane", fields)))
	if err != nil {
		t.Fatal(err)
	}
	return model.Spec[DataplaneSpec](o)
}

func TestDataplaneAddresses(t *testing.T) {
	d := dataplane(t, `"networking": {"address": "10.0.0.1", "inbound": [
		{"port": 80, "tags": {"kuma.io/service": "b", "kuma.io/protocol": "HTTP"}},
		{"port": 81, "servicePort": 8081, "serviceAddress": "127.0.0.1", "address": "10.0.0.2", "name": "admin", "tags": {"kuma.io/service": "a"}}]}`)
	one, two := &d.Inbounds()[0], &d.Inbounds()[1]
	for _, c := range []struct{ what, got, want string }{
		{"listen 1", d.ListenAddress(one), "10.0.0.1"}, {"listen 2", d.ListenAddress(two), "10.0.0.2"},
		{"endpoint 1", d.EndpointAddress(one), "10.0.0.1"}, {"endpoint 2", d.EndpointAddress(two), "10.0.0.2"},
		{"workload 1", d.WorkloadAddress(one), "10.0.0.1"}, {"workload 2", d.WorkloadAddress(two), "127.0.0.1"},
		{"protocol 1", one.Protocol(), "http"}, {"protocol 2", two.Protocol(), "tcp"},
		{"section 1", one.SectionName(), "80"}, {"section 2", two.SectionName(), "admin"},
		{"identity", d.IdentifyingService(), "a"}, {"tags", d.Tags().String(), "kuma.io/protocol=HTTP kuma.io/service=a,b"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, c.got, c.want)
		}
	}
	if one.WorkloadPort() != 80 || two.WorkloadPort() != 8081 {
		t.Errorf("workload ports %d, %d", one.WorkloadPort(), two.WorkloadPort())
	}
	d.Networking.AdvertisedAddress = "1.2.3.4"
	if d.EndpointAddress(two) != "1.2.3.4" || d.AdvertisedAddress() != "1.2.3.4" || d.ListenAddress(two) != "10.0.0.2" {
		t.Error("the advertised address is not the one that others use")
	}
	if !d.HasTags(map[string]string{"kuma.io/service": "b", "kuma.io/protocol": "*"}) || d.HasTags(map[string]string{"kuma.io/service": "a", "kuma.io/protocol": "*"}) {
		t.Error("tags of different inbounds were mixed")
	}
	var empty DataplaneSpec
	if empty.IdentifyingService() != UnknownService || empty.AdminPort(DefaultAdminPort) != 9901 || empty.IsTransparent() {
		t.Error("an empty spec has wrong answers")
	}
}

func TestIsTransparent(t *testing.T) {
	for _, c := range []struct {
		address, tp string
		want        bool
	}{
		{"10.0.0.1", `{"redirectPortInbound": 1, "redirectPortOutbound": 2}`, true},
		{"10.0.0.1", `{"redirectPortInbound": 1}`, false},
		{"10.0.0.1", `{"redirectPortInbound": 1, "redirectPortOutbound": 2, "ipFamilyMode": "IPv4"}`, true},
		{"fd00::1", `{"redirectPortInbound": 1, "redirectPortOutbound": 2, "ipFamilyMode": "IPv4"}`, false},
		{"fd00::1", `{"redirectPortInbound": 1, "redirectPortOutbound": 2, "ip_family_mode": 1}`, true},
	} {
		if got := dataplane(t, `"networking": {"address": "`+c.address+`", "transparentProxying": `+c.tp+`}`).IsTransparent(); got != c.want {
			t.Errorf("%s %s: got %v", c.address, c.tp, got)
		}
	}
}

func TestDataplaneStatus(t *testing.T) {
	online := &DataplaneInsightSpec{Subscriptions: []DiscoverySubscription{{ConnectTime: model.At(time.Unix(1, 0))}}}
	offline := &DataplaneInsightSpec{Subscriptions: []DiscoverySubscription{{ConnectTime: model.At(time.Unix(1, 0)), DisconnectTime: model.At(time.Unix(2, 0))}}}
	for _, c := range []struct {
		inbound string
		insight *DataplaneInsightSpec
		want    Status
	}{
		{`{"port": 1}`, nil, StatusOffline},
		{`{"port": 1}`, offline, StatusOffline},
		{`{"port": 1}`, online, StatusOnline},
		{`{"port": 1}, {"port": 2, "state": "NotReady"}`, online, StatusPartiallyDegraded},
		{`{"port": 1, "health": {}}, {"port": 2, "state": "NotReady"}`, online, StatusOffline},
		{`{"port": 1}, {"port": 2, "state": "Ignored"}`, online, StatusOnline},
	} {
		d := dataplane(t, `"networking": {"inbound": [`+c.inbound+`]}`)
		if got := DataplaneStatus(d, c.insight); got != c.want {
			t.Errorf("%s: got %s, want %s", c.inbound, got, c.want)
		}
	}
}

func TestValidateZoneProxies(t *testing.T) {
	for _, c := range []struct {
		kind *model.Kind
		in   string
		want []string
	}{
		{ZoneIngress, `"networking": {"address": "0.0.0.0", "port": 1}`, []string{"networking.address.address"}},
		{ZoneIngress, `"networking": {"port": 1, "advertisedAddress": "a b", "advertisedPort": 70000}`, []string{"networking.advertisedAddress.address", "networking.advertisedPort"}},
		{ZoneIngress, `"networking": {"port": 1, "address": "127.0.0.1", "admin": {"port": 1}}`, []string{"networking.admin.port"}},
		{ZoneIngress, `"networking": {"port": 1}, "availableServices": [{"tags": {"kuma.io/service": "a", "x": "y/z"}}]`, []string{`availableService[0].tags["x"]`}},
		{ZoneEgress, `"networking": {"port": 1, "address": "a b"}`, []string{"networking.address.address"}},
		{ZoneEgress, `"zone": "z"`, []string{"networking.port"}},
	} {
		if diff := cmp.Diff(c.want, violationsOf(t, c.kind, doc(c.kind.Name, c.in))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.in, diff)
		}
	}
	yes, no := true, false
	if !(&ZoneSpec{}).IsEnabled() || !(&ZoneSpec{Enabled: &yes}).IsEnabled() || (&ZoneSpec{Enabled: &no}).IsEnabled() {
		t.Error("enabled is true unless it is false")
	}
}

func TestTags(t *testing.T) {
	tags := map[string]string{"a": "1", "b": ""}
	for _, c := range []struct {
		selector map[string]string
		want     bool
	}{
		{nil, true},
		{map[string]string{"a": "1"}, true},
		{map[string]string{"a": "2"}, false},
		{map[string]string{"a": "*", "b": "*"}, true},
		{map[string]string{"c": "*"}, false},
	} {
		if got := MatchTags(c.selector, tags); got != c.want {
			t.Errorf("%v: got %v", c.selector, got)
		}
	}
	for _, c := range []struct {
		rules TagRules
		tags  map[string]string
		want  []string
	}{
		{TagRules{NotEmpty: true, Service: true}, nil, []string{"t"}},
		{TagRules{Service: true}, map[string]string{"": "x"}, []string{"t", "t"}},
		{TagRules{}, map[string]string{"a": "b/c", "d": "*"}, []string{`t["a"]`, `t["d"]`}},
		{TagRules{Selector: true}, map[string]string{"a": "b/c", "d": "*", "e": "**"}, []string{`t["e"]`}},
		{TagRules{Protocol: true}, map[string]string{"kuma.io/protocol": "smoke"}, []string{`t["kuma.io/protocol"]`}},
		{TagRules{Forbidden: []string{"a"}}, map[string]string{"a": "b"}, []string{`t["a"]`}},
	} {
		var v model.Violations
		c.rules.Check(c.tags, v.At("t"))
		var got []string
		for _, x := range v.List() {
			got = append(got, x.Field)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v %v (-want +got):\n%s", c.rules, c.tags, diff)
		}
	}
}
